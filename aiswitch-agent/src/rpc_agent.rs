//! A child that speaks the aiswitch protocol.

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{
    AgentInitialize, AgentShutdown, AgentShutdownParams, Capabilities, Denial, ErrorKind, InitializeParams,
    PROTOCOL_VERSION, Party, TaskAssign, TaskCancel, TaskCancelParams, TaskError, TaskResult, TaskSpec,
    TaskStatus,
};
use aiswitch_rpc::{CallError, Options};

use crate::adapter_door::AdapterDoor;
use crate::process::Launch;
use crate::rpc_child::{RpcChild, Trouble};
use crate::{Agent, AgentError, AgentEvent, Decision, Profile, RunContext};

/// A child that speaks the aiswitch protocol.
#[derive(Debug)]
pub(crate) struct RpcAgent {
    profile: Profile,
}

impl RpcAgent {
    pub(crate) fn new(profile: Profile) -> Self {
        Self { profile }
    }
}

#[async_trait::async_trait]
impl Agent for RpcAgent {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn launch(&self, task: &TaskSpec, environment: &Environment) -> Result<Option<Launch>, AgentError> {
        self.profile.launch(task, environment, [""; 0]).map(Some)
    }

    async fn run(&self, task: TaskSpec, context: RunContext) -> Result<TaskResult, AgentError> {
        let launch = self.profile.launch(&task, &context.environment, [""; 0])?;
        let mut talk = Talk::spawn(&launch, task, context).await?;
        let end = match talk.greet().await {
            Ok(()) => talk.assign().await,
            Err(end) => end,
        };
        Ok(talk.end(end).await)
    }
}

/// The talk with one child about one task, or about one after the other.
pub(crate) struct Talk {
    child: RpcChild,
    hear: AdapterDoor,
    task: TaskSpec,
    context: RunContext,
    answer: String,
    denials: Vec<Denial>,
}

/// Why the talk about a task is over.
pub(crate) enum End {
    Answered(TaskResult),
    Cancelled(Option<TaskResult>),
    Failed(TaskError),
    /// The child closed its output.
    Gone,
}

impl Talk {
    /// Starts a child for a task, and for others in the same folder and mode.
    pub(crate) async fn spawn(
        launch: &Launch,
        task: TaskSpec,
        context: RunContext,
    ) -> Result<Self, AgentError> {
        let (hear, router) = AdapterDoor::new(&task);
        let child = RpcChild::spawn(launch, &context, router, Options::default()).await?;
        Ok(Self { child, hear, task, context, answer: String::new(), denials: Vec::new() })
    }

    /// Begins the talk about the next task.
    pub(crate) fn next(&mut self, task: TaskSpec) {
        self.hear.give(&task);
        self.task = task;
        self.answer.clear();
        self.denials.clear();
    }

    /// Waits until the child has no more to say while it has no task; gives the fault, if there is one.
    pub(crate) async fn fault(&mut self) -> Option<TaskError> {
        loop {
            tokio::select! {
                Some(event) = self.hear.recv() => self.context.events.send(event).await,
                trouble = self.child.next_trouble() => match trouble? {
                    Trouble::Fatal(error) => return Some(error),
                    Trouble::Unknown(line) => self.context.events.send(AgentEvent::Unknown { line }).await,
                },
            }
        }
    }

    /// Asks the child to end, and ends it.
    pub(crate) async fn shut_down(self) {
        let grace = self.context.limits.stop_grace;
        let params = AgentShutdownParams { grace_ms: u64::try_from(grace.as_millis()).ok() };
        let peer = self.child.peer.clone();
        // An adapter that does not know the question is told enough by the end of its input.
        drop(tokio::time::timeout(grace, peer.call::<AgentShutdown>(&params)).await);
        self.child.finish(&self.context).await;
    }

    /// Ends the child at once; gives the error of one that ended by itself.
    pub(crate) async fn give_up(self) -> TaskError {
        self.child.stop(&self.context).await.without_answer()
    }

    /// Greets the child.
    ///
    /// # Errors
    /// The child is not one to be given a task.
    pub(crate) async fn greet(&mut self) -> Result<(), End> {
        let greeting = InitializeParams {
            protocol_version: PROTOCOL_VERSION,
            client: Party { name: "aiswitch".into(), version: env!("CARGO_PKG_VERSION").into() },
            capabilities: Capabilities {
                streaming: true,
                cancel: true,
                permissions: true,
                ..Capabilities::default()
            },
        };
        let peer = self.child.peer.clone();
        let start_timeout = self.context.limits.start_timeout;
        let greet = tokio::time::timeout(start_timeout, peer.call::<AgentInitialize>(&greeting));
        let greeted = tokio::select! {
            greeted = greet => greeted,
            error = fatal(&mut self.child, &self.context) => return Err(End::Failed(error)),
            () = self.context.cancel.cancelled() => return Err(End::Cancelled(None)),
        };
        match greeted {
            Ok(Ok(hello)) if hello.protocol_version == PROTOCOL_VERSION => Ok(()),
            Ok(Ok(hello)) => {
                let theirs = hello.protocol_version;
                Err(End::Failed(protocol(format!("it speaks version {theirs}, not {PROTOCOL_VERSION}"))))
            }
            Ok(Err(error)) => Err(End::of(&error)),
            Err(_) => Err(End::Failed(protocol(format!(
                "it did not answer `agent.initialize` within {start_timeout:?}"
            )))),
        }
    }

