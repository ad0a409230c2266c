//! Removing the copies in clear of what was taken over.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aiswitch_env::Secret;
use aiswitch_lock::replace_file;

use super::{ClearCopy, cc_switch, shell_block};
use crate::config::read_text;
use crate::error::Error;

/// What a purge cannot promise.
pub(crate) const PROMISE: &str = "flash drives, file systems that copy on write, backups and snapshots may still \
                                  hold them: whoever must be sure renews the keys at their providers";

/// Overwrites and removes a copy, or takes these values out of one that holds more than them.
///
/// # Errors
/// It cannot be read or written.
pub(crate) fn purge(copy: &ClearCopy, values: &[&Secret]) -> Result<(), Error> {
    let path = copy.path();
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    // Files of shells are often links into a folder under version control.
    let path = fs::canonicalize(path).map_err(unreadable)?;
    match copy {
        ClearCopy::File(_) => {
            overwrite(&path).and_then(|()| fs::remove_file(copy.path())).map_err(unreadable)
        }
        ClearCopy::Blocks(_) => {
            let text = shell_block::without(&path, &read_text(&path)?)?;
            let mode = path.metadata().map_err(unreadable)?.mode() & 0o777;
            replace_file(&path, text.as_bytes(), mode)
                .map_err(|source| Error::Unwritable { path: path.clone(), source })
        }
        ClearCopy::Database(_) => cc_switch::blank(&path, values),
    }
}

/// Writes zeros over all of a file.
///
/// # Errors
/// It cannot be written.
pub(crate) fn overwrite(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    file.write_all(&vec![0; bytes])?;
    file.sync_all()
}
