//! What every kind of lock does alike: each test runs with files, woken and by backoff, and in memory.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use aiswitch_lock::{
    BlockingLockManager, LockError, LockManager, LockMode, LockName, LockOptions, LockState,
    MemoryLockManager, Priority, Wakeup,
};

use crate::support::{Folder, PATIENCE, eventually, name, within};

/// Both faces of one manager.
trait Both: LockManager + BlockingLockManager {}
impl<T: LockManager + BlockingLockManager> Both for T {}

fn each(check: impl Fn(&str, Arc<dyn Both>)) {
    let folder = Folder::new();
    check("files, woken", Arc::new(folder.open_with(Wakeup::Event)));
    let folder = Folder::new();
    check("files, backoff", Arc::new(folder.open_with(Wakeup::Backoff)));
    check("memory", Arc::new(MemoryLockManager::new()));
}

fn waiters(locks: &dyn Both, name: &LockName) -> usize {
    BlockingLockManager::inspect(locks, name).unwrap().waiters.len()
}

#[test]
fn only_one_holds_a_lock_and_the_next_one_gets_it() {
    each(|kind, locks| {
        let options = LockOptions::new().with_owner("first").with_purpose("a test");
        let guard = BlockingLockManager::acquire(&*locks, &name("x"), &options).unwrap();
        let info = BlockingLockManager::inspect(&*locks, &name("x")).unwrap();
        let LockState::Held { holder: Some(holder) } = info.state else { panic!("{kind}: {info:?}") };
        assert_eq!(holder.pid, std::process::id(), "{kind}");
        assert_eq!(holder.owner.as_deref(), Some("first"), "{kind}");
        assert_eq!(holder.purpose.as_deref(), Some("a test"), "{kind}");
        assert!(BlockingLockManager::try_acquire(&*locks, &name("x"), &options).unwrap().is_none(), "{kind}");
        let first_token = guard.fencing_token();
        drop(guard);
        let next = BlockingLockManager::try_acquire(&*locks, &name("x"), &options).unwrap().unwrap();
        assert!(next.fencing_token() > first_token, "{kind}");
        next.verify().unwrap();
        next.release().unwrap();
        let info = BlockingLockManager::inspect(&*locks, &name("x")).unwrap();
        assert_eq!(info.state, LockState::Free, "{kind}");
    });
}

#[test]
fn waiters_are_served_by_priority_and_then_in_order_of_arrival() {
    each(|kind, locks| {
        let guard = BlockingLockManager::acquire(&*locks, &name("x"), &LockOptions::new()).unwrap();
        let (served, order) = mpsc::channel();
        std::thread::scope(|scope| {
            let plan = [
                ("a", Priority::Normal),
                ("b", Priority::Low),
                ("c", Priority::Normal),
                ("d", Priority::Urgent),
            ];
            for (index, (label, priority)) in plan.into_iter().enumerate() {
                let (waited_on, served) = (Arc::clone(&locks), served.clone());
                scope.spawn(move || {
                    let options = within(PATIENCE).with_priority(priority);
                    let guard = BlockingLockManager::acquire(&*waited_on, &name("x"), &options).unwrap();
                    served.send(label).unwrap();
                    drop(guard);
                });
                eventually("another one waits", || waiters(&*locks, &name("x")) == index + 1);
            }
            drop(guard);
        });
        drop(served);
        assert_eq!(order.iter().collect::<Vec<_>>(), ["d", "a", "c", "b"], "{kind}");
    });
}

#[test]
fn a_timeout_names_the_holder_and_the_place_in_the_queue() {
    each(|kind, locks| {
        let guard = BlockingLockManager::acquire(&*locks, &name("x"), &LockOptions::new().with_owner("boss"))
            .unwrap();
        let started = Instant::now();
        let timeout = Duration::from_millis(30);
        let error = BlockingLockManager::acquire(&*locks, &name("x"), &within(timeout)).unwrap_err();
        let took = started.elapsed();
        let LockError::Timeout { holder: Some(holder), ahead, waited, .. } = &error else {
            panic!("{kind}: {error:?}")
        };
        assert_eq!((holder.owner.as_deref(), *ahead), (Some("boss"), Some(0)), "{kind}");
        assert!(*waited >= timeout && took >= timeout && took < timeout * 20, "{kind}: {waited:?} {took:?}");
        assert!(error.to_string().contains("held by pid"), "{kind}: {error}");
        assert_eq!(waiters(&*locks, &name("x")), 0, "{kind}");
        drop(guard);
    });
}

