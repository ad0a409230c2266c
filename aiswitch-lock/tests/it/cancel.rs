//! Acquires that are given up, and time-outs.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use aiswitch_lock::{BlockingLockManager, LockError, LockGuard, LockManager, Wakeup};

use crate::child::number;
use crate::support::{Folder, PATIENCE, Random, eventually, name, within};

/// The long form: `AISWITCH_LOCK_CANCELS=100000`.
#[test]
fn dropping_an_acquire_after_any_poll_leaves_nothing_behind() {
    let cancels = number("AISWITCH_LOCK_CANCELS", 3000);
    let folder = Folder::new();
    let (locks, other) = (folder.open(), folder.open());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut random = Random::new();
    let (name, options) = (name("x"), within(PATIENCE));
    runtime.block_on(async {
        let mut won = 0;
        for _ in 0..cancels {
            let rival = match random.below(3) {
                0 => None,
                1 => LockManager::try_acquire(&locks, &name, &options).await.unwrap(),
                _ => LockManager::try_acquire(&other, &name, &options).await.unwrap(),
            };
            let acquire = LockManager::acquire(&locks, &name, &options);
            won += usize::from(poll_times(acquire, random.below(4), rival).await);
        }
        assert!(won > 0, "some are won in spite of it");
    });
    let dropped = Instant::now();
    drop(runtime);
    assert!(dropped.elapsed() < PATIENCE / 2, "no waiter holds the runtime up");
    assert!(BlockingLockManager::inspect(&locks, &name).unwrap().waiters.is_empty());
    assert_eq!(std::fs::read_dir(folder.path().join("resource_x.queue")).map_or(0, Iterator::count), 0);
    assert!(BlockingLockManager::try_acquire(&other, &name, &options).unwrap().is_some());
}

/// Polls a future up to so many times, lets go of the rival after the first time, and then drops the future.
async fn poll_times(
    mut acquire: Pin<Box<dyn Future<Output = Result<LockGuard, LockError>> + Send + '_>>,
    times: u64,
    rival: Option<LockGuard>,
) -> bool {
    let mut rival = Some(rival);
    for _ in 0..times {
        let polled = poll_fn(|cx| Poll::Ready(acquire.as_mut().poll(cx))).await;
        if let Poll::Ready(acquired) = polled {
            drop(acquired.unwrap());
            return true;
        }
        drop(rival.take());
        tokio::task::yield_now().await;
    }
    false
}

#[test]
fn a_runtime_that_goes_away_takes_its_waiters_along() {
    let folder = Folder::new();
    let (locks, other) = (Arc::new(folder.open()), folder.open());
    let guard = BlockingLockManager::acquire(&other, &name("x"), &within(PATIENCE)).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for _ in 0..10 {
        let locks = Arc::clone(&locks);
        runtime.spawn(
            async move { LockManager::acquire(&*locks, &name("x"), &within(PATIENCE)).await.map(drop) },
        );
    }
    eventually("all wait", || BlockingLockManager::inspect(&*locks, &name("x")).unwrap().waiters.len() == 10);
    let started = Instant::now();
    drop(runtime);
    assert!(started.elapsed() < PATIENCE / 2, "no waiter holds the runtime up");
    assert!(BlockingLockManager::inspect(&other, &name("x")).unwrap().waiters.is_empty());
    drop(guard);
    assert!(BlockingLockManager::try_acquire(&other, &name("x"), &within(PATIENCE)).unwrap().is_some());
}

/// The long form: `AISWITCH_LOCK_TIMEOUTS=1000`.
#[test]
fn timeouts_are_never_early_and_seldom_late() {
    for wakeup in [Wakeup::Event, Wakeup::Backoff] {
        let folder = Folder::new();
        let (locks, other) = (folder.open_with(wakeup), folder.open());
        let _guard = BlockingLockManager::acquire(&other, &name("x"), &within(PATIENCE)).unwrap();
        let mut random = Random::new();
        let mut late: Vec<_> = (0..number("AISWITCH_LOCK_TIMEOUTS", 40))
            .map(|_| {
                let timeout = Duration::from_micros(random.below(50_000));
                let started = Instant::now();
                let error = BlockingLockManager::acquire(&locks, &name("x"), &within(timeout)).unwrap_err();
                let took = started.elapsed();
                assert!(matches!(error, LockError::Timeout { .. }), "{error:?}");
                assert!(took >= timeout, "{wakeup:?}: early, {took:?} of {timeout:?}");
                took.checked_sub(timeout).unwrap()
            })
            .collect();
        late.sort_unstable();
        // Half of them, for this machine may run other tests at the same time.
        let typical = late[late.len() / 2];
        assert!(typical < Duration::from_millis(250), "{wakeup:?}: late by {typical:?}");
    }
}
