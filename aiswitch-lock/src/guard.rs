//! A lock in hand.

use std::fmt;

use crate::{LockError, LockMode, LockName};

/// A lock in hand: whoever has the guard has the lock, and dropping it lets the lock go.
///
/// A guard owns what it needs: it may be sent to another thread, kept in a struct and outlive its manager.
/// In a child that was forked off it does nothing.
#[must_use = "a lock is let go when its guard is dropped"]
pub struct LockGuard {
    mode: LockMode,
    hold: Box<dyn Hold>,
}

impl LockGuard {
    /// Wraps what a kind of lock keeps while it is held; for those who write one.
    pub fn new(mode: LockMode, hold: impl Hold + 'static) -> Self {
        Self { mode, hold: Box::new(hold) }
    }

    /// The lock.
    pub fn name(&self) -> &LockName {
        self.hold.name()
    }

    /// Whether others may hold it as well.
    pub fn mode(&self) -> LockMode {
        self.mode
    }

    /// A number that is larger for every later exclusive holder of this lock.
    ///
    /// A store that keeps the largest number it has seen can refuse a write that comes too late. Shared holders have
    /// the number of the last exclusive holder. It is at least the wall clock's nanoseconds since 1970 at the time
    /// when the lock's file was made, so it does not fall back when the file is deleted.
    pub fn fencing_token(&self) -> u64 {
        self.hold.fencing_token()
    }

    /// Asks whether the guard still protects what it stands for, before a step that cannot be undone.
    ///
    /// # Errors
    ///
    /// [`LockError::Lost`] if it does not.
    pub fn verify(&self) -> Result<(), LockError> {
        match self.hold.loss() {
            None => Ok(()),
            Some(reason) => Err(LockError::Lost { name: self.name().clone(), reason }),
        }
    }

    /// Lets the lock go and reports what dropping the guard would keep to itself.
    ///
    /// # Errors
    ///
    /// [`LockError::Lost`] if the guard had stopped protecting before.
    pub fn release(self) -> Result<(), LockError> {
        self.verify()
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("name", self.name())
            .field("mode", &self.mode)
            .field("fencing_token", &self.fencing_token())
            .finish_non_exhaustive()
    }
}

/// What a kind of lock keeps while it is held; dropping it lets the lock go.
pub trait Hold: Send + Sync {
    /// The lock.
    fn name(&self) -> &LockName;

    /// The number of this hold; see [`LockGuard::fencing_token`].
    fn fencing_token(&self) -> u64;

    /// How the hold was lost; `None` while it protects.
    fn loss(&self) -> Option<crate::LossReason>;
}
