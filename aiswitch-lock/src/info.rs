//! What is known about a lock without taking it.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::{LockMode, LockName, Priority};

/// Who holds a lock, as the holder wrote it down: to be shown, never to be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HolderInfo {
    /// The holder's process.
    pub pid: u32,
    /// The name of its program; `None` if the system does not tell.
    pub program: Option<String>,
    /// The machine it runs on; `None` if the system does not tell.
    pub host: Option<String>,
    /// Who asked, a label within that process.
    pub owner: Option<String>,
    /// What for.
    pub purpose: Option<String>,
    /// Whether the lock is shared; then this is the holder who came last.
    pub mode: LockMode,
    /// When the lock was taken, by the holder's wall clock.
    pub since: SystemTime,
    /// How long it has been held, by a clock that nobody sets; `None` if the record is of an earlier boot.
    pub held_for: Option<Duration>,
    /// The holder's fencing token.
    pub fencing_token: u64,
    /// Whether the process that took the lock still lives.
    pub process: HolderProcess,
}

/// What became of the process that took a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HolderProcess {
    /// It lives.
    Alive,
    /// It ended, yet the lock is held: a child inherited the open file.
    Ended,
    /// It cannot be seen from here: another machine or another process namespace.
    Unknown,
}

/// `pid 4711 (codex, agent reviewer, "cargo build") for 3m 12s`.
impl fmt::Display for HolderInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", self.pid)?;
        if self.process == HolderProcess::Ended {
            f.write_str(", which ended but left a child with the open lock file,")?;
        }
        let owner = self.owner.as_ref().map(|owner| format!("owner {owner}"));
        let purpose = self.purpose.as_ref().map(|purpose| format!("\"{purpose}\""));
        let words: Vec<_> = [self.program.clone(), owner, purpose].into_iter().flatten().collect();
        if !words.is_empty() {
            write!(f, " ({})", words.join(", "))?;
        }
        match self.held_for {
            Some(held_for) => write!(f, " for {}", Span(held_for)),
            None => Ok(()),
        }
    }
}

/// Who waits for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaiterInfo {
    /// The waiter's process.
    pub pid: u32,
    /// Who asks; `None` if it gave no owner or waits in another process.
    pub owner: Option<String>,
    /// Whether it asks to share.
    pub mode: LockMode,
    /// The priority it asked for.
    pub priority: Priority,
    /// How long it has waited.
    pub waited: Duration,
}

/// One lock: who holds it and who waits, the next to be served first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// The lock.
    pub name: LockName,
    /// Whether it is held.
    pub state: LockState,
    /// Who waits, the next to be served first. Of another process only the foremost waiter is visible.
    pub waiters: Vec<WaiterInfo>,
}

/// Whether a lock is held.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockState {
    /// Nobody holds it.
    Free,
    /// Somebody holds it.
    Held {
        /// Who; `None` while the holder has not yet written it down.
        holder: Option<Box<HolderInfo>>,
    },
}

/// What [`cleanup_stale_locks`](crate::LockManager::cleanup_stale_locks) removed and left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CleanupReport {
    /// Lock files that nobody held, nobody waited for and nobody had used for long.
    pub locks_removed: usize,
    /// Places in queues whose waiters had ended.
    pub tickets_removed: usize,
    /// Notes of waits whose waiters had ended.
    pub waits_removed: usize,
    /// Locks left alone because they were held, waited for, or used of late.
    pub locks_kept: usize,
}

/// What a kind of lock can do; see the table at [`LockManager`](crate::LockManager).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// How long a hold lasts unless it is renewed; `None` if it lasts as long as its guard.
    pub lease: Option<Duration>,
    /// Whether tokens order the holders, so that a store can refuse a late writer.
    pub fencing: bool,
    /// Whether waiters are served in the order of priority and arrival.
    pub fair: bool,
    /// Whether [`LockMode::Shared`] lets holders in together.
    pub shared: bool,
}

impl Capabilities {
    /// Whatever holds as long as its guard and can do nothing else; set the fields that differ.
    pub const fn basic() -> Self {
        Self { lease: None, fencing: false, fair: false, shared: false }
    }
}

/// A duration in the words of people: `3m 12s`, `4.2s`, `180ms`.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{}ms", self.0.as_millis()),
            1..10 => write!(f, "{seconds}.{}s", self.0.subsec_millis() / 100),
            10..60 => write!(f, "{seconds}s"),
            60..3600 => write!(f, "{}m {}s", seconds / 60, seconds % 60),
            _ => write!(f, "{}h {}m", seconds / 3600, seconds / 60 % 60),
        }
    }
}
