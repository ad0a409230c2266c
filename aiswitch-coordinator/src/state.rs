//! `state/agents.json` and `state/tasks.json`: what runs now, and what ran lately.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::{AgentId, reclaim};
use aiswitch_lock::{LockManager, LockName, LockOptions, replace_file};
use chrono::{DateTime, Utc};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::HomeError;
use crate::home::FILE_MODE;
use crate::{Home, RunId, RunMode, RunStatus};

/// How many runs `tasks.json` keeps; the folders of older ones stay.
pub const TASKS_KEPT_MAX: usize = 200;

/// How much of a prompt `tasks.json` keeps, in bytes.
pub const PROMPT_START_BYTES_MAX: usize = 200;

/// The version of both files' form.
const STATE_VERSION: u32 = 1;

/// How long the lock of both files is waited for; whoever holds it writes two small files.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// One run of `tasks.json`.
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
    /// The process that does it, or did.
    pub process: ProcessMark,
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

/// One agent of `agents.json`: it works now.
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

/// A process, told apart from a later one with the same number by the time at which it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessMark {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the start of the system; `None` where it is not told.
    pub started_ticks: Option<u64>,
}

impl ProcessMark {
    /// The process that runs this code.
    pub(crate) fn own() -> Self {
        let pid = std::process::id();
        let started_ticks = match look_up(pid) {
            Presence::Since(ticks) => Some(ticks),
            Presence::Gone | Presence::Untold => None,
        };
        Self { pid, started_ticks }
    }

    /// Whether it is there; a number that cannot be looked up counts as a process that is there.
    pub(crate) fn is_there(self) -> bool {
        match (look_up(self.pid), self.started_ticks) {
            (Presence::Gone, _) => false,
            (Presence::Since(now), Some(then)) => now == then,
            (Presence::Since(_), None) | (Presence::Untold, _) => true,
        }
    }
}

/// What the system tells about a process number.
enum Presence {
    Gone,
    /// A process that started at this clock tick.
    Since(u64),
    /// There is one, or may be one.
    Untold,
}

fn look_up(pid: u32) -> Presence {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if !number.is_some_and(|number| test_kill_process(number) != Err(Errno::SRCH)) {
        return Presence::Gone;
    }
    // Linux alone tells more.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Presence::Untold;
    };
    // proc_pid_stat(5): the name stands in brackets and may hold any character; behind it come the state, which is
    // field 3, and more, of which field 22 is the start.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    match (fields.first(), fields.get(19).and_then(|ticks| ticks.parse().ok())) {
        (Some(&("Z" | "X")), _) => Presence::Gone,
        (_, Some(ticks)) => Presence::Since(ticks),
        (_, None) => Presence::Untold,
    }
}

/// The start of a prompt as `tasks.json` keeps it.
pub(crate) fn prompt_start(prompt: &str) -> String {
    let line = prompt.trim_start().lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(PROMPT_START_BYTES_MAX)].to_owned()
}

/// The lock that all writers of the two files take.
pub(crate) fn state_lock() -> LockName {
    LockName::Resource("aiswitch/state".to_owned())
}

/// The two files, and the lock that all their writers take.
#[derive(Clone, Debug)]
pub(crate) struct State {
    home: Home,
    locks: Arc<dyn LockManager>,
}

impl State {
    pub(crate) fn new(home: Home, locks: Arc<dyn LockManager>) -> Self {
        Self { home, locks }
    }

    /// Ends what is left of runs whose process is gone, writes down that they were interrupted, and names them with how
    /// many processes were found.
    pub(crate) async fn reclaim(self) -> Result<(Vec<RunId>, usize), HomeError> {
        let path = self.home.tasks_file();
        self.locked(move |home| {
            let mut tasks = read_entries(&home.tasks_file(), "tasks")?;
            let mut runs = Vec::new();
            for task in &mut tasks {
                let is_gone =
                    |process| ProcessMark::deserialize(process).is_ok_and(|process| !process.is_there());
                if task["status"] == "running" && is_gone(&task["process"]) {
                    runs.extend(RunId::deserialize(&task["run_id"]));
                    task["status"] = "interrupted".into();
                }
            }
            if runs.is_empty() {
                return Ok((runs, 0));
            }
            let names: Vec<String> = runs.iter().map(ToString::to_string).collect();
            let found = reclaim(names.iter().map(String::as_str));
            write_entries(&path, "tasks", &tasks)?;
            Ok((runs, found))
        })
        .await
    }

    /// The keeper of the lock.
    pub(crate) fn locks(&self) -> Arc<dyn LockManager> {
        Arc::clone(&self.locks)
    }

