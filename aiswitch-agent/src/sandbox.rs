//! What an agent's processes may touch of the machine, beside what the system's permissions say.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::process::{Launch, Walls};
use crate::{AgentError, built_ins};

/// What an agent's processes may touch of the machine, kept by the kernel's Landlock for all that it starts.
///
/// No sandbox but [`None`](Self::None) opens aiswitch's own folder, the folders of other agents, or what usually holds
/// keys in a home. UDP and Unix sockets are outside of what it keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Sandbox {
    /// Whatever the system's permissions say.
    #[default]
    None,
    /// To read, the system and the home; to change, what is in the working folder, the agent's own folders and a
    /// temporary folder of its own. Names that other programs obey there, such as `.git`, stay as they are, so nothing
    /// can be made or removed at the top of the working folder.
    Standard,
    /// The same, but nothing of the working folder may be changed.
    ReadOnly,
    /// As [`Standard`](Self::Standard), and no TCP at all, loopback included.
    Offline,
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Standard => "standard",
            Self::ReadOnly => "read-only",
            Self::Offline => "offline",
        })
    }
}

/// A text that names no sandbox.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is none of `none`, `standard`, `read-only` and `offline`")]
pub struct SandboxError {
    text: String,
}

impl FromStr for Sandbox {
    type Err = SandboxError;

    fn from_str(text: &str) -> Result<Self, SandboxError> {
        let all = [Self::None, Self::Standard, Self::ReadOnly, Self::Offline];
        let found = all.into_iter().find(|sandbox| sandbox.to_string() == text);
        found.ok_or_else(|| SandboxError { text: text.escape_default().to_string() })
    }
}

/// What usually holds keys in a home, or says what a shell or git does; no sandbox opens it.
const SECRETS: &[&str] = &[
    ".aiswitch",
    ".aws",
    ".azure",
    ".bash_history",
    ".cargo/credentials.toml",
    ".config/gcloud",
    ".config/gh",
    ".docker",
    ".git-credentials",
    ".gnupg",
    ".kube",
    ".local/share/keyrings",
    ".mozilla",
    ".netrc",
    ".npmrc",
    ".password-store",
    ".pypirc",
    ".ssh",
];

/// Names in a working folder that other programs obey: whoever may write them has his code run outside of the sandbox.
const OBEYED: &[&str] = &[
    ".bash_profile",
    ".bashrc",
    ".claude",
    ".codex",
    ".gemini",
    ".git",
    ".gitconfig",
    ".gitmodules",
    ".idea",
    ".mcp.json",
    ".opencode",
    ".profile",
    ".qwen",
    ".vscode",
    ".zprofile",
    ".zshrc",
    "opencode.json",
];

/// The walls of a sandbox around what is launched; `None` for no sandbox.
///
/// # Errors
/// The agent has no home, or the folder that it works in is one that no sandbox opens.
pub(crate) fn walls(launch: &Launch, hidden: &[PathBuf]) -> Result<Option<Walls>, AgentError> {
    if launch.sandbox == Sandbox::None {
        return Ok(None);
    }
    let failed = |path: &Path, source| AgentError::SandboxPath {
        agent: launch.agent.clone(),
        sandbox: launch.sandbox,
        path: path.to_owned(),
        source,
    };
    let real = |path: &Path| path.canonicalize().map_err(|error| failed(path, error));
    let home = launch.home().ok_or_else(|| {
        failed(Path::new("$HOME"), std::io::Error::other("the agent's environment does not name it"))
    })?;
    let (home, cwd) = (real(&home)?, real(&launch.cwd)?);
    let others =
        built_ins().iter().flat_map(|known| known.folders).filter(|name| !is_in(name, &launch.folders));
    let named = SECRETS.iter().chain(others).map(|name| home.join(name)).chain(hidden.iter().cloned());
    // Where one is a link, neither it nor what it leads to is opened.
    let secrets: Vec<PathBuf> =
        named.flat_map(|path| path.canonicalize().ok().into_iter().chain([path])).collect();
    if secrets.iter().any(|secret| cwd.starts_with(secret)) {
        return Err(failed(&cwd, std::io::Error::other("no sandbox opens it")));
    }
    Ok(Some(Walls {
        obeyed: OBEYED.iter().map(|name| cwd.join(name).into()).collect(),
        secrets: secrets.into_iter().map(Into::into).collect(),
        own: launch.folders.iter().map(|name| home.join(name).into()).collect(),
        program: launch.program.clone().into(),
        cwd: cwd.into(),
        temp: launch.temp().into(),
        sandbox: launch.sandbox,
    }))
}

fn is_in(name: &str, folders: &[String]) -> bool {
    folders.iter().any(|folder| folder == name)
}
