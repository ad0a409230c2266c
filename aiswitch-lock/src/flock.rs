//! The only place that asks the kernel to lock a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use fs4::TryLockError;
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use crate::{LockError, LockMode, clock};

/// An open file that the kernel locks on request: the bare lock, without queue, token or holder's name.
///
/// The kernel ties the lock to the open file and lets it go when the last process that has it open ends.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    device: u64,
    inode: u64,
}

/// What became of an attempt to lock a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockAttempt {
    /// The file is locked now.
    Taken,
    /// Somebody else has it locked.
    Busy,
}

impl LockFile {
    /// Opens a lock file and makes it if need be, readable and writable for its owner alone.
    ///
    /// # Errors
    ///
    /// [`LockError::Io`] if that fails, also if the path is a symbolic link or not a plain file.
    pub fn open(path: &Path) -> Result<Self, LockError> {
        Self::open_with(OpenOptions::new().create(true).mode(0o600), path)
    }

    /// Opens a lock file; `None` if there is none.
    pub(crate) fn open_existing(path: &Path) -> Result<Option<Self>, LockError> {
        match Self::open_with(&mut OpenOptions::new(), path) {
            Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn open_with(options: &mut OpenOptions, path: &Path) -> Result<Self, LockError> {
        // Without O_NONBLOCK the open of a named pipe that somebody put there would never return.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = options
            .read(true)
            .write(true)
            .truncate(false)
            .custom_flags(flags)
            .open(path)
            .map_err(LockError::io("open the lock file", path))?;
        let metadata = file.metadata().map_err(LockError::io("look at the lock file", path))?;
        let kind = metadata.file_type();
        if !kind.is_file() || kind.is_fifo() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file");
            return Err(LockError::io("open the lock file", path)(source));
        }
        Ok(Self { file, device: metadata.dev(), inode: metadata.ino() })
    }

    /// Locks the file if nobody else has it locked; a lock of the other mode is converted.
    ///
    /// `path` is the path it was opened with.
    ///
    /// # Errors
    ///
    /// [`LockError::Unsupported`] if the file system cannot lock files, [`LockError::Io`] if locking fails otherwise.
    pub fn try_lock(&self, mode: LockMode, path: &Path) -> Result<LockAttempt, LockError> {
        loop {
            // The full path matters: methods of the same name in std would be taken instead.
            let tried = match mode {
                LockMode::Exclusive => fs4::FileExt::try_lock(&self.file),
                LockMode::Shared => fs4::FileExt::try_lock_shared(&self.file),
            };
            match tried {
                Ok(()) => return Ok(LockAttempt::Taken),
                Err(TryLockError::WouldBlock) => return Ok(LockAttempt::Busy),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(source)) => return Err(refused(source, path)),
            }
        }
    }

    /// Unlocks the file, for every process that shares this open file.
    ///
    /// # Errors
    ///
    /// [`LockError::Io`] if the kernel refuses, which it does not for a file that is open.
    pub fn unlock(&self, path: &Path) -> Result<(), LockError> {
        loop {
            match fs4::FileExt::unlock(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done.map_err(LockError::io("unlock", path)),
            }
        }
    }

    /// Whether `path` still leads to this file.
    pub(crate) fn is_at(&self, path: &Path) -> Result<bool, LockError> {
        let found = match identity_at(path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            found => found.map_err(LockError::io("look at the lock file", path))?,
        };
        Ok(found == (self.device, self.inode))
    }

    /// How long ago it was last written to, at `wall_ns`.
    pub(crate) fn unused_for(&self, wall_ns: u64) -> io::Result<Duration> {
        let written = self.file.metadata()?.modified()?;
        Ok(clock::wall_time(wall_ns).duration_since(written).unwrap_or_default())
    }

    /// Reads until the buffer is full or the file ends; tells how much there was.
    ///
    /// Like [`write_at`](Self::write_at) it asks the kernel without the C library, which takes a third off its cost.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::pread(&self.file, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::pwrite(&self.file, &bytes[written..], offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for LockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The device and inode numbers of the file at a path.
///
/// Asking for nothing but the inode keeps the kernel from making the next write to the file dearer, which it does after
/// somebody has looked at the file's times.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn identity_at(path: &Path) -> Result<(u64, u64), Errno> {
    use rustix::fs::{CWD, StatxFlags, makedev, statx};
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO)?;
    Ok((makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn identity_at(path: &Path) -> Result<(u64, u64), Errno> {
    let found = rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((found.st_dev as u64, found.st_ino as u64))
}

fn refused(source: io::Error, path: &Path) -> LockError {
    match Errno::from_io_error(&source) {
        Some(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK) => {
            LockError::Unsupported { path: path.to_owned(), source }
        }
        Some(_) | None => LockError::io("lock", path)(source),
    }
}
