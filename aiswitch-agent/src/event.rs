//! What an agent tells while it works.

use std::collections::BTreeMap;

use aiswitch_rpc::protocol::{AgentId, TaskError, TokenUsage};
use tokio::sync::{mpsc, watch};

use crate::{FiguresReply, LifeState, LiveStatus};

/// How many events may wait for the run before agents wait for it.
const EVENTS_MAX: usize = 1024;

/// How much of a line that is not understood is told, in characters.
pub(crate) const UNKNOWN_CHARS_MAX: usize = 200;

/// The start of a line that is not understood, as [`AgentEvent::Unknown`] tells it.
pub(crate) fn start_of(line: &str) -> String {
    line.chars().take(UNKNOWN_CHARS_MAX).collect()
}

/// What an agent tells while it works.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AgentEvent {
    /// Its process runs.
    Started {
        /// The process.
        pid: u32,
    },
    /// It said which session and model it uses.
    Session {
        /// The session, to be continued later.
        session_id: Option<String>,
        /// The model.
        model: Option<String>,
    },
    /// A piece of its answer.
    Output {
        /// The text, to be shown as it is.
        text: String,
    },
    /// It uses a tool.
    Tool {
        /// What tells two uses of one tool apart.
        id: Option<String>,
        /// The tool.
        name: String,
        /// How far it is.
        phase: ToolPhase,
        /// What it does, in a line: the command, the file.
        detail: Option<String>,
    },
    /// It asked whether it may do something, and was answered.
    Permission {
        /// The tool that it wants to use.
        tool: String,
        /// What it wants to do, in a line.
        question: Option<String>,
        /// The answer.
        decision: Decision,
    },
    /// It called a method that it may not call, or for what is not its own, and was refused.
    Refused {
        /// The method.
        method: String,
        /// Why.
        reason: String,
    },
    /// The tokens that this task has taken up to now.
    Usage {
        /// The tokens.
        usage: TokenUsage,
        /// The cost in dollars, where the agent reports it.
        cost_usd: Option<f64>,
    },
    /// Figures that it has measured itself.
    Measured {
        /// The figures by name, as it says them.
        values: BTreeMap<String, f64>,
    },
    /// It asks for its own newest figures.
    Queried {
        /// Which; all when it names none.
        names: Vec<String>,
        /// The way back.
        reply: FiguresReply,
    },
    /// A request to its provider failed and is tried again.
    Retry {
        /// What failed.
        error: TaskError,
    },
    /// It printed a line that its dialect does not know; the raw output has it whole.
    Unknown {
        /// The start of the line.
        line: String,
    },
    /// It is in another state; only an agent that stays for several tasks tells so.
    State {
        /// How it was.
        from: LifeState,
        /// How it is.
        to: LifeState,
    },
    /// Its raw output could not be kept.
    LogLost {
        /// Why.
        reason: String,
    },
}

/// How far the use of a tool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolPhase {
    /// It began.
    Started,
    /// It ended well.
    Completed,
    /// It ended with an error.
    Failed,
    /// It was not allowed.
    Denied,
}

/// The answer to an agent's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may, this once.
    Allow,
    /// It may not.
    Deny,
}

/// Where one agent's events go.
#[derive(Clone, Debug)]
pub struct EventSender {
    agent: AgentId,
    sender: mpsc::Sender<(AgentId, AgentEvent)>,
    /// The status of a live agent, which has the process that is told of.
    status: Option<watch::Sender<LiveStatus>>,
}

/// A channel of events: give each agent a sender of its own with [`EventSender::for_agent`].
pub fn event_channel(agent: AgentId) -> (EventSender, mpsc::Receiver<(AgentId, AgentEvent)>) {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    (EventSender { agent, sender, status: None }, receiver)
}

impl EventSender {
    /// A sender into the same channel that speaks for another agent.
    #[must_use]
    pub fn for_agent(&self, agent: AgentId) -> Self {
        Self { agent, sender: self.sender.clone(), status: None }
    }

    /// The same, for a live agent.
    pub(crate) fn with_status(self, status: watch::Sender<LiveStatus>) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Tells an event, and waits while the run has many to hear. When nobody listens any more, it is dropped.
    ///
    /// # Cancel safety
    /// A dropped future may leave the event untold; nothing else is lost.
    pub async fn send(&self, event: AgentEvent) {
        if let (Some(status), AgentEvent::Started { pid }) = (&self.status, &event) {
            status.send_modify(|status| status.pid = Some(*pid));
        }
        // An error means that the run is over, and with it everybody who could care.
        drop(self.sender.send((self.agent.clone(), event)).await);
    }
}
