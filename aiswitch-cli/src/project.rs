//! The project file, `.aiswitch.yaml`: what a run in a folder does when its command line says nothing, once a person trusts it.
//!
//! Whoever may write into a project could write such a file. So it is heeded only as it was when a person said so, names
//! nothing that could be run, no variable and no secret, and cannot give agents the mode `yolo`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use aiswitch_agent::SpecDuration;
use aiswitch_coordinator::{Home, PermissionMode, PresetName};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::config::{ConfigError, parse, read_text};
use crate::error::Error;
use crate::output::Output;
use crate::pick::Pick;
use crate::vault::{check_private, write_private};

/// What the file is called.
const FILE: &str = ".aiswitch.yaml";

/// `.aiswitch.yaml`: what a run in this folder, or below it, does when its command line says nothing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Project {
    /// The agents, each written as for `--agent`.
    #[serde(default)]
    pub(crate) agents: Vec<Pick>,
    /// The preset, for agents that are not told another.
    #[serde(default)]
    pub(crate) preset: Option<PresetName>,
    /// What agents may do.
    #[serde(default)]
    pub(crate) mode: Option<ProjectMode>,
    /// How many agents work at one time.
    #[serde(default)]
    pub(crate) max_parallel: Option<NonZeroUsize>,
    /// How long each agent may take: `90`, `90s`, `10m`, `1h`.
    #[serde(default)]
    pub(crate) timeout: Option<SpecDuration>,
}

/// What a project may let agents do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProjectMode {
    /// Look only.
    ReadOnly,
    /// Change the project.
    Write,
}

impl From<ProjectMode> for PermissionMode {
    fn from(mode: ProjectMode) -> Self {
        match mode {
            ProjectMode::ReadOnly => Self::ReadOnly,
            ProjectMode::Write => Self::Write,
        }
    }
}

/// A project file as it stands there.
#[derive(Debug)]
pub(crate) struct ProjectFile {
    pub(crate) path: PathBuf,
    text: String,
}

impl ProjectFile {
    /// The file of this folder, or of the nearest one above that has one.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn find(folder: &Path) -> Result<Option<Self>, Error> {
        let mut paths = folder.ancestors().map(|folder| folder.join(FILE));
        paths.find(|path| path.exists()).map(|path| Self::read(&path)).transpose()
    }

    fn read(path: &Path) -> Result<Self, Error> {
        let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
        // One file has one name, whatever links lead to it.
        let path = path.canonicalize().map_err(unreadable)?;
        let text = read_text(&path)?;
        Ok(Self { path, text })
    }

    /// What it says.
    ///
    /// # Errors
    /// It holds what it may not.
    pub(crate) fn project(&self) -> Result<Project, ConfigError> {
        parse(&self.text).map_err(|error| ConfigError::explain(&self.path, &error))
    }

    /// The SHA-256 of its text, in hexadecimal.
    pub(crate) fn hash(&self) -> String {
        Sha256::digest(&self.text).iter().fold(String::new(), |mut hash, byte| {
            write!(hash, "{byte:02x}").expect("text can be written to");
            hash
        })
    }
}

/// The project files that a person trusts: path → SHA-256 of the text that they had then.
#[derive(Debug)]
pub(crate) struct Trusted {
    path: PathBuf,
    pub(crate) hashes: BTreeMap<PathBuf, String>,
}

impl Trusted {
    /// Those that are trusted in a home.
    ///
    /// # Errors
    /// They cannot be read, or others could have changed them.
    pub(crate) fn read(home: &Home) -> Result<Self, Error> {
        let path = home.state_dir().join("trusted.json");
        if !path.exists() {
            return Ok(Self { path, hashes: BTreeMap::new() });
        }
        check_private(&path)?;
        let text = read_text(&path)?;
        match serde_json::from_str(&text) {
            Ok(hashes) => Ok(Self { path, hashes }),
            Err(source) => Err(Error::TrustDamaged { path, source }),
        }
    }

    /// Writes them; hold the lock of the vault.
    ///
    /// # Errors
    /// They cannot be written; they are as they were then.
    pub(crate) fn write(&self) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(&self.hashes)
            .map_err(|source| Error::TrustDamaged { path: self.path.clone(), source })?;
        write_private(&self.path, text.as_bytes())
    }
}

/// What the trusted project file of a folder says; one that is not trusted is told of and says nothing.
///
/// # Errors
/// A trusted one holds what it may not, or it cannot be known what is trusted.
pub(crate) fn trusted(folder: &Path, home: &Home, output: &Output) -> Result<Project, Error> {
    let Some(file) = ProjectFile::find(folder)? else { return Ok(Project::default()) };
    let path = file.path.display();
    let why = match Trusted::read(home)?.hashes.get(&file.path) {
        Some(hash) if *hash == file.hash() => return Ok(file.project()?),
        Some(_) => "was changed since it was trusted",
        None => "is not trusted",
    };
    output.note(&format!("{path} is not heeded: it {why}; read it, then: aiswitch trust"));
    Ok(Project::default())
}
