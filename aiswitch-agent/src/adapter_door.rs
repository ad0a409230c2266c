//! The door through which an adapter is heard: it lets pass what an agent may say of its own task, and nothing else.

use std::path::PathBuf;
use std::sync::Arc;

use aiswitch_rpc::protocol::{
    MetricsQuery, MetricsReport, MetricsReportParams, PermissionDecision, PermissionMode, PermissionRequest,
    PermissionRequestParams, PermissionRequestResult, TaskId, TaskOutput, TaskSpec, TokensUsage,
};
use aiswitch_rpc::{ErrorObject, NotificationMethod, RequestMethod, Router, error_code};
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};

use crate::access::{Role, refusal};
use crate::backlog::{Backlog, Hear, Say};
use crate::event::start_of;
use crate::permission::{Ask, decide};
use crate::{AgentEvent, Decision, FiguresReply};

/// How many questions for figures an adapter may have open at once.
const QUERIES_MAX: usize = 16;

/// The door through which an adapter is heard; whoever it belongs to knows which task the adapter was given.
#[derive(Debug)]
pub(crate) struct AdapterDoor {
    hear: Hear<Said>,
    task: TaskId,
    mode: PermissionMode,
    cwd: PathBuf,
}

/// What an adapter says, before it is known whether it may.
#[derive(Debug)]
enum Said {
    /// Something about a task.
    Of { method: &'static str, task: TaskId, event: AgentEvent },
    /// Something about itself.
    Own { event: AgentEvent },
    /// It wants to use a tool.
    Asked { params: PermissionRequestParams, reply: oneshot::Sender<Answer> },
    /// A method that no agent may call.
    Forbidden { method: String },
    /// A notification that nobody hears.
    Unheard { method: String },
}

type Answer = Result<PermissionRequestResult, ErrorObject>;

impl AdapterDoor {
    /// The door of an adapter that was given this task, and the handlers that lead to it.
    pub(crate) fn new(task: &TaskSpec, backlog: &Backlog) -> (Self, Router) {
        let (said, hear) = backlog.channel();
        let door = Self { hear, task: task.id.clone(), mode: task.mode, cwd: task.cwd.clone() };
        (door, router(&said))
    }

    /// The adapter is given another task; it may not speak of the one before any more.
    pub(crate) fn give(&mut self, task: &TaskSpec) {
        self.task = task.id.clone();
        self.mode = task.mode;
        self.cwd.clone_from(&task.cwd);
    }

    /// The next thing that the adapter says; `None` when it cannot say more.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub(crate) async fn recv(&mut self) -> Option<AgentEvent> {
        let said = self.hear.recv().await?;
        Some(self.judge(said))
    }

    /// The next thing that the adapter has said already.
    pub(crate) fn try_recv(&mut self) -> Option<AgentEvent> {
        let said = self.hear.try_recv()?;
        Some(self.judge(said))
    }

    /// What is told of what the adapter says; a question is answered here.
    fn judge(&self, said: Said) -> AgentEvent {
        match said {
            Said::Of { method, task, event } => match self.foreign(&task) {
                None => event,
                Some(reason) => AgentEvent::Refused { method: method.to_owned(), reason },
            },
            Said::Own { event } => event,
            Said::Asked { params, reply } => self.answer(params, reply),
            Said::Forbidden { method } => {
                let reason = refusal(Role::Agent, &method).message;
                AgentEvent::Refused { method, reason }
            }
            Said::Unheard { method } => AgentEvent::Unknown { line: start_of(&method) },
        }
    }

    fn answer(&self, params: PermissionRequestParams, reply: oneshot::Sender<Answer>) -> AgentEvent {
        let (answer, event) = if let Some(reason) = self.foreign(&params.task_id) {
            let method = PermissionRequest::NAME.to_owned();
            (Err(ErrorObject::new(error_code::FORBIDDEN, &*reason)), AgentEvent::Refused { method, reason })
        } else {
            let decision = decide(self.mode, &self.cwd, Ask::Other);
            let reason = (decision == Decision::Deny).then(|| format!("the mode is `{}`", self.mode));
            let given = match decision {
                Decision::Allow => PermissionDecision::Allow,
                Decision::Deny => PermissionDecision::Deny,
            };
            let question = Some(params.question);
            (
                Ok(PermissionRequestResult { decision: given, reason }),
                AgentEvent::Permission { tool: params.tool, question, decision },
            )
        };
        // An error means that the adapter is gone, and with it the question.
        drop(reply.send(answer));
        event
    }

    /// Why a task is not the adapter's own.
    fn foreign(&self, task: &TaskId) -> Option<String> {
        (*task != self.task).then(|| format!("task `{task}` is not its own"))
    }
}

/// Leads everything that an adapter can say to its door.
fn router(said: &Say<Said>) -> Router {
    let (output, usage, asked) = (said.clone(), said.clone(), said.clone());
    let (measured, queried, called, notified) = (said.clone(), said.clone(), said.clone(), said.clone());
    let queries = Arc::new(Semaphore::new(QUERIES_MAX));
    Router::new()
        .notification::<TaskOutput>(move |params| {
            let event = AgentEvent::Output { text: params.text };
            output.send(Said::Of { method: TaskOutput::NAME, task: params.task_id, event });
        })
        .notification::<TokensUsage>(move |params| {
            let event = AgentEvent::Usage { usage: params.usage, cost_usd: params.cost_usd };
            usage.send(Said::Of { method: TokensUsage::NAME, task: params.task_id, event });
        })
        .notification::<MetricsReport>(move |MetricsReportParams { values }| {
            measured.send(Said::Own { event: AgentEvent::Measured { values } });
        })
        .request::<MetricsQuery>(move |params, _| {
            let place = Arc::clone(&queries).try_acquire_owned();
            let (reply, mut answer) = FiguresReply::channel();
            if place.is_ok() {
                // At once, so that it is heard after what was reported before it.
                queried.send(Said::Own { event: AgentEvent::Queried { names: params.names, reply } });
            }
            async move {
                let _place = place.map_err(|_none| too_many_queries())?;
                let figures = answer.recv().await.unwrap_or_else(|| Err(nobody_keeps_figures()))?;
                Ok(MetricsReportParams { values: figures })
            }
        })
        .request::<PermissionRequest>(move |params, _| {
            let (reply, answer) = oneshot::channel();
            asked.send(Said::Asked { params, reply });
            async move { answer.await.unwrap_or_else(|_over| Err(ErrorObject::request_cancelled())) }
        })
        .fallback_request(move |method: String, _: Value, _| {
            let error = refusal(Role::Agent, &method);
            if error.code == error_code::FORBIDDEN {
                called.send(Said::Forbidden { method });
            }
            async move { Err(error) }
        })
        .fallback_notification(move |method, _| {
            let said = match refusal(Role::Agent, &method).code {
                error_code::FORBIDDEN => Said::Forbidden { method },
                _ => Said::Unheard { method },
            };
            notified.send(said);
        })
}

fn too_many_queries() -> ErrorObject {
    let message = format!("more than {QUERIES_MAX} questions for figures are open");
    ErrorObject::new(error_code::OVERLOADED, message)
}

fn nobody_keeps_figures() -> ErrorObject {
    ErrorObject::internal("nobody keeps figures here")
}
