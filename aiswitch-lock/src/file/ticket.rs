//! The queue of one lock between processes: a folder with one file, a ticket, for each process that waits.
//!
//! A ticket's name holds its place, so that sorting the names gives the order of service. Its kind tells whether its waiter
//! still lives and how to wake it:
//!
//! * a **pipe** (named pipe) that the waiter has open: it is gone when nobody reads it, which `open` reports, it is
//!   woken by a byte, and `poll` on it reports the end of its waiter at once;
//! * a **file** that the waiter has locked, for file systems without named pipes: it is gone when it can be locked, and
//!   its waiter looks again by itself.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Wake;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::queue::Claim;
use crate::{LockAttempt, LockError, LockFile, LockMode, Priority, WaiterInfo, clock};

/// How long a woken waiter may take before the next one may pass it, for it may be stopped: 250 ms.
const STALLED_AFTER: Duration = Duration::from_millis(250);

/// How long a ticket may exist before its waiter has opened it: 1 s. Until then nobody removes it.
const NEWBORN_FOR: Duration = Duration::from_secs(1);

/// How often a ticket is made anew if others remove it first.
const PUBLISH_TRIES_MAX: u32 = 16;

/// The name of a ticket; the order of names is the order of service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TicketName {
    pub(crate) key: u64,
    pub(crate) arrived_ns: u64,
    pub(crate) pid: u32,
    serial: u64,
    shared: bool,
    priority: Priority,
    kind: TicketKind,
}

/// How the waiter behind a ticket is known to live, and woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TicketKind {
    Pipe,
    File,
}

impl TicketName {
    /// `KEY-ARRIVED-PID-SERIAL-sPk`: mode `s` or `x`, priority 0 to 3, kind `p` or `f`.
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let (key, arrived_ns) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (pid, serial) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let &[mode, priority, kind] = parts.next()?.as_bytes() else { return None };
        let parsed = Self {
            key,
            arrived_ns,
            pid,
            serial,
            shared: mode == b's',
            priority: match priority {
                b'0' => Priority::Low,
                b'1' => Priority::Normal,
                b'2' => Priority::High,
                b'3' => Priority::Urgent,
                _ => return None,
            },
            kind: if kind == b'p' { TicketKind::Pipe } else { TicketKind::File },
        };
        (parsed.file_name() == name).then_some(parsed)
    }

    fn file_name(&self) -> String {
        let Self { key, arrived_ns, pid, serial, .. } = self;
        let mode = if self.shared { 's' } else { 'x' };
        let priority = self.priority as u8;
        let kind = match self.kind {
            TicketKind::Pipe => 'p',
            TicketKind::File => 'f',
        };
        format!("{key:020}-{arrived_ns:020}-{pid}-{serial}-{mode}{priority}{kind}")
    }

    fn is_before(&self, key: u64, arrived_ns: u64) -> bool {
        (self.key, self.arrived_ns) < (key, arrived_ns)
    }

    pub(crate) fn describe(&self, now_ns: u64) -> WaiterInfo {
        WaiterInfo {
            pid: self.pid,
            owner: None,
            mode: if self.shared { LockMode::Shared } else { LockMode::Exclusive },
            priority: self.priority,
            waited: Duration::from_nanos(now_ns.saturating_sub(self.arrived_ns)),
        }
    }
}

/// A ticket of this process; dropping it takes it out of the queue.
#[derive(Debug)]
pub(crate) struct Ticket {
    name: TicketName,
    entry: Entry,
    pub(crate) bell: Arc<Bell>,
}

/// The name of a ticket in its folder, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    path: PathBuf,
    /// The process that made it; a forked child has only a copy.
    made_by: u32,
}

/// What shows that a waiter lives, and wakes it; dropping it shows that the waiter does not wait any more.
#[derive(Debug)]
pub(crate) enum Bell {
    Pipe(OwnedFd),
    /// Kept open, for closing it unlocks it.
    File(LockFile),
}

