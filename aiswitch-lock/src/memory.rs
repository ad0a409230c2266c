//! Named locks within one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use crate::identity::Identity;
use crate::manager::{Begun, Immediate, acquire_blocking};
use crate::options::PRIORITY_STEP_DEFAULT;
use crate::queue::{Claim, Holder, Place, Queue, Role};
use crate::wait::{Attempt, Park};
use crate::{
    BlockingLockManager, Capabilities, CleanupReport, DeadlockLink, Hold, HolderInfo, HolderProcess,
    LockError, LockGuard, LockInfo, LockMode, LockName, LockOptions, LockState, LossReason, clock, queue,
};

/// Named locks within one process: the same order of service and the same guards as with files, without files.
///
/// ```
/// use aiswitch_lock::{BlockingLockManager, LockName, LockOptions, MemoryLockManager};
///
/// let locks = MemoryLockManager::new();
/// let guard = locks.acquire(&LockName::Global, &LockOptions::new())?;
/// assert!(locks.try_acquire(&LockName::Global, &LockOptions::new())?.is_none());
/// drop(guard);
/// assert!(locks.try_acquire(&LockName::Global, &LockOptions::new())?.is_some());
/// # Ok::<(), aiswitch_lock::LockError>(())
/// ```
#[derive(Debug)]
pub struct MemoryLockManager {
    table: Arc<Mutex<Table>>,
    identity: Identity,
}

#[derive(Debug)]
struct Table {
    locks: HashMap<LockName, Queue<Held>>,
    /// The last token given out, for any lock.
    token: u64,
}

#[derive(Debug)]
struct Held {
    options: LockOptions,
    since_wall_ns: u64,
    since_boot_ns: u64,
    token: u64,
}

impl MemoryLockManager {
    /// No locks yet.
    pub fn new() -> Self {
        let table = Table { locks: HashMap::new(), token: 0 };
        Self { table: Arc::new(Mutex::new(table)), identity: Identity::of_this_process() }
    }

    fn start(
        &self,
        name: &LockName,
        options: &LockOptions,
        now: Instant,
    ) -> Result<MemoryAttempt, LockError> {
        name.stem()?;
        options.check()?;
        let arrived_ns = clock::boot_ns();
        let step_ns = u64::try_from(PRIORITY_STEP_DEFAULT.as_nanos()).unwrap_or(u64::MAX);
        let claim = Claim {
            mode: options.mode,
            priority: options.priority,
            owner: options.owner.clone(),
            arrived_ns,
        };
        let mut table = lock(&self.table);
        let queue = table.locks.entry(name.clone()).or_insert_with(Queue::new);
        let place = queue.enter(queue::key(arrived_ns, options.priority, step_ns), claim);
        Ok(MemoryAttempt {
            table: Arc::clone(&self.table),
            identity: self.identity.clone(),
            name: name.clone(),
            options: options.clone(),
            place: Some(place),
            started: now,
        })
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // No code that runs under the mutex can panic halfway through a change.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for MemoryLockManager {
    fn default() -> Self {
        Self::new()
    }
}

impl Immediate for MemoryLockManager {
    type Attempt = MemoryAttempt;

    fn begin(
        &self,
        name: &LockName,
        options: &LockOptions,
        now: impl FnOnce() -> Instant,
    ) -> Result<Begun<MemoryAttempt>, LockError> {
        self.start(name, options, now()).map(Begun::Waits)
    }
}

impl BlockingLockManager for MemoryLockManager {
    fn acquire(&self, name: &LockName, options: &LockOptions) -> Result<LockGuard, LockError> {
        acquire_blocking(self, name, options)
    }

    fn try_acquire(&self, name: &LockName, options: &LockOptions) -> Result<Option<LockGuard>, LockError> {
        let crowded = lock(&self.table).locks.get(name).is_some_and(Queue::has_waiters);
        if crowded {
            return Ok(None);
        }
        Ok(self.start(name, options, clock::now())?.take())
    }

