//! An agent within the caller's own process.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{AgentId, PermissionMode, TaskError, TaskResult, TaskSpec};

use crate::worker::not_started;
use crate::{Agent, AgentError, Driver, Launch, Profile, Resources, RestartPolicy, RunContext, Sandbox};

type Answer = Pin<Box<dyn Future<Output = TaskResult> + Send>>;

/// An agent within the caller's own process: a function from task to result.
pub struct MemoryAgent {
    profile: Profile,
    answer: Box<dyn Fn(TaskSpec, RunContext) -> Answer + Send + Sync>,
}

impl MemoryAgent {
    /// An agent that answers with a function; it should end soon after its context's `cancel`.
    pub fn new<F, Fut>(id: AgentId, answer: F) -> Self
    where
        F: Fn(TaskSpec, RunContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = TaskResult> + Send + 'static,
    {
        let profile = Profile {
            id,
            driver: Driver::Memory,
            command: Vec::new(),
            modes: vec![PermissionMode::ReadOnly, PermissionMode::Write, PermissionMode::Yolo],
            credentials: Vec::new(),
            install: None,
            login: None,
            version_min: None,
            resources: Resources::default(),
            sandbox: Sandbox::None,
            restart: RestartPolicy::default(),
            folders: Vec::new(),
        };
        Self { profile, answer: Box::new(move |task, context| Box::pin(answer(task, context))) }
    }
}

impl fmt::Debug for MemoryAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAgent").field("id", &self.profile.id).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Agent for MemoryAgent {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn launch(&self, task: &TaskSpec, _: &Environment) -> Result<Option<Launch>, AgentError> {
        self.profile.accept(task).map(|()| None)
    }

    async fn run(&self, task: TaskSpec, context: RunContext) -> Result<TaskResult, AgentError> {
        self.profile.accept(&task)?;
        Ok((self.answer)(task, context).await)
    }

    async fn probe(&self, task: TaskSpec, _: RunContext) -> Result<(), TaskError> {
        self.profile.accept(&task).map_err(|error| not_started(&error))
    }
}
