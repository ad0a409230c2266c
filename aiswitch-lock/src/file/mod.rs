//! Named locks between processes: one file for each lock, which the kernel locks.

mod attempt;
mod cleanup;
mod header;
mod inspect;
mod slot;
mod ticket;
mod waits;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::identity::Identity;
use crate::manager::{Begun, Immediate, acquire_blocking};
use crate::network::network_kind;
use crate::options::PRIORITY_STEP_DEFAULT;
use crate::{
    BlockingLockManager, Capabilities, CleanupReport, FolderProblem, LockError, LockGuard, LockInfo,
    LockName, LockOptions,
};

use attempt::FileAttempt;
use slot::Slot;
pub(crate) use ticket::Bell;
use ticket::TicketKind;

/// How long an owner waits before it looks whether waiting is in vain: 1 second.
pub const DEADLOCK_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// How many locks a manager remembers, with their files open; more only if they are held or waited for.
const FILES_MAX: usize = 256;

const QUEUE_SUFFIX: &str = ".queue";

/// Named locks between processes, kept in a folder.
///
/// ```
/// use aiswitch_lock::{BlockingLockManager, FileLockManager, LockName, LockOptions};
///
/// # let home = tempfile::tempdir()?;
/// # let folder = home.path().join("locks");
/// let locks = FileLockManager::open(folder)?;
/// let guard = locks.acquire(&LockName::resource("index")?, &LockOptions::new().with_purpose("rebuild"))?;
/// // Nobody else is here now, in this process or another.
/// drop(guard);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileLockManager {
    shared: Arc<Shared>,
    slots: Mutex<Slots>,
}

/// How a [`FileLockManager`] waits; the same for every process that uses a folder, or else the order of service suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileLockConfig {
    /// How a waiter learns that it may look again.
    pub wakeup: Wakeup,
    /// How long a waiter waits to be served like one of the next higher priority.
    pub priority_step: Duration,
    /// How long an owner waits before it looks whether waiting is in vain.
    pub deadlock_after: Duration,
}

impl Default for FileLockConfig {
    /// Events on Linux and backoff elsewhere, [`PRIORITY_STEP_DEFAULT`] and [`DEADLOCK_AFTER_DEFAULT`].
    fn default() -> Self {
        let wakeup = if cfg!(target_os = "linux") { Wakeup::Event } else { Wakeup::Backoff };
        Self { wakeup, priority_step: PRIORITY_STEP_DEFAULT, deadlock_after: DEADLOCK_AFTER_DEFAULT }
    }
}

/// How a waiter learns that it may look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wakeup {
    /// It is woken through a named pipe, and by the end of the process that it waits for. Linux.
    Event,
    /// It looks by itself, after pauses that grow and are drawn at random. Everywhere.
    Backoff,
}

/// The locks that a manager remembers.
#[derive(Debug)]
struct Slots {
    /// Each with the count of uses at its last one.
    known: BTreeMap<LockName, (Arc<Slot>, u64)>,
    uses: u64,
}

impl Slots {
    fn get(&mut self, name: &LockName, shared: &Arc<Shared>) -> Result<Arc<Slot>, LockError> {
        self.uses += 1;
        if let Some((slot, used)) = self.known.get_mut(name) {
            *used = self.uses;
            return Ok(Arc::clone(slot));
        }
        if self.known.len() >= FILES_MAX {
            // Whatever is held or waited for is referred to from elsewhere, so its count is larger.
            let idle = self.known.iter().filter(|(_, (slot, _))| Arc::strong_count(slot) == 1);
            let oldest = idle.min_by_key(|(_, (_, used))| *used).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.known.remove(&name));
        }
        let slot = Arc::new(Slot::new(name.clone(), shared)?);
        self.known.insert(name.clone(), (Arc::clone(&slot), self.uses));
        Ok(slot)
    }
}

/// What a manager, its guards and its waiters have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    folder: PathBuf,
    identity: Identity,
    config: FileLockConfig,
}

