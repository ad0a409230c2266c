//! The only place that asks the kernel to lock a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use fs4::TryLockError;
use rustix::fs::{AtFlags, OFlags, SeekFrom};
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
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut open = |flags: OFlags| {
            options.read(true).write(true).custom_flags(flags.bits().cast_signed()).open(path)
        };
        let opened = match open(flags | UNDATED) {
            // Only the owner of a file may read it without leaving a trace.
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => open(flags),
            opened => opened,
        };
        let file = opened.map_err(LockError::io("open the lock file", path))?;
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
    #[inline]
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
    #[inline]
    pub fn unlock(&self, path: &Path) -> Result<(), LockError> {
        loop {
            match fs4::FileExt::unlock(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done.map_err(LockError::io("unlock", path)),
            }
        }
    }

    /// Whether `path` still leads to this file.
    #[inline]
    pub(crate) fn is_at(&self, path: &Path) -> Result<bool, LockError> {
        Ok(self.bytes_at(path)?.is_some())
    }

    /// How long it is, if `path` still leads to it.
    #[inline]
    pub(crate) fn bytes_at(&self, path: &Path) -> Result<Option<u64>, LockError> {
        let found = match look_at(path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            found => found.map_err(LockError::io("look at the lock file", path))?,
        };
        Ok(((found.device, found.inode) == (self.device, self.inode)).then_some(found.bytes))
    }

    /// How long it is, if it still has a name anywhere; this costs a third of [`bytes_at`](Self::bytes_at).
    #[inline]
    pub(crate) fn bytes_if_named(&self, path: &Path) -> Result<Option<u64>, LockError> {
        let (links, bytes) = look_inside(&self.file).map_err(LockError::io("look at the lock file", path))?;
        Ok((links > 0).then_some(bytes))
    }

    /// How long it is; this costs half as much as reading from it.
    #[inline]
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        Ok(rustix::fs::seek(&self.file, SeekFrom::End(0))?)
    }

    pub(crate) fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    /// How long ago it was last written to, at `wall_ns`.
    pub(crate) fn unused_for(&self, wall_ns: u64) -> io::Result<Duration> {
        let written = self.file.metadata()?.modified()?;
        Ok(clock::wall_time(wall_ns).duration_since(written).unwrap_or_default())
    }

    /// Reads until the buffer is full or the file ends; tells how much there was.
    ///
    /// Like [`write_at`](Self::write_at) it asks the kernel without the C library, which takes a third off its cost.
    #[inline]
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

    #[inline]
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

/// Reading without noting the time of it in the file, which would cost more than the reading.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNDATED: OFlags = OFlags::NOATIME;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const UNDATED: OFlags = OFlags::empty();

/// Which file is at a path, and how long it is.
struct Found {
    device: u64,
    inode: u64,
    bytes: u64,
}

/// Looks at the file at a path.
///
/// Not asking for its times keeps the kernel from making the next write to the file dearer, which it does after somebody
/// has looked at them.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn look_at(path: &Path) -> Result<Found, Errno> {
    use rustix::fs::{CWD, StatxFlags, makedev, statx};
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::INO | StatxFlags::SIZE)?;
    let device = makedev(found.stx_dev_major, found.stx_dev_minor);
    Ok(Found { device, inode: found.stx_ino, bytes: found.stx_size })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn look_at(path: &Path) -> Result<Found, Errno> {
    let found = rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    let bytes = u64::try_from(found.st_size).unwrap_or_default();
    Ok(Found { device: found.st_dev as u64, inode: found.st_ino as u64, bytes })
}

/// How many names an open file has, and how long it is.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn look_inside(file: &File) -> Result<(u64, u64), Errno> {
    use rustix::fs::{StatxFlags, statx};
    let found = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK | StatxFlags::SIZE)?;
    Ok((found.stx_nlink.into(), found.stx_size))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn look_inside(file: &File) -> Result<(u64, u64), Errno> {
    let found = rustix::fs::fstat(file)?;
    Ok((found.st_nlink as u64, u64::try_from(found.st_size).unwrap_or_default()))
}

#[cold]
fn refused(source: io::Error, path: &Path) -> LockError {
    match Errno::from_io_error(&source) {
        Some(Errno::NOTSUP | Errno::NOSYS | Errno::NOLCK) => {
            LockError::Unsupported { path: path.to_owned(), source }
        }
        Some(_) | None => LockError::io("lock", path)(source),
    }
}
