//! Who an agent is, and what it can do.

use std::path::Path;

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{AgentId, ErrorKind, PermissionMode, TaskSpec};

use crate::error::AgentError;
use crate::process::{Launch, find_program};
use crate::spec::Driver;
use crate::{Resources, RestartPolicy, Sandbox};

/// Who an agent is, and what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name in this run.
    pub id: AgentId,
    /// How it is driven.
    pub driver: Driver,
    /// Its program and the arguments that always go with it; empty for an agent without a process.
    pub command: Vec<String>,
    /// The permission modes that it can keep to.
    pub modes: Vec<PermissionMode>,
    /// The variables of the caller's environment that hold its credentials.
    pub credentials: Vec<String>,
    /// The command that installs or updates it.
    pub install: Option<String>,
    /// What a person does to log in.
    pub login: Option<String>,
    /// The oldest version that this driver works with.
    pub version_min: Option<String>,
    /// How much of the machine it may take.
    pub resources: Resources,
    /// What it may touch.
    pub sandbox: Sandbox,
    /// How often its process is started again when it ends by itself between tasks.
    pub restart: RestartPolicy,
    /// Its own folders, from the home.
    pub folders: Vec<String>,
}

impl Profile {
    /// What a person can do about a failure of this kind.
    pub fn hint(&self, kind: ErrorKind) -> Option<String> {
        let id = &self.id;
        match kind {
            ErrorKind::Auth => self.login.clone(),
            ErrorKind::NotInstalled => match &self.install {
                Some(install) => Some(format!("install it with: {install}")),
                None => Some(format!("correct `command` of agent `{id}`")),
            },
            ErrorKind::RateLimit => Some("wait until the limit is reset, or use another preset".into()),
            ErrorKind::Crash | ErrorKind::Protocol => {
                Some(format!("see what it printed with: aiswitch logs --agent {id}"))
            }
            _ => None,
        }
    }

    /// Refuses a task that this agent cannot do as asked.
    pub(crate) fn accept(&self, task: &TaskSpec) -> Result<(), AgentError> {
        if !self.modes.contains(&task.mode) {
            return Err(AgentError::Mode { agent: self.id.clone(), mode: task.mode });
        }
        if task.prompt.contains('\0') {
            return Err(AgentError::Prompt { agent: self.id.clone() });
        }
        Ok(())
    }

    /// The launch of this agent's program in the task's folder, with `more` arguments behind its own.
    pub(crate) fn launch<I, A>(
        &self,
        task: &TaskSpec,
        environment: &Environment,
        more: I,
    ) -> Result<Launch, AgentError>
    where
        I: IntoIterator<Item = A>,
        A: Into<String>,
    {
        self.accept(task)?;
        let (name, args) =
            self.command.split_first().ok_or_else(|| AgentError::NoCommand { agent: self.id.clone() })?;
        check_cwd(&self.id, &task.cwd)?;
        Ok(Launch {
            agent: self.id.clone(),
            program: find_program(&self.id, name, environment)?,
            args: args.iter().cloned().chain(more.into_iter().map(Into::into)).collect(),
            cwd: task.cwd.clone(),
            environment: environment.clone(),
            resources: self.resources,
            sandbox: self.sandbox,
            folders: self.folders.clone(),
        })
    }
}

fn check_cwd(agent: &AgentId, cwd: &Path) -> Result<(), AgentError> {
    let problem = match cwd.metadata() {
        Ok(folder) if folder.is_dir() => return Ok(()),
        Ok(_) => std::io::ErrorKind::NotADirectory.into(),
        Err(error) => error,
    };
    Err(AgentError::Cwd { agent: agent.clone(), cwd: cwd.to_owned(), source: problem })
}
