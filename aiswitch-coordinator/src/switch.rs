//! Moving an agent to another preset, in steps that are written down, so that it is under the old one or the new one and
//! never between the two, whatever ends this process meanwhile.

mod change;
mod records;
mod serve;
mod turn;
mod validate;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::{AgentError, AgentId, LiveAgent, Sandbox, TaskError, Turn};
use aiswitch_env::{EnvError, PresetName, SnapshotId};
use aiswitch_lock::LockError;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use records::{EnvRecords, EnvState, SNAPSHOTS_KEPT_MAX, SWITCHES_KEPT_MAX};
pub use serve::env_methods;

use crate::{Actor, HomeError};

/// How long a switch waits for the end of the turn that the agent is in, when nothing else is said.
pub const TURN_TIMEOUT_DEFAULT: Duration = Duration::from_mins(10);

/// How an agent is moved to another preset, and what is known of it.
#[derive(Clone, Debug)]
pub struct SwitchOptions {
    /// The preset that it runs under while it is bound to none; `None` for one with its caller's credentials.
    pub unbound: Option<PresetName>,
    /// The agent where it lives: it is restarted under the new preset. Without it, its next process is.
    pub live: Option<Arc<LiveAgent>>,
    /// The session that has to go on under the new preset; that of the live agent where there is one.
    pub session_id: Option<String>,
    /// The folder that it works in.
    pub cwd: PathBuf,
    /// What the switch means for a turn that it is in.
    pub turn: Turn,
    /// How long the end of turns in runs of other processes is waited for.
    pub turn_timeout: Duration,
    /// What it has to do under the new preset before that counts.
    pub probe: SwitchProbe,
}

impl SwitchOptions {
    /// Waits for the turn's end, and then for the agent to get ready in this folder.
    pub fn new(cwd: impl Into<PathBuf>) -> Self {
        Self {
            unbound: None,
            live: None,
            session_id: None,
            cwd: cwd.into(),
            turn: Turn::Finish,
            turn_timeout: TURN_TIMEOUT_DEFAULT,
            probe: SwitchProbe::Start,
        }
    }
}

/// What an agent has to do under a preset before that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchProbe {
    /// Nothing; a live agent has to get ready all the same.
    Nothing,
    /// Get ready for a task, with the session resumed where there is one. No request is made to its provider.
    Start,
    /// The same, and answer a short prompt in a session of its own: that alone shows that the provider is there and takes
    /// the key. It costs the tokens of one answer.
    Answer,
}

/// What an agent runs under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The preset.
    pub preset: PresetName,
    /// The snapshot that says what the preset was; `None` for the preset as it is now.
    pub snapshot: Option<SnapshotId>,
    /// The session that was resumed under it.
    pub session_id: Option<String>,
}

/// One switch, from its beginning on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchRecord {
    /// Its name, and that of the snapshot of what was before it.
    pub id: SnapshotId,
    /// The agent.
    pub agent: AgentId,
    /// The preset before; `None` for none.
    pub from: Option<PresetName>,
    /// What the agent is bound to by it; `None` for nothing.
    pub to: Option<Binding>,
    /// How far it is, or how it ended.
    pub step: SwitchStep,
    /// Why it was taken back, or why there is no snapshot of what was before.
    pub reason: Option<String>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl SwitchRecord {
    /// The preset that it leads to.
    pub fn to_preset(&self) -> Option<&PresetName> {
        self.to.as_ref().map(|binding| &binding.preset)
    }
}

/// How far a switch is, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchStep {
    /// It began: broken off here, the agent is under the old preset.
    Begun,
    /// The new preset has proved itself: broken off here, the agent is under the new one.
    Probed,
    /// The agent is under the new preset.
    Committed,
    /// The agent is under the old preset.
    RolledBack,
}

impl SwitchStep {
    /// Whether more is to come.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Begun | Self::Probed)
    }
}

impl fmt::Display for SwitchStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Begun => "begun",
            Self::Probed => "probed",
            Self::Committed => "committed",
            Self::RolledBack => "rolled back",
        })
    }
}

/// What happened to the records beside what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvNotice {
    /// A switch that was broken off before its preset had proved itself was taken back.
    TakenBack {
        /// The switch.
        record: Box<SwitchRecord>,
    },
    /// A switch that was broken off after its preset had proved itself was completed.
    Completed {
        /// The switch.
        record: Box<SwitchRecord>,
    },
    /// There were too many snapshots, and the oldest was dropped.
    Dropped {
        /// The snapshot.
        id: SnapshotId,
        /// Its agent.
        agent: String,
    },
}

impl fmt::Display for EnvNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |record: &SwitchRecord| {
            format!("the switch of agent `{}` to {}", record.agent, named(record.to_preset()))
        };
        match self {
            Self::TakenBack { record } => write!(
                f,
                "{} was broken off before it had proved itself; the agent is under {}",
                of(record),
                named(record.from.as_ref())
            ),
            Self::Completed { record } => {
                write!(f, "{} was broken off after it had proved itself; it counts", of(record))
            }
            Self::Dropped { id, agent } => {
                write!(
                    f,
                    "snapshot {id} of agent `{agent}` was dropped: the last {SNAPSHOTS_KEPT_MAX} are kept"
                )
            }
        }
    }
}

/// A preset in words.
pub(crate) fn named(preset: Option<&PresetName>) -> String {
    preset.map_or_else(|| "no preset".to_owned(), |preset| format!("preset `{preset}`"))
}

