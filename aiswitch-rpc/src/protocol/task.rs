//! `task.*`: giving an agent work and hearing how it went.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{PermissionMode, TaskId, TokenUsage, notification, request};

request! {
    /// `task.assign`: gives the agent a task; answered when the task has ended.
    TaskAssign = "task.assign", TaskSpec => TaskResult
}
notification! {
    /// `task.cancel`: asks the agent to end a task early; its `task.assign` is still answered.
    TaskCancel = "task.cancel", TaskCancelParams
}
notification! {
    /// `task.output`: a piece of the answer, while the task runs.
    TaskOutput = "task.output", TaskOutputParams
}
request! {
    /// `task.status`: how far a task has come.
    TaskStatusGet = "task.status", TaskStatusGetParams => TaskStatusGetResult
}
request! {
    /// `task.result`: the result of a task, for a coordinator that re-attaches; answered when the task has ended.
    TaskResultGet = "task.result", TaskResultGetParams => TaskResult
}

/// What an agent is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskSpec {
    /// The name of the task, chosen by the coordinator.
    pub id: TaskId,
    /// What to do, in words.
    pub prompt: String,
    /// The folder to work in, absolute.
    pub cwd: PathBuf,
    /// What the agent may do there.
    pub mode: PermissionMode,
    /// The model to use; absent: the agent's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The session to go on with; absent: a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// How an agent says that its task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It was done.
    Completed,
    /// It was not done; see [`TaskResult::error`].
    Failed,
    /// It could not be done because a permission was denied.
    Denied,
    /// It was cancelled.
    Cancelled,
    /// The provider refused because too much was asked in too short a time.
    RateLimited,
    /// A budget was used up.
    OverBudget,
}

/// The result of a task; what the agent does not know is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskResult {
    /// How the task ended.
    pub status: TaskStatus,
    /// The answer, whole.
    #[serde(default)]
    pub answer: Option<String>,
    /// The session, to be named in a later task that goes on with it.
    #[serde(default)]
    pub session_id: Option<String>,
    /// The model that answered.
    #[serde(default)]
    pub model: Option<String>,
    /// The tokens that this task used.
    #[serde(default)]
    pub usage: Option<TokenUsage>,
    /// What this task cost, in US dollars, as the agent reports it.
    #[serde(default)]
    pub cost_usd: Option<f64>,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<TaskError>,
    /// The tools that the agent was not allowed to use.
    #[serde(default)]
    pub denials: Vec<Denial>,
}

impl TaskResult {
    /// A result with a status and nothing else.
    pub fn new(status: TaskStatus) -> Self {
        Self {
            status,
            answer: None,
            session_id: None,
            model: None,
            usage: None,
            cost_usd: None,
            error: None,
            denials: Vec::new(),
        }
    }
}

/// What went wrong with a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskError {
    /// What kind of fault it is.
    pub kind: ErrorKind,
    /// The fault in one sentence.
    pub message: String,
    /// What the user can do about it.
    #[serde(default)]
    pub hint: Option<String>,
    /// When a rate limit ends, as an RFC 3339 time.
    #[serde(default)]
    pub reset_at: Option<String>,
}

impl TaskError {
    /// A fault without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, reset_at: None }
    }
}

/// What kind of fault a task met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Not logged in, or the key is wrong.
    Auth,
    /// Too much was asked in too short a time.
    RateLimit,
    /// The provider failed.
    Provider,
    /// The provider could not be reached.
    Network,
    /// The agent is set up wrongly.
    Config,
    /// The agent's program is missing.
    NotInstalled,
    /// The agent said something that its driver does not understand.
    Protocol,
    /// A limit of aiswitch, or of the system that it runs on, was met.
    Limit,
    /// Its processes took more memory than they may.
    Oom,
    /// The agent ended well but without an answer.
    Empty,
    /// The agent's process died.
    Crash,
    /// The task took too long.
    Timeout,
    /// A fault of aiswitch itself.
    Internal,
}

/// A tool that an agent was not allowed to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Denial {
    /// The name of the tool.
    pub tool: String,
    /// Why it was denied.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The params of [`TaskCancel`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskCancelParams {
    /// The task to end.
    pub task_id: TaskId,
}

/// The params of [`TaskOutput`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskOutputParams {
    /// The task that it belongs to.
    pub task_id: TaskId,
    /// The piece of text; pieces are shown one after the other, without anything between them.
    pub text: String,
}

/// The params of [`TaskStatusGet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskStatusGetParams {
    /// The task asked about.
    pub task_id: TaskId,
}

/// The result of [`TaskStatusGet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskStatusGetResult {
    /// How far the task has come.
    pub state: TaskState,
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskState {
    /// It waits for its turn.
    Queued,
    /// It is being worked on.
    Running,
    /// It has ended; `task.result` tells how.
    Ended,
    /// The agent does not know it.
    Unknown,
}

/// The params of [`TaskResultGet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskResultGetParams {
    /// The task asked about.
    pub task_id: TaskId,
}
