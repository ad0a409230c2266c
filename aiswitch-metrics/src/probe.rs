//! One look at a process tree.

use chrono::{DateTime, Utc};

use crate::AgentSample;
#[cfg(target_os = "linux")]
use crate::probe_proc::look;
#[cfg(not(target_os = "linux"))]
use crate::probe_sysinfo::look;

/// The largest tree that is looked through; a larger one has no sample.
pub const PROCESSES_MAX: usize = 4096;

/// What a look at a tree found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) memory_bytes: u64,
    pub(crate) processes: usize,
}

/// Looks once at the process `pid` and all that descends from it.
///
/// `None` when the process is gone, when the system does not tell, and beyond [`PROCESSES_MAX`] processes.
/// On Linux this blocks for some tens of microseconds a process, which an async loop may do once a second.
pub fn sample(agent: &str, pid: u32, now: DateTime<Utc>) -> Option<AgentSample> {
    let Tree { memory_bytes, processes } = look(pid)?;
    Some(AgentSample { agent: agent.to_owned(), at: now, memory_bytes, processes })
}
