//! Several processes that stop, fork, start others, or delete the folder.
#![expect(clippy::disallowed_methods, reason = "these tests are about several processes")]

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aiswitch_lock::{
    BlockingLockManager, FileLockManager, HolderProcess, LockError, LockName, LockOptions, LockState,
    LossReason,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::child::{self, number, spawn};
use crate::support::{Folder, PATIENCE, eventually, name, within};

/// The long form: `AISWITCH_LOCK_COUNTS=1000`.
#[test]
fn thirty_two_processes_count_together_without_losing_one() {
    let test = "processes::thirty_two_processes_count_together_without_losing_one";
    let counts = number("AISWITCH_LOCK_COUNTS", 40);
    if let Some((_, folder)) = child::role() {
        let locks = FileLockManager::open(&folder).unwrap();
        let counter = folder.join("counter");
        for _ in 0..counts {
            let guard = locks.acquire(&LockName::Global, &within(PATIENCE * 3)).unwrap();
            let count: u64 = fs::read_to_string(&counter).unwrap().parse().unwrap();
            fs::write(&counter, (count + 1).to_string()).unwrap();
            drop(guard);
        }
        return;
    }
    for processes in [2, 8, 32] {
        let folder = Folder::new();
        fs::create_dir(folder.path()).unwrap();
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        fs::write(folder.path().join("counter"), "0").unwrap();
        let mut workers: Vec<_> = (0..processes).map(|_| spawn(test, "worker", &folder.path())).collect();
        for worker in &mut workers {
            assert!(worker.0.wait().unwrap().success());
        }
        let counted: u64 = fs::read_to_string(folder.path().join("counter")).unwrap().parse().unwrap();
        assert_eq!(counted, processes * counts);
    }
}

#[test]
fn a_stopped_holder_keeps_its_lock_and_is_named_and_a_stopped_waiter_is_passed() {
    let test = "processes::a_stopped_holder_keeps_its_lock_and_is_named_and_a_stopped_waiter_is_passed";
    if let Some((role, folder)) = child::role() {
        let locks = FileLockManager::open(&folder).unwrap();
        let _guard = locks.acquire(&name("x"), &within(PATIENCE).with_owner(&role)).unwrap();
        fs::write(folder.join(role), "").unwrap();
        return eventually("the test ends", || !folder.exists());
    }
    let folder = Folder::new();
    let locks = folder.open();
    let mut holder = spawn(test, "holder", &folder.path());
    eventually("the child holds", || folder.path().join("holder").exists());
    stop(&holder);
    let error = locks.acquire(&name("x"), &within(Duration::from_millis(700))).unwrap_err();
    let LockError::Timeout { holder: Some(named), .. } = &error else { panic!("{error:?}") };
    assert_eq!((named.pid, named.owner.as_deref()), (holder.0.id(), Some("holder")));

    let waiter = spawn(test, "waiter", &folder.path());
    eventually("the child waits", || locks.inspect(&name("x")).unwrap().waiters.len() == 1);
    stop(&waiter);
    let started = Instant::now();
    let got = std::thread::scope(|scope| {
        let got = scope.spawn(|| locks.acquire(&name("x"), &within(PATIENCE)));
        eventually("two wait", || locks.inspect(&name("x")).unwrap().waiters.len() == 2);
        holder.kill();
        got.join().unwrap()
    });
    got.unwrap().verify().unwrap();
    assert!(started.elapsed() < PATIENCE / 2, "passed after {:?}", started.elapsed());
    signal(&waiter, Signal::CONT);
    eventually("the passed waiter is served", || folder.path().join("waiter").exists());
}

fn signal(process: &child::Process, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process.0.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Stops a process, and waits until each thread of it stands still: one that still leaves the kernel may take a lock there.
fn stop(process: &child::Process) {
    signal(process, Signal::STOP);
    let tasks = format!("/proc/{}/task", process.0.id());
    let is_stopped = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    eventually("each thread stands still", || fs::read_dir(&tasks).unwrap().flatten().all(is_stopped));
}

#[test]
fn a_forked_child_neither_frees_nor_takes_its_parents_locks() {
    let folder = Folder::new();
    let locks = folder.open();
    let guard = locks.acquire(&name("x"), &LockOptions::new()).unwrap();
    let waiting = folder.path().join("resource_x.queue");
    match fork::fork().unwrap() {
        fork::Fork::Child => {
            let lost = matches!(guard.verify(), Err(LockError::Lost { reason: LossReason::Forked, .. }));
            drop(guard);
            let refused = locks.try_acquire(&name("y"), &LockOptions::new());
            let told = lost && matches!(refused, Err(LockError::Forked { .. }));
            fs::write(folder.path().join("child"), if told { "told" } else { "not told" }).unwrap();
            // Nothing of the test's own process may run on in the child, not even its destructors.
            kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
        }
        fork::Fork::Parent(_) => {
            eventually("the child is done", || folder.path().join("child").exists());
            let told = || fs::read_to_string(folder.path().join("child")).unwrap();
            eventually("the child has written", || !told().is_empty());
            assert_eq!(told(), "told");
            guard.verify().unwrap();
            assert!(folder.open().try_acquire(&name("x"), &LockOptions::new()).unwrap().is_none());
            assert!(!waiting.exists());
        }
    }
}

/// The long form: `AISWITCH_LOCK_RELEASES=100000`.
#[test]
fn starting_processes_never_keeps_a_released_lock_held() {
    let folder = Folder::new();
    let locks = folder.open();
    let (stop, started) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert!(Command::new("/bin/true").stdin(Stdio::null()).status().unwrap().success());
                started.store(true, Ordering::Relaxed);
            }
        });
        eventually("processes are started", || started.load(Ordering::Relaxed));
        let other = folder.open();
        for round in 0..number("AISWITCH_LOCK_RELEASES", 5000) {
            let locks = if round % 2 == 0 { &locks } else { &other };
            let taken = locks.try_acquire(&name("x"), &LockOptions::new()).unwrap();
            assert!(taken.is_some(), "spuriously busy in round {round}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn deleting_the_folder_tells_the_old_holder_and_lets_a_newer_one_in() {
    let folder = Folder::new();
    let (locks, other) = (folder.open(), folder.open());
    let old = locks.acquire(&name("x"), &LockOptions::new()).unwrap();
    fs::remove_dir_all(folder.path()).unwrap();
    assert!(matches!(old.verify(), Err(LockError::Lost { reason: LossReason::FileReplaced, .. })));
    let new = other.acquire(&name("x"), &within(PATIENCE)).unwrap();
    assert!(new.fencing_token() > old.fencing_token());
    drop(old);
    new.verify().unwrap();
    assert!(locks.try_acquire(&name("x"), &LockOptions::new()).unwrap().is_none());
    drop(new);
    assert!(locks.try_acquire(&name("x"), &LockOptions::new()).unwrap().is_some());
}

#[test]
fn a_waiter_goes_on_when_the_folder_is_deleted_under_it() {
    let folder = Folder::new();
    let (locks, other) = (folder.open(), folder.open());
    let old = locks.acquire(&name("x"), &LockOptions::new()).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| other.acquire(&name("x"), &within(PATIENCE)));
        eventually("it waits", || locks.inspect(&name("x")).unwrap().waiters.len() == 1);
        fs::remove_dir_all(folder.path()).unwrap();
        waiting.join().unwrap().unwrap().verify().unwrap();
    });
    drop(old);
}