    /// The home of both files.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Writes what one run has to say into both files; what others wrote stays.
    pub(crate) async fn save(
        self,
        task: RunRecordSummary,
        agents: Vec<AgentRecord>,
    ) -> Result<(), HomeError> {
        self.locked(move |home| {
            write_tasks(&home.tasks_file(), &task)
                .and_then(|()| write_agents(&home.agents_file(), task.run_id, &agents))
        })
        .await
    }

    /// Does something with the files while no other process does.
    pub(crate) async fn locked<T: Send + 'static>(
        self,
        act: impl FnOnce(&Home) -> Result<T, HomeError> + Send + 'static,
    ) -> Result<T, HomeError> {
        let options = LockOptions::new().with_timeout(LOCK_TIMEOUT).with_purpose("state files");
        let guard = self.locks.acquire(&state_lock(), &options).await.map_err(HomeError::Lock)?;
        let (path, home) = (self.home.state_dir(), self.home);
        let act = move || {
            let done = act(&home);
            drop(guard);
            done
        };
        // The writes wait for the disk. Who drops this future leaves them to their end, with the lock.
        match tokio::task::spawn_blocking(act).await {
            Ok(done) => done,
            Err(error) => Err(HomeError::io("write", path)(std::io::Error::other(error))),
        }
    }
}

fn write_tasks(path: &Path, task: &RunRecordSummary) -> Result<(), HomeError> {
    let mut tasks = read_entries(path, "tasks")?;
    let entry = serde_json::to_value(task).expect("a record has string keys and UTF-8 paths");
    match tasks.iter_mut().find(|other| other["run_id"] == entry["run_id"]) {
        Some(own) => *own = entry,
        None => tasks.push(entry),
    }
    let surplus = tasks.len().saturating_sub(TASKS_KEPT_MAX);
    tasks.drain(..surplus);
    write_entries(path, "tasks", &tasks)
}

fn write_agents(path: &Path, run: RunId, agents: &[AgentRecord]) -> Result<(), HomeError> {
    let kept = read_entries(path, "agents")?;
    let mut all = kept.clone();
    let run = run.to_string();
    all.retain(|other| {
        let process = ProcessMark::deserialize(&other["process"]);
        other["run_id"] != *run && process.is_ok_and(ProcessMark::is_there)
    });
    all.extend(
        agents
            .iter()
            .map(|agent| serde_json::to_value(agent).expect("a record has string keys and UTF-8 paths")),
    );
    // A write waits for the disk, and most runs end before they have agents at work to tell of.
    if all == kept && path.exists() { Ok(()) } else { write_entries(path, "agents", &all) }
}

/// The runs of `tasks.json`, the latest first; one whose process is gone is interrupted.
pub(crate) fn read_tasks(home: &Home) -> Result<Vec<RunRecordSummary>, HomeError> {
    let mut tasks: Vec<RunRecordSummary> = typed(&home.tasks_file(), "tasks")?;
    for task in &mut tasks {
        if task.status == RunState::Running && !task.process.is_there() {
            task.status = RunState::Interrupted;
        }
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.run_id));
    Ok(tasks)
}

/// The agents of `agents.json` whose run's process is there.
pub(crate) fn read_agents(home: &Home) -> Result<Vec<AgentRecord>, HomeError> {
    let mut agents: Vec<AgentRecord> = typed(&home.agents_file(), "agents")?;
    agents.retain(|agent| agent.process.is_there());
    Ok(agents)
}

fn typed<T: DeserializeOwned>(path: &Path, list: &str) -> Result<Vec<T>, HomeError> {
    read_entries(path, list)?
        .into_iter()
        .map(serde_json::from_value)
        .collect::<Result<_, _>>()
        .map_err(|source| HomeError::Damaged { path: path.to_owned(), line: source.line(), source })
}

/// The entries as they stand, so that a writer keeps what it does not know; none without a file.
fn read_entries(path: &Path, list: &str) -> Result<Vec<Value>, HomeError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HomeError::io("read", path)(error)),
    };
    let damaged =
        |source: serde_json::Error| HomeError::Damaged { path: path.to_owned(), line: source.line(), source };
    let mut document: serde_json::Map<String, Value> = serde_json::from_str(&text).map_err(damaged)?;
    let version = u32::deserialize(document.get("v").unwrap_or(&Value::Null)).map_err(damaged)?;
    if version != STATE_VERSION {
        return Err(HomeError::Version { path: path.to_owned(), version });
    }
    Vec::deserialize(document.remove(list).unwrap_or(Value::Null)).map_err(damaged)
}

fn write_entries(path: &Path, list: &str, entries: &[Value]) -> Result<(), HomeError> {
    let document = serde_json::json!({"v": STATE_VERSION, list: entries});
    let mut text = serde_json::to_vec_pretty(&document).expect("a JSON value can be written");
    text.push(b'\n');
    replace_file(path, &text, FILE_MODE)
        .map_err(|source| HomeError::Replace { path: path.to_owned(), source })
}
