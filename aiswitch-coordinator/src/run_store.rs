//! Where it is kept how runs are, and which agents work.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aiswitch_agent::AgentId;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::HomeError;
use crate::process_mark::ProcessMark;
use crate::{RunId, RunMode, RunStatus};

mod sqlite;

pub use sqlite::SqliteRunStore;

/// How much of a prompt a store keeps, in bytes.
pub const PROMPT_START_BYTES_MAX: usize = 200;

/// Where it is kept how runs are, and which agents work.
///
/// Methods may wait for the disk and for other processes; async code calls them on a thread of their own.
pub trait RunStore: fmt::Debug + Send + Sync {
    /// Keeps how a run is and which of its agents work now, in place of what was kept of it before.
    ///
    /// # Errors
    /// It cannot be written; nothing was changed then.
    fn save(&self, run: &RunRecordSummary, agents: &[AgentRecord]) -> Result<(), HomeError>;

    /// Marks runs that stand as running as interrupted: none of their agents works any more.
    ///
    /// # Errors
    /// It cannot be written; nothing was changed then.
    fn interrupt(&self, runs: &[RunId]) -> Result<(), HomeError>;

    /// Forgets runs.
    ///
    /// # Errors
    /// It cannot be written; nothing was changed then.
    fn forget(&self, runs: &[RunId]) -> Result<(), HomeError>;

    /// The last runs, at most this many, the latest first; as they were kept.
    ///
    /// # Errors
    /// They cannot be read.
    fn runs(&self, count_max: usize) -> Result<Vec<RunRecordSummary>, HomeError>;

    /// All runs that stand as running.
    ///
    /// # Errors
    /// They cannot be read.
    fn running(&self) -> Result<Vec<RunRecordSummary>, HomeError>;

    /// The agents that stand as working, by run and name.
    ///
    /// # Errors
    /// They cannot be read.
    fn agents(&self) -> Result<Vec<AgentRecord>, HomeError>;
}

/// One run of the run store, and of `tasks.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunRecordSummary {
    /// The run.
    pub run_id: RunId,
    /// How it is, or ended.
    pub status: RunState,
    /// Whether its agents worked side by side or one after the other.
    pub mode: RunMode,
    /// Its agents, in the order of the plan.
    pub agents: Vec<AgentId>,
    /// The start of its prompt: the first line, at most [`PROMPT_START_BYTES_MAX`] bytes.
    pub prompt_start: String,
    /// The folder that the agents worked in.
    pub cwd: PathBuf,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// How long it took, in milliseconds; `None` until it ends.
    pub duration_ms: Option<u64>,
    /// The process that does it, or did; `None` where that was lost with a damaged database.
    pub process: Option<ProcessMark>,
}

/// How a run is, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It goes on.
    Running,
    /// Its process ended before it did.
    Interrupted,
    /// It ended.
    #[serde(untagged)]
    Ended(RunStatus),
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Ended(status) => status.fmt(f),
        }
    }
}

/// One agent of the run store, and of `agents.json`: it works now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRecord {
    /// The agent.
    pub agent: AgentId,
    /// Its run.
    pub run_id: RunId,
    /// How it is driven.
    pub driver: String,
    /// Its process, once it has one.
    pub pid: Option<u32>,
    /// When its part started.
    pub started_at: DateTime<Utc>,
    /// The process that runs it.
    pub process: ProcessMark,
}

impl RunRecordSummary {
    /// Whether it stands as running, and its process is gone.
    pub(crate) fn is_left(&self) -> bool {
        self.status == RunState::Running && !self.process.is_some_and(ProcessMark::is_there)
    }
}

/// The start of a prompt as a store keeps it.
pub(crate) fn prompt_start(prompt: &str) -> String {
    let line = prompt.trim_start().lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(PROMPT_START_BYTES_MAX)].to_owned()
}

/// Runs in memory, for programs that keep nothing beyond their own end.
#[derive(Debug, Default)]
pub struct MemoryRunStore {
    runs: Mutex<BTreeMap<RunId, (RunRecordSummary, Vec<AgentRecord>)>>,
}

impl MemoryRunStore {
    /// A store without runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a thread that panicked left is whole: every change is one step.
    fn locked(&self) -> MutexGuard<'_, BTreeMap<RunId, (RunRecordSummary, Vec<AgentRecord>)>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunStore for MemoryRunStore {
    fn save(&self, run: &RunRecordSummary, agents: &[AgentRecord]) -> Result<(), HomeError> {
        self.locked().insert(run.run_id, (run.clone(), agents.to_vec()));
        Ok(())
    }

    fn interrupt(&self, runs: &[RunId]) -> Result<(), HomeError> {
        let mut kept = self.locked();
        for run in runs {
            if let Some((record, agents)) =
                kept.get_mut(run).filter(|(record, _)| record.status == RunState::Running)
            {
                record.status = RunState::Interrupted;
                agents.clear();
            }
        }
        Ok(())
    }

    fn forget(&self, runs: &[RunId]) -> Result<(), HomeError> {
        self.locked().retain(|run, _| !runs.contains(run));
        Ok(())
    }

    fn runs(&self, count_max: usize) -> Result<Vec<RunRecordSummary>, HomeError> {
        Ok(self.locked().values().rev().take(count_max).map(|(record, _)| record.clone()).collect())
    }

    fn running(&self) -> Result<Vec<RunRecordSummary>, HomeError> {
        let kept = self.locked();
        let running = kept.values().filter(|(record, _)| record.status == RunState::Running);
        Ok(running.map(|(record, _)| record.clone()).collect())
    }

    fn agents(&self) -> Result<Vec<AgentRecord>, HomeError> {
        let mut agents: Vec<AgentRecord> =
            self.locked().values().flat_map(|(_, agents)| agents).cloned().collect();
        agents.sort_by(|a, b| (a.run_id, &a.agent).cmp(&(b.run_id, &b.agent)));
        Ok(agents)
    }
}
