//! `state/env.json`: which agent runs under which preset, the snapshots, and the switches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::AgentId;
use aiswitch_env::{Ambient, DataKeys, EnvSnapshot, SnapshotId};
use aiswitch_lock::{LockGuard, LockManager, LockName, LockOptions, replace_file};
use serde::{Deserialize, Serialize};

use super::{Binding, EnvNotice, SwitchError, SwitchRecord, SwitchStep};
use crate::clock;
use crate::error::HomeError;
use crate::home::{FILE_MODE, make_folder};
use crate::state::StateFiles;
use crate::{Home, HomeError as Problem};

/// How many snapshots `env.json` keeps, beside those that agents are bound to.
pub const SNAPSHOTS_KEPT_MAX: usize = 200;

/// How many switches `env.json` keeps.
pub const SWITCHES_KEPT_MAX: usize = 500;

/// The version of the file's form.
const VERSION: u32 = 1;

/// How long the lock of one agent's switches is waited for.
const SWITCH_LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a switch whose process ended was taken back.
const BROKEN_OFF: &str = "it was broken off before the preset had proved itself";

/// What `state/env.json` holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvRecords {
    /// The version of this form.
    v: u32,
    /// Agent → what it runs under.
    pub bindings: BTreeMap<AgentId, Binding>,
    /// The snapshots, the oldest first.
    pub snapshots: Vec<EnvSnapshot>,
    /// The switches, the oldest first.
    pub switches: Vec<SwitchRecord>,
}

impl EnvRecords {
    /// The snapshot of an agent with this name.
    pub fn snapshot(&self, agent: &AgentId, id: SnapshotId) -> Option<&EnvSnapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.id == id && snapshot.agent_id == agent.as_ref())
    }

    /// Whether a switch goes on, or was broken off.
    pub fn has_open_switch(&self) -> bool {
        self.switches.iter().any(|record| record.step.is_open())
    }

    /// Has a switch end as the agent's binding is to be.
    fn end(&mut self, id: SnapshotId, step: SwitchStep, reason: Option<String>) -> Option<SwitchRecord> {
        let record = self.switches.iter_mut().find(|record| record.id == id)?;
        record.step = step;
        record.ended_at = Some(clock::now());
        record.reason = reason.or_else(|| record.reason.take());
        let record = record.clone();
        if step == SwitchStep::Committed {
            match record.to.clone() {
                Some(binding) => self.bindings.insert(record.agent.clone(), binding),
                None => self.bindings.remove(&record.agent),
            };
        }
        Some(record)
    }

    /// Ends the switches of an agent that nobody goes on with.
    fn settle(&mut self, agent: &AgentId) -> Vec<EnvNotice> {
        let open: Vec<_> = self.open_of(agent).map(|record| (record.id, record.step)).collect();
        let ends = open.into_iter().filter_map(|(id, step)| {
            if step == SwitchStep::Probed {
                let record = Box::new(self.end(id, SwitchStep::Committed, None)?);
                return Some(EnvNotice::Completed { record });
            }
            let record = Box::new(self.end(id, SwitchStep::RolledBack, Some(BROKEN_OFF.to_owned()))?);
            Some(EnvNotice::TakenBack { record })
        });
        ends.collect()
    }

    fn open_of(&self, agent: &AgentId) -> impl Iterator<Item = &SwitchRecord> {
        self.switches.iter().filter(move |record| record.agent == *agent && record.step.is_open())
    }

    /// Drops the oldest of what is too much, but nothing that is still needed.
    fn shorten(&mut self) -> Vec<EnvNotice> {
        let mut surplus = self.switches.len().saturating_sub(SWITCHES_KEPT_MAX);
        self.switches.retain(|record| {
            let goes = surplus > 0 && !record.step.is_open();
            surplus -= usize::from(goes);
            !goes
        });
        let needed: Vec<SnapshotId> = (self.bindings.values())
            .chain(
                self.switches
                    .iter()
                    .filter(|record| record.step.is_open())
                    .filter_map(|record| record.to.as_ref()),
            )
            .filter_map(|binding| binding.snapshot)
            .collect();
        let mut surplus = self.snapshots.len().saturating_sub(SNAPSHOTS_KEPT_MAX);
        let mut dropped = Vec::new();
        self.snapshots.retain(|snapshot| {
            let goes = surplus > 0 && !needed.contains(&snapshot.id);
            if goes {
                surplus -= 1;
                dropped.push(EnvNotice::Dropped { id: snapshot.id, agent: snapshot.agent_id.clone() });
            }
            !goes
        });
        dropped
    }
}

/// The file, and the locks that all its writers take.
#[derive(Clone, Debug)]
pub struct EnvState {
    files: StateFiles,
}

impl EnvState {
    /// The records of a home; all writers of one home take the same locks from these.
    pub fn new(home: Home, locks: Arc<dyn LockManager>) -> Self {
        Self { files: StateFiles { home, locks } }
    }

    /// The records as they are; a switch that goes on counts from its end on.
    ///
    /// # Errors
    /// They cannot be read, are damaged, or are of a later version.
    pub fn read(&self) -> Result<EnvRecords, Problem> {
        read(&self.files.home)
    }

