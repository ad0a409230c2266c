//! A database that several processes write, each in its turn.

mod door;
mod error;
mod lazy;
mod varint;

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::replace::sync_folder;
use crate::{BlockingLockManager as _, FileLockManager, LockGuard, LockName, LockOptions};

pub use error::{DatabaseError, FileProblem, damaged};
pub use lazy::LazyDatabase;
pub use varint::{put_varint, take_varint};

/// The oldest SQLite that is used, as it numbers itself: 3.51.3, the first in which a restart of the log cannot damage the
/// file (<https://www.sqlite.org/wal.html#walresetbug>).
pub const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// How long a writer waits for the writers before it: 10 seconds.
pub const GATE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a statement waits for a program that does not know the gate, such as `sqlite3`, in milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many faults a check names.
const FAULTS_MAX: usize = 100;

/// How many prepared statements a connection keeps.
const STATEMENTS_MAX: usize = 64;

/// What a database is for, and how its tables came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// The number that marks files of this kind (`PRAGMA application_id`), so that no other is taken for one; not 0.
    pub application_id: i32,
    /// The statements that lead from each version to the next, from an empty file on. Only ever added to.
    ///
    /// A file's version (`PRAGMA user_version`) is how many of them it has seen.
    pub migrations: &'static [&'static str],
}

impl Schema {
    fn version(&self) -> i64 {
        i64::try_from(self.migrations.len()).expect("a list in memory is shorter than 2⁶³")
    }
}

/// A SQLite database that several processes write, each in its turn; what was written is on the disk.
///
/// Beside the file `NAME` stand `NAME-wal` and `NAME-shm`, which SQLite keeps, and the folder `NAME-gate` with the lock
/// that every writer takes before it begins: writers are served in the order of their arrival, where SQLite alone lets
/// them look again and again. Methods wait for the disk and for other writers; async code calls them on a thread of
/// their own.
///
/// ```
/// use aiswitch_lock::database::{Database, Schema};
///
/// const SCHEMA: Schema = Schema {
///     application_id: 0x6169_0000,
///     migrations: &["CREATE TABLE seen (name TEXT PRIMARY KEY) STRICT"],
/// };
///
/// # let home = tempfile::tempdir()?;
/// # let path = home.path().join("seen.db");
/// let database = Database::open(&path, &SCHEMA)?;
/// database.write(|change| change.execute("INSERT INTO seen VALUES (?1)", ["claude"]))?;
/// // From here on it outlives this process and the machine's power.
/// let count: i64 = database.read(|view| view.query_row("SELECT count(*) FROM seen", [], |row| row.get(0)))?;
/// assert_eq!(count, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    /// Device and inode of the file that is open.
    file: (u64, u64),
    gate: FileLockManager,
    writer: Mutex<Connection>,
    /// Reads do not wait for a write of this process that waits for the disk.
    reader: Mutex<Connection>,
}

