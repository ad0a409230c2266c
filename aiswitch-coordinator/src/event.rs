//! What a run tells while it goes on.

use aiswitch_agent::{AgentId, Decision, LifeState, TaskError, ToolPhase};
use aiswitch_tokens::{Cost, Usage};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{AgentReport, AlertReport, LockWait, RunId, RunMode, RunReport};

/// The version of the form of events; within one, fields and types may be added, none changed.
pub const EVENT_VERSION: u32 = 1;

/// What a run tells while it goes on; one line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunEvent {
    /// The version of this form: [`EVENT_VERSION`].
    pub v: u32,
    /// The run.
    pub run: RunId,
    /// The number of the event in its run, from 1, without gaps.
    pub seq: u64,
    /// When the run heard of it.
    #[serde(rename = "ts")]
    pub at: DateTime<Utc>,
    /// The agent that it is about; `None` when it is about the run.
    pub agent: Option<AgentId>,
    /// What happened.
    #[serde(flatten)]
    pub kind: RunEventKind,
}

/// What happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunEventKind {
    /// The run waits for a lock, or the lock that it waits for has another holder; nothing has started yet.
    Waiting {
        /// For which lock, and who has it.
        wait: LockWait,
    },
    /// The run began; only waits for locks come before it.
    RunStarted {
        /// Whether its agents work side by side or one after the other.
        mode: RunMode,
        /// Its agents, in the order of the plan.
        agents: Vec<AgentId>,
    },
    /// An agent's part began.
    Started {
        /// How it is driven.
        driver: String,
    },
    /// A process of an agent runs.
    Process {
        /// The process.
        pid: u32,
    },
    /// An agent whose process may do several tasks is in another state.
    State {
        /// How it was.
        from: LifeState,
        /// How it is.
        to: LifeState,
    },
    /// An agent was paused: so that those before it in the plan have its memory's room, or since an alert fires.
    Paused {
        /// How short memory is, or which alert fires.
        reason: String,
    },
    /// An agent goes on.
    Resumed {
        /// How long it was paused, in milliseconds.
        paused_ms: u64,
    },
    /// An agent said which session and model it uses.
    Session {
        /// The session, to be continued later.
        session_id: Option<String>,
        /// The model.
        model: Option<String>,
    },
    /// A piece of an agent's answer.
    Output {
        /// The text, to be shown as it is.
        text: String,
    },
    /// An agent uses a tool.
    Tool {
        /// What tells two uses of one tool apart.
        id: Option<String>,
        /// The tool.
        name: String,
        /// How far it is.
        #[serde(with = "ToolPhaseForm")]
        #[cfg_attr(feature = "schema", schemars(with = "ToolPhaseForm"))]
        phase: ToolPhase,
        /// What it does, in a line.
        detail: Option<String>,
    },
    /// An agent asked whether it may do something, and was answered.
    Permission {
        /// The tool that it wants to use.
        tool: String,
        /// What it wants to do, in a line.
        question: Option<String>,
        /// The answer.
        #[serde(with = "DecisionForm")]
        #[cfg_attr(feature = "schema", schemars(with = "DecisionForm"))]
        decision: Decision,
    },
    /// An agent called a method that it may not call, or for what is not its own, and was refused.
    Refused {
        /// The method.
        method: String,
        /// Why.
        reason: String,
    },
    /// The tokens that an agent's task has taken up to now.
    Usage {
        /// The tokens.
        usage: Usage,
        /// What they cost.
        cost: Cost,
    },
    /// A request of an agent to its provider failed and is tried again.
    Retry {
        /// What failed.
        error: TaskError,
    },
    /// An agent printed a line that its driver does not know.
    Unknown {
        /// The start of the line.
        line: String,
    },
    /// An alert fires, or is resolved; `agent` is whom it is about, if that is one of the run.
    Alert {
        /// The alert.
        alert: AlertReport,
    },
    /// Something did not go as it should; the report has it too.
    Warning {
        /// What.
        message: String,
    },
    /// An agent's part ended, or will not begin.
    Ended {
        /// How.
        report: Box<AgentReport>,
    },
    /// The run ended; always the last event.
    Report {
        /// How.
        report: Box<RunReport>,
    },
}

/// The written form of [`ToolPhase`].
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ToolPhase"))]
#[serde(remote = "ToolPhase", rename_all = "snake_case")]
enum ToolPhaseForm {
    Started,
    Completed,
    Failed,
    Denied,
}

/// The written form of [`Decision`].
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "Decision"))]
#[serde(remote = "Decision", rename_all = "snake_case")]
enum DecisionForm {
    Allow,
    Deny,
}
