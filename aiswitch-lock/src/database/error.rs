//! Everything that can go wrong with a database.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::{FolderProblem, LockError};

use super::SQLITE_VERSION_MIN;

/// Everything that can go wrong with a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// Its folder cannot be made or looked at, or the turn to write did not come.
    #[error("database `{}` cannot be reached", path.display())]
    Unreachable {
        /// The database.
        path: PathBuf,
        /// Why not.
        #[source]
        source: LockError,
    },
    /// The folder of the database cannot be trusted.
    #[error("folder `{}` cannot keep a database: {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        problem: FolderProblem,
    },
    /// The file cannot be trusted.
    #[error("`{}` cannot be used as a database: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: FileProblem,
    },
    /// The folder is not on this machine, so that its users do not share memory.
    #[error("`{}` is on a network file system ({kind}), where a database gets damaged; keep it on a local disk", path.display())]
    Network {
        /// The folder.
        path: PathBuf,
        /// What the file system is called.
        kind: &'static str,
    },
    /// A later version of the program wrote it.
    #[error("database `{}` has version {version}, and this program knows up to {version_max}; use the later program", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        version: i64,
        /// The latest version that is known here.
        version_max: i64,
    },
    /// Its version is a number that none has.
    #[error("database `{}` has version {version}, which none has; move it away to go on without it", path.display())]
    NoVersion {
        /// The database.
        path: PathBuf,
        /// What stands where its version does.
        version: i64,
    },
    /// It was taken away or replaced while it was open.
    #[error("database `{}` was taken away while it was in use; start again to go on with what is there now", path.display())]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// It is the database of something else.
    #[error("database `{}` belongs to another program (application id {application_id}); move it away to go on without it", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
        /// The number that it is marked with.
        application_id: i64,
    },
    /// It cannot be written.
    #[error("database `{}` is read-only; give its owner the right to write", path.display())]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
    /// The disk, or the user's share of it, is full.
    #[error("database `{}` has no room to grow; free some of its disk", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A program that does not take turns held it for too long.
    #[error("database `{}` is locked by another program, such as `sqlite3`; end it and try again", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// It does not hold what a database holds.
    #[error("database `{}` is damaged; move it away to go on without it", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The place does not allow a log beside the file.
    #[error("database `{}` cannot keep a log (journal mode is `{mode}`); keep it on a local disk", path.display())]
    NoLog {
        /// The database.
        path: PathBuf,
        /// What it keeps instead.
        mode: String,
    },
    /// SQLite is a version that can damage databases.
    #[error(
        "SQLite has version {version}, and {SQLITE_VERSION_MIN} is the first that is safe; build with `bundled`"
    )]
    SqliteTooOld {
        /// Its version, as SQLite numbers it.
        version: i32,
    },
    /// A statement failed.
    #[error("database `{}` refused a statement", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
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

impl DatabaseError {
    /// For `map_err`: what SQLite says about a database, told apart by what to do next.
    pub(super) fn sqlite(path: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| {
            let path = path.to_owned();
            match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path, source },
                Some(ErrorCode::DiskFull) => Self::Full { path, source },
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, source },
                Some(ErrorCode::ReadOnly) if !is_own_refusal(&source) => Self::ReadOnly { path },
                Some(_) | None => Self::Sqlite { path, source },
            }
        }
    }
}

/// For what looks into a database: the error of a row that holds something else than `what` was written.
pub fn damaged(what: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(format!("{what} cannot be read")))
}

/// Whether a statement tried to write where only reading is allowed: the file itself can be written.
fn is_own_refusal(error: &rusqlite::Error) -> bool {
    matches!(error, rusqlite::Error::SqliteFailure(code, _) if code.extended_code == rusqlite::ffi::SQLITE_READONLY)
}

/// Why a file cannot be trusted as a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileProblem {
    /// Something other than a file has its name.
    NotAFile,
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
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFile => f.write_str("it is not a plain file; move it away"),
            Self::Symlink => f.write_str("it is a symbolic link; put the file itself there"),
            Self::WritableByOthers { mode } => {
                write!(f, "others may write to it (mode {mode:03o}); run chmod 600 on it")
            }
            Self::ForeignOwner { uid } => write!(f, "it belongs to user {uid}; use a file of your own"),
        }
    }
}
