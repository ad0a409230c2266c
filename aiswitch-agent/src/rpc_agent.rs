//! A child that speaks the aiswitch protocol.

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{
    AgentInitialize, Capabilities, Denial, ErrorKind, InitializeParams, PROTOCOL_VERSION, Party,
    PermissionDecision, PermissionRequest, PermissionRequestParams, PermissionRequestResult, TaskAssign,
    TaskCancel, TaskCancelParams, TaskError, TaskOutput, TaskResult, TaskSpec, TaskStatus, TokensUsage,
};
use aiswitch_rpc::{CallError, Options, Router};
use tokio::sync::mpsc;

use crate::permission::{Ask, decide};
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
        let (said, hear) = mpsc::unbounded_channel();
        let child = RpcChild::spawn(&launch, &context, router(&task, said), Options::default()).await?;
        let mut talk = Talk { child, hear, task, context, answer: String::new(), denials: Vec::new() };
        let end = talk.task().await;
        Ok(talk.end(end).await)
    }
}

/// What the child's notifications and questions become; the loop of [`Talk`] tells them in order.
fn router(task: &TaskSpec, said: mpsc::UnboundedSender<AgentEvent>) -> Router {
    let (mode, cwd) = (task.mode, task.cwd.clone());
    let (output, usage, asked) = (said.clone(), said.clone(), said);
    // An error of a send means that the task is over; what comes late is nobody's.
    Router::new()
        .notification::<TaskOutput>(move |params| drop(output.send(AgentEvent::Output { text: params.text })))
        .notification::<TokensUsage>(move |params| {
            drop(usage.send(AgentEvent::Usage { usage: params.usage, cost_usd: params.cost_usd }));
        })
        .request::<PermissionRequest>(move |params: PermissionRequestParams, _| {
            let decision = decide(mode, &cwd, Ask::Other);
            drop(asked.send(AgentEvent::Permission {
                tool: params.tool,
                question: Some(params.question),
                decision,
            }));
            let reason = (decision == Decision::Deny).then(|| format!("the mode is `{mode}`"));
            let decision = match decision {
                Decision::Allow => PermissionDecision::Allow,
                Decision::Deny => PermissionDecision::Deny,
            };
            async move { Ok(PermissionRequestResult { decision, reason }) }
        })
}

/// One task with one child.
struct Talk {
    child: RpcChild,
    /// Unbounded, because the connection must not wait for its own reader; bounded by `output_bytes_max` all the same.
    hear: mpsc::UnboundedReceiver<AgentEvent>,
    task: TaskSpec,
    context: RunContext,
    answer: String,
    denials: Vec<Denial>,
}

/// Why a conversation is over.
enum End {
    Answered(TaskResult),
    Cancelled(Option<TaskResult>),
    Failed(TaskError),
    /// The child closed its output.
    Gone,
}

impl Talk {
    /// Greets the child and gives it the task.
    async fn task(&mut self) -> End {
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
            error = fatal(&mut self.child, &self.context) => return End::Failed(error),
            () = self.context.cancel.cancelled() => return End::Cancelled(None),
        };
        match greeted {
            Ok(Ok(hello)) if hello.protocol_version == PROTOCOL_VERSION => {}
            Ok(Ok(hello)) => {
                let theirs = hello.protocol_version;
                return End::Failed(protocol(format!("it speaks version {theirs}, not {PROTOCOL_VERSION}")));
            }
            Ok(Err(error)) => return End::of(&error),
            Err(_) => {
                return End::Failed(protocol(format!(
                    "it did not answer `agent.initialize` within {start_timeout:?}"
                )));
            }
        }
        self.assign().await
    }

    async fn assign(&mut self) -> End {
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
        while let Ok(event) = self.hear.try_recv() {
            self.tell(event).await;
        }
        let streamed = (!self.answer.is_empty()).then_some(self.answer);
        let mut result = match end {
            End::Answered(result) => {
                self.child.finish(&self.context).await;
                result
            }
            End::Cancelled(Some(last)) => {
                self.child.finish(&self.context).await;
                TaskResult { status: TaskStatus::Cancelled, ..last }
            }
            End::Cancelled(None) => {
                self.child.stop(&self.context).await;
                TaskResult::new(TaskStatus::Cancelled)
            }
            End::Failed(error) => {
                self.child.stop(&self.context).await;
                TaskResult { error: Some(error), ..TaskResult::new(TaskStatus::Failed) }
            }
            End::Gone => {
                let error = self.child.finish(&self.context).await.without_answer();
                TaskResult { error: Some(error), ..TaskResult::new(TaskStatus::Failed) }
            }
        };
        result.answer = result.answer.or(streamed);
        for denial in self.denials {
            if !result.denials.contains(&denial) {
                result.denials.push(denial);
            }
        }
        result
    }
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
