//! Folders that are full, may not be written to, or hold what nobody expected.
#![expect(clippy::disallowed_methods, reason = "these tests mount file systems in a process of their own")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use aiswitch_lock::{BlockingLockManager, FileLockManager, LockError, LockOptions, LockState};
use rustix::io::Errno;

use crate::child;
use crate::support::{Folder, PATIENCE, name, within};

/// Runs a test again in a user and mount namespace with a small file system at the folder that it is told.
///
/// `Skipped` if the system has no such namespaces for this user.
pub(crate) fn mounted(test: &str, size: &str) -> Mounted {
    let may = Command::new("unshare").args(["-Urm", "true"]).stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        println!("{test}: skipped, this user may make no namespaces (unshare -Urm)");
        return Mounted::Skipped;
    }
    let home = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o \"$1\" tmpfs \"$2\" && exec \"$3\" --exact \"$4\" --nocapture --test-threads=1";
    let run = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script, "sh", size])
        .arg(home.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(child::ROLE, "mounted")
        .env(child::FOLDER, home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && told.contains("1 passed"),
        "{told}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    told.lines().filter(|line| line.contains(": skipped, ")).for_each(|line| println!("{line}"));
    Mounted::Passed
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mounted {
    Passed,
    Skipped,
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(
    what: &str,
    refused: &Result<T, LockError>,
    errno: Errno,
    below: &Path,
) {
    let Err(LockError::Io { path, source, .. }) = refused else { panic!("{what}: {refused:?}") };
    assert_eq!(Errno::from_io_error(source), Some(errno), "{what}: {refused:?}");
    assert!(path.starts_with(below), "{what}: names {}", path.display());
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut block = 65_536;
    let mut bytes = Vec::new();
    while block > 0 {
        bytes.resize(bytes.len() + block, b'x');
        if fs::write(path, &bytes).is_err() {
            bytes.truncate(bytes.len() - block);
            block /= 2;
        }
    }
}

#[test]
fn on_a_full_disk_nothing_is_locked_and_nothing_lost() {
    let test = "folders::on_a_full_disk_nothing_is_locked_and_nothing_lost";
    let Some((_, home)) = child::role() else {
        mounted(test, "size=128k,mode=700");
        return;
    };
    let folder = home.join("locks");
    let locks = FileLockManager::open(&folder).unwrap();
    let other = FileLockManager::open(&folder).unwrap();
    let token = locks.acquire(&name("old"), &LockOptions::new()).unwrap().fencing_token();
    fill(&home.join("filler"));

    // A lock whose file has its block goes on.
    let held = locks.acquire(&name("old"), &LockOptions::new()).unwrap();
    assert!(held.fencing_token() > token);
    // A new one has nowhere to write who holds it.
    for _ in 0..3 {
        let refused = locks.acquire(&name("new"), &within(PATIENCE));
        assert_refused("new", &refused, Errno::NOSPC, &folder);
        assert_eq!(other.inspect(&name("new")).unwrap().state, LockState::Free);
    }
    let busy = other.acquire(&name("old"), &within(Duration::from_millis(20)));
    assert!(matches!(busy, Err(LockError::Timeout { .. } | LockError::Io { .. })), "{busy:?}");
    assert!(locks.inspect(&name("old")).unwrap().waiters.is_empty());
    held.verify().unwrap();
    let token = held.fencing_token();
    drop(held);

    fs::remove_file(home.join("filler")).unwrap();
    assert!(other.acquire(&name("old"), &within(PATIENCE)).unwrap().fencing_token() > token);
    drop(locks.acquire(&name("new"), &within(PATIENCE)).unwrap());
}

#[test]
fn in_a_folder_that_may_not_be_written_to_nothing_is_locked_and_nothing_lost() {
    let test = "folders::in_a_folder_that_may_not_be_written_to_nothing_is_locked_and_nothing_lost";
    let Some((_, home)) = child::role() else {
        mounted(test, "size=1m,mode=700");
        return;
    };
    let folder = home.join("locks");
    let token = {
        let locks = FileLockManager::open(&folder).unwrap();
        let guard = locks.acquire(&name("old"), &LockOptions::new()).unwrap();
        guard.fencing_token()
    };
    let remount = |how: &str| {
        let status =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&home).status().unwrap();
        assert!(status.success(), "mount -o remount,{how}");
    };
    remount("ro");
    let locks = FileLockManager::open(&folder).unwrap();
    for lock in ["old", "new"] {
        assert_refused(lock, &locks.acquire(&name(lock), &within(PATIENCE)), Errno::ROFS, &folder);
        assert_refused(lock, &locks.try_acquire(&name(lock), &LockOptions::new()), Errno::ROFS, &folder);
    }
    assert_refused("a folder below", &FileLockManager::open(folder.join("below")), Errno::ROFS, &folder);
    remount("rw");
    assert!(locks.acquire(&name("old"), &within(PATIENCE)).unwrap().fencing_token() > token);
    drop(locks.acquire(&name("new"), &within(PATIENCE)).unwrap());
}

#[test]
fn files_that_are_no_locks_are_left_alone_also_if_their_names_are_no_text() {
    let folder = Folder::new();
    let locks = folder.open();
    drop(locks.acquire(&name("x"), &LockOptions::new()).unwrap());
    let foreign: [&[u8]; 6] = [
        b"resource_\xff\xfe.lock",
        b"resource_%ff.lock",
        b"resource_%2e%2e%2fX.lock",
        b"resource_UPPER.lock",
        b"notes.txt",
        b".lock",
    ];
    for file in foreign {
        fs::write(folder.path().join(OsStr::from_bytes(file)), "").unwrap();
    }
    let listed: Vec<_> = locks.list().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(listed, [name("x")]);
    let report = locks.cleanup_stale_locks(Duration::ZERO).unwrap();
    assert_eq!((report.locks_removed, report.locks_kept), (1, 0));
    for file in foreign {
        assert!(folder.path().join(OsStr::from_bytes(file)).exists());
    }
}
