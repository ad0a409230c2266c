//! The check of the file and its folder before SQLite sees them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::LockError;
use crate::file::{folder_problem, make_folder};
use crate::network::network_kind;

use super::{DatabaseError, FileProblem};

/// Makes the folder of a database if need be, and tells the file's path without symbolic links above it.
pub(super) fn check_folder(path: &Path) -> Result<PathBuf, DatabaseError> {
    let unreachable = |source| DatabaseError::Unreachable { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(LockError::io("find", path)).map_err(unreachable)?;
    let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(DatabaseError::File { path: absolute, problem: FileProblem::NotAFile });
    };
    make_folder(folder).map_err(unreachable)?;
    if let Some(problem) = folder_problem(folder).map_err(unreachable)? {
        return Err(DatabaseError::Folder { path: folder.to_owned(), problem });
    }
    let folder = fs::canonicalize(folder).map_err(LockError::io("find", folder)).map_err(unreachable)?;
    if let Some(kind) = network_kind(&folder).map_err(unreachable)? {
        return Err(DatabaseError::Network { path: folder, kind });
    }
    Ok(folder.join(name))
}

/// Looks at a database's file without opening it; `None` if it is not there.
pub(super) fn check_file(path: &Path) -> Result<Option<Metadata>, DatabaseError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => {
            found.map_err(|source| DatabaseError::Io { action: "look at", path: path.to_owned(), source })?
        }
    };
    let mode = found.mode() & 0o7777;
    let problem = if found.is_symlink() {
        FileProblem::Symlink
    } else if !found.is_file() {
        FileProblem::NotAFile
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        FileProblem::ForeignOwner { uid: found.uid() }
    } else if mode & 0o022 != 0 {
        FileProblem::WritableByOthers { mode }
    } else {
        return Ok(Some(found));
    };
    Err(DatabaseError::File { path: path.to_owned(), problem })
}
