//! What does a live agent's tasks while it is started.

use std::sync::Arc;

use aiswitch_rpc::protocol::{ErrorKind, TaskError, TaskResult, TaskSpec};

use crate::error::chain;
use crate::rpc_agent::End;
use crate::{Agent, AgentError, RunContext};

/// What does a live agent's tasks while it is started: a process that stays, or one for each turn.
#[async_trait::async_trait]
pub(crate) trait Worker: Send {
    /// Gets ready for a task.
    ///
    /// # Errors
    /// Why it is not one to be given a task.
    async fn greet(&mut self) -> Result<(), End>;

    /// Does one task.
    async fn work(&mut self, task: TaskSpec) -> End;

    /// A result with what was streamed before it.
    async fn whole(&mut self, result: TaskResult) -> TaskResult;

    /// Waits without a task, for as long as nothing is wrong.
    async fn idle(&mut self) -> End;

    /// Asks it to end, and ends it.
    async fn shut_down(self: Box<Self>);

    /// Ends it after this end of its talk, and says what was wrong.
    async fn give_up(self: Box<Self>, end: End) -> TaskError;
}

/// An agent whose driver has a process for each turn; what goes on from turn to turn is the session.
pub(crate) struct Turns {
    agent: Arc<dyn Agent>,
    place: TaskSpec,
    context: RunContext,
}

impl Turns {
    pub(crate) fn new(agent: Arc<dyn Agent>, place: TaskSpec, context: RunContext) -> Self {
        Self { agent, place, context }
    }
}

#[async_trait::async_trait]
impl Worker for Turns {
    async fn greet(&mut self) -> Result<(), End> {
        let ready = self.agent.probe(self.place.clone(), self.context.clone()).await;
        match ready {
            _ if self.context.cancel.is_cancelled() => Err(End::Cancelled(None)),
            ready => ready.map_err(End::Failed),
        }
    }

    async fn work(&mut self, task: TaskSpec) -> End {
        match self.agent.run(task, self.context.clone()).await {
            Ok(result) if self.context.cancel.is_cancelled() => End::Cancelled(Some(result)),
            Ok(result) => End::Answered(result),
            Err(error) => End::Failed(not_started(&error)),
        }
    }

    async fn whole(&mut self, result: TaskResult) -> TaskResult {
        result
    }

    async fn idle(&mut self) -> End {
        std::future::pending().await
    }

    async fn shut_down(self: Box<Self>) {}

    async fn give_up(self: Box<Self>, end: End) -> TaskError {
        match end {
            End::Failed(problem) | End::Hung(problem) => problem,
            End::Answered(_) | End::Cancelled(_) | End::Gone => {
                TaskError::new(ErrorKind::Internal, "it ended without a word")
            }
        }
    }
}

/// The error of an agent that could not be started.
pub(crate) fn not_started(error: &AgentError) -> TaskError {
    TaskError::new(error.kind(), chain(error))
}

/// The error of an agent that starts anew with each task.
pub(crate) fn no_session() -> TaskError {
    let message = "it cannot go on with a session".to_owned();
    TaskError::new(ErrorKind::Config, message)
}
