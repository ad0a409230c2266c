//! What writes logs, safe for any number of processes: a line that was written is never lost, and never torn.
//!
//! Each batch of lines is one `write` under the log's lock (of `aiswitch-lock`). Under the same lock a file that is too large
//! or too old is renamed, half a line that a killed writer left is ended, and what a full disk took only in part is taken
//! back. Compression happens outside of that lock. Lines are not forced to the disk: a loss of power may cost the last ones.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aiswitch_lock::{BlockingLockManager, FileLockManager, LockName, LockOptions};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Map;

use super::filter::DISORDER_MAX;
use super::packed;
use super::record::{LogLevel, LogRecord};
use super::segment::{Form, LogSource, first_time, is_at, latest_before, names, stamped};
use crate::Home;
use crate::error::HomeError;
use crate::home::{FILE_MODE, make_folder};

/// How long the lock of a log is waited for; whoever holds it writes some lines.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// When a file of a log is put away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// How large it may grow, in bytes.
    pub file_bytes_max: u64,
    /// How old its first line may become.
    pub file_age_max: Duration,
}

impl Default for LogLimits {
    /// 16 MiB and one day.
    fn default() -> Self {
        Self { file_bytes_max: 16 * 1024 * 1024, file_age_max: Duration::from_hours(24) }
    }
}

/// What writes the logs of a home.
#[derive(Debug)]
pub struct LogWriter {
    home: Home,
    /// Opened with the first line.
    locks: Option<FileLockManager>,
    limits: LogLimits,
    open: BTreeMap<LogSource, OpenLog>,
}

/// The file of a log that is written now.
#[derive(Debug)]
struct OpenLog {
    file: File,
    first: Option<DateTime<Utc>>,
    /// The latest time of the last lines, and how long the file was then.
    latest: (u64, Option<DateTime<Utc>>),
}

impl LogWriter {
    /// The writer of a home's logs; each process has its own. Nothing is made before the first line.
    pub fn new(home: Home, limits: LogLimits) -> Self {
        Self { home, locks: None, limits, open: BTreeMap::new() }
    }

    /// Adds lines to a log, those behind a place where the clock was set back in a file of their own.
    ///
    /// # Errors
    /// None of the lines was added, or none behind such a place: the disk is full or cannot be written, or the lock cannot be
    /// had.
    pub fn append(&mut self, source: &LogSource, records: &[LogRecord]) -> Result<(), HomeError> {
        let name = lock_name(source.stem());
        let options = LockOptions::new().with_timeout(LOCK_TIMEOUT).with_purpose("write a log");
        let locked =
            BlockingLockManager::acquire(self.locks()?, &name, &options).map_err(HomeError::LogLock)?;
        let mut put_away = false;
        for records in records.chunk_by(|before, after| before.at - after.at <= DISORDER_MAX) {
            put_away |= self.append_locked(source, records)?;
        }
        drop(locked);
        if put_away { self.pack(source) } else { Ok(()) }
    }

    /// Compresses what was put away by a process that ended before it could do so.
    ///
    /// # Errors
    /// A file cannot be read or written; it stays as it is.
    pub fn tidy(&mut self) -> Result<(), HomeError> {
        if !self.home.logs_dir().exists() {
            return Ok(());
        }
        LogSource::all(&self.home)?.iter().try_for_each(|source| self.pack(source))
    }

    fn locks(&mut self) -> Result<&FileLockManager, HomeError> {
        let locks = if let Some(locks) = self.locks.take() {
            locks
        } else {
            let folder = self.home.logs_dir().join("locks");
            make_folder(&folder)?;
            FileLockManager::open(folder).map_err(HomeError::LogLock)?
        };
        Ok(self.locks.insert(locks))
    }

    /// Whether a file was put away.
    fn append_locked(&mut self, source: &LogSource, records: &[LogRecord]) -> Result<bool, HomeError> {
        let (Some(begin), Some(end)) = (records.first(), records.last()) else { return Ok(false) };
        let path = source.path(&self.home);
        let mut log = match self.open.remove(source) {
            Some(log) if is_at(&log.file, &path) => log,
            Some(_) | None => OpenLog::open(&source.folder(&self.home), &path)?,
        };
        let mut length = log.file.metadata().map_err(HomeError::io("look at", &path))?.len();
        let set_back = log.set_back(length, begin.at).map_err(HomeError::io("read", &path))?;
        let note = set_back.map(|by| set_back_line(begin, by));
        let lines: Vec<u8> = note.iter().chain(records).flat_map(LogRecord::line).collect();
        let age = log.first.map(|first| (end.at - first).to_std().unwrap_or_default());
        let is_full = length > 0 && length + lines.len() as u64 > self.limits.file_bytes_max;
        let is_old = age.is_some_and(|age| age > self.limits.file_age_max);
        let put_away = is_full || is_old || set_back.is_some();
        if put_away {
            put_aside(source, &self.home, log.first.unwrap_or(begin.at))?;
            log = OpenLog::open(&source.folder(&self.home), &path)?;
            length = 0;
        }
        log.append(&lines, &path, length)?;
        log.first = log.first.or_else(|| first_time(&path));
        log.latest =
            (length + lines.len() as u64, log.latest.1.max(records.iter().map(|record| record.at).max()));
        self.open.insert(source.clone(), log);
        Ok(put_away)
    }

