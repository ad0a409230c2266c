//! Which file systems are kept for several machines, where a lock of one does not bind the others.

use std::path::Path;

use crate::LockError;

/// Such file systems, by their number in the kernel (`linux/magic.h`, and the sources of those that are kept elsewhere).
///
/// FUSE is among them, for what is behind it cannot be told, and its locks do not reach there unless it forwards them.
#[cfg(any(target_os = "linux", test))]
const NETWORK_KINDS: [(u32, &str); 14] = [
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
    (0x6573_5546, "fuse"),
];

/// What the file system of a folder is called if it is one of several machines.
#[cfg(target_os = "linux")]
pub(crate) fn network_kind(folder: &Path) -> Result<Option<&'static str>, LockError> {
    let found = rustix::fs::statfs(folder).map_err(LockError::io("look at the file system of", folder))?;
    // The kernel widens the number's 32 bits, with their sign on some machines.
    Ok(network_name((found.f_type & 0xFFFF_FFFF).try_into().unwrap_or_default()))
}

/// Elsewhere than on Linux file systems have no such number.
#[cfg(not(target_os = "linux"))]
pub(crate) fn network_kind(_: &Path) -> Result<Option<&'static str>, LockError> {
    Ok(None)
}

#[cfg(any(target_os = "linux", test))]
fn network_name(number: u32) -> Option<&'static str> {
    NETWORK_KINDS.iter().find(|(kind, _)| *kind == number).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FolderProblem;

    #[test]
    fn network_file_systems_are_told_from_local_ones_by_their_number() {
        let (nfs, cifs, fuse) = (0x6969, 0xFF53_4D42, 0x6573_5546);
        let (ext4, tmpfs, overlay, btrfs) = (0xEF53, 0x0102_1994, 0x794C_7630, 0x9123_683E);
        assert_eq!(
            [nfs, cifs, fuse, ext4, tmpfs, overlay, btrfs].map(network_name),
            [Some("nfs"), Some("cifs"), Some("fuse"), None, None, None, None]
        );
    }

    #[test]
    fn a_folder_on_a_network_is_refused_with_its_kind_and_the_next_step() {
        let kind = network_name(0x6969).unwrap();
        let refused =
            LockError::Folder { path: "/nas/locks".into(), problem: FolderProblem::Network { kind } };
        assert_eq!(
            refused.to_string(),
            "lock folder `/nas/locks` cannot be used: it is on a file system of several machines (nfs), where a lock \
             of one does not bind the others; use a folder on a local disk"
        );
    }
}