impl FileLockManager {
    /// Opens a folder of locks and makes it if need be, for its owner alone.
    ///
    /// # Errors
    ///
    /// [`LockError::Folder`] if it is not a folder, others may write to it or it is on a network; [`LockError::Io`] if the system refuses.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, LockError> {
        Self::open_with(folder, FileLockConfig::default())
    }

    /// Opens a folder of locks with another way to wait.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(folder: impl Into<PathBuf>, config: FileLockConfig) -> Result<Self, LockError> {
        let folder = folder.into();
        // The working folder may change later.
        let folder = std::path::absolute(&folder).map_err(LockError::io("find", &folder))?;
        make_folder(&folder)?;
        if let Some(problem) = folder_problem(&folder)? {
            return Err(LockError::Folder { path: folder, problem });
        }
        if let Some(kind) = network_kind(&folder)? {
            return Err(LockError::Folder { path: folder, problem: FolderProblem::Network { kind } });
        }
        let shared = Shared { folder, identity: Identity::of_this_process(), config };
        Ok(Self { shared: Arc::new(shared), slots: Mutex::new(Slots { known: BTreeMap::new(), uses: 0 }) })
    }

    /// The folder of the locks.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// What this process knows of a lock; looked up without opening its file.
    #[inline]
    fn slot(&self, name: &LockName) -> Result<Arc<Slot>, LockError> {
        self.shared.check_process()?;
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(name, &self.shared)
    }
}

impl Immediate for FileLockManager {
    type Attempt = FileAttempt;

    #[inline]
    fn begin(
        &self,
        name: &LockName,
        options: &LockOptions,
        now: impl FnOnce() -> Instant,
    ) -> Result<Begun<FileAttempt>, LockError> {
        options.check()?;
        let slot = self.slot(name)?;
        match slot.take_unless_crowded(options)? {
            Some(guard) => Ok(Begun::Taken(guard)),
            None => FileAttempt::start(slot, options, now()).map(Begun::Waits),
        }
    }
}

impl BlockingLockManager for FileLockManager {
    fn acquire(&self, name: &LockName, options: &LockOptions) -> Result<LockGuard, LockError> {
        acquire_blocking(self, name, options)
    }

    fn try_acquire(&self, name: &LockName, options: &LockOptions) -> Result<Option<LockGuard>, LockError> {
        options.check()?;
        self.slot(name)?.try_take(options)
    }

    fn inspect(&self, name: &LockName) -> Result<LockInfo, LockError> {
        let slot = self.slot(name)?;
        inspect::inspect(&slot)
    }

    fn list(&self) -> Result<Vec<LockInfo>, LockError> {
        self.shared.check_process()?;
        let known = self.slots.lock().unwrap_or_else(PoisonError::into_inner).known.clone();
        let mut all = Vec::new();
        for (name, queue) in inspect::names(&self.shared.folder)? {
            let slot = match known.get(&name) {
                Some((slot, _)) => Arc::clone(slot),
                None => Arc::new(Slot::new(name, &self.shared)?),
            };
            all.push(inspect::inspect_with(&slot, queue)?);
        }
        Ok(all)
    }

    fn release_all(&self) -> Result<usize, LockError> {
        self.shared.check_process()?;
        let known = self.slots.lock().unwrap_or_else(PoisonError::into_inner).known.clone();
        Ok(known.values().map(|(slot, _)| slot.release_all()).sum())
    }

    fn cleanup_stale_locks(&self, unused_for: Duration) -> Result<CleanupReport, LockError> {
        self.shared.check_process()?;
        cleanup::cleanup(&self.shared, unused_for)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { lease: None, fencing: true, fair: true, shared: true }
    }
}

impl Shared {
    /// Refuses to work in a child that was forked off: there it would share the parent's locks.
    #[inline]
    fn check_process(&self) -> Result<(), LockError> {
        if rustix::process::getpid().as_raw_pid().cast_unsigned() == self.identity.pid {
            return Ok(());
        }
        Err(LockError::Forked { path: self.folder.clone(), opened_by: self.identity.pid })
    }

    fn ticket_kind(&self) -> TicketKind {
        match self.config.wakeup {
            Wakeup::Event => TicketKind::Pipe,
            Wakeup::Backoff => TicketKind::File,
        }
    }

    fn priority_step_ns(&self) -> u64 {
        u64::try_from(self.config.priority_step.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Makes a folder and those above it that are missing, for its owner alone.
pub(crate) fn make_folder(folder: &Path) -> Result<(), LockError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(LockError::io("make the folder", folder)),
    }
}

/// The check of a folder at the door: whoever may write to it may take away any file in it.
pub(crate) fn folder_problem(folder: &Path) -> Result<Option<FolderProblem>, LockError> {
    let found = fs::symlink_metadata(folder).map_err(LockError::io("look at the folder", folder))?;
    let mode = found.mode() & 0o7777;
    Ok(if found.is_symlink() {
        Some(FolderProblem::Symlink)
    } else if !found.is_dir() {
        Some(FolderProblem::NotAFolder)
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        Some(FolderProblem::ForeignOwner { uid: found.uid() })
    } else if mode & 0o022 != 0 {
        Some(FolderProblem::WritableByOthers { mode })
    } else {
        None
    })
}