#[test]
fn sharers_hold_together_and_an_exclusive_holder_holds_alone() {
    each(|kind, locks| {
        let share = LockOptions::new().with_mode(LockMode::Shared);
        let alone = LockOptions::new();
        let take = |options| BlockingLockManager::try_acquire(&*locks, &name("x"), options).unwrap();
        let (first, second) = (take(&share).unwrap(), take(&share).unwrap());
        assert!(take(&alone).is_none(), "{kind}");
        drop(first);
        assert!(take(&alone).is_none(), "{kind}");
        drop(second);
        let guard = take(&alone).unwrap();
        assert!(take(&share).is_none(), "{kind}");
        drop(guard);
        assert!(take(&share).is_some(), "{kind}");
    });
}

#[test]
fn several_locks_are_taken_in_order_and_all_or_none() {
    each(|kind, locks| {
        let names = [name("b"), LockName::Global, name("a")];
        let guards = BlockingLockManager::acquire_many(&*locks, &names, &within(PATIENCE)).unwrap();
        let taken: Vec<_> = guards.iter().map(|guard| guard.name().to_string()).collect();
        assert_eq!(taken, ["global", "resource:a", "resource:b"], "{kind}");
        let short = within(Duration::from_millis(5));
        let failed = BlockingLockManager::acquire_many(&*locks, &[name("0"), name("b")], &short);
        assert!(
            matches!(failed, Err(LockError::Timeout { name, .. }) if name == crate::support::name("b")),
            "{kind}"
        );
        assert!(BlockingLockManager::try_acquire(&*locks, &name("0"), &short).unwrap().is_some(), "{kind}");
        let twice = BlockingLockManager::acquire_many(&*locks, &[name("c"), name("c")], &short);
        assert!(matches!(twice, Err(LockError::NamedTwice { .. })), "{kind}");
    });
}

#[test]
fn releasing_everything_lets_go_and_tells_the_guards() {
    each(|kind, locks| {
        let kept = BlockingLockManager::acquire(&*locks, &name("x"), &LockOptions::new()).unwrap();
        assert_eq!(BlockingLockManager::release_all(&*locks).unwrap(), 1, "{kind}");
        assert!(matches!(kept.verify(), Err(LockError::Lost { .. })), "{kind}");
        let next =
            BlockingLockManager::try_acquire(&*locks, &name("x"), &LockOptions::new()).unwrap().unwrap();
        drop(kept);
        next.verify().unwrap();
        assert!(
            BlockingLockManager::try_acquire(&*locks, &name("x"), &LockOptions::new()).unwrap().is_none(),
            "{kind}"
        );
    });
}

#[tokio::test]
async fn a_task_waits_without_blocking_its_thread_and_a_dropped_one_leaves_nothing() {
    let (folder, x) = ([Folder::new(), Folder::new()], name("x"));
    let kinds: [Arc<dyn Both>; 3] = [
        Arc::new(folder[0].open_with(Wakeup::Event)),
        Arc::new(folder[1].open_with(Wakeup::Backoff)),
        Arc::new(MemoryLockManager::new()),
    ];
    for locks in kinds {
        let options = within(PATIENCE);
        let guard = LockManager::acquire(&*locks, &name("x"), &options).await.unwrap();
        for _ in 0..3 {
            let waiting = LockManager::acquire(&*locks, &x, &options);
            assert!(tokio::time::timeout(Duration::from_millis(5), waiting).await.is_err());
        }
        assert_eq!(waiters(&*locks, &name("x")), 0);
        let waiting = {
            let locks = Arc::clone(&locks);
            tokio::spawn(async move { LockManager::acquire(&*locks, &name("x"), &within(PATIENCE)).await })
        };
        while waiters(&*locks, &name("x")) == 0 {
            tokio::task::yield_now().await;
        }
        drop(guard);
        drop(waiting.await.unwrap().unwrap());
        assert!(LockManager::try_acquire(&*locks, &name("x"), &options).await.unwrap().is_some());
    }
}

#[test]
fn an_owner_that_asks_for_what_it_has_is_told_at_once() {
    each(|kind, locks| {
        let options = within(PATIENCE).with_owner("me");
        let _guard = BlockingLockManager::acquire(&*locks, &name("x"), &options).unwrap();
        let again = BlockingLockManager::acquire(&*locks, &name("x"), &options);
        assert!(matches!(again, Err(LockError::WouldDeadlock { .. })), "{kind}: {again:?}");
    });
}
