#![doc = include_str!("../README.md")]

mod aggregate;
mod alert_command;
mod alerts;
mod audit;
mod clock;
mod collect;
mod consistency;
mod coordinator;
mod cut;
mod error;
mod event;
mod figures;
mod heard;
mod held;
mod home;
mod journal;
mod locks;
mod log;
mod measured;
mod nearest;
mod part;
mod plan;
mod pressure;
mod process_mark;
mod ready;
mod report;
mod retention;
mod run;
mod run_store;
mod runs;
mod sampling;
mod state;
mod strict;
mod switch;
mod used;
mod warm;

pub use aggregate::{HAND_OVER_BYTES_MAX, aggregate_results, hand_over};
pub use aiswitch_agent::chain;
pub use alerts::{AlertAction, AlertReport, AlertSink, PAUSE_MAX_DEFAULT, Severity, Watch, WatchError};
pub use audit::{
    AUDIT_FILE_BYTES_MAX, AUDIT_TEXT_BYTES_MAX, Actor, Audit, AuditBreak, AuditDecision, AuditEntry,
    AuditFault, AuditLine, AuditLog, AuditVerdict, Channel,
};
pub use collect::ProcessCollector;
pub use consistency::StateProblem;
pub use coordinator::{Coordinator, PlannedLaunch, PlannedVariable};
pub use error::{HomeError, RunError};
pub use event::{EVENT_VERSION, RunEvent, RunEventKind};
pub use figures::{REPORTED_METRICS_MAX, metrics_methods};
pub use held::{Kept, LimitReport};
pub use home::Home;
pub use journal::EVENTS_BYTES_MAX;
pub use locks::{LockHolder, LockWait, take_locks};
pub use log::{
    Expression, ExpressionError, LOG_LINE_BYTES_MAX, LogFollow, LogGuard, LogLayer, LogLevel, LogLimits,
    LogLine, LogPattern, LogQuery, LogRecord, LogSearch, LogSource, LogWriter, log_layer,
};
pub use measured::METRICS_SOURCES_SHOWN_MAX;
pub use nearest::nearest;
pub use part::ANSWER_BYTES_MAX;
pub use plan::{
    AGENTS_MAX, Aggregate, Assignment, MAX_PARALLEL_DEFAULT, OnFailure, Order, PROMPT_BYTES_MAX, Plan,
};
pub use pressure::{PressureLimits, PressureLimitsError};
pub use process_mark::ProcessMark;
pub use report::{
    AgentReport, Answer, Outcome, REPORT_VERSION, RunId, RunIdError, RunMode, RunReport, RunStatus,
    TaskReport,
};
pub use retention::{Expired, Retention};
pub use run_store::{
    AgentRecord, MemoryRunStore, PROMPT_START_BYTES_MAX, RunRecordSummary, RunState, RunStore, SqliteRunStore,
};
pub use runs::{Events, Runs};
pub use sampling::{SAMPLE_EVERY_DEFAULT, SAMPLE_EVERY_MAX, SAMPLE_EVERY_MIN};
pub use state::TASKS_KEPT_MAX;

pub use strict::{FileFault, HomeProblem, check_private};

pub use switch::{
    Binding, ChangeKind, EnvChange, EnvNotice, EnvRecords, EnvState, SNAPSHOTS_KEPT_MAX, SWITCHES_KEPT_MAX,
    SwitchError, SwitchOptions, SwitchProbe, SwitchProblem, SwitchRecord, SwitchStep, Switched,
    TURN_TIMEOUT_DEFAULT, ValidationResult, env_methods,
};

// What a program that uses this crate alone needs to fill a plan and read a report.
pub use aiswitch_agent::{
    Agent, AgentId, AgentSpec, Decision, Denial, Driver, ErrorKind, Guard, LifeState, Limits, LiveAgent,
    LiveError, MemoryAgent, PermissionMode, Replay, RestartPolicy, Role, TaskError, TaskResult, TaskSpec,
    TaskStatus, ToolPhase, Turn, built_in, built_ins, guard_main,
};
pub use aiswitch_env::{Ambient, DataKeys, EnvSnapshot, Environment, Origin, Preset, PresetName, SnapshotId};
pub use aiswitch_lock::{FileLockManager, LockManager, LockName, MemoryLockManager, Priority};
pub use aiswitch_metrics::{AlertCondition, AlertRule, Collector, MetricsStore};
pub use aiswitch_tokens::{Cost, CostSource, CostSummary, NanoUsd, Usage, UsageStore, UsageSummary};
pub use tokio_util::sync::CancellationToken;
pub use used::RUN_USAGE_SOURCE;
pub use warm::{WARM_AGE_MAX, WARM_MAX, WARM_USES_MAX};
