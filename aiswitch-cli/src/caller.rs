//! What the command was given beside its arguments: variables, folder, terminal.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, stderr, stdin, stdout};
use std::path::{Path, PathBuf};

use aiswitch_agent::mark_above;
use aiswitch_coordinator::{Actor, Ambient, Guard, Home, PresetName};
use aiswitch_env::{EnvError, SHELL_PRESET, SHELL_VARIABLES};
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use rustix::termios::tcgetwinsize;
use tokio::signal::unix::SignalKind;

use crate::args::ShellName;
use crate::error::Error;

/// What the command was given beside its arguments.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    variables: BTreeMap<OsString, OsString>,
    /// What guards the processes of agents.
    pub(crate) guard: Guard,
    /// Whether stdin is a terminal.
    pub(crate) stdin_terminal: bool,
    /// Whether stdout is a terminal.
    pub(crate) stdout_terminal: bool,
    /// How many cells a line of the terminal on stdout has; `None` where there is no terminal, or it does not tell.
    pub(crate) stdout_columns: Option<usize>,
    /// Whether stderr is a terminal.
    pub(crate) stderr_terminal: bool,
}

impl Caller {
    /// The caller of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the one place of the one crate that may")]
    pub(crate) fn of_this_process(guard: Guard) -> Self {
        Self {
            guard,
            variables: std::env::vars_os().collect(),
            stdin_terminal: stdin().is_terminal(),
            stdout_terminal: stdout().is_terminal(),
            stdout_columns: tcgetwinsize(stdout())
                .ok()
                .map(|size| usize::from(size.ws_col))
                .filter(|n| *n > 0),
            stderr_terminal: stderr().is_terminal(),
        }
    }

    /// All variables, for the coordinator to choose from.
    pub(crate) fn ambient(&self) -> Ambient {
        Ambient::from_vars(self.variables.clone())
    }

    /// The home folder of all state: `--home`, else `AISWITCH_HOME`, else `~/.aiswitch`.
    ///
    /// # Errors
    /// No variable says where it is, or the working folder is gone.
    pub(crate) fn home(&self, option: Option<&PathBuf>) -> Result<Home, Error> {
        let folder = match (option, self.variable("AISWITCH_HOME"), self.variable("HOME")) {
            (Some(folder), ..) => folder.clone(),
            (None, Some(folder), _) => PathBuf::from(folder),
            (None, None, Some(user)) => PathBuf::from(user).join(".aiswitch"),
            (None, None, None) => return Err(Error::NoHome),
        };
        Ok(Home::new(absolute(folder)?))
    }

    /// The user's own folder, where it is known.
    pub(crate) fn user_dir(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// Who the caller is: an agent's own process and all that it starts are that agent.
    pub(crate) fn actor() -> Actor {
        let Some(mark) = mark_above() else { return Actor::Operator };
        let agent = mark.split_once(':').and_then(|(_, agent)| agent.parse().ok());
        // Who carries a mark that is none is no operator either.
        Actor::Agent(agent.unwrap_or_else(|| "unknown".parse().expect("a good name for an agent")))
    }

    /// The preset that the caller's shell is under.
    ///
    /// # Errors
    /// It has no preset's name.
    pub(crate) fn shell_preset(&self) -> Result<Option<PresetName>, EnvError> {
        let name = self.variable(SHELL_PRESET).map(OsStr::to_string_lossy);
        name.map(|name| name.parse()).transpose()
    }

    /// The names of what that preset has set, with spaces between.
    pub(crate) fn shell_variables(&self) -> String {
        self.variable(SHELL_VARIABLES).map(|names| names.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The shell that the caller works in, if it is one that there is a function for.
    pub(crate) fn shell_name(&self) -> Option<ShellName> {
        let name = Path::new(self.variable("SHELL")?).file_name()?.to_str()?;
        ShellName::from_str(name, false).ok()
    }

    /// The file that a shell reads when it starts.
    ///
    /// # Errors
    /// No variable says where the user's home is.
    pub(crate) fn shell_file(&self, shell: ShellName) -> Result<PathBuf, Error> {
        let user = self.user_dir().ok_or(Error::NoHome)?;
        let folder = |name| self.variable(name).map(PathBuf::from);
        Ok(match shell {
            ShellName::Bash => user.join(".bashrc"),
            ShellName::Zsh => folder("ZDOTDIR").unwrap_or(user).join(".zshrc"),
            ShellName::Fish => {
                let config = folder("XDG_CONFIG_HOME").unwrap_or_else(|| user.join(".config"));
                config.join("fish/config.fish")
            }
        })
    }

    /// Where another tool may keep presets: what these find below `XDG_CONFIG_HOME` and the user's home.
    ///
    /// # Errors
    /// No variable says where the user's home is.
    pub(crate) fn foreign_sources(
        &self,
        folders: fn(Option<PathBuf>, &Path) -> Vec<PathBuf>,
        files: fn(&Path) -> Vec<PathBuf>,
    ) -> Result<Vec<PathBuf>, Error> {
        let user = PathBuf::from(self.variable("HOME").ok_or(Error::NoHome)?);
        let config_home = self.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        Ok(folders(config_home, &user).into_iter().chain(files(&user)).collect())
    }

    /// Whether progress may be drawn: on a terminal that can, with a person before it.
    pub(crate) fn wants_progress(&self) -> bool {
        self.stderr_terminal
            && self.variable("CI").is_none()
            && self.variable("TERM") != Some(OsStr::new("dumb"))
    }

    /// The file that holds the passphrase of the identity, where nobody is there to type it.
    pub(crate) fn passphrase_file(&self) -> Option<PathBuf> {
        self.variable("AISWITCH_PASSPHRASE_FILE").map(PathBuf::from)
    }

    /// The words for a shell that open a file in the caller's editor.
    pub(crate) fn editor(&self) -> OsString {
        let named = self.variable("VISUAL").or_else(|| self.variable("EDITOR"));
        named.unwrap_or(OsStr::new("vi")).to_owned()
    }

    /// The caller's own folder of files in memory.
    pub(crate) fn runtime_folder(&self) -> Option<PathBuf> {
        self.variable("XDG_RUNTIME_DIR").map(PathBuf::from)
    }

    /// A variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }
}

/// What time it is.
#[expect(clippy::disallowed_methods, reason = "this is the one place of the command that reads the clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// A path as seen from the working folder.
///
/// # Errors
/// The working folder is gone.
pub(crate) fn absolute(path: PathBuf) -> Result<PathBuf, Error> {
    if path.is_absolute() {
        return Ok(path);
    }
    let cwd = std::env::current_dir().map_err(|source| Error::WorkingFolder { source })?;
    Ok(if path.as_os_str().is_empty() { cwd } else { cwd.join(path) })
}

/// Whether the caller wants a signal ignored, as nohup does with SIGHUP; `false` where the system does not tell.
pub(crate) fn ignores(signal: SignalKind) -> bool {
    // proc_pid_status(5): a mask in hexadecimal, whose lowest bit is signal 1.
    let bit = u64::try_from(signal.as_raw_value() - 1).expect("signals are numbered from 1");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask >> bit & 1 == 1)
}