impl Ticket {
    /// Publishes a ticket in a folder, which is made if need be; a file if there cannot be a pipe.
    pub(crate) fn publish(
        folder: &Path,
        key: u64,
        claim: &Claim,
        mut kind: TicketKind,
    ) -> Result<Self, LockError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let made_by = std::process::id();
        for _ in 0..PUBLISH_TRIES_MAX {
            let name = TicketName {
                key,
                arrived_ns: claim.arrived_ns,
                pid: made_by,
                serial: SERIAL.fetch_add(1, Ordering::Relaxed),
                shared: claim.mode == LockMode::Shared,
                priority: claim.priority,
                kind,
            };
            let path = folder.join(name.file_name());
            let made = match kind {
                TicketKind::Pipe => make_pipe(&path)?,
                TicketKind::File => make_file(&path)?,
            };
            match made {
                Made::Bell(bell) => {
                    return Ok(Self { name, entry: Entry { path, made_by }, bell: Arc::new(bell) });
                }
                Made::Lost => {}
                Made::NoFolder => super::make_folder(folder)?,
                Made::NoPipes => kind = TicketKind::File,
            }
        }
        let source = io::Error::other("it was removed again and again");
        Err(LockError::io("make a ticket in", folder)(source))
    }

    /// Shows that its waiter does not wait any more, but keeps its name, which is slow to remove.
    pub(crate) fn retire(self) -> Entry {
        self.entry
    }

    /// The ticket that is served after it.
    pub(crate) fn next(&self, names: &[TicketName]) -> Option<TicketName> {
        names.get(names.partition_point(|name| *name <= self.name)).cloned()
    }

    /// Whether it is among these tickets.
    pub(crate) fn is_listed(&self, names: &[TicketName]) -> bool {
        names.binary_search(&self.name).is_ok()
    }
}

impl Bell {
    /// Forgets that it was rung; a pipe holds one byte, or a few if several rang it at once.
    pub(crate) fn drain(&self) {
        if let Self::Pipe(pipe) = self {
            let mut bytes = [0; 64];
            while rustix::io::read(pipe, &mut bytes).is_ok_and(|count| count == bytes.len()) {}
        }
    }
}

/// The pipe becomes readable when it is rung; the file never does anything.
impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Pipe(pipe) => pipe.as_fd(),
            Self::File(file) => file.as_fd(),
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if let Self::Pipe(pipe) = &*self {
            ring(pipe);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.made_by == std::process::id() {
            // Somebody may have removed it; that nobody waits is shown by the bell.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// What is known of the waiter behind a ticket.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// It waits. The writing end of its pipe, if it has one, which fails when nobody reads it any more.
    Alive(Option<OwnedFd>),
    /// It was woken long ago and did not come: it may be passed.
    Stalled,
    /// It does not wait any more.
    Gone,
}

/// The tickets of a folder in the order of service; none if there is no folder.
pub(crate) fn read_folder(folder: &Path) -> Result<Vec<TicketName>, LockError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(LockError::io("read the queue", folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(LockError::io("read the queue", folder))?;
        names.extend(entry.file_name().to_str().and_then(TicketName::parse));
    }
    names.sort_unstable();
    Ok(names)
}

/// The first waiter that is served before one of this key and mode, and keeps it from the lock.
pub(crate) fn first_before(
    folder: &Path,
    names: &[TicketName],
    (key, arrived_ns): (u64, u64),
    mode: LockMode,
) -> Result<Option<Ahead>, LockError> {
    for name in names.iter().take_while(|name| name.is_before(key, arrived_ns)) {
        if name.shared && mode == LockMode::Shared {
            continue;
        }
        match look_up(folder, name)? {
            Waiter::Alive(pipe) => return Ok(Some(Ahead { pid: name.pid, pipe })),
            Waiter::Stalled | Waiter::Gone => {}
        }
    }
    Ok(None)
}

/// Somebody who is served earlier.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) pid: u32,
    /// The writing end of its pipe, if it has one.
    pub(crate) pipe: Option<OwnedFd>,
}

/// How many tickets are served before a waiter of this key.
pub(crate) fn count_before(folder: &Path, key: u64, arrived_ns: u64) -> Result<usize, LockError> {
    Ok(read_folder(folder)?.iter().take_while(|name| name.is_before(key, arrived_ns)).count())
}

/// Wakes the first waiter that can be woken.
pub(crate) fn wake_first(folder: &Path) -> Result<(), LockError> {
    for name in read_folder(folder)? {
        if wake(folder, &name)? {
            break;
        }
    }
    Ok(())
}

