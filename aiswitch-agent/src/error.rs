//! Why an agent could not be started.

use std::path::PathBuf;

use aiswitch_rpc::protocol::{AgentId, ErrorKind, PermissionMode};
use rustix::io::Errno;

use crate::{Enforcement, Resource, Sandbox, Tier};

/// Why an agent could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Its program is nowhere on the `PATH`, or not at its path.
    #[error("`{program}` of agent `{agent}` is not installed")]
    NotInstalled {
        /// The agent.
        agent: AgentId,
        /// The program.
        program: String,
    },
    /// Its program is there but cannot be run.
    #[error("`{program}` of agent `{agent}` is not an executable file")]
    NotExecutable {
        /// The agent.
        agent: AgentId,
        /// The program.
        program: PathBuf,
    },
    /// Its program only starts another one, which is not where its package keeps it.
    #[error("`{program}` of agent `{agent}` is a launcher without its `cli.js`: name that one in `command`")]
    Launcher {
        /// The agent.
        agent: AgentId,
        /// The launcher.
        program: PathBuf,
    },
    /// The system refused to start its program.
    #[error("`{program}` of agent `{agent}` cannot be started")]
    Spawn {
        /// The agent.
        agent: AgentId,
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// One of its limits cannot be kept as it must be.
    #[error("the limit `{resource}` of agent `{agent}` is {how_far} here, and not to be taken for less")]
    Limit {
        /// The agent.
        agent: AgentId,
        /// What is limited.
        resource: Resource,
        /// How far the limit would be kept.
        how_far: Enforcement,
    },
    /// Its sandbox cannot be put up, so it is not started without.
    #[error("the sandbox `{sandbox}` of agent `{agent}` cannot be put up here")]
    Sandbox {
        /// The agent.
        agent: AgentId,
        /// The sandbox.
        sandbox: Sandbox,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its sandbox has no place for a path that it needs.
    #[error("`{path}` cannot be used in the sandbox `{sandbox}` of agent `{agent}`")]
    SandboxPath {
        /// The agent.
        agent: AgentId,
        /// The sandbox.
        sandbox: Sandbox,
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its own sandbox keeps it to the mode, and cannot work within another one.
    #[error(
        "agent `{agent}` keeps to the mode `{mode}` by a sandbox of its own, which cannot work in the sandbox `{sandbox}`"
    )]
    SandboxConflict {
        /// The agent.
        agent: AgentId,
        /// The mode.
        mode: PermissionMode,
        /// The sandbox.
        sandbox: Sandbox,
    },
    /// Its processes cannot be held together as they must be, so it is not started with less.
    #[error("the processes of agent `{agent}` cannot be held together by `{tier}` here")]
    Hold {
        /// The agent.
        agent: AgentId,
        /// What was to hold them.
        tier: Tier,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The guard of its processes cannot do its work.
    #[error("the guard `{program}` of agent `{agent}` cannot be used")]
    Guard {
        /// The agent.
        agent: AgentId,
        /// The guard's program.
        program: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder that it is to work in is not there.
    #[error("the working folder `{cwd}` of agent `{agent}` cannot be used")]
    Cwd {
        /// The agent.
        agent: AgentId,
        /// The folder.
        cwd: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its spec names no program.
    #[error("agent `{agent}` has no command")]
    NoCommand {
        /// The agent.
        agent: AgentId,
    },
    /// It cannot keep to the permission mode that is asked for.
    #[error("agent `{agent}` cannot keep to the mode `{mode}`")]
    Mode {
        /// The agent.
        agent: AgentId,
        /// The mode.
        mode: PermissionMode,
    },
    /// Its driver has no way to choose a model.
    #[error("agent `{agent}` cannot be told which model to use")]
    Model {
        /// The agent.
        agent: AgentId,
    },
    /// The prompt cannot be given to it.
    #[error("the prompt for agent `{agent}` holds a NUL byte")]
    Prompt {
        /// The agent.
        agent: AgentId,
    },
    /// A file for its raw output cannot be made.
    #[error("the log `{path}` of agent `{agent}` cannot be written")]
    Log {
        /// The agent.
        agent: AgentId,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl AgentError {
    /// The kind of the failure, as reports name it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Spawn { source, .. } | Self::Guard { source, .. } | Self::Log { source, .. }
                if is_shortage(source) =>
            {
                ErrorKind::Limit
            }
            Self::NotInstalled { .. } => ErrorKind::NotInstalled,
            Self::Log { .. } | Self::Guard { .. } => ErrorKind::Internal,
            _ => ErrorKind::Config,
        }
    }
}

/// Whether the system has too little of something, which may be otherwise a moment later.
fn is_shortage(error: &std::io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| shortages.contains(&Errno::from_raw_os_error(code)))
}

/// An error and all its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