#[test]
fn whatever_a_lock_file_says_nobody_is_kept_from_a_lock_that_is_free() {
    let folder = Folder::new();
    let locks = folder.open();
    let path = folder.path().join("resource_x.lock");
    let first = locks.acquire(&name("x"), &LockOptions::new()).unwrap();
    let token = first.fencing_token();
    drop(first);
    let sound = fs::read(&path).unwrap();
    let mut other_start = sound.clone();
    other_start[40] ^= 1;
    let mut other_boot = sound.clone();
    other_boot[48] ^= 1;
    let future = token + 3_600_000_000_000;
    let mut clock_went_back = sound.clone();
    clock_went_back[8..16].copy_from_slice(&future.to_le_bytes());
    clock_went_back[16..24].copy_from_slice(&(!future).to_le_bytes());
    for (what, bytes) in [
        ("a number given away again", other_start),
        ("an earlier boot", other_boot),
        ("nothing", Vec::new()),
        ("noise", vec![0xA5; 4096]),
        ("half a record", sound[..50].to_vec()),
        ("a token of the future", clock_went_back),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(locks.inspect(&name("x")).unwrap().state, LockState::Free, "{what}");
        let next = locks.try_acquire(&name("x"), &LockOptions::new()).unwrap().unwrap();
        assert!(next.fencing_token() > token, "{what}");
        if what == "a token of the future" {
            assert_eq!(next.fencing_token(), future + 1);
        }
    }
}