/// Wakes the waiter behind a ticket; `true` if it is awake, or looks by itself, and will care for the others.
pub(crate) fn wake(folder: &Path, name: &TicketName) -> Result<bool, LockError> {
    let Waiter::Alive(watch) = look_up(folder, name)? else { return Ok(false) };
    let Some(watch) = watch else { return Ok(true) };
    if rustix::io::ioctl_fionread(&watch).is_ok_and(|unread| unread > 0) {
        return Ok(true);
    }
    // Writing to a pipe that nobody reads would end a process that does not ignore SIGPIPE; opened for both ways it has a
    // reader, this process.
    let path = folder.join(name.file_name());
    if let Ok(pipe) = rustix::fs::open(&path, pipe_flags(OFlags::RDWR), Mode::empty()) {
        ring(&pipe);
    }
    // While it was open here, the pipe looked read to others as well, who then left waking to this process.
    Ok(!is_deserted(&watch))
}

/// Whether nobody reads a pipe, of which this is the writing end.
fn is_deserted(pipe: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}

/// Looks at the waiter behind a ticket, and removes the ticket if it is gone.
pub(crate) fn look_up(folder: &Path, name: &TicketName) -> Result<Waiter, LockError> {
    let path = folder.join(name.file_name());
    let waiter = match name.kind {
        TicketKind::Pipe => look_up_pipe(&path)?,
        TicketKind::File => look_up_file(&path)?,
    };
    let age_ns = clock::boot_ns().saturating_sub(name.arrived_ns);
    if matches!(waiter, Waiter::Gone) && Duration::from_nanos(age_ns) > NEWBORN_FOR {
        // Another process may have removed it in the same moment.
        drop(fs::remove_file(&path));
    }
    Ok(waiter)
}

fn look_up_pipe(path: &Path) -> Result<Waiter, LockError> {
    let pipe = match rustix::fs::open(path, pipe_flags(OFlags::WRONLY), Mode::empty()) {
        Err(Errno::NXIO | Errno::NOENT) => return Ok(Waiter::Gone),
        pipe => pipe.map_err(LockError::io("open the ticket", path))?,
    };
    let unread = rustix::io::ioctl_fionread(&pipe).map_err(LockError::io("look at the ticket", path))?;
    if unread > 0 {
        let found = rustix::fs::fstat(&pipe).map_err(LockError::io("look at the ticket", path))?;
        let seconds = u64::try_from(found.st_mtime).unwrap_or_default();
        let woken_ns = seconds.saturating_mul(1_000_000_000).saturating_add(found.st_mtime_nsec);
        if Duration::from_nanos(clock::wall_ns().saturating_sub(woken_ns)) > STALLED_AFTER {
            return Ok(Waiter::Stalled);
        }
    }
    Ok(Waiter::Alive(Some(pipe)))
}

fn look_up_file(path: &Path) -> Result<Waiter, LockError> {
    let Some(file) = LockFile::open_existing(path)? else { return Ok(Waiter::Gone) };
    match file.try_lock(LockMode::Exclusive, path)? {
        LockAttempt::Taken => Ok(Waiter::Gone),
        LockAttempt::Busy => Ok(Waiter::Alive(None)),
    }
}

enum Made {
    Bell(Bell),
    /// Somebody had the name or removed it.
    Lost,
    NoFolder,
    /// The file system has no named pipes.
    NoPipes,
}

fn make_pipe(path: &Path) -> Result<Made, LockError> {
    match rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
        Err(Errno::NOENT) => return Ok(Made::NoFolder),
        Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => return Ok(Made::NoPipes),
        Err(Errno::EXIST) => return Ok(Made::Lost),
        made => made.map_err(LockError::io("make the ticket", path))?,
    }
    let opened = match rustix::fs::open(path, pipe_flags(OFlags::RDWR), Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Made::Lost),
        opened => opened.map_err(LockError::io("open the ticket", path)),
    };
    if opened.is_err() {
        // A ticket that nobody opened keeps nobody back; the failure to open it says more.
        drop(fs::remove_file(path));
    }
    Ok(Made::Bell(Bell::Pipe(opened?)))
}

fn make_file(path: &Path) -> Result<Made, LockError> {
    let file = match LockFile::open(path) {
        Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Made::NoFolder);
        }
        opened => opened?,
    };
    match file.try_lock(LockMode::Exclusive, path)? {
        LockAttempt::Taken if file.is_at(path)? => Ok(Made::Bell(Bell::File(file))),
        LockAttempt::Taken | LockAttempt::Busy => Ok(Made::Lost),
    }
}

fn pipe_flags(way: OFlags) -> OFlags {
    // The time of the last reading is of no use, and noting it would cost more than the reading.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let way = way | OFlags::NOATIME;
    way | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW
}

fn ring(pipe: &OwnedFd) {
    // The only failure is a full pipe, whose reader is woken already.
    rustix::io::write(pipe, b"!").ok();
}