    fn inspect(&self, name: &LockName) -> Result<LockInfo, LockError> {
        name.stem()?;
        let table = lock(&self.table);
        Ok(table.locks.get(name).map_or_else(
            || LockInfo { name: name.clone(), state: LockState::Free, waiters: Vec::new() },
            |queue| describe(name, queue, &self.identity),
        ))
    }

    fn list(&self) -> Result<Vec<LockInfo>, LockError> {
        let table = lock(&self.table);
        let mut all: Vec<_> =
            table.locks.iter().map(|(name, queue)| describe(name, queue, &self.identity)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn release_all(&self) -> Result<usize, LockError> {
        let held: Vec<_> = lock(&self.table)
            .locks
            .iter()
            .flat_map(|(name, queue)| queue.holders().iter().map(|holder| (name.clone(), holder.id)))
            .collect();
        Ok(held.iter().filter(|(name, id)| release(&self.table, name, *id)).count())
    }

    /// Nothing is left behind in memory, so there is nothing to remove.
    fn cleanup_stale_locks(&self, _unused_for: Duration) -> Result<CleanupReport, LockError> {
        Ok(CleanupReport { locks_kept: lock(&self.table).locks.len(), ..CleanupReport::default() })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { lease: None, fencing: true, fair: true, shared: true }
    }
}

pub(crate) struct MemoryAttempt {
    table: Arc<Mutex<Table>>,
    identity: Identity,
    name: LockName,
    options: LockOptions,
    /// Its place in the queue; `None` once it holds the lock.
    place: Option<Place>,
    started: Instant,
}

impl MemoryAttempt {
    fn take(&mut self) -> Option<LockGuard> {
        let mut table = lock(&self.table);
        let Table { locks, token } = &mut *table;
        let (Some(queue), Some(place)) = (locks.get_mut(&self.name), self.place) else { return None };
        if queue.role(place) == Role::Wait {
            return None;
        }
        if self.options.mode == LockMode::Exclusive {
            *token += 1;
        }
        let held = Held {
            options: self.options.clone(),
            since_wall_ns: clock::wall_ns(),
            since_boot_ns: clock::boot_ns(),
            token: *token,
        };
        queue.leave(place);
        self.place = None;
        let id = queue.hold(self.options.mode, self.options.owner.clone(), held);
        let waker = queue.wake_lead();
        let hold = MemoryHold { table: Arc::clone(&self.table), name: self.name.clone(), id, token: *token };
        drop(table);
        waker.into_iter().for_each(Waker::wake);
        Some(LockGuard::new(self.options.mode, hold))
    }

    /// Fails if waiting is in vain: because the owner has the lock, or because those who have it wait for the owner.
    fn check_deadlock(&self) -> Result<(), LockError> {
        let Some(owner) = &self.options.owner else { return Ok(()) };
        let table = lock(&self.table);
        let (mut link_owner, mut link_name) = (owner.clone(), self.name.clone());
        let mut cycle = Vec::new();
        while cycle.len() <= table.locks.len() {
            let Some(queue) = table.locks.get(&link_name) else { return Ok(()) };
            cycle.push(DeadlockLink {
                pid: self.identity.pid,
                owner: link_owner,
                waits_for: link_name.clone(),
            });
            let holders = queue.holders();
            if holders.iter().any(|holder| holder.owner.as_ref() == Some(owner)) {
                let name = self.name.clone();
                return Err(match cycle.len() {
                    1 => LockError::WouldDeadlock { name, owner: owner.clone() },
                    _ => LockError::Deadlock { name, cycle },
                });
            }
            let next = holders.iter().filter_map(|holder| holder.owner.as_ref()).find_map(|holder| {
                let waits = |queue: &Queue<Held>| {
                    queue.claims().any(|(_, claim)| claim.owner.as_ref() == Some(holder))
                };
                let found = table.locks.iter().find(|(_, queue)| waits(queue))?;
                Some((holder.clone(), found.0.clone()))
            });
            match next {
                Some(next) => (link_owner, link_name) = next,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.started.checked_add(self.options.timeout)
    }
}

impl Attempt for MemoryAttempt {
    fn advance(&mut self, now: Instant) -> Result<Option<LockGuard>, LockError> {
        if let Some(guard) = self.take() {
            return Ok(Some(guard));
        }
        self.check_deadlock()?;
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(None);
        }
        let table = lock(&self.table);
        let queue = table.locks.get(&self.name);
        let holder = queue.and_then(|queue| queue.holders().last());
        Err(LockError::Timeout {
            name: self.name.clone(),
            waited: now.saturating_duration_since(self.started),
            holder: holder.map(|holder| Box::new(holder_info(holder, &self.identity))),
            ahead: queue.zip(self.place).map(|(queue, place)| queue.ahead_of(place)),
        })
    }

    fn park(&mut self, _now: Instant) -> Park {
        Park::Turn { until: self.deadline() }
    }

    fn turn(&mut self, waker: &Waker) -> Poll<()> {
        let mut table = lock(&self.table);
        let (Some(queue), Some(place)) = (table.locks.get_mut(&self.name), self.place) else {
            return Poll::Ready(());
        };
        match queue.role(place) {
            Role::Lead => Poll::Ready(()),
            Role::Wait => {
                queue.wake_by(place, waker);
                Poll::Pending
            }
        }
    }
}

impl Drop for MemoryAttempt {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            change(&self.table, &self.name, |queue| queue.leave(place));
        }
    }
}

struct MemoryHold {
    table: Arc<Mutex<Table>>,
    name: LockName,
    id: u64,
    token: u64,
}

impl Hold for MemoryHold {
    fn name(&self) -> &LockName {
        &self.name
    }

