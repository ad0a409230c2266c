//! A child that speaks the aiswitch protocol.

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{
    AgentInitialize, AgentShutdown, AgentShutdownParams, Capabilities, Denial, ErrorKind, InitializeParams,
    MetricsQuery, MetricsQueryParams, MetricsReportParams, PROTOCOL_VERSION, Party, TaskAssign, TaskCancel,
    TaskCancelParams, TaskError, TaskResult, TaskSpec, TaskStatus,
};
use aiswitch_rpc::{CallError, Options};

use crate::adapter_door::AdapterDoor;
use crate::backlog::Backlog;
use crate::health::Liveness;
use crate::process::Launch;
use crate::rpc_child::{RpcChild, Trouble};
use crate::worker::{Worker, no_session, not_started};
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

    async fn probe(&self, task: TaskSpec, context: RunContext) -> Result<(), TaskError> {
        let refused = |error: AgentError| not_started(&error);
        let launch = self.profile.launch(&task, &context.environment, [""; 0]).map_err(refused)?;
        let needs_session = task.session_id.is_some();
        let mut talk = Box::new(Talk::spawn(&launch, task, context).await.map_err(refused)?);
        if let Err(end) = talk.greet().await {
            return Err(talk.give_up(end).await);
        }
        let can_resume = talk.capabilities.sessions;
        talk.shut_down().await;
        if needs_session && !can_resume {
            return Err(no_session());
        }
        Ok(())
    }
}

/// The talk with one child about one task, or about one after the other.
pub(crate) struct Talk {
    child: RpcChild,
    hear: AdapterDoor,
    task: TaskSpec,
    context: RunContext,
    capabilities: Capabilities,
    liveness: Liveness,
    answer: String,
    denials: Vec<Denial>,
}

/// Why the talk about a task is over.
pub(crate) enum End {
    Answered(TaskResult),
    Cancelled(Option<TaskResult>),
    Failed(TaskError),
    /// The child answers nothing any more.
    Hung(TaskError),
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
        let backlog = Backlog::default();
        let (hear, router) = AdapterDoor::new(&task, &backlog);
        let child = RpcChild::spawn(launch, &context, router, Options::default(), backlog).await?;
        let liveness = Liveness::new(context.limits, context.pace.clone());
        let capabilities = Capabilities::default();
        Ok(Self {
            child,
            hear,
            task,
            context,
            capabilities,
            liveness,
            answer: String::new(),
            denials: Vec::new(),
        })
    }

    /// Greets the child.
    ///
    /// # Errors
    /// The child is not one to be given a task.
    async fn greet_child(&mut self) -> Result<(), End> {
        let greeting = InitializeParams {
            protocol_version: PROTOCOL_VERSION,
            client: Party { name: "aiswitch".into(), version: env!("CARGO_PKG_VERSION").into() },
            capabilities: Capabilities {
                streaming: true,
                cancel: true,
                permissions: true,
                metrics: true,
                token_usage: true,
                ..Capabilities::default()
            },
        };
        let peer = self.child.peer.clone();
        let start_timeout = self.context.limits.start_timeout;
        let pace = self.context.pace.clone();
        let greet = pace.within(start_timeout, peer.call::<AgentInitialize>(&greeting));
        let greeted = tokio::select! {
            greeted = greet => greeted,
            error = fatal(&mut self.child, &self.context) => return Err(End::Failed(error)),
            () = self.context.cancel.cancelled() => return Err(End::Cancelled(None)),
        };
        match greeted {
            Some(Ok(hello)) if hello.protocol_version == PROTOCOL_VERSION => {
                self.capabilities = hello.capabilities;
                Ok(())
            }
            Some(Ok(hello)) => {
                let theirs = hello.protocol_version;
                Err(End::Failed(protocol(format!("it speaks version {theirs}, not {PROTOCOL_VERSION}"))))
            }
            Some(Err(error)) => Err(End::of(&error)),
            None => Err(End::Failed(protocol(format!(
                "it did not answer `agent.initialize` within {start_timeout:?}"
            )))),
        }
    }

    /// Gives the child the task, and hears it out.
    async fn assign(&mut self) -> End {
        let peer = self.child.peer.clone();
        let task = self.task.clone();
        let answer = peer.call::<TaskAssign>(&task);
        tokio::pin!(answer);
        let cancel = self.context.cancel.clone();
        // One that cannot be told to stop need not read while it works, and so cannot be asked whether it is there.
        let hears_while_busy = self.capabilities.cancel;
        self.liveness.heard();
        // Events first: all that was said before the answer is told before it.
        let answered = loop {
            tokio::select! {
                biased;
                Some(event) = self.hear.recv() => {
                    self.liveness.heard();
                    self.tell(event).await;
                }
                error = fatal(&mut self.child, &self.context) => return End::Failed(error),
                answered = &mut answer => break Some(answered),
                () = cancel.cancelled() => break None,
                problem = self.liveness.hung(&peer), if hears_while_busy => return End::Hung(problem),
            }
        };
        self.liveness.heard();
        match answered {
            Some(Ok(result)) => {
                self.ask_figures().await;
                End::Answered(result)
            }
            Some(Err(error)) => End::of(&error),
            None => {
                self.context.pace.resume();
                // An error means that the child is gone, and with it the task.
                drop(peer.notify::<TaskCancel>(&TaskCancelParams { task_id: task.id.clone() }).await);
                let last = self.context.pace.within(self.context.limits.stop_grace, answer).await;
                End::Cancelled(last.and_then(Result::ok))
            }
        }
    }

    /// Asks an adapter that measures for its newest figures; one that does not answer in time keeps them.
    async fn ask_figures(&mut self) {
        if !self.capabilities.metrics {
            return;
        }
        let (all, peer) = (MetricsQueryParams::default(), self.child.peer.clone());
        let asked =
            self.context.pace.within(self.context.limits.ping_timeout, peer.call::<MetricsQuery>(&all));
        let answered = tokio::select! {
            answered = asked => answered,
            () = self.context.cancel.cancelled() => None,
        };
        if let Some(Ok(MetricsReportParams { values })) = answered {
            self.tell(AgentEvent::Measured { values }).await;
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
            End::Hung(error) => {
                shut_down(child, &context).await;
                failed(error)
            }
            End::Gone => failed(child.finish(&context).await.without_answer()),
        };
        whole(result, answer, denials)
    }
}

