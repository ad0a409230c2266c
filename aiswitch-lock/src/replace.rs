//! Replacing a file so that a reader sees the old or the new one whole.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::LockError;

/// Replaces a file so that a reader, or a machine that lost power, sees the old or the new one whole.
///
/// The bytes go to a new file in the same folder with the permission bits `mode` (0o600 is usual), which is written
/// out and renamed over `path`; then the folder is written out. Two writers at once would each win in turn, so hold a
/// lock over reading and replacing. A symbolic link at `path` is replaced, not followed.
///
/// # Errors
///
/// [`LockError::Io`] with the step that failed; the old file is untouched then, unless the very last step failed.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> Result<(), LockError> {
    let folder = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{}.new", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed)));
    let new = folder.join(name);
    let written = write_new(&new, bytes, mode)
        .and_then(|()| std::fs::rename(&new, path).map_err(LockError::io("replace", path)));
    if let Err(failure) = written {
        // The failure that led here says more than a failure to tidy up after it.
        drop(std::fs::remove_file(&new));
        return Err(failure);
    }
    sync_folder(folder)
}

/// Makes the names in a folder last through a loss of power.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), LockError> {
    let opened = File::open(folder).map_err(LockError::io("open", folder))?;
    opened.sync_all().map_err(LockError::io("write out", folder))
}

/// Keeps two replacements in one process apart.
static SERIAL: AtomicU64 = AtomicU64::new(0);

fn write_new(new: &Path, bytes: &[u8], mode: u32) -> Result<(), LockError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(new)
        .map_err(LockError::io("create", new))?;
    file.write_all(bytes).map_err(LockError::io("write", new))?;
    file.sync_all().map_err(LockError::io("write out", new))
}