    fn fencing_token(&self) -> u64 {
        self.token
    }

    fn loss(&self) -> Option<LossReason> {
        let table = lock(&self.table);
        let held = |queue: &Queue<Held>| queue.holders().iter().any(|holder| holder.id == self.id);
        (!table.locks.get(&self.name).is_some_and(held)).then_some(LossReason::Released)
    }
}

impl Drop for MemoryHold {
    fn drop(&mut self) {
        // After `release_all` there is nothing to let go of.
        release(&self.table, &self.name, self.id);
    }
}

fn release(table: &Mutex<Table>, name: &LockName, id: u64) -> bool {
    change(table, name, |queue| queue.release(id)).flatten().is_some()
}

/// Changes the queue of one lock, forgets it once nobody holds it or waits, and wakes whoever may lead then.
fn change<T>(table: &Mutex<Table>, name: &LockName, with: impl FnOnce(&mut Queue<Held>) -> T) -> Option<T> {
    let mut table = lock(table);
    let queue = table.locks.get_mut(name)?;
    let value = with(queue);
    let waker = queue.wake_lead();
    if queue.is_idle() {
        table.locks.remove(name);
    }
    drop(table);
    waker.into_iter().for_each(Waker::wake);
    Some(value)
}

fn describe(name: &LockName, queue: &Queue<Held>, identity: &Identity) -> LockInfo {
    let holder = queue.holders().last().map(|holder| Box::new(holder_info(holder, identity)));
    let state = match holder {
        Some(_) => LockState::Held { holder },
        None => LockState::Free,
    };
    let now_ns = clock::boot_ns();
    let waiters = queue.claims().map(|(_, claim)| claim.describe(identity.pid, now_ns)).collect();
    LockInfo { name: name.clone(), state, waiters }
}

fn holder_info(holder: &Holder<Held>, identity: &Identity) -> HolderInfo {
    let held = &holder.hold;
    HolderInfo {
        pid: identity.pid,
        program: Some(identity.program.clone()),
        host: Some(identity.host.clone()),
        owner: held.options.owner.clone(),
        purpose: held.options.purpose.clone(),
        mode: holder.mode,
        since: clock::wall_time(held.since_wall_ns),
        held_for: Some(Duration::from_nanos(clock::boot_ns().saturating_sub(held.since_boot_ns))),
        fencing_token: held.token,
        process: HolderProcess::Alive,
    }
}
