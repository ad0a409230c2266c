//! Owners that wait for each other.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aiswitch_lock::{BlockingLockManager, FileLockConfig, FileLockManager, LockError};

use crate::child::number;
use crate::support::{Folder, PATIENCE, Random, name, within};

const DEADLOCK_AFTER: Duration = Duration::from_millis(100);

fn open(folder: &Folder) -> FileLockManager {
    let mut config = FileLockConfig::default();
    config.deadlock_after = DEADLOCK_AFTER;
    FileLockManager::open_with(folder.path(), config).unwrap()
}

#[test]
fn of_two_owners_in_a_deadlock_the_later_one_is_told_and_the_other_goes_on() {
    let folder = Folder::new();
    let (locks, both) = (open(&folder), Barrier::new(2));
    let cross = |owner: &str, first: &str, second: &str| {
        let options = within(PATIENCE).with_owner(owner);
        let first = locks.acquire(&name(first), &options).unwrap();
        both.wait();
        let started = Instant::now();
        let second = locks.acquire(&name(second), &options).map(drop);
        drop(first);
        (second, started.elapsed())
    };
    let (left, right) = std::thread::scope(|scope| {
        let left = scope.spawn(|| cross("left", "a", "b"));
        let right = scope.spawn(|| cross("right", "b", "a"));
        (left.join().unwrap(), right.join().unwrap())
    });
    let ((told, took), (other, _)) = if left.0.is_err() { (left, right) } else { (right, left) };
    assert!(other.is_ok(), "one side goes on: {other:?}");
    let Err(LockError::Deadlock { cycle, .. }) = &told else { panic!("{told:?}") };
    let mut owners: Vec<_> = cycle.iter().map(|link| link.owner.as_str()).collect();
    owners.sort_unstable();
    assert_eq!(owners, ["left", "right"]);
    assert!(took < DEADLOCK_AFTER + Duration::from_millis(200), "told after {took:?}");
}

/// The long form: `AISWITCH_LOCK_DEADLOCK_SECS=30`.
#[test]
fn owners_that_lock_in_random_order_never_hang() {
    let lasts = Duration::from_secs(number("AISWITCH_LOCK_DEADLOCK_SECS", 3));
    let folder = Folder::new();
    let locks = open(&folder);
    let (deadlocks, pairs) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for owner in 0..6_u64 {
            let (locks, deadlocks, pairs) = (&locks, &deadlocks, &pairs);
            scope.spawn(move || {
                let mut random = Random::seeded(owner);
                let options = within(PATIENCE).with_owner(format!("owner {owner}"));
                let started = Instant::now();
                while started.elapsed() < lasts {
                    let (first, second) = (random.below(4), random.below(4));
                    if first == second {
                        continue;
                    }
                    let _first = locks.acquire(&name(&first.to_string()), &options).unwrap();
                    match locks.acquire(&name(&second.to_string()), &options) {
                        Ok(_second) => pairs.fetch_add(1, Ordering::Relaxed),
                        Err(LockError::Deadlock { .. }) => deadlocks.fetch_add(1, Ordering::Relaxed),
                        Err(other) => panic!("{other}: {other:?}"),
                    };
                }
            });
        }
    });
    println!("{deadlocks:?} deadlocks broken, {pairs:?} pairs held");
    assert!(deadlocks.into_inner() > 0 && pairs.into_inner() > 0);
}

/// The long form: `AISWITCH_LOCK_ORDERED_PAIRS=100000`.
#[test]
fn owners_that_lock_in_order_are_never_told_of_a_deadlock() {
    let wanted = number("AISWITCH_LOCK_ORDERED_PAIRS", 3000);
    let folder = Folder::new();
    let mut config = FileLockConfig::default();
    config.deadlock_after = Duration::from_millis(1);
    let locks = FileLockManager::open_with(folder.path(), config).unwrap();
    std::thread::scope(|scope| {
        for owner in 0..6_u64 {
            let locks = &locks;
            scope.spawn(move || {
                let mut random = Random::seeded(owner);
                let options = within(PATIENCE).with_owner(format!("owner {owner}"));
                for _ in 0..wanted / 6 {
                    let first = random.below(3);
                    let names =
                        [name(&first.to_string()), name(&(first + 1 + random.below(3 - first)).to_string())];
                    drop(locks.acquire_many(&names, &options).unwrap());
                }
            });
        }
    });
}
