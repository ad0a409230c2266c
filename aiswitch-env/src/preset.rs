//! A named set of variables.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::environment::is_dangerous;
use crate::seal::{DataKeys, Place, SEALED_START};
use crate::{Ambient, EnvError, Secret};

/// The name of a preset: 1 to 64 of `a-z`, `0-9`, `_` and `-`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct PresetName(String);

impl FromStr for PresetName {
    type Err = EnvError;

    fn from_str(name: &str) -> Result<Self, EnvError> {
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let rest =
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if first && rest && name.len() <= 64 {
            Ok(Self(name.to_owned()))
        } else {
            Err(EnvError::PresetName { name: name.escape_default().to_string() })
        }
    }
}

impl TryFrom<String> for PresetName {
    type Error = EnvError;

    fn try_from(name: String) -> Result<Self, EnvError> {
        name.parse()
    }
}

impl From<PresetName> for String {
    fn from(name: PresetName) -> Self {
        name.0
    }
}

impl AsRef<str> for PresetName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PresetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The longest value of a variable, in bytes.
pub const VALUE_BYTES_MAX: u64 = 64 * 1024;

/// The permission bits with which others may write a file.
const OTHERS_WRITE: u32 = 0o022;

/// What the keys of providers start with.
const KEY_STARTS: &[&str] = &["sk-", "AIza", "ghp_", "github_pat_", "gsk_", "xai-", "Bearer "];

/// A named set of variables, as `config/presets.yaml` holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What the preset is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Words to find it by.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The preset whose variables it starts from.
    #[serde(default)]
    pub extends: Option<PresetName>,
    /// Name → value. A value is plain text, `env:NAME` (of the caller's environment), `file:PATH` or `ENC[…]`.
    #[serde(default)]
    pub variables: BTreeMap<String, ValueSource>,
    /// Agent → variables that are its alone, or another for it.
    #[serde(default)]
    pub agents: BTreeMap<String, BTreeMap<String, ValueSource>>,
}

/// Where the value of a variable comes from.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
#[serde(from = "String")]
pub enum ValueSource {
    /// `env:NAME`: the caller's environment.
    Env(String),
    /// `file:PATH`: a file's text, without its last line feed.
    File(PathBuf),
    /// `ENC[…]`: an encrypted value.
    Encrypted(String),
    /// The text itself.
    Plain(String),
}

impl From<String> for ValueSource {
    fn from(text: String) -> Self {
        if let Some(name) = text.strip_prefix("env:") {
            Self::Env(name.to_owned())
        } else if let Some(path) = text.strip_prefix("file:") {
            Self::File(path.into())
        } else if text.starts_with(SEALED_START) {
            Self::Encrypted(text)
        } else {
            Self::Plain(text)
        }
    }
}

impl ValueSource {
    /// A value as a preset may hold it in clear; `None` for one that is to be encrypted.
    ///
    /// That is one whose name speaks of a credential, that starts as keys do, that has a password in a URL, or that would
    /// be taken for a reference.
    pub fn in_clear(name: &str, value: &Secret) -> Option<Self> {
        let text = value.text();
        let is_key = KEY_STARTS.iter().any(|start| text.starts_with(start));
        let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
        let has_password = authority.is_some_and(|authority| authority.contains('@'));
        let clear = Self::from(text.to_owned());
        let is_plain = matches!(clear, Self::Plain(_)) && !looks_secret(name) && !is_key && !has_password;
        is_plain.then_some(clear)
    }

    /// The value as `config/presets.yaml` holds it.
    pub fn written(&self) -> String {
        match self {
            Self::Env(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{}", path.display()),
            Self::Encrypted(text) | Self::Plain(text) => text.clone(),
        }
    }
}

impl fmt::Debug for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Encrypted(_) => f.write_str("ENC[…]"),
            Self::Plain(_) => f.write_str("…"),
        }
    }
}

impl Preset {
    /// The variables of its own: those for every agent, or those for one.
    pub fn own(&self, agent: Option<&str>) -> Option<&BTreeMap<String, ValueSource>> {
        agent.map_or(Some(&self.variables), |agent| self.agents.get(agent))
    }

    /// The variables of its own, to be changed; see [`own`](Self::own).
    pub fn own_mut(&mut self, agent: Option<&str>) -> &mut BTreeMap<String, ValueSource> {
        match agent {
            Some(agent) => self.agents.entry(agent.to_owned()).or_default(),
            None => &mut self.variables,
        }
    }

