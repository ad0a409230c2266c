//! A database at its door, in its turns, and when something is wrong with it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aiswitch_lock::database::{Database, DatabaseError, FileProblem, GATE_TIMEOUT, LazyDatabase, Schema};
use aiswitch_lock::rusqlite::{self, Connection, params};
use aiswitch_lock::{BlockingLockManager as _, FileLockManager, FolderProblem, LockError, LockName};
use rustix::io::Errno;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};
use tempfile::TempDir;

use crate::faults::{call, refuse_if};
use crate::support::{eventually, within};

const FIRST: &str =
    "CREATE TABLE entry (writer INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY (writer, number)) STRICT";
const SECOND: &str = "ALTER TABLE entry ADD COLUMN note TEXT";

pub(crate) static SCHEMA: Schema = Schema { application_id: 0x7465_7374, migrations: &[FIRST] };
const LATER: Schema = Schema { application_id: 0x7465_7374, migrations: &[FIRST, SECOND] };

fn home() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state").join("entries.db");
    (home, path)
}

pub(crate) fn add(database: &Database, writer: u64, number: u64) -> Result<usize, DatabaseError> {
    database.write(|change| {
        let mut insert = change.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3)")?;
        insert.execute(params![writer.cast_signed(), number.cast_signed(), "x".repeat(100)])
    })
}

