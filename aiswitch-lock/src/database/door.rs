//! The check of the file and its folder before SQLite sees them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::LockError;
use crate::file::{folder_problem, make_folder};

use super::{DatabaseError, FileProblem};

/// File systems whose users are on several machines, by their number in the kernel (`linux/magic.h`, and the sources of
/// those that are kept elsewhere). FUSE is not among them: what is behind it cannot be told.
const NETWORK_KINDS: [(u32, &str); 13] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x564C, "ncp"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x7461_636F, "ocfs2"),
];

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

/// What the file system of a folder is called if it is on a network.
#[cfg(target_os = "linux")]
fn network_kind(folder: &Path) -> Result<Option<&'static str>, LockError> {
    let found = rustix::fs::statfs(folder).map_err(LockError::io("look at the file system of", folder))?;
    // The kernel widens the number's 32 bits, with their sign on some machines.
    Ok(network_name((found.f_type & 0xFFFF_FFFF).try_into().unwrap_or_default()))
}

/// Elsewhere than on Linux file systems have no such number; SQLite refuses the log where it can tell.
#[cfg(not(target_os = "linux"))]
fn network_kind(_: &Path) -> Result<Option<&'static str>, LockError> {
    Ok(None)
}

#[cfg(any(target_os = "linux", test))]
fn network_name(number: u32) -> Option<&'static str> {
    NETWORK_KINDS.iter().find(|(kind, _)| *kind == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones_by_their_number() {
        let (nfs, cifs, ext4, tmpfs, overlay) = (0x6969, 0xFF53_4D42, 0xEF53, 0x0102_1994, 0x794C_7630);
        assert_eq!(
            [nfs, cifs, ext4, tmpfs, overlay].map(network_name),
            [Some("nfs"), Some("cifs"), None, None, None]
        );
    }
}