#[test]
fn a_lock_kept_by_a_child_that_inherited_the_file_is_told_apart() {
    let test = "processes::a_lock_kept_by_a_child_that_inherited_the_file_is_told_apart";
    if let Some((_, folder)) = child::role() {
        let locks = FileLockManager::open(&folder).unwrap();
        let guard = locks.acquire(&name("x"), &LockOptions::new()).unwrap();
        match fork::fork().unwrap() {
            fork::Fork::Child => {
                fs::write(folder.join("child"), std::process::id().to_string()).unwrap();
                eventually("the test ends", || !folder.join("resource_x.lock").exists());
                kill_process(rustix::process::getpid(), Signal::KILL).unwrap();
            }
            fork::Fork::Parent(_) => {
                eventually("the test ends", || !folder.exists());
                drop(guard);
            }
        }
        return;
    }
    let folder = Folder::new();
    let locks = folder.open();
    let mut holder = spawn(test, "holder", &folder.path());
    eventually("the grandchild runs", || folder.path().join("child").exists());
    holder.kill();
    let LockState::Held { holder: Some(named) } = locks.inspect(&name("x")).unwrap().state else {
        panic!("the grandchild still has the file")
    };
    assert_eq!((named.pid, named.process), (holder.0.id(), HolderProcess::Ended));
    assert!(named.to_string().contains("left a child"), "{named}");
}

/// What those who use a lock saw, while its folder was taken away under them.
#[derive(Default)]
struct Sections {
    inside: AtomicU64,
    done: AtomicU64,
    overlaps: AtomicU64,
}

/// Has threads with a manager each take a lock again and again, while `take_away` does away with the folder `rounds` times.
///
/// It is called with the lock held, so that nobody has the old file when it goes: whoever takes that one afterwards would
/// overlap with those who take the new one.
fn taken_away_while_in_use(rounds: u32, take_away: impl Fn(&std::path::Path)) {
    let folder = Folder::new();
    let (sections, stop) = (Sections::default(), AtomicBool::new(false));
    let managers: Vec<_> = (0..4).map(|_| folder.open()).collect();
    std::thread::scope(|scope| {
        for locks in &managers[1..] {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let guard = locks.acquire(&name("x"), &within(PATIENCE)).unwrap();
                    let alone = sections.inside.fetch_add(1, Ordering::SeqCst) == 0;
                    sections.overlaps.fetch_add(u64::from(!alone), Ordering::SeqCst);
                    std::thread::yield_now();
                    sections.inside.fetch_sub(1, Ordering::SeqCst);
                    sections.done.fetch_add(1, Ordering::SeqCst);
                    drop(guard);
                }
            });
        }
        for _ in 0..rounds {
            let old = managers[0].acquire(&name("x"), &within(PATIENCE)).unwrap();
            take_away(&folder.path());
            let before = sections.done.load(Ordering::SeqCst);
            eventually("others go on with new files", || sections.done.load(Ordering::SeqCst) > before + 3);
            drop(old);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(sections.overlaps.into_inner(), 0);
}

#[test]
fn a_folder_that_is_deleted_and_made_anew_while_in_use_lets_no_two_in() {
    let trash = tempfile::tempdir().unwrap();
    taken_away_while_in_use(12, |folder| {
        // Moved first, so that nothing is deleted that others have just made anew.
        let doomed = trash.path().join("doomed");
        fs::rename(folder, &doomed).unwrap();
        eventually("it is deleted", || fs::remove_dir_all(&doomed).is_ok());
    });
}

#[test]
fn a_folder_that_is_moved_away_while_in_use_lets_no_two_in_once_the_trust_in_its_path_has_ended() {
    let moved = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    taken_away_while_in_use(6, |folder| {
        let to = moved.path().join(count.fetch_add(1, Ordering::Relaxed).to_string());
        fs::rename(folder, to).unwrap();
        let started = Instant::now();
        eventually("the trust in the path has ended", || started.elapsed() > Duration::from_millis(11));
    });
}