/// A switch that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switched {
    /// The switch.
    pub record: SwitchRecord,
    /// What happened to the records beside it.
    pub notices: Vec<EnvNotice>,
}

/// What is to be said of a switch before anything is touched.
#[derive(Debug)]
pub struct ValidationResult {
    /// The agent.
    pub agent: AgentId,
    /// The preset that it is to be moved to; `None` for none.
    pub preset: Option<PresetName>,
    /// Every reason why it cannot be; none means that it can.
    pub problems: Vec<SwitchProblem>,
    /// What would become of its variables, by name.
    pub changes: Vec<EnvChange>,
}

impl ValidationResult {
    /// Whether nothing speaks against the switch.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What would become of one variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnvChange {
    /// Its name.
    pub name: String,
    /// What would become of it.
    pub change: ChangeKind,
    /// Whether it leads the agent's traffic or state elsewhere.
    pub redirects: bool,
}

/// What would become of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It would be set, and was not.
    Set,
    /// It would be another.
    Changed,
    /// It would stay as it is.
    Kept,
    /// It would not be set any more.
    Unset,
}

/// Why an agent cannot be moved to a preset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchProblem {
    /// No agent has this name.
    #[error("agent `{name}` is not known")]
    UnknownAgent {
        /// The name.
        name: AgentId,
        /// The known name that is probably meant.
        nearest: Option<String>,
    },
    /// No preset has this name.
    #[error("preset `{name}` is not known")]
    UnknownPreset {
        /// The name.
        name: PresetName,
        /// The known name that is probably meant.
        nearest: Option<String>,
    },
    /// The preset cannot be put together, or a value of it cannot be had.
    #[error(transparent)]
    Variable(EnvError),
    /// The preset leads the agent to a host, and its sandbox lets it reach none.
    #[error(
        "the preset leads to `{host}`, and the sandbox `{sandbox}` of agent `{agent}` lets it reach no host"
    )]
    HostBarred {
        /// The agent.
        agent: AgentId,
        /// Scheme, host and port.
        host: String,
        /// What bars it.
        sandbox: Sandbox,
    },
    /// There is a session to go on with, and the agent's driver can resume none.
    #[error("agent `{agent}` cannot go on with session `{session_id}`: it has none that outlive a process")]
    CannotResume {
        /// The agent.
        agent: AgentId,
        /// The session.
        session_id: String,
    },
    /// The agent could not be started.
    #[error(transparent)]
    Start(AgentError),
}

impl SwitchProblem {
    /// The kind in a word, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownAgent { .. } => "unknown_agent",
            Self::UnknownPreset { .. } => "unknown_preset",
            Self::Variable(EnvError::MissingAmbient { .. }) => "variable_missing",
            Self::Variable(EnvError::ParentUnknown { .. } | EnvError::ParentCycle { .. }) => "preset",
            Self::Variable(EnvError::SnapshotDamaged { .. }) => "snapshot_damaged",
            Self::Variable(_) => "variable_unreadable",
            Self::HostBarred { .. } => "host_barred",
            Self::CannotResume { .. } => "cannot_resume",
            Self::Start(_) => "cannot_start",
        }
    }
}

/// Why an agent was not moved to another preset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// There is no home to keep records in.
    #[error("there is no home to keep the presets of agents in")]
    NoHome,
    /// It is for the operator alone, and somebody else calls.
    #[error("`{action}` is for the operator alone, and the caller is `{actor}`")]
    OperatorOnly {
        /// What was asked for.
        action: &'static str,
        /// Who calls.
        actor: Actor,
    },
    /// It has to stand in the audit log, which cannot hold it.
    #[error("`{action}` is not done, since the audit log cannot hold it")]
    Unaudited {
        /// What was asked for.
        action: &'static str,
        /// Why not.
        #[source]
        source: HomeError,
    },
    /// No agent has this name.
    #[error("agent `{name}` is not known")]
    UnknownAgent {
        /// The name.
        name: AgentId,
        /// The known name that is probably meant.
        nearest: Option<String>,
    },
    /// Something speaks against it, and nothing was touched.
    #[error("agent `{}` cannot be moved to {}", .0.agent, named(.0.preset.as_ref()))]
    Invalid(Box<ValidationResult>),
    /// Another switch of this agent goes on.
    #[error("another switch of agent `{agent}` goes on")]
    Busy {
        /// The agent.
        agent: AgentId,
        /// Who has it.
        #[source]
        source: LockError,
    },
    /// What the agent runs under cannot be had.
    #[error("what agent `{agent}` runs under cannot be had")]
    Unusable {
        /// The agent.
        agent: AgentId,
        /// Why not.
        #[source]
        source: EnvError,
    },
    /// The agent has no such snapshot.
    #[error("agent `{agent}` has no snapshot {id}")]
    NoSnapshot {
        /// The agent.
        agent: AgentId,
        /// The snapshot.
        id: SnapshotId,
    },
    /// There is no switch of the agent that could be taken back.
    #[error("there is no switch of agent `{agent}` to take back")]
    NothingToTakeBack {
        /// The agent.
        agent: AgentId,
    },
    /// The new preset did not prove itself: the agent is under the old one.
    #[error(
        "agent `{}` stays under {}, since it did not prove itself under {}",
        record.agent, named(record.from.as_ref()), named(record.to_preset())
    )]
    RolledBack {
        /// The switch.
        record: Box<SwitchRecord>,
        /// What was wrong.
        problem: TaskError,
        /// What happened to the records beside it.
        notices: Vec<EnvNotice>,
    },
    /// The records cannot be read or written.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The locks cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
}