    /// Gives the child the task, and hears it out.
    pub(crate) async fn assign(&mut self) -> End {
        let peer = self.child.peer.clone();
        let task = self.task.clone();
        let answer = peer.call::<TaskAssign>(&task);
        tokio::pin!(answer);
        let cancel = self.context.cancel.clone();
        // Events first: all that was said before the answer is told before it.
        let answered = loop {
            tokio::select! {
                biased;
                Some(event) = self.hear.recv() => self.tell(event).await,
                error = fatal(&mut self.child, &self.context) => return End::Failed(error),
                answered = &mut answer => break Some(answered),
                () = cancel.cancelled() => break None,
            }
        };
        match answered {
            Some(Ok(result)) => End::Answered(result),
            Some(Err(error)) => End::of(&error),
            None => {
                // An error means that the child is gone, and with it the task.
                drop(peer.notify::<TaskCancel>(&TaskCancelParams { task_id: task.id.clone() }).await);
                let last = tokio::time::timeout(self.context.limits.stop_grace, answer).await;
                End::Cancelled(last.ok().and_then(Result::ok))
            }
        }
    }

    async fn tell(&mut self, event: AgentEvent) {
        match &event {
            AgentEvent::Output { text } => self.answer.push_str(text),
            AgentEvent::Permission { tool, decision: Decision::Deny, .. } => {
                let reason = Some(format!("the mode is `{}`", self.task.mode));
                self.denials.push(Denial { tool: tool.clone(), reason });
            }
            _ => {}
        }
        self.context.events.send(event).await;
    }

    /// Ends the child, and says how the task ended.
    async fn end(mut self, end: End) -> TaskResult {
        while let Some(event) = self.hear.try_recv() {
            self.tell(event).await;
        }
        let Self { child, context, answer, denials, .. } = self;
        let result = match end {
            End::Answered(result) => {
                child.finish(&context).await;
                result
            }
            End::Cancelled(Some(last)) => {
                child.finish(&context).await;
                TaskResult { status: TaskStatus::Cancelled, ..last }
            }
            End::Cancelled(None) => {
                child.stop(&context).await;
                TaskResult::new(TaskStatus::Cancelled)
            }
            End::Failed(error) => {
                child.stop(&context).await;
                failed(error)
            }
            End::Gone => failed(child.finish(&context).await.without_answer()),
        };
        whole(result, answer, denials)
    }

    /// A result with what the child has said before it, while the child goes on.
    pub(crate) async fn result(&mut self, result: TaskResult) -> TaskResult {
        while let Some(event) = self.hear.try_recv() {
            self.tell(event).await;
        }
        whole(result, std::mem::take(&mut self.answer), std::mem::take(&mut self.denials))
    }
}

/// A task that failed.
pub(crate) fn failed(error: TaskError) -> TaskResult {
    TaskResult { error: Some(error), ..TaskResult::new(TaskStatus::Failed) }
}

/// A result with the answer that was streamed and the denials that were told before it.
fn whole(mut result: TaskResult, streamed: String, denials: Vec<Denial>) -> TaskResult {
    result.answer = result.answer.or((!streamed.is_empty()).then_some(streamed));
    for denial in denials {
        if !result.denials.contains(&denial) {
            result.denials.push(denial);
        }
    }
    result
}

impl End {
    fn of(error: &CallError) -> Self {
        match error {
            CallError::Closed { .. } => Self::Gone,
            other => Self::Failed(protocol(other.to_string())),
        }
    }
}

/// Waits until the child's stream is broken; tells what is not understood meanwhile.
async fn fatal(child: &mut RpcChild, context: &RunContext) -> TaskError {
    loop {
        match child.trouble().await {
            Trouble::Fatal(error) => return error,
            Trouble::Unknown(line) => context.events.send(AgentEvent::Unknown { line }).await,
        }
    }
}

fn protocol(message: String) -> TaskError {
    TaskError { kind: ErrorKind::Protocol, message, hint: None, reset_at: None }
}
