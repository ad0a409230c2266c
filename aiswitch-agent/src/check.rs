//! Whether an agent's program is there, and which version it is.

use std::path::PathBuf;

use aiswitch_env::Environment;

use crate::dialect::is_older;
use crate::process::{VERSION_TIMEOUT, ask_version, find_program};
use crate::{AgentError, Profile};

/// What is there of an agent's program.
#[derive(Debug)]
#[non_exhaustive]
pub struct Installation {
    /// Its file, when it is there.
    pub program: Option<PathBuf>,
    /// The version that it says of itself; `None` when it was not asked or says none.
    pub version: Option<String>,
    /// What is wrong with it.
    pub problem: Option<Problem>,
}

/// Why an agent's program cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It cannot be started at all.
    #[error(transparent)]
    Start(#[from] AgentError),
    /// It is older than the driver can work with.
    #[error("version {version} is too old, {version_min} or newer is needed")]
    TooOld {
        /// The version that it says.
        version: String,
        /// The oldest that will do.
        version_min: String,
    },
    /// It does not say its version.
    #[error("`{program} --version` gave no version within {} s", VERSION_TIMEOUT.as_secs())]
    NoVersion {
        /// The program.
        program: PathBuf,
    },
}

/// Looks for an agent's program without starting it.
///
/// # Errors
/// It is not there, or is no program.
pub fn find(profile: &Profile, environment: &Environment) -> Result<PathBuf, AgentError> {
    let name = profile.command.first().ok_or_else(|| AgentError::NoCommand { agent: profile.id.clone() })?;
    find_program(&profile.id, name, environment)
}

/// Looks for an agent's program, and asks a built-in one for its version.
///
/// # Cancel safety
/// Dropping the future kills the program that is being asked.
pub async fn check(profile: &Profile, environment: &Environment) -> Installation {
    let program = match find(profile, environment) {
        Ok(program) => program,
        Err(error) => return Installation { program: None, version: None, problem: Some(error.into()) },
    };
    if profile.install.is_none() {
        return Installation { program: Some(program), version: None, problem: None };
    }
    let version = ask_version(&program, environment).await;
    let problem = match (&version, &profile.version_min) {
        (None, _) => Some(Problem::NoVersion { program: program.clone() }),
        (Some(version), Some(version_min)) if is_older(version, version_min) == Some(true) => {
            Some(Problem::TooOld { version: version.clone(), version_min: version_min.clone() })
        }
        _ => None,
    };
    Installation { program: Some(program), version, problem }
}