    /// The agents that it says something of its own for, and `None` for every agent.
    pub fn whom(&self) -> impl Iterator<Item = Option<&str>> {
        std::iter::once(None).chain(self.agents.keys().map(|agent| Some(agent.as_str())))
    }

    /// Whether a value is encrypted, so that keys are needed.
    pub fn is_encrypted(&self) -> bool {
        self.whom()
            .filter_map(|agent| self.own(agent))
            .any(|own| own.values().any(|source| matches!(source, ValueSource::Encrypted(_))))
    }
}

/// Scheme, host and port of a URL; what is none stands for itself.
pub(crate) fn origin_of_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // A backslash ends the host too for some of those who read URLs.
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}").trim_end().to_ascii_lowercase()
}

/// The text of a regular file that a preset takes a value from.
///
/// # Errors
/// It is no regular file, others could change it, it has more than [`VALUE_BYTES_MAX`] bytes, is not UTF-8, or cannot be
/// read.
pub fn read_value(path: &Path) -> io::Result<String> {
    // Opening a pipe would wait for its writer.
    check_file(&path.metadata()?)?;
    let file = File::open(path)?;
    // What was looked at may have been replaced before it was opened.
    check_file(&file.metadata()?)?;
    let mut text = String::new();
    file.take(VALUE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > VALUE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {VALUE_BYTES_MAX} bytes"),
        ));
    }
    Ok(text)
}

/// Whether nobody could have changed a file but its user and root; what a link leads to counts, not the link.
///
/// Who else may read it is not looked at: what systems mount for secrets is often for a whole group.
fn check_file(found: &Metadata) -> io::Result<()> {
    let wrong = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if !found.is_file() {
        return wrong("it is not a regular file");
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return wrong("others could change it: chmod go-w");
    }
    if found.uid() != 0 && found.uid() != geteuid().as_raw() {
        return wrong("it belongs to another user");
    }
    Ok(())
}

/// Checks what a preset's variable is called.
///
/// # Errors
/// It is empty, holds `=` or NUL, or can make an agent run foreign code.
pub fn check_name(preset: &PresetName, name: &str) -> Result<(), EnvError> {
    let (preset, name) = (preset.to_string(), name.to_owned());
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err(EnvError::VariableName { preset, name: name.escape_default().to_string() });
    }
    if is_dangerous(&name) { Err(EnvError::Dangerous { preset, name }) } else { Ok(()) }
}

/// Checks that an environment can hold a value.
///
/// # Errors
/// It holds a NUL byte.
pub fn check_value(name: &str, value: &Secret) -> Result<(), EnvError> {
    if value.text().contains('\0') { Err(EnvError::Value { name: name.to_owned() }) } else { Ok(()) }
}

/// The value of one variable.
pub(crate) fn resolve_one(
    place: Place<'_>,
    source: &ValueSource,
    ambient: &Ambient,
    keys: &DataKeys,
) -> Result<Secret, EnvError> {
    check_name(place.preset, place.name)?;
    let (preset, name) = (place.preset.to_string(), place.name.to_owned());
    let value = match source {
        ValueSource::Plain(_) if looks_secret(&name) => Err(EnvError::ClearSecret { preset, name }),
        ValueSource::Plain(text) => Ok(Secret::new(text.clone())),
        ValueSource::Env(wanted) => match ambient.get(wanted) {
            Some(value) => Ok(value.clone()),
            None => Err(EnvError::MissingAmbient { preset, name, wanted: wanted.clone() }),
        },
        ValueSource::File(path) => match read_value(path) {
            Ok(text) => Ok(Secret::new(text.strip_suffix('\n').unwrap_or(&text))),
            Err(source) => Err(EnvError::UnreadableFile { preset, name, path: path.clone(), source }),
        },
        ValueSource::Encrypted(sealed) => keys.open(sealed, place),
    }?;
    check_value(place.name, &value).map(|()| value)
}

/// True for a variable name that speaks of a credential: `*KEY`, `*TOKEN*`, `*SECRET*`, `*PASSWORD*` and the like.
///
/// A limit such as `CLAUDE_CODE_MAX_OUTPUT_TOKENS` is none.
pub fn looks_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    if name.contains("MAX_") && name.ends_with("_TOKENS") {
        return false;
    }
    ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"].iter().any(|word| name.contains(word))
        || name.ends_with("KEY")
        || name.contains("_KEY_")
}