impl Database {
    /// Opens a database, makes it if need be, and brings it to the latest version of its schema.
    ///
    /// A file that is made is for its owner alone, as is a folder.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`] if the file or its folder cannot be trusted, lies on a network, is damaged, belongs to
    /// something else or to a later version, or if the system refuses. Nothing was changed then.
    pub fn open(path: impl AsRef<Path>, schema: &Schema) -> Result<Self, DatabaseError> {
        if rusqlite::version_number() < SQLITE_VERSION_MIN {
            return Err(DatabaseError::SqliteTooOld { version: rusqlite::version_number() });
        }
        let path = door::check_folder(path.as_ref())?;
        let gate = open_gate(&path)?;
        let passed = pass(&gate, &path, "open")?;
        if door::check_file(&path)?.is_none() {
            // Nobody else has it open: closing a file makes SQLite's own locks on it void in the whole process.
            make_file(&path)?;
            sync_parent(&path)?;
        }
        let file = door::check_file(&path)?.ok_or_else(|| DatabaseError::Gone { path: path.clone() })?;
        let writer = connect(&path).map_err(DatabaseError::sqlite(&path))?;
        prepare(&writer, &path, schema)?;
        let reader = connect(&path).map_err(DatabaseError::sqlite(&path))?;
        reader.pragma_update(None, "query_only", true).map_err(DatabaseError::sqlite(&path))?;
        drop(passed);
        let file = (file.dev(), file.ino());
        Ok(Self { path, file, gate, writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the database, alone among all processes; when this returns `Ok` the change is on the disk.
    ///
    /// An error of `change` undoes all of it.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`] if the turn did not come in [`GATE_TIMEOUT`], the file was taken away, or the change or its end
    /// failed. Nothing was
    /// changed then, unless the disk failed at the very end.
    pub fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        let _passed = pass(&self.gate, &self.path, "write")?;
        // SQLite goes on with a file that has lost its name, where nobody would find what was written.
        if door::check_file(&self.path)?.is_none_or(|file| (file.dev(), file.ino()) != self.file) {
            return Err(DatabaseError::Gone { path: self.path.clone() });
        }
        transact(locked(&self.writer), TransactionBehavior::Immediate, change)
            .map_err(DatabaseError::sqlite(&self.path))
    }

    /// Looks at the database as it is at one moment, beside whoever writes.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`] if `look` fails; one that tries to change something does.
    pub fn read<T>(
        &self,
        look: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, DatabaseError> {
        transact(locked(&self.reader), TransactionBehavior::Deferred, look)
            .map_err(DatabaseError::sqlite(&self.path))
    }

    /// Reads the whole file, its indexes and its references, and names what is wrong, at most a hundred things.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`] if it is too damaged for that, or cannot be read.
    pub fn check(&self) -> Result<Vec<String>, DatabaseError> {
        self.read(|view| {
            let mut integrity = view.prepare(&format!("PRAGMA integrity_check({FAULTS_MAX})"))?;
            let mut faults: Vec<String> =
                integrity.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            faults.retain(|fault| fault != "ok");
            let mut references = view.prepare("PRAGMA foreign_key_check")?;
            let dangling = references.query_map([], |row| {
                let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
                Ok(format!("a row of `{table}` refers to one of `{parent}` that is not there"))
            })?;
            for fault in dangling.take(FAULTS_MAX) {
                faults.push(fault?);
            }
            Ok(faults)
        })
    }

    /// Copies the database as it is now into one new file, which must not be there yet.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`] if the file is there or cannot be written; it is not left half done.
    pub fn back_up(&self, to: &Path) -> Result<(), DatabaseError> {
        let to = door::check_folder(to)?;
        make_file(&to)?;
        let copied = (|| {
            let mut copy = connect(&to)?;
            let source = locked(&self.reader);
            // In one step, so that no writer makes it start again.
            Backup::new(&source, &mut copy)?.step(-1)
        })();
        if let Err(source) = copied {
            // The failure that led here says more than a failure to tidy up after it.
            drop(std::fs::remove_file(&to));
            return Err(DatabaseError::sqlite(&to)(source));
        }
        sync_parent(&to)
    }
}

/// The permission bits of a database: its owner alone reads and writes it. SQLite gives its own files the same.
const FILE_MODE: u32 = 0o600;

fn make_file(path: &Path) -> Result<(), DatabaseError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    made.map(drop).map_err(|source| DatabaseError::Io { action: "create", path: path.to_owned(), source })
}

/// Makes the name of a file last through a loss of power.
fn sync_parent(path: &Path) -> Result<(), DatabaseError> {
    let folder = path.parent().expect("a file that was made is in a folder");
    sync_folder(folder).map_err(|source| DatabaseError::Unreachable { path: path.to_owned(), source })
}

/// The lock of all writers of a database.
fn open_gate(path: &Path) -> Result<FileLockManager, DatabaseError> {
    let mut folder = path.as_os_str().to_owned();
    folder.push("-gate");
    FileLockManager::open(PathBuf::from(folder))
        .map_err(|source| DatabaseError::Unreachable { path: path.to_owned(), source })
}

fn pass(gate: &FileLockManager, path: &Path, purpose: &str) -> Result<LockGuard, DatabaseError> {
    let options = LockOptions::new().with_timeout(GATE_TIMEOUT).with_purpose(purpose);
    gate.acquire(&LockName::Global, &options)
        .map_err(|source| DatabaseError::Unreachable { path: path.to_owned(), source })
}

/// A transaction that failed in another thread was undone, so its connection can go on.
fn locked(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn transact<T>(
    mut connection: MutexGuard<'_, Connection>,
    behavior: TransactionBehavior,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    let done = work(&transaction)?;
    transaction.commit()?;
    Ok(done)
}

/// A connection to a file that is there.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Less than FULL may lose the last transactions when the power fails.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Makes sure that a file is what the schema says, and brings it to the latest version.
fn prepare(connection: &Connection, path: &Path, schema: &Schema) -> Result<(), DatabaseError> {
    let ask = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let sqlite = || DatabaseError::sqlite(path);
    let application_id = ask("application_id").map_err(sqlite())?;
    let version = ask("user_version").map_err(sqlite())?;
    let is_empty = ask("schema_version").map_err(sqlite())? == 0 && application_id == 0 && version == 0;
    if !is_empty && application_id != i64::from(schema.application_id) {
        return Err(DatabaseError::Foreign { path: path.to_owned(), application_id });
    }
    let seen = usize::try_from(version).ok();
    let seen = seen.ok_or_else(|| DatabaseError::NoVersion { path: path.to_owned(), version })?;
    let ahead = schema.migrations.get(seen..).ok_or_else(|| DatabaseError::Newer {
        path: path.to_owned(),
        version,
        version_max: schema.version(),
    })?;
    if connection.is_readonly("main").map_err(sqlite())? {
        return Err(DatabaseError::ReadOnly { path: path.to_owned() });
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(sqlite())?;
    if mode != "wal" {
        return Err(DatabaseError::NoLog { path: path.to_owned(), mode });
    }
    if !ahead.is_empty() {
        migrate(connection, ahead, schema).map_err(sqlite())?;
    }
    Ok(())
}

/// Takes the steps that are ahead of a file, all or none.
fn migrate(connection: &Connection, ahead: &[&str], schema: &Schema) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    for migration in ahead {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", schema.application_id)?;
    transaction.pragma_update(None, "user_version", schema.version())?;
    transaction.commit()
}
