//! Where a home keeps what.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aiswitch_agent::AgentId;

use crate::{AuditLog, HomeError, RunId, Runs};

/// The permission bits of a home's files: the owner alone reads and writes.
pub(crate) const FILE_MODE: u32 = 0o600;

/// The permission bits of a home's folders: the owner alone enters.
pub(crate) const FOLDER_MODE: u32 = 0o700;

/// Where a home keeps what; nothing is read or made before a run needs it.
///
/// ```text
/// config/                      what a person writes
/// locks/
/// state/runs.db                how all runs are, and which agents work now
/// state/agents.json            a view of it: the agents that work now
/// state/tasks.json             a view of it: the last runs
/// state/env.json               which agent runs under which preset
/// state/usage.db               what agents used
/// state/tokens.json            a view of it: what each agent used in the last 24 hours
/// state/metrics.db             what agents and the machine took and had, over time
/// state/metrics.json           a view of it: the newest figure of each metric, and the sums of all time
/// audit/audit.head             how far the audit log reaches
/// audit/audit-NUMBER.jsonl     its lines, from this number on
/// logs/coordinator.log          what happened over all runs, and coordinator-TIME.log.zst: what was put away
/// logs/agents/AGENT.log
/// runs/RUN/report.json
/// runs/RUN/events.jsonl
/// runs/RUN/cancel              another process has asked for the end of the run
/// runs/RUN/agents/AGENT/       stdout.log, stderr.log
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home in this folder, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The home itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What a person writes.
    pub fn config_dir(&self) -> PathBuf {
        self.root.join("config")
    }

    /// The files of locks.
    pub fn locks_dir(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// What runs now, and what ran lately.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join("state")
    }

    /// How all runs are, and which agents work now.
    pub fn runs_file(&self) -> PathBuf {
        self.state_dir().join("runs.db")
    }

    /// A view: the agents that work now. To change it changes nothing.
    pub fn agents_file(&self) -> PathBuf {
        self.state_dir().join("agents.json")
    }

    /// A view: the last runs. To change it changes nothing.
    pub fn tasks_file(&self) -> PathBuf {
        self.state_dir().join("tasks.json")
    }

    /// Which agent runs under which preset, the snapshots, and the switches.
    pub fn env_file(&self) -> PathBuf {
        self.state_dir().join("env.json")
    }

    /// A view: what each agent used in the last 24 hours. To change it changes nothing.
    pub fn tokens_file(&self) -> PathBuf {
        self.state_dir().join("tokens.json")
    }

    /// A view: the newest figure of each metric, and the sums of all time. To change it changes nothing.
    pub fn metrics_view_file(&self) -> PathBuf {
        self.state_dir().join("metrics.json")
    }

    /// What agents used, over all runs.
    pub fn usage_file(&self) -> PathBuf {
        self.state_dir().join("usage.db")
    }

    /// What agents took of the machine, over all runs.
    pub fn metrics_file(&self) -> PathBuf {
        self.state_dir().join("metrics.db")
    }

    /// The audit log.
    pub fn audit_dir(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// How far the audit log reaches.
    pub fn audit_head_file(&self) -> PathBuf {
        self.audit_dir().join("audit.head")
    }

    /// The file of the audit log that begins with this line.
    pub fn audit_file(&self, first_line: u64) -> PathBuf {
        self.audit_dir().join(format!("audit-{first_line:020}.jsonl"))
    }

    /// The first line of the file of the audit log with this name.
    pub(crate) fn audit_file_number(name: &str) -> Option<u64> {
        name.strip_prefix("audit-")?.strip_suffix(".jsonl")?.parse().ok()
    }

    /// Who did what that only some may do.
    pub fn audit(&self) -> AuditLog<'_> {
        AuditLog::new(self)
    }

    /// What happened over all runs.
    pub fn logs_dir(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// One folder a run.
    pub fn runs_dir(&self) -> PathBuf {
        self.root.join("runs")
    }

    /// The folder of one run.
    pub fn run_dir(&self, run: &RunId) -> PathBuf {
        self.runs_dir().join(run.to_string())
    }

    /// The report of one run.
    pub fn report_file(&self, run: &RunId) -> PathBuf {
        self.run_dir(run).join("report.json")
    }

    /// The events of one run, one JSON document a line.
    pub fn events_file(&self, run: &RunId) -> PathBuf {
        self.run_dir(run).join("events.jsonl")
    }

    /// What asks the process that does a run to cancel it, once it is there.
    pub(crate) fn cancel_file(&self, run: &RunId) -> PathBuf {
        self.run_dir(run).join("cancel")
    }

    /// What one agent printed in one run: `stdout.log` and `stderr.log`.
    pub fn agent_dir(&self, run: &RunId, agent: &AgentId) -> PathBuf {
        self.run_dir(run).join("agents").join(agent.as_ref())
    }

    /// The runs that this home keeps.
    pub fn runs(&self) -> Runs<'_> {
        Runs::new(self)
    }
}

/// Makes a folder, and those above it, for the owner alone; one that is there stays as it is.
pub(crate) fn make_folder(path: &Path) -> Result<(), HomeError> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .map_err(HomeError::io("make the folder", path))
}