    /// Compresses the files of a log that were put away, unless another process does so now.
    fn pack(&mut self, source: &LogSource) -> Result<(), HomeError> {
        let name = lock_name(&format!("{} pack", source.stem()));
        let options = LockOptions::new().with_purpose("compress a log");
        let Some(locked) =
            BlockingLockManager::try_acquire(self.locks()?, &name, &options).map_err(HomeError::LogLock)?
        else {
            return Ok(());
        };
        for segment in source.segments(&self.home)?.iter().filter(|segment| segment.form == Form::Plain) {
            pack(&segment.path).map_err(HomeError::io("compress", &segment.path))?;
        }
        drop(locked);
        Ok(())
    }
}

impl OpenLog {
    fn open(folder: &Path, path: &Path) -> Result<Self, HomeError> {
        make_folder(folder)?;
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        let file =
            options.read(true).append(true).create(true).mode(FILE_MODE).custom_flags(no_follow).open(path);
        let file = file.map_err(HomeError::io("open", path))?;
        Ok(Self { file, first: first_time(path), latest: (0, None) })
    }

    /// By how much the clock was set back since the last lines of a file of this length, if it was.
    fn set_back(&mut self, length: u64, now: DateTime<Utc>) -> io::Result<Option<TimeDelta>> {
        if self.latest.0 != length {
            self.latest = (length, latest_before(&self.file, length)?);
        }
        Ok(self.latest.1.map(|latest| latest - now).filter(|by| *by > DISORDER_MAX))
    }

    /// Adds lines to a file of this length, all or none; the caller has the log's lock.
    fn append(&mut self, lines: &[u8], path: &Path, mut length: u64) -> Result<(), HomeError> {
        let mut last = [b'\n'];
        if length > 0 {
            self.file.read_exact_at(&mut last, length - 1).map_err(HomeError::io("read", path))?;
        }
        if last != [b'\n'] {
            // Half a line of a writer that was killed: as a line of its own it is passed over by those who read.
            self.file.write_all(b"\n").map_err(HomeError::io("write", path))?;
            length += 1;
        }
        self.file.write_all(lines).map_err(|source| {
            // What a full disk took is less than all of it, and would be half a line.
            drop(self.file.set_len(length));
            HomeError::io("write", path)(source)
        })
    }
}

/// What is written where the clock was set back.
fn set_back_line(next: &LogRecord, by: TimeDelta) -> LogRecord {
    LogRecord {
        at: next.at,
        level: LogLevel::Warn,
        target: module_path!().to_owned(),
        run: None,
        agent: None,
        task: None,
        msg: format!("the clock was set back by {} s", by.num_seconds()),
        fields: Map::from_iter([("set_back_ms".to_owned(), by.num_milliseconds().into())]),
    }
}

/// The lock under which a log is written.
fn lock_name(what: &str) -> LockName {
    LockName::resource(what).expect("the name of an agent has a name's length, and no control characters")
}

/// Renames the file that is written after its first line.
fn put_aside(source: &LogSource, home: &Home, mut first: DateTime<Utc>) -> Result<(), HomeError> {
    let (folder, path) = (source.folder(home), source.path(home));
    let taken = names(&folder)?;
    let is_taken = |name: &str| taken.iter().any(|other| other.strip_suffix(".zst").unwrap_or(other) == name);
    // Two files may begin in the same millisecond, or the clock was set back.
    while is_taken(&stamped(source.stem(), first)) {
        first += Duration::from_millis(1);
    }
    let aside = folder.join(stamped(source.stem(), first));
    fs::rename(&path, aside).map_err(HomeError::io("rename", path))
}

/// Compresses a file; one that is there under the new name is always whole.
fn pack(path: &Path) -> io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let unfinished = path.with_file_name(format!(".{name}.zst.tmp"));
    let mut source = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let mut target =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&unfinished)?;
    packed::pack(&mut source, &mut target)?;
    target.sync_all()?;
    let packed: PathBuf = path.with_file_name(format!("{name}.zst"));
    fs::rename(&unfinished, packed)?;
    fs::remove_file(path)
}