#[async_trait::async_trait]
impl Worker for Talk {
    async fn greet(&mut self) -> Result<(), End> {
        self.greet_child().await
    }

    async fn work(&mut self, task: TaskSpec) -> End {
        self.hear.give(&task);
        self.task = task;
        self.answer.clear();
        self.denials.clear();
        self.assign().await
    }

    async fn whole(&mut self, result: TaskResult) -> TaskResult {
        while let Some(event) = self.hear.try_recv() {
            self.tell(event).await;
        }
        whole(result, std::mem::take(&mut self.answer), std::mem::take(&mut self.denials))
    }

    async fn idle(&mut self) -> End {
        let peer = self.child.peer.clone();
        loop {
            tokio::select! {
                biased;
                Some(event) = self.hear.recv() => {
                    self.liveness.heard();
                    self.context.events.send(event).await;
                }
                trouble = self.child.next_trouble() => match trouble {
                    Some(Trouble::Fatal(error)) => return End::Failed(error),
                    Some(Trouble::Unknown(line)) => {
                        self.liveness.heard();
                        self.context.events.send(AgentEvent::Unknown { line }).await;
                    }
                    None => return End::Gone,
                },
                problem = self.liveness.hung(&peer) => return End::Hung(problem),
            }
        }
    }

    async fn shut_down(self: Box<Self>) {
        shut_down(self.child, &self.context).await;
    }

    async fn give_up(self: Box<Self>, end: End) -> TaskError {
        match end {
            End::Hung(problem) => {
                shut_down(self.child, &self.context).await;
                problem
            }
            End::Failed(problem) => {
                self.child.stop(&self.context).await;
                problem
            }
            // It may be about to end by itself, which says more than a signal.
            End::Gone => self.child.finish(&self.context).await.without_answer(),
            End::Answered(_) | End::Cancelled(_) => self.child.stop(&self.context).await.without_answer(),
        }
    }
}

/// Asks a child to end, and ends it: the question, the end of its input, SIGTERM, SIGKILL, each with its time.
async fn shut_down(child: RpcChild, context: &RunContext) {
    let grace = context.limits.stop_grace;
    let params = AgentShutdownParams { grace_ms: u64::try_from(grace.as_millis()).ok() };
    let peer = child.peer.clone();
    context.pace.resume();
    // An adapter that does not know the question is told enough by the end of its input.
    drop(context.pace.within(grace, peer.call::<AgentShutdown>(&params)).await);
    child.finish(context).await;
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
    TaskError::new(ErrorKind::Protocol, message)
}
