//! What every kind of lock offers, for async and for blocking callers.

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::wait::{Attempt, wait, wait_blocking};
use crate::{Capabilities, CleanupReport, LockError, LockGuard, LockInfo, LockName, LockOptions, clock};

/// A keeper of named locks, for async callers.
///
/// Whoever writes another kind gives back guards by [`LockGuard::new`], with a [`Hold`](crate::Hold) that lets go when it
/// is dropped, and says by [`Capabilities`] what callers may rely on. How three kinds fill the same form:
///
/// | here | files | memory | a lease in etcd |
/// |---|---|---|---|
/// | a lock | a file that the kernel locks | an entry of a table | the keys below a prefix |
/// | a place in the queue | a ticket, sorted by its name | a key in a map | a key, sorted by its create revision |
/// | waiting | a byte in a pipe, or the end of a process | a waker | a watch on the key just ahead |
/// | giving up | removing the ticket | removing the key | deleting the key |
/// | fencing token | a number in the file | a number | the create revision |
/// | the end of a holder | the kernel unlocks | the process has ended | the lease runs out |
/// | [`Hold::loss`](crate::Hold::loss) | the file was replaced | never, but for `release_all` | the renewal of the lease failed |
/// | [`Capabilities::lease`] | `None` | `None` | the lease's time to live |
/// | fencing, fair, shared | yes, yes, yes | yes, yes, yes | yes, yes, no |
///
/// The part of a lease that is its own: a hold that can be lost, which its guard reports.
///
/// ```
/// use aiswitch_lock::{Hold, LockError, LockGuard, LockMode, LockName, LossReason};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
///
/// /// A key in a store of another machine, which goes when its lease is not renewed in time.
/// struct Leased {
///     name: LockName,
///     create_revision: u64,
///     /// Set by whoever renews the lease, once that failed.
///     expired: Arc<AtomicBool>,
/// }
///
/// impl Hold for Leased {
///     fn name(&self) -> &LockName {
///         &self.name
///     }
///     fn fencing_token(&self) -> u64 {
///         self.create_revision
///     }
///     fn loss(&self) -> Option<LossReason> {
///         self.expired.load(Ordering::Acquire).then_some(LossReason::LeaseExpired)
///     }
/// }
///
/// let expired = Arc::new(AtomicBool::new(false));
/// let hold = Leased { name: LockName::Global, create_revision: 7, expired: Arc::clone(&expired) };
/// let guard = LockGuard::new(LockMode::Exclusive, hold);
/// guard.verify()?;
/// expired.store(true, Ordering::Release);
/// assert!(matches!(guard.verify(), Err(LockError::Lost { reason: LossReason::LeaseExpired, .. })));
/// # Ok::<(), LockError>(())
/// ```
#[async_trait]
pub trait LockManager: fmt::Debug + Send + Sync {
    /// Waits for a lock and takes it.
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`] after `options.timeout`, [`LockError::Deadlock`] if waiting is in vain, and whatever
    /// stands in the way of locking at all.
    ///
    /// # Panics
    ///
    /// If it has to wait outside of a Tokio runtime whose timers and I/O are enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any point gives up the place in the queue, and the lock if it had just been won.
    async fn acquire(&self, name: &LockName, options: &LockOptions) -> Result<LockGuard, LockError>;

    /// Takes a lock if that needs no waiting; `None` if somebody holds it or waits for it.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way of locking at all.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future lets the lock go if it had just been won.
    async fn try_acquire(
        &self,
        name: &LockName,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError>;

    /// Takes several locks in the order of their names, all within one time-out; gives back all or none.
    ///
    /// Callers who take what they need by one such call cannot block each other for ever.
    ///
    /// # Errors
    ///
    /// [`LockError::NamedTwice`], and what [`acquire`](Self::acquire) reports for the lock that was not to be had.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire); locks that were already taken are let go.
    async fn acquire_many(
        &self,
        names: &[LockName],
        options: &LockOptions,
    ) -> Result<Vec<LockGuard>, LockError> {
        let mut guards = Vec::with_capacity(names.len());
        let plan = Plan::new(names, options)?;
        for name in &plan.names {
            guards.push(self.acquire(name, &plan.remaining(options)).await?);
        }
        Ok(guards)
    }

    /// Tells who holds a lock and who waits for it, without taking it.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way of reading.
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    async fn inspect(&self, name: &LockName) -> Result<LockInfo, LockError>;

    /// Tells about every lock there is, in the order of their names.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way of reading.
    ///
    /// # Cancel safety
    ///
    /// Nothing is changed.
    async fn list(&self) -> Result<Vec<LockInfo>, LockError>;

    /// Lets go of every lock that was taken through this manager, and tells how many there were.
    ///
    /// Their guards report [`LossReason::Released`](crate::LossReason::Released) from then on.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way of reaching the locks.
    ///
    /// # Cancel safety
    ///
    /// Locks that were let go stay so.
    async fn release_all(&self) -> Result<usize, LockError>;

    /// Removes what nobody can need: what ended waiters left, and files of locks unused for `unused_for`.
    ///
    /// A lock that is held or waited for is never touched.
    ///
    /// # Errors
    ///
    /// Whatever stands in the way of reading and deleting.
    ///
    /// # Cancel safety
    ///
    /// What was removed stays removed.
    async fn cleanup_stale_locks(&self, unused_for: Duration) -> Result<CleanupReport, LockError>;

    /// What this kind of lock can do.
    fn capabilities(&self) -> Capabilities;
}

/// A keeper of named locks, for callers who block their thread; the twin of [`LockManager`].
pub trait BlockingLockManager: fmt::Debug + Send + Sync {
    /// Waits for a lock and takes it.
    ///
    /// # Errors
    ///
    /// As [`LockManager::acquire`].
    fn acquire(&self, name: &LockName, options: &LockOptions) -> Result<LockGuard, LockError>;

    /// Takes a lock if that needs no waiting; `None` if somebody holds it or waits for it.
    ///
    /// # Errors
    ///
    /// As [`LockManager::try_acquire`].
    fn try_acquire(&self, name: &LockName, options: &LockOptions) -> Result<Option<LockGuard>, LockError>;

    /// Takes several locks in the order of their names, all within one time-out; gives back all or none.
    ///
    /// # Errors
    ///
    /// As [`LockManager::acquire_many`].
    fn acquire_many(&self, names: &[LockName], options: &LockOptions) -> Result<Vec<LockGuard>, LockError> {
        let plan = Plan::new(names, options)?;
        plan.names.iter().map(|name| self.acquire(name, &plan.remaining(options))).collect()
    }

    /// Tells who holds a lock and who waits for it, without taking it.
    ///
    /// # Errors
    ///
    /// As [`LockManager::inspect`].
    fn inspect(&self, name: &LockName) -> Result<LockInfo, LockError>;

    /// Tells about every lock there is, in the order of their names.
    ///
    /// # Errors
    ///
    /// As [`LockManager::list`].
    fn list(&self) -> Result<Vec<LockInfo>, LockError>;

    /// Lets go of every lock that was taken through this manager, and tells how many there were.
    ///
    /// # Errors
    ///
    /// As [`LockManager::release_all`].
    fn release_all(&self) -> Result<usize, LockError>;

    /// Removes what nobody can need: what ended waiters left, and files of locks unused for `unused_for`.
    ///
    /// # Errors
    ///
    /// As [`LockManager::cleanup_stale_locks`].
    fn cleanup_stale_locks(&self, unused_for: Duration) -> Result<CleanupReport, LockError>;

    /// What this kind of lock can do.
    fn capabilities(&self) -> Capabilities;
}

/// A kind of lock whose every step but waiting is done at once, so that async and blocking callers go the same way.
pub(crate) trait Immediate: BlockingLockManager {
    type Attempt: Attempt + Send;

    /// Takes a lock at once if that is likely to do, and else begins to wait for it at `now`.
    fn begin(
        &self,
        name: &LockName,
        options: &LockOptions,
        now: impl FnOnce() -> Instant,
    ) -> Result<Begun<Self::Attempt>, LockError>;
}

/// How far an acquire came without waiting.
pub(crate) enum Begun<A> {
    Taken(LockGuard),
    Waits(A),
}

/// The blocking face of an acquire.
#[inline]
pub(crate) fn acquire_blocking(
    locks: &impl Immediate,
    name: &LockName,
    options: &LockOptions,
) -> Result<LockGuard, LockError> {
    match locks.begin(name, options, clock::now)? {
        Begun::Taken(guard) => Ok(guard),
        Begun::Waits(attempt) => wait_blocking(attempt),
    }
}

#[async_trait]
impl<M: Immediate> LockManager for M {
    async fn acquire(&self, name: &LockName, options: &LockOptions) -> Result<LockGuard, LockError> {
        match self.begin(name, options, || tokio::time::Instant::now().into_std())? {
            Begun::Taken(guard) => Ok(guard),
            Begun::Waits(attempt) => wait(attempt).await,
        }
    }

    async fn try_acquire(
        &self,
        name: &LockName,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        BlockingLockManager::try_acquire(self, name, options)
    }

    async fn inspect(&self, name: &LockName) -> Result<LockInfo, LockError> {
        BlockingLockManager::inspect(self, name)
    }

    async fn list(&self) -> Result<Vec<LockInfo>, LockError> {
        BlockingLockManager::list(self)
    }

    async fn release_all(&self) -> Result<usize, LockError> {
        BlockingLockManager::release_all(self)
    }

    async fn cleanup_stale_locks(&self, unused_for: Duration) -> Result<CleanupReport, LockError> {
        BlockingLockManager::cleanup_stale_locks(self, unused_for)
    }

    fn capabilities(&self) -> Capabilities {
        BlockingLockManager::capabilities(self)
    }
}

/// The order in which several locks are taken, and the time left for them.
struct Plan {
    names: Vec<LockName>,
    deadline: Option<Instant>,
}

impl Plan {
    fn new(names: &[LockName], options: &LockOptions) -> Result<Self, LockError> {
        let mut names = names.to_vec();
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(LockError::NamedTwice { name: pair[0].clone() });
        }
        Ok(Self { names, deadline: Instant::now().checked_add(options.timeout) })
    }

    fn remaining(&self, options: &LockOptions) -> LockOptions {
        let timeout =
            self.deadline.map_or(options.timeout, |at| at.saturating_duration_since(Instant::now()));
        options.clone().with_timeout(timeout)
    }
}
