//! Why a run could not start, and why a home cannot be read or written.

use std::path::PathBuf;
use std::time::Duration;

use aiswitch_agent::AgentId;
use aiswitch_env::{EnvError, PresetName};
use aiswitch_lock::database::DatabaseError;
use aiswitch_lock::{LockError, LockName};
use aiswitch_tokens::UsageError;

use crate::{Actor, AuditFault, FileFault, RunId, SAMPLE_EVERY_MAX, SAMPLE_EVERY_MIN, WatchError};

/// Why a run could not start. What goes wrong later is in the report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The plan has no agents.
    #[error("the plan names no agent")]
    NoAgents,
    /// The plan has more agents than one run may have.
    #[error("the plan names {count} agents, and one run may have {count_max}")]
    TooManyAgents {
        /// How many it names.
        count: usize,
        /// How many it may name.
        count_max: usize,
    },
    /// Answers are to be judged or put together, and the plan names nobody who does it.
    #[error("the answers are to be given to a judge, and nobody is named as one")]
    NoJudge,
    /// The plan names a judge, and joins the answers in a way that needs none.
    #[error("agent `{name}` is the judge, and how the answers become one asks for none")]
    IdleJudge {
        /// The judge.
        name: AgentId,
    },
    /// The plan names an agent that the coordinator does not have.
    #[error("agent `{name}` is not known")]
    UnknownAgent {
        /// The name.
        name: AgentId,
        /// The known name that is probably meant.
        nearest: Option<AgentId>,
    },
    /// Two agents have one name.
    #[error("two agents are called `{name}`")]
    DuplicateAgent {
        /// The name.
        name: AgentId,
    },
    /// A rule of alerts can never fire, or nobody can be told of it.
    #[error("the rule of alerts `{rule}` cannot be used")]
    Watch {
        /// The rule.
        rule: String,
        /// Why.
        #[source]
        source: WatchError,
    },
    /// Two rules of alerts have one name.
    #[error("two rules of alerts are called `{rule}`")]
    DuplicateWatch {
        /// The name.
        rule: String,
    },
    /// A time between two samples is too short or too long.
    #[error("a sample every {every:?} cannot be kept: it is {SAMPLE_EVERY_MIN:?} to {SAMPLE_EVERY_MAX:?}")]
    SampleEvery {
        /// The time.
        every: Duration,
    },
    /// The prompt is empty, or white space alone.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The prompt is longer than agents take.
    #[error("the prompt has {bytes} bytes, and at most {bytes_max} can be given to an agent")]
    PromptTooLong {
        /// How long it is, in bytes.
        bytes: usize,
        /// How long it may be, in bytes.
        bytes_max: usize,
    },
    /// The prompt holds a NUL byte, which no agent can be given.
    #[error("the prompt holds a NUL byte at byte {at}")]
    NulInPrompt {
        /// Where, in bytes from the start.
        at: usize,
    },
    /// A time-out of zero, in which nothing can be done.
    #[error("a time-out of zero leaves agent `{agent}` no time at all")]
    ZeroTimeout {
        /// The agent.
        agent: AgentId,
    },
    /// The plan names a preset that the coordinator does not have.
    #[error("preset `{name}` is not known")]
    UnknownPreset {
        /// The name.
        name: PresetName,
        /// The known name that is probably meant.
        nearest: Option<PresetName>,
    },
    /// The environment of an agent cannot be made.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The folder to work in cannot be used.
    #[error("the working folder `{cwd}` cannot be used")]
    Cwd {
        /// The folder.
        cwd: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder to work in has a name that is not UTF-8, which agents' protocols cannot hold.
    #[error("the name of the working folder `{cwd}` is not UTF-8")]
    CwdNotUtf8 {
        /// The folder.
        cwd: PathBuf,
    },
    /// The home cannot be written.
    #[error("the home `{path}` cannot be used")]
    Home {
        /// The home.
        path: PathBuf,
        /// Why.
        #[source]
        source: HomeError,
    },
    /// It cannot be kept how the run is.
    #[error("how the run is cannot be kept")]
    State {
        /// Why not.
        #[source]
        source: HomeError,
    },
    /// The mode of the plan is for the operator alone, and somebody else calls.
    #[error("mode `yolo` is for the operator alone, and the caller is `{actor}`")]
    OperatorOnly {
        /// Who calls.
        actor: Actor,
    },
    /// The mode of the plan has to stand in the audit log, which cannot hold it.
    #[error("mode `yolo` is not used, since the audit log cannot hold it")]
    Audit {
        /// Why not.
        #[source]
        source: HomeError,
    },
    /// It cannot be looked up whether a quota leaves anything for the agents.
    #[error("the quotas cannot be looked up")]
    Quota {
        /// Why not.
        #[source]
        source: UsageError,
    },
    /// The plan names locks, and the coordinator has neither a home nor another place for them.
    #[error("the plan names lock `{name}`, and no place for locks is known")]
    NoLocks {
        /// The first lock that it names.
        name: LockName,
    },
    /// The plan names a lock that every run takes for a moment, to write the state files or the audit log.
    #[error("lock `{name}` is the one of the state files or the audit log, which every run needs")]
    StateLock {
        /// The lock.
        name: LockName,
    },
    /// A lock of the plan or of the home cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Why a home cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// A file or folder is not to be had.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{path}` is damaged at line {line}; move it away to go on without it")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A file was written by a later version of this program.
    #[error("`{path}` has version {version}, which this program does not know")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Others could change a file or folder, so it is not used.
    #[error("`{path}` is not used: {fault}")]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// Why others could.
        fault: FileFault,
    },
    /// The lock of the state files cannot be had.
    #[error("the state files cannot be locked")]
    Lock(#[source] LockError),
    /// The lock of the audit log cannot be had.
    #[error("the audit log cannot be locked")]
    AuditLock(#[source] LockError),
    /// The lock of a log cannot be had.
    #[error("the log cannot be locked")]
    LogLock(#[source] LockError),
    /// The audit log is not whole, and nothing that it would have to hold is done.
    #[error("the audit log is broken at line {line} of `{path}`: {fault}")]
    AuditBroken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong there.
        fault: AuditFault,
    },
    /// A file cannot be replaced.
    #[error("`{path}` cannot be replaced")]
    Replace {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: LockError,
    },
    /// What agents used cannot be read.
    #[error(transparent)]
    Usage(Box<aiswitch_tokens::UsageError>),
    /// What was measured cannot be read.
    #[error(transparent)]
    Metrics(Box<aiswitch_metrics::MetricsError>),
    /// The database of runs cannot be used.
    #[error(transparent)]
    Database(Box<DatabaseError>),
    /// A home keeps no run yet.
    #[error("no run is kept")]
    NoRuns,
    /// No run of this home is meant.
    #[error("no run is called `{wanted}`")]
    NoRun {
        /// What was asked for.
        wanted: String,
    },
    /// Several runs may be meant.
    #[error("{} runs start with `{wanted}`, among them `{first}` and `{second}`", .count)]
    Ambiguous {
        /// What was asked for.
        wanted: String,
        /// How many may be meant.
        count: usize,
        /// The latest of them.
        first: RunId,
        /// The one before it.
        second: RunId,
    },
}

impl From<DatabaseError> for HomeError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(Box::new(error))
    }
}

impl HomeError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