    /// Ends the switches that were broken off, each to the old preset or the new one, and says so.
    ///
    /// # Errors
    /// The records or their locks cannot be used.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with timers.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub async fn settle(&self) -> Result<Vec<EnvNotice>, SwitchError> {
        let records = self.read()?;
        let mut notices = Vec::new();
        for record in records.switches.iter().filter(|record| record.step.is_open()) {
            // Whoever has the lock goes on with the switch.
            let options = LockOptions::new().with_timeout(Duration::ZERO).with_purpose("broken switch");
            if let Ok(_lock) = self.files.locks.acquire(&lock_of(&record.agent), &options).await {
                notices.extend(self.settle_one(&record.agent).await?);
            }
        }
        Ok(notices)
    }

    /// Encrypts what snapshots hold with the newest of these keys; the number of values.
    ///
    /// # Errors
    /// The records or their lock cannot be used; they are as they were then.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with timers.
    ///
    /// # Cancel safety
    /// A dropped future may have encrypted all of them or none.
    pub async fn reseal(&self, ambient: Ambient, keys: DataKeys) -> Result<usize, HomeError> {
        if !self.read()?.snapshots.iter().any(EnvSnapshot::is_encrypted) {
            return Ok(0);
        }
        let reseal = move |snapshot: &mut EnvSnapshot| snapshot.reseal(&ambient, &keys);
        self.change(move |records| records.snapshots.iter_mut().map(reseal).sum()).await
    }

    /// Has the switches of one agent to oneself, and ends those that were broken off.
    pub(super) async fn hold(&self, agent: &AgentId) -> Result<(LockGuard, Vec<EnvNotice>), SwitchError> {
        let options = LockOptions::new().with_timeout(SWITCH_LOCK_TIMEOUT).with_purpose("env switch");
        let lock = self.files.locks.acquire(&lock_of(agent), &options).await;
        let lock = lock.map_err(|source| SwitchError::Busy { agent: agent.clone(), source })?;
        Ok((lock, self.settle_one(agent).await?))
    }

    async fn settle_one(&self, agent: &AgentId) -> Result<Vec<EnvNotice>, HomeError> {
        if self.read()?.open_of(agent).next().is_none() {
            return Ok(Vec::new());
        }
        let agent = agent.clone();
        self.change(move |records| records.settle(&agent)).await
    }

    /// Writes down that a switch begins, and what was before it.
    pub(super) async fn begin(
        &self,
        record: SwitchRecord,
        before: Option<EnvSnapshot>,
    ) -> Result<Vec<EnvNotice>, HomeError> {
        self.change(move |records| {
            records.snapshots.extend(before);
            records.switches.push(record);
            records.shorten()
        })
        .await
    }

    /// Keeps a snapshot.
    pub(super) async fn keep(&self, snapshot: EnvSnapshot) -> Result<Vec<EnvNotice>, HomeError> {
        self.change(move |records| {
            records.snapshots.push(snapshot);
            records.shorten()
        })
        .await
    }

    /// Writes down that the preset of a switch has proved itself, and which session goes on under it.
    pub(super) async fn probed(&self, id: SnapshotId, session_id: Option<String>) -> Result<(), HomeError> {
        self.change(move |records| {
            for record in records.switches.iter_mut().filter(|record| record.id == id) {
                record.step = SwitchStep::Probed;
                if let Some(binding) = &mut record.to {
                    binding.session_id = session_id.clone().or_else(|| binding.session_id.take());
                }
            }
        })
        .await
    }

    /// Writes down how a switch ended, and binds the agent as that says.
    pub(super) async fn end(
        &self,
        record: &SwitchRecord,
        step: SwitchStep,
        reason: Option<String>,
    ) -> Result<SwitchRecord, HomeError> {
        let (id, begun) = (record.id, record.clone());
        self.change(move |records| records.end(id, step, reason).unwrap_or(begun)).await
    }

    /// Changes the records while no other process does.
    async fn change<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut EnvRecords) -> T + Send + 'static,
    ) -> Result<T, HomeError> {
        let change = move |home: &Home| {
            make_folder(&home.state_dir())?;
            let mut records = read(home)?;
            let done = act(&mut records);
            let mut text =
                serde_json::to_vec_pretty(&records).expect("records have string keys and UTF-8 texts");
            text.push(b'\n');
            let path = home.env_file();
            replace_file(&path, &text, FILE_MODE).map_err(|source| HomeError::Replace { path, source })?;
            Ok(done)
        };
        self.files.clone().locked(change).await
    }
}

/// The lock that whoever moves an agent has for as long as that takes; it is free when the process ends.
fn lock_of(agent: &AgentId) -> LockName {
    LockName::Resource(format!("aiswitch/env/{agent}"))
}

fn read(home: &Home) -> Result<EnvRecords, HomeError> {
    let path = home.env_file();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(EnvRecords { v: VERSION, ..EnvRecords::default() });
        }
        Err(error) => return Err(HomeError::io("read", path)(error)),
    };
    let damaged =
        |source: serde_json::Error| HomeError::Damaged { path: path.clone(), line: source.line(), source };
    let Versioned { v } = serde_json::from_str(&text).map_err(damaged)?;
    if v != VERSION {
        return Err(HomeError::Version { path, version: v });
    }
    serde_json::from_str(&text).map_err(damaged)
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}
