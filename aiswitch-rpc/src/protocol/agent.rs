//! `agent.*`: the life of an agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request;
use super::task::TaskState;

/// The version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 1;

request! {
    /// `agent.initialize`: the first message; both sides say who they are and what they can do.
    AgentInitialize = "agent.initialize", InitializeParams => InitializeResult
}
request! {
    /// `agent.shutdown`: the agent ends its tasks, answers, and exits when its input ends.
    AgentShutdown = "agent.shutdown", AgentShutdownParams => ()
}
request! {
    /// `agent.status`: what the agent is doing.
    AgentStatus = "agent.status", AgentStatusParams => AgentStatusResult
}
request! {
    /// `agent.restart`: the agent ends its tasks and begins anew in the same process.
    AgentRestart = "agent.restart", AgentRestartParams => ()
}

/// One side of the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Party {
    /// The name of the program.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What an agent can do beyond answering a task; a member that is absent is `false`.
///
/// Capabilities that this crate does not know are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the wire has one yes or no for each capability")]
pub struct Capabilities {
    /// It sends `task.output` while a task runs.
    pub streaming: bool,
    /// It understands `task.cancel`.
    pub cancel: bool,
    /// It asks `permission.request` before it uses a tool.
    pub permissions: bool,
    /// It can go on with an earlier session.
    pub sessions: bool,
    /// It takes a further task while one runs.
    pub concurrent_tasks: bool,
    /// It understands `env.switch`, `env.snapshot` and `env.rollback`.
    pub env_switch: bool,
    /// It sends `metrics.report` or answers `metrics.query`.
    pub metrics: bool,
    /// It sends `tokens.usage`.
    pub token_usage: bool,
}

/// The params of [`AgentInitialize`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InitializeParams {
    /// The newest version that the coordinator speaks.
    pub protocol_version: u32,
    /// The coordinator.
    pub client: Party,
    /// What the coordinator understands.
    #[serde(default)]
    pub capabilities: Capabilities,
}

/// The result of [`AgentInitialize`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InitializeResult {
    /// The version that will be spoken: that of the request, or an older one.
    pub protocol_version: u32,
    /// The agent.
    pub agent: Party,
    /// What the agent can do.
    #[serde(default)]
    pub capabilities: Capabilities,
}

/// The params of [`AgentShutdown`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentShutdownParams {
    /// How long the agent may take, in milliseconds, before it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
}

/// The params of [`AgentStatus`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentStatusParams {}

/// The result of [`AgentStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentStatusResult {
    /// What the agent is doing.
    pub state: AgentState,
    /// The tasks that it knows of, by id.
    #[serde(default)]
    pub tasks: BTreeMap<super::TaskId, TaskState>,
}

/// What an agent is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AgentState {
    /// It is not yet ready for a task.
    Starting,
    /// It waits for a task.
    Idle,
    /// It works on a task.
    Busy,
    /// It is about to exit.
    Stopping,
    /// It cannot take tasks.
    Failed,
}

/// The params of [`AgentRestart`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentRestartParams {
    /// Why, for the agent's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
