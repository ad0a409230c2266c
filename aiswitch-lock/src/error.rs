//! Everything that can go wrong with a lock.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::info::Span;
use crate::{HolderInfo, LockName, NameProblem};

/// Everything that can go wrong with a lock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// A text cannot name a lock.
    #[error("lock name `{}` cannot be used: {problem}", name.escape_debug())]
    InvalidName {
        /// The text.
        name: String,
        /// Why not.
        problem: NameProblem,
    },
    /// An owner or a purpose is too long or holds a control character.
    #[error(
        "`{field}` of a lock cannot be used: {bytes} bytes, {bytes_max} are allowed, without control characters"
    )]
    InvalidLabel {
        /// `owner` or `purpose`.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest that is allowed.
        bytes_max: usize,
    },
    /// One call named the same lock twice.
    #[error("lock `{name}` is named twice in one request; name it once")]
    NamedTwice {
        /// The lock.
        name: LockName,
    },
    /// The lock did not come free in time.
    #[error("lock `{name}` was not free within {}{}", Span(*waited), Busy { holder: holder.as_deref(), ahead: *ahead })]
    Timeout {
        /// The lock.
        name: LockName,
        /// How long the caller waited.
        waited: Duration,
        /// Who held it at the end; `None` if it had just changed hands.
        holder: Option<Box<HolderInfo>>,
        /// How many others would have been served first; `None` if that could not be told.
        ahead: Option<usize>,
    },
    /// Owners wait for each other in a circle; this one, who came last, steps back.
    #[error("lock `{name}` cannot come free: {}", Circle(cycle))]
    Deadlock {
        /// The lock that was asked for.
        name: LockName,
        /// Who waits for what; each waits for the next, the last for the first.
        cycle: Vec<DeadlockLink>,
    },
    /// An owner asks for a lock that it holds already.
    #[error("lock `{name}` is already held by owner `{owner}` itself; it would wait for ever")]
    WouldDeadlock {
        /// The lock.
        name: LockName,
        /// The owner.
        owner: String,
    },
    /// A guard no longer protects anything.
    #[error("lock `{name}` was lost: {reason}")]
    Lost {
        /// The lock.
        name: LockName,
        /// How.
        reason: LossReason,
    },
    /// The folder of the locks cannot be trusted.
    #[error("lock folder `{}` cannot be used: {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        problem: FolderProblem,
    },
    /// The file system cannot lock files.
    #[error("file system of `{}` cannot lock files; put the lock folder on a local disk", path.display())]
    Unsupported {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The manager was opened before this process was forked off.
    #[error("lock folder `{}` was opened by another process (pid {opened_by}); open it again after a fork", path.display())]
    Forked {
        /// The folder.
        path: PathBuf,
        /// The process that opened it.
        opened_by: u32,
    },
    /// The system refused something.
    #[error("could not {action} `{}`", path.display())]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LockError {
    /// For `map_err`: the system refused to do `action` with `path`.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source: source.into() }
    }
}

/// One member of a deadlock.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadlockLink {
    /// The process.
    pub pid: u32,
    /// The owner within that process.
    pub owner: String,
    /// The lock it waits for, which the next member holds.
    pub waits_for: LockName,
}

/// How a guard came to protect nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossReason {
    /// The lock's file was deleted or replaced, so that others may hold a lock of the same name.
    FileReplaced,
    /// [`release_all`](crate::LockManager::release_all) let it go.
    Released,
    /// The time of the lease ran out before it was renewed.
    LeaseExpired,
    /// This process was forked off the one that has the lock.
    Forked,
}

impl fmt::Display for LossReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FileReplaced => "its file was deleted or replaced",
            Self::Released => "all locks of its manager were released",
            Self::LeaseExpired => "its lease ran out",
            Self::Forked => "this process was forked off the one that has it",
        })
    }
}

/// Why a folder of locks cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FolderProblem {
    /// Something other than a folder has its name.
    NotAFolder,
    /// Its name is a symbolic link, which somebody could turn elsewhere.
    Symlink,
    /// Others than its owner may write to it.
    WritableByOthers {
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to another user.
    ForeignOwner {
        /// That user's number.
        uid: u32,
    },
    /// Its file system is one of several machines, where a lock of one does not bind the others.
    Network {
        /// What the file system is called.
        kind: &'static str,
    },
}

impl fmt::Display for FolderProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFolder => f.write_str("it is not a folder; move that file away"),
            Self::Symlink => f.write_str("it is a symbolic link; name the folder itself"),
            Self::WritableByOthers { mode } => {
                write!(f, "others may write to it (mode {mode:03o}); run chmod 700 on it")
            }
            Self::ForeignOwner { uid } => write!(f, "it belongs to user {uid}; use a folder of your own"),
            Self::Network { kind } => write!(
                f,
                "it is on a file system of several machines ({kind}), where a lock of one does not bind the others; \
                 use a folder on a local disk"
            ),
        }
    }
}

struct Busy<'a> {
    holder: Option<&'a HolderInfo>,
    ahead: Option<usize>,
}

impl fmt::Display for Busy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(holder) = self.holder {
            write!(f, ": held by {holder}")?;
        }
        match self.ahead {
            Some(ahead) if ahead > 0 => write!(f, "; {ahead} ahead in the queue"),
            Some(_) | None => Ok(()),
        }
    }
}

struct Circle<'a>(&'a [DeadlockLink]);

impl fmt::Display for Circle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, link) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}`{}` (pid {}) waits for `{}`", link.owner, link.pid, link.waits_for)?;
        }
        f.write_str(", each held by the next")
    }
}
