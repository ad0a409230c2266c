//! What a run hands back.

use std::path::PathBuf;
use std::str::FromStr;
use std::{fmt, time};

use aiswitch_agent::{AgentId, Denial, PermissionMode, TaskError};
use aiswitch_tokens::{Cost, Usage, UsageSummary};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::{Aggregate, AlertReport, LimitReport};

/// The version of the report's form; a field may be added within one version, none changed.
pub const REPORT_VERSION: u32 = 1;

/// The name of a run: a ULID, so that names sort by the time at which runs started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(Ulid);

/// A text that is no name of a run.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a run's name, 26 characters like 01K9XJ5V7C8N3T2B4M6P0QRSWY")]
pub struct RunIdError {
    text: String,
    #[source]
    source: ulid::DecodeError,
}

impl RunId {
    /// A new name for a run that starts at this time.
    pub(crate) fn at(time: DateTime<Utc>) -> Self {
        Self(Ulid::from_datetime(time::SystemTime::from(time)))
    }

    /// When the run started, which its name tells to the millisecond.
    pub fn started_at(self) -> DateTime<Utc> {
        self.0.datetime().into()
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        Ulid::from_string(text)
            .map(Self)
            .map_err(|source| RunIdError { text: text.escape_default().to_string(), source })
    }
}

impl TryFrom<String> for RunId {
    type Error = RunIdError;

    fn try_from(text: String) -> Result<Self, RunIdError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RunId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RunId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "description": "a ULID", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$"})
    }
}

/// What a run hands back, and what its folder keeps as `report.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunReport {
    /// The version of this form: [`REPORT_VERSION`].
    pub v: u32,
    /// The run.
    pub run_id: RunId,
    /// Whether the agents worked side by side or one after the other.
    pub mode: RunMode,
    /// How the run ended.
    pub status: RunStatus,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What was asked.
    pub task: TaskReport,
    /// How each agent ended, in the order of the plan.
    pub agents: Vec<AgentReport>,
    /// The sum over all agents that worked.
    pub totals: UsageSummary,
    /// The answers made one; `None` when no agent completed.
    pub answer: Option<Answer>,
    /// The alerts that fired or were resolved while the run went on, and those that it acted upon.
    #[serde(default)]
    pub alerts: Vec<AlertReport>,
    /// What did not go as it should, beside the agents.
    pub warnings: Vec<String>,
}

/// Whether the agents of a run worked side by side or one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunMode {
    /// Side by side.
    Parallel,
    /// One after the other.
    Sequential,
}

/// What was asked of the agents of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskReport {
    /// The prompt of the plan.
    pub prompt: String,
    /// The folder that they worked in.
    pub cwd: PathBuf,
    /// What they were allowed to do.
    pub mode: PermissionMode,
}

/// The answers of a run made one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Answer {
    /// How.
    pub by: Aggregate,
    /// Whose answers are in it.
    pub agents: Vec<AgentId>,
    /// The text.
    pub text: String,
}

/// How one agent's part of a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentReport {
    /// The agent.
    pub id: AgentId,
    /// How it is driven.
    pub driver: String,
    /// How its part ended.
    pub status: Outcome,
    /// Its answer; of an agent that did not complete, what it had said until then.
    pub answer: Option<String>,
    /// Its session, to be continued later.
    pub session_id: Option<String>,
    /// The model that it says it used.
    pub model: Option<String>,
    /// The tokens that it reported for this task.
    pub usage: Option<Usage>,
    /// What they cost.
    pub cost: Cost,
    /// What went wrong.
    pub error: Option<TaskError>,
    /// Why the run did not let it work to its end, where it was cancelled, by an alert too, skipped or over its budget.
    pub reason: Option<String>,
    /// What it was not allowed to do.
    pub denials: Vec<Denial>,
    /// When its part started; `None` when it did not.
    pub started_at: Option<DateTime<Utc>>,
    /// When its part ended; `None` when it did not start.
    pub ended_at: Option<DateTime<Utc>>,
    /// How long its part took, in milliseconds.
    pub duration_ms: u64,
    /// How often its process was started again.
    pub restarts: u32,
    /// How long it was paused since memory was short or an alert fired, in milliseconds; no time-out went on meanwhile.
    #[serde(default)]
    pub paused_ms: u64,
    /// Its process.
    pub pid: Option<u32>,
    /// What its processes were held together by: `pid_namespace`, `cgroup`, `guard` or `group`; `None` where it had none.
    #[serde(default)]
    pub held_by: Option<String>,
    /// Its limits, and how far each was kept.
    #[serde(default)]
    pub limits: Vec<LimitReport>,
    /// How many lines it printed that its driver does not know.
    pub unknown_lines: u64,
    /// The most memory that its processes were seen to hold together, in bytes.
    ///
    /// The run looks about once a second; `None` when the agent ended before the first look.
    pub memory_bytes_peak: Option<u64>,
}

/// How one agent's part of a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// It answered, and was allowed all that it wanted to do.
    Completed,
    /// It could not be started, or did not answer.
    Failed,
    /// It was not allowed something that it wanted to do.
    Denied,
    /// It did not end in time, or gave no sign of life for too long.
    TimedOut,
    /// The run was cancelled, or stopped after another agent's failure, or an alert cancelled it.
    Cancelled,
    /// Its provider refused to answer more requests.
    RateLimited,
    /// It reached the limit of what it may spend.
    OverBudget,
    /// Its process ended before it had answered.
    Crashed,
    /// It was not started.
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Denied => "denied",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::RateLimited => "rate_limited",
            Self::OverBudget => "over_budget",
            Self::Crashed => "crashed",
            Self::Skipped => "skipped",
        })
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunStatus {
    /// All agents completed.
    Completed,
    /// Some agents completed and some did not.
    Partial,
    /// No agent completed, and not all for one of the reasons below.
    Failed,
    /// No agent completed, because of the time.
    TimedOut,
    /// No agent completed, because the run was cancelled.
    Cancelled,
    /// No agent completed, because of what they are not allowed to do.
    Denied,
    /// No agent completed, because of what they may spend.
    OverBudget,
}

impl RunStatus {
    /// The end of a run from the ends of its parts.
    ///
    /// Agents that were stopped because of another do not decide it.
    pub fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let (completed, rest): (Vec<Outcome>, Vec<Outcome>) =
            outcomes.into_iter().partition(|outcome| *outcome == Outcome::Completed);
        if !completed.is_empty() {
            return if rest.is_empty() { Self::Completed } else { Self::Partial };
        }
        let is_consequence = |outcome: &Outcome| matches!(outcome, Outcome::Cancelled | Outcome::Skipped);
        let mut causes: Vec<Outcome> =
            rest.iter().copied().filter(|outcome| !is_consequence(outcome)).collect();
        causes.dedup();
        match causes.as_slice() {
            [] if rest.contains(&Outcome::Cancelled) => Self::Cancelled,
            [Outcome::TimedOut] => Self::TimedOut,
            [Outcome::Denied] => Self::Denied,
            [Outcome::OverBudget] => Self::OverBudget,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Denied => "denied",
            Self::OverBudget => "over_budget",
        })
    }
}
