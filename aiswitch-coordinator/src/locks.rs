//! Taking locks, and telling what is waited for meanwhile.

use std::fmt;
use std::time::Duration;

use aiswitch_lock::{HolderInfo, LockError, LockGuard, LockManager, LockName, LockOptions, LockState};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How long a wait may take before it is told of; most locks are held for less.
const FIRST_LOOK_AFTER: Duration = Duration::from_millis(100);

/// How often a waiter looks whether the lock that it waits for has another holder.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A lock that is waited for, and who has it.
///
/// `waiting for lock "resource:x", held by pid 4711 (codex, "cargo build") for 3m 12s; 2 ahead of you`, with back quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LockWait {
    /// The lock: `global`, `resource:TEXT` or `task:TEXT`.
    pub lock: String,
    /// Who has it; `None` while it changes hands.
    pub holder: Option<LockHolder>,
    /// How many others that wait for it are served first.
    pub ahead: usize,
}

impl fmt::Display for LockWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for lock `{}`", self.lock)?;
        if let Some(holder) = &self.holder {
            write!(f, ", held by {}", holder.text)?;
        }
        match self.ahead {
            0 => Ok(()),
            ahead => write!(f, "; {ahead} ahead of you"),
        }
    }
}

/// Who has a lock, as the holder wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LockHolder {
    /// Its process.
    pub pid: u32,
    /// The name of its program; `None` where the system does not tell.
    pub program: Option<String>,
    /// Who asked for the lock within that process; for a run, its id.
    pub owner: Option<String>,
    /// What for.
    pub purpose: Option<String>,
    /// How long it has had the lock, in milliseconds; `None` where that is not known.
    pub held_ms: Option<u64>,
    /// A number that is larger for every later holder.
    pub fencing_token: u64,
    /// All of this in words for people.
    pub text: String,
}

impl From<&HolderInfo> for LockHolder {
    fn from(info: &HolderInfo) -> Self {
        Self {
            pid: info.pid,
            program: info.program.clone(),
            owner: info.owner.clone(),
            purpose: info.purpose.clone(),
            held_ms: info.held_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            fencing_token: info.fencing_token,
            text: info.to_string(),
        }
    }
}

/// Takes several locks, all or none, and tells of a wait that is not short, again whenever the holder changes.
///
/// # Errors
/// As [`LockManager::acquire_many`].
///
/// # Panics
/// If it has to wait outside of a Tokio runtime whose timers and I/O are enabled.
///
/// # Cancel safety
/// Dropping the future gives up the place in the queue, and lets go of what was taken.
pub async fn take_locks(
    locks: &dyn LockManager,
    names: &[LockName],
    options: &LockOptions,
    mut on_wait: impl FnMut(LockWait),
) -> Result<Vec<LockGuard>, LockError> {
    let mut taken = locks.acquire_many(names, options);
    let mut look = interval_at(Instant::now() + FIRST_LOOK_AFTER, LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tokio::select! {
            biased;
            guards = &mut taken => return guards,
            _ = look.tick() => {
                let Some(wait) = waited_for(locks, names, options).await else { continue };
                let holder = (wait.lock.clone(), wait.holder.as_ref().map(|holder| holder.fencing_token));
                if told.as_ref() != Some(&holder) {
                    told = Some(holder);
                    on_wait(wait);
                }
            }
        }
    }
}

/// The one lock of these that this caller waits for; `None` where it cannot be seen.
async fn waited_for(locks: &dyn LockManager, names: &[LockName], options: &LockOptions) -> Option<LockWait> {
    let pid = std::process::id();
    for name in names {
        // What keeps a lock from being looked at keeps it from being taken as well, and is told there.
        let Ok(info) = locks.inspect(name).await else { continue };
        let own = info.waiters.iter().position(|waiter| waiter.pid == pid && waiter.owner == options.owner);
        if let Some(ahead) = own {
            let holder = match &info.state {
                LockState::Held { holder } => holder.as_deref().map(LockHolder::from),
                _ => None,
            };
            return Some(LockWait { lock: name.to_string(), holder, ahead });
        }
    }
    None
}