fn count(database: &Database) -> i64 {
    database.read(|view| view.query_row("SELECT count(*) FROM entry", [], |row| row.get(0))).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_written_is_there_when_it_is_opened_again_and_only_its_owner_reads_it() {
    let (_home, path) = home();
    let database = Database::open(&path, &SCHEMA).unwrap();
    add(&database, 1, 1).unwrap();
    for part in ["", "-wal", "-shm"] {
        assert_eq!(mode(&PathBuf::from(format!("{}{part}", path.display()))), 0o600, "`{part}`");
    }
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    drop(database);
    let database = Database::open(&path, &SCHEMA).unwrap();
    assert_eq!(count(&database), 1);
    assert_eq!(database.check().unwrap(), Vec::<String>::new());
    assert_eq!(database.path().file_name(), path.file_name());
}

#[test]
fn a_write_that_fails_or_panics_changes_nothing_and_the_next_one_works() {
    let (_home, path) = home();
    let database = Database::open(&path, &SCHEMA).unwrap();
    let failed = database.write(|change| {
        change.execute("INSERT INTO entry VALUES (1, 1, 'a')", [])?;
        change.execute("INSERT INTO entry VALUES (1, 1, 'twice')", [])
    });
    assert!(matches!(failed, Err(DatabaseError::Sqlite { .. })), "{failed:?}");
    let panicked = std::thread::scope(|scope| {
        let writing = || {
            database.write(|change| -> rusqlite::Result<()> {
                change.execute("INSERT INTO entry VALUES (1, 1, 'a')", [])?;
                panic!("in the middle of a change");
            })
        };
        scope.spawn(writing).join()
    });
    assert!(panicked.is_err());
    assert_eq!(count(&database), 0);
    add(&database, 1, 1).unwrap();
    assert_eq!(count(&database), 1);
}

#[test]
fn a_file_that_was_taken_away_or_replaced_is_not_written_any_more() {
    let (_home, path) = home();
    let database = Database::open(&path, &SCHEMA).unwrap();
    add(&database, 1, 1).unwrap();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    assert!(matches!(add(&database, 1, 2), Err(DatabaseError::Gone { path: gone }) if gone == path));
    fs::write(&path, "another file").unwrap();
    chmod(&path, 0o600);
    assert!(matches!(add(&database, 1, 2), Err(DatabaseError::Gone { .. })));
    std::fs::rename(&aside, &path).unwrap();
    add(&database, 1, 2).unwrap();
}

#[test]
fn a_lazy_database_is_made_at_its_first_use_and_tries_again_after_an_error() {
    let (_home, path) = home();
    let lazy = LazyDatabase::new(&path, &SCHEMA);
    assert_eq!((lazy.path(), path.exists()), (path.as_path(), false));
    std::fs::create_dir_all(&path).unwrap();
    assert!(matches!(lazy.get(), Err(DatabaseError::File { .. })));
    std::fs::remove_dir(&path).unwrap();
    add(lazy.get().unwrap(), 1, 1).unwrap();
    assert_eq!(count(lazy.get().unwrap()), 1);
}

#[test]
fn a_look_cannot_change_anything() {
    let (_home, path) = home();
    let database = Database::open(&path, &SCHEMA).unwrap();
    let tried = database.read(|view| view.execute("INSERT INTO entry VALUES (1, 1, 'a')", []));
    assert!(matches!(tried, Err(DatabaseError::Sqlite { .. })), "{tried:?}");
    add(&database, 1, 1).unwrap();
}

#[test]
fn an_older_database_is_brought_up_to_date_and_a_newer_one_is_refused_untouched() {
    let (_home, path) = home();
    add(&Database::open(&path, &SCHEMA).unwrap(), 1, 1).unwrap();
    let database = Database::open(&path, &LATER).unwrap();
    let noted = database.write(|change| change.execute("UPDATE entry SET note = 'kept'", [])).unwrap();
    assert_eq!(noted, 1);
    drop(database);
    let before = fs::read(&path).unwrap();
    let refused = Database::open(&path, &SCHEMA).unwrap_err();
    assert!(matches!(refused, DatabaseError::Newer { version: 2, version_max: 1, .. }), "{refused:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_version_that_none_has_is_refused_and_the_file_stays_as_it_is() {
    for version in [-1, i32::MIN] {
        let (_home, path) = home();
        add(&Database::open(&path, &SCHEMA).unwrap(), 1, 1).unwrap();
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let before = fs::read(&path).unwrap();
        let refused = Database::open(&path, &SCHEMA).unwrap_err();
        let DatabaseError::NoVersion { version: told, .. } = refused else { panic!("{refused}") };
        assert_eq!(told, i64::from(version));
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_migration_that_fails_leaves_the_version_before_it() {
    let (_home, path) = home();
    add(&Database::open(&path, &SCHEMA).unwrap(), 1, 1).unwrap();
    let broken = Schema { migrations: &[FIRST, SECOND, "CREATE TABLE entry (x)"], ..SCHEMA };
    assert!(matches!(Database::open(&path, &broken), Err(DatabaseError::Sqlite { .. })));
    let database = Database::open(&path, &SCHEMA).unwrap();
    assert_eq!(count(&database), 1);
}

#[test]
fn many_that_open_a_new_database_at_once_make_it_once() {
    let (_home, path) = home();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let path = &path;
            scope.spawn(move || add(&Database::open(path, &LATER_EMPTY).unwrap(), writer, 1).unwrap());
        }
    });
    assert_eq!(count(&Database::open(&path, &LATER_EMPTY).unwrap()), 8);
}

/// Two steps, of which the second would fail if it were taken twice.
const LATER_EMPTY: Schema =
    Schema { migrations: &[FIRST, "CREATE TABLE other (x INTEGER) STRICT"], ..SCHEMA };

#[test]
fn the_database_of_something_else_is_refused() {
    let (_home, path) = home();
    fs::create_dir(path.parent().unwrap()).unwrap();
    chmod(path.parent().unwrap(), 0o700);
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(foreign);
    chmod(&path, 0o600);
    let refused = Database::open(&path, &SCHEMA).unwrap_err();
    assert!(matches!(refused, DatabaseError::Foreign { application_id: 0, .. }), "{refused:?}");
}

#[test]
fn a_file_or_folder_that_others_may_change_is_refused() {
    let (home, path) = home();
    drop(Database::open(&path, &SCHEMA).unwrap());
    let problem = || match Database::open(&path, &SCHEMA).unwrap_err() {
        DatabaseError::File { problem, .. } => problem,
        other => panic!("{other:?}"),
    };
    chmod(&path, 0o660);
    assert_eq!(problem(), FileProblem::WritableByOthers { mode: 0o660 });
    let elsewhere = home.path().join("elsewhere.db");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(problem(), FileProblem::Symlink);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(problem(), FileProblem::NotAFile);
    fs::remove_dir(&path).unwrap();

    chmod(path.parent().unwrap(), 0o770);
    let refused = Database::open(&path, &SCHEMA).unwrap_err();
    let DatabaseError::Folder { problem, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(*problem, FolderProblem::WritableByOthers { mode: 0o770 });
}

#[test]
fn what_is_no_database_is_called_damaged_and_stays_as_it_is() {
    let (_home, path) = home();
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "a letter to my aunt ".repeat(1000)).unwrap();
    chmod(&path, 0o600);
    chmod(path.parent().unwrap(), 0o700);
    let refused = Database::open(&path, &SCHEMA).unwrap_err();
    assert!(matches!(refused, DatabaseError::Damaged { .. }), "{refused:?}");
    assert!(fs::read_to_string(&path).unwrap().starts_with("a letter"));
}

#[test]
fn a_damaged_page_is_found_by_the_check() {
    let (_home, path) = home();
    let database = Database::open(&path, &SCHEMA).unwrap();
    (0..200).for_each(|number| {
        add(&database, 1, number).unwrap();
    });
    drop(database);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    assert!(pages > 5, "{pages}");
    file.write_all_at(&[0xA5; 4096], (pages - 2) * 4096).unwrap();
    drop(file);
    let database = Database::open(&path, &SCHEMA).unwrap();
    match database.check() {
        Ok(faults) => assert!(!faults.is_empty()),
        Err(error) => assert!(matches!(error, DatabaseError::Damaged { .. }), "{error:?}"),
    }
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_that_was_written() {
    let (_home, path) = home();
    let database = Database::open(&path, &SCHEMA).unwrap();
    add(&database, 1, 1).unwrap();
    let refused = std::thread::scope(|scope| {
        let writing = || {
            // Pages have this size; the small notes of the gate still fit.
            let page = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ge, 4096).unwrap();
            refuse_if(&[call::PWRITE], &[SeccompRule::new(vec![page]).unwrap()], Errno::NOSPC);
            add(&database, 1, 2)
        };
        scope.spawn(writing).join().unwrap()
    });
    assert!(matches!(refused, Err(DatabaseError::Full { .. })), "{refused:?}");
    add(&database, 1, 3).unwrap();
    assert_eq!(count(&database), 2);
    assert_eq!(database.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_file_that_can_only_be_read_is_refused_before_anything_is_done() {
    let (_home, path) = home();
    drop(Database::open(&path, &SCHEMA).unwrap());
    let refused = std::thread::scope(|scope| {
        let opening = || {
            // What a user other than root gets for a file of mode 0400: the database's open alone asks without O_CREAT
            // and O_NONBLOCK for both reading and writing.
            let flags = 0o2 | 0o100 | 0o4000;
            let ask = SeccompCmpOp::MaskedEq(flags);
            let condition = SeccompCondition::new(2, SeccompCmpArgLen::Dword, ask, 0o2).unwrap();
            refuse_if(&[call::OPENAT], &[SeccompRule::new(vec![condition]).unwrap()], Errno::ACCESS);
            Database::open(&path, &SCHEMA).map(drop)
        };
        scope.spawn(opening).join().unwrap()
    });
    assert!(matches!(refused, Err(DatabaseError::ReadOnly { .. })), "{refused:?}");
}

#[test]
fn a_program_that_does_not_take_turns_is_waited_for_and_then_named_as_the_reason() {
    let (_home, path) = home();
    let database = Database::open(&path, &SCHEMA).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = add(&database, 1, 1);
    assert!(matches!(refused, Err(DatabaseError::Locked { .. })), "{refused:?}");
    other.execute_batch("ROLLBACK").unwrap();
    add(&database, 1, 1).unwrap();
}

#[test]
fn whoever_holds_the_gate_for_too_long_is_named() {
    let (_home, path) = home();
    let database = Database::open(&path, &SCHEMA).unwrap();
    let gate = FileLockManager::open(format!("{}-gate", path.display())).unwrap();
    let held = gate.acquire(&LockName::Global, &within(Duration::ZERO).with_owner("sleeper")).unwrap();
    let refused = add(&database, 1, 1).unwrap_err();
    let DatabaseError::Unreachable { source: LockError::Timeout { waited, holder, .. }, .. } = refused else {
        panic!("{refused:?}")
    };
    assert!(waited >= GATE_TIMEOUT, "{waited:?}");
    assert_eq!(holder.unwrap().owner.as_deref(), Some("sleeper"));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| add(&database, 1, 1).unwrap());
        eventually("the writer waits", || gate.inspect(&LockName::Global).unwrap().waiters.len() == 1);
        assert_eq!(count(&database), 0, "a look needs no gate");
        drop(held);
        writing.join().unwrap();
    });
    assert_eq!(count(&database), 1);
}

#[test]
fn a_copy_holds_what_was_there_and_never_takes_the_place_of_a_file() {
    let (home, path) = home();
    let database = Database::open(&path, &SCHEMA).unwrap();
    (0..100).for_each(|number| {
        add(&database, 1, number).unwrap();
    });
    let copy = home.path().join("state").join("copy.db");
    database.back_up(&copy).unwrap();
    assert_eq!(mode(&copy), 0o600);
    add(&database, 1, 100).unwrap();
    assert!(matches!(database.back_up(&copy), Err(DatabaseError::Io { .. })));
    assert!(!copy.with_extension("db-wal").exists(), "a copy is one file");
    assert_eq!(count(&Database::open(&copy, &SCHEMA).unwrap()), 100);
}
