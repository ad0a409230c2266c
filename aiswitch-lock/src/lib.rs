#![doc = include_str!("../README.md")]

mod clock;
#[cfg(feature = "database")]
pub mod database;
mod error;
mod file;
mod flock;
mod guard;
mod identity;
mod info;
mod manager;
mod mark;
mod memory;
mod name;
mod network;
mod options;
mod queue;
mod replace;
mod wait;

pub use error::{DeadlockLink, FolderProblem, LockError, LossReason};
pub use file::{DEADLOCK_AFTER_DEFAULT, FileLockConfig, FileLockManager, Wakeup};
pub use flock::{LockAttempt, LockFile};
pub use guard::{Hold, LockGuard};
pub use info::{Capabilities, CleanupReport, HolderInfo, HolderProcess, LockInfo, LockState, WaiterInfo};
pub use manager::{BlockingLockManager, LockManager};
pub use mark::ProcessMark;
pub use memory::MemoryLockManager;
pub use name::{LockName, NAME_BYTES_MAX, NameProblem};
pub use options::{
    LockMode, LockOptions, OWNER_BYTES_MAX, PRIORITY_STEP_DEFAULT, PURPOSE_BYTES_MAX, Priority,
    TIMEOUT_DEFAULT,
};
pub use replace::replace_file;

/// The SQLite that databases are made of, so that whoever uses one uses the same.
#[cfg(feature = "database")]
pub use rusqlite;
