//! Processes that are killed at any point of an acquire, while others want the same lock.
//!
//! The long form: `AISWITCH_LOCK_TORTURE_SECS=60 cargo test --release -p aiswitch-lock --test it torture`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use aiswitch_lock::{BlockingLockManager, FileLockConfig, FileLockManager, LockError, Priority, Wakeup};

use crate::child::{self, Process, number, spawn};
use crate::support::{Folder, Random, eventually, name, within};

const PROCESSES: usize = 8;
const WAIT_MAX: Duration = Duration::from_secs(5);

#[test]
fn killed_waiters_and_holders_leave_the_lock_in_order() {
    torture("torture::killed_waiters_and_holders_leave_the_lock_in_order", Wakeup::Event, Janitor::Off);
}

#[test]
fn killed_waiters_and_holders_leave_the_lock_in_order_while_files_are_deleted() {
    let test = "torture::killed_waiters_and_holders_leave_the_lock_in_order_while_files_are_deleted";
    torture(test, Wakeup::Event, Janitor::On);
}

#[test]
fn killed_waiters_and_holders_leave_the_lock_in_order_without_wakeups() {
    let test = "torture::killed_waiters_and_holders_leave_the_lock_in_order_without_wakeups";
    torture(test, Wakeup::Backoff, Janitor::On);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Janitor {
    On,
    Off,
}

fn torture(test: &str, wakeup: Wakeup, janitor: Janitor) {
    if let Some((_, folder)) = child::role() {
        return work(&folder, wakeup);
    }
    let lasts = Duration::from_secs(number("AISWITCH_LOCK_TORTURE_SECS", 4));
    let folder = Folder::new();
    let locks = folder.open_with(wakeup);
    std::fs::write(folder.path().join("inside"), []).unwrap();
    let mut random = Random::new();
    let mut processes: Vec<_> = (0..PROCESSES).map(|_| spawn(test, "worker", &folder.path())).collect();
    let (started, mut kills, mut removed) = (Instant::now(), 0, 0);
    while started.elapsed() < lasts {
        let pause = Duration::from_micros(random.below(16_000));
        let next_kill = Instant::now() + pause;
        while Instant::now() < next_kill {
            if janitor == Janitor::On {
                removed += locks.cleanup_stale_locks(Duration::ZERO).unwrap().locks_removed;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let victim = &mut processes[usize::try_from(random.below(PROCESSES as u64)).unwrap()];
        victim.kill();
        *victim = spawn(test, "worker", &folder.path());
        kills += 1;
    }
    let sections = || std::fs::metadata(folder.path().join("sections")).map_or(0, |found| found.len());
    let after_kills = sections();
    eventually("there is progress after the kills", || sections() > after_kills + 10);
    processes.iter_mut().for_each(Process::kill);
    let violations = std::fs::read_to_string(folder.path().join("violations")).unwrap_or_default();
    println!("{wakeup:?}: {} sections, {kills} kills, {removed} files removed", sections());
    assert_eq!(violations, "", "after {kills} kills and {} sections", sections());
    drop(locks.acquire(&name("x"), &within(WAIT_MAX)).unwrap());
    eventually("one sweep leaves no ticket", || {
        locks.cleanup_stale_locks(Duration::from_hours(1)).unwrap();
        std::fs::read_dir(folder.path().join("resource_x.queue")).map_or(0, Iterator::count) == 0
    });
    assert!(after_kills > 100 && kills > 50, "{after_kills} sections, {kills} kills");
}

fn work(folder: &Path, wakeup: Wakeup) {
    let mut config = FileLockConfig::default();
    config.wakeup = wakeup;
    let locks = FileLockManager::open_with(folder, config).unwrap();
    let inside = OpenOptions::new().read(true).write(true).open(folder.join("inside")).unwrap();
    let append = |file: &str| OpenOptions::new().create(true).append(true).open(folder.join(file)).unwrap();
    let (mut violations, mut sections) = (append("violations"), append("sections"));
    let mut random = Random::new();
    loop {
        // A pause, so that at times nobody waits, and the next one finds the lock free or its file deleted.
        std::thread::park_timeout(Duration::from_micros(random.below(20_000)));
        let priority = [Priority::Low, Priority::Normal, Priority::High, Priority::Urgent]
            [usize::try_from(random.below(4)).unwrap()];
        let hurried = random.below(10) == 0;
        let timeout = if hurried { Duration::from_micros(random.below(3000)) } else { WAIT_MAX };
        match locks.acquire(&name("x"), &within(timeout).with_priority(priority)) {
            Ok(guard) => {
                if let Err(violation) = section(&inside, guard.fencing_token()) {
                    writeln!(violations, "{violation}").unwrap();
                }
                sections.write_all(b".").unwrap();
                drop(guard);
            }
            Err(LockError::Timeout { .. }) if hurried => {}
            Err(other) => writeln!(violations, "{other}: {other:?}").unwrap(),
        }
    }
}

/// Writes this holder's number into a file and sees that nobody else does while the lock is held.
fn section(inside: &File, token: u64) -> Result<(), String> {
    let read = || {
        let mut bytes = [0; 8];
        let count = inside.read_at(&mut bytes, 0).unwrap();
        if count == 8 { u64::from_le_bytes(bytes) } else { 0 }
    };
    let last = read();
    inside.write_all_at(&token.to_le_bytes(), 0).unwrap();
    let until = Instant::now() + Duration::from_micros(50);
    while Instant::now() < until {
        let found = read();
        if found != token {
            return Err(format!("overlap: {found} inside of {token}"));
        }
    }
    if last >= token { Err(format!("token went back: {token} after {last}")) } else { Ok(()) }
}
