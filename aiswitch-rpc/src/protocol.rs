//! The aiswitch protocol: the methods that an agent adapter speaks with the coordinator, one file a namespace.
//!
//! `PROTOCOL.md` in this crate describes the same messages for authors in any language.

pub mod agent;
pub mod env;
pub mod metrics;
pub mod permission;
pub mod task;
pub mod tokens;

mod id;
#[cfg(feature = "schema")]
mod schema;

pub use agent::{
    AgentInitialize, AgentRestart, AgentRestartParams, AgentShutdown, AgentShutdownParams, AgentState,
    AgentStatus, AgentStatusParams, AgentStatusResult, Capabilities, InitializeParams, InitializeResult,
    PROTOCOL_VERSION, Party,
};
pub use env::{
    EnvRollback, EnvRollbackParams, EnvSnapshot, EnvSnapshotParams, EnvSnapshotResult, EnvSwitch,
    EnvSwitchParams,
};
pub use id::{AgentId, InvalidId, TaskId};
pub use metrics::{MetricsQuery, MetricsQueryParams, MetricsReport, MetricsReportParams};
pub use permission::{
    InvalidPermissionMode, PermissionDecision, PermissionMode, PermissionRequest, PermissionRequestParams,
    PermissionRequestResult,
};
#[cfg(feature = "schema")]
pub use schema::schema;
pub use task::{
    Denial, ErrorKind, TaskAssign, TaskCancel, TaskCancelParams, TaskError, TaskOutput, TaskOutputParams,
    TaskResult, TaskResultGet, TaskResultGetParams, TaskSpec, TaskState, TaskStatus, TaskStatusGet,
    TaskStatusGetParams, TaskStatusGetResult,
};
pub use tokens::{TokenUsage, TokensUsage, TokensUsageParams};

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The coordinator, to an agent adapter.
    Coordinator,
    /// An agent adapter, to the coordinator.
    Agent,
    /// Either of them.
    Both,
}

/// Whether a message wants an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is answered.
    Request,
    /// It is not.
    Notification,
}

/// The table of all methods: name, sender, kind.
pub const METHODS: &[(&str, Sender, Kind)] = &[
    ("agent.initialize", Sender::Coordinator, Kind::Request),
    ("agent.shutdown", Sender::Coordinator, Kind::Request),
    ("agent.status", Sender::Coordinator, Kind::Request),
    ("agent.restart", Sender::Coordinator, Kind::Request),
    ("task.assign", Sender::Coordinator, Kind::Request),
    ("task.cancel", Sender::Coordinator, Kind::Notification),
    ("task.output", Sender::Agent, Kind::Notification),
    ("task.status", Sender::Coordinator, Kind::Request),
    ("task.result", Sender::Coordinator, Kind::Request),
    ("permission.request", Sender::Agent, Kind::Request),
    ("env.switch", Sender::Coordinator, Kind::Request),
    ("env.snapshot", Sender::Coordinator, Kind::Request),
    ("env.rollback", Sender::Coordinator, Kind::Request),
    ("metrics.report", Sender::Agent, Kind::Notification),
    ("metrics.query", Sender::Both, Kind::Request),
    ("tokens.usage", Sender::Agent, Kind::Notification),
];

/// Ties a marker type to a request method.
macro_rules! request {
    ($(#[$doc:meta])* $marker:ident = $name:literal, $params:ty => $result:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $marker {}
        impl $crate::RequestMethod for $marker {
            const NAME: &'static str = $name;
            type Params = $params;
            type Result = $result;
        }
    };
}

/// Ties a marker type to a notification method.
macro_rules! notification {
    ($(#[$doc:meta])* $marker:ident = $name:literal, $params:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $marker {}
        impl $crate::NotificationMethod for $marker {
            const NAME: &'static str = $name;
            type Params = $params;
        }
    };
}

use {notification, request};
