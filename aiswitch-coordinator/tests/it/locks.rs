//! A run's own locks: taken before anything starts, let go after the report.

use std::sync::Arc;
use std::time::Duration;

use aiswitch_coordinator::{
    CancellationToken, Home, LockManager, LockName, MemoryLockManager, Priority, RunError, RunEventKind,
    RunStatus,
};
use aiswitch_lock::{LockError, LockOptions, LockState};

use crate::support::{agent, answer, coordinator, echo, plan};

fn lock(text: &str) -> LockName {
    LockName::resource(text).expect("a name of the test")
}

async fn is_held(locks: &MemoryLockManager, name: &str) -> bool {
    let info = locks.inspect(&lock(name)).await.expect("it can be looked at");
    matches!(info.state, LockState::Held { .. })
}

#[tokio::test]
async fn locks_are_held_while_agents_work_and_free_after_the_report() {
    let locks = Arc::new(MemoryLockManager::new());
    let looking = Arc::clone(&locks);
    let looker = agent("a", move |_| {
        let locks = Arc::clone(&looking);
        async move { answer(format!("{} {}", is_held(&locks, "x").await, is_held(&locks, "y").await)) }
    });
    let plan = plan("hello", &["a"]).with_lock(lock("y")).with_lock(lock("x"));
    let seen = Arc::clone(&locks);
    let mut held_at_report = None;
    let report = coordinator([looker])
        .with_locks(Arc::clone(&locks) as _)
        .run(plan, CancellationToken::new(), |event| {
            if matches!(event.kind, RunEventKind::Report { .. }) {
                let options = LockOptions::new();
                let taken = aiswitch_lock::BlockingLockManager::try_acquire(&*seen, &lock("x"), &options);
                held_at_report = Some(taken.expect("it can be asked for").is_none());
            }
        })
        .await
        .expect("it runs");
    assert_eq!(report.agents[0].answer.as_deref(), Some("true true"));
    assert_eq!(held_at_report, Some(true));
    assert!(!is_held(&locks, "x").await && !is_held(&locks, "y").await);
}

#[tokio::test]
async fn a_run_waits_with_the_priority_of_its_plan() {
    let locks = Arc::new(MemoryLockManager::new());
    let mut guard = Some(locks.acquire(&lock("x"), &LockOptions::new()).await.expect("it is free"));
    let looking = Arc::clone(&locks);
    let mut priority = None;
    let plan = plan("hello", &["a"]).with_lock(lock("x")).with_lock_priority(Priority::High);
    let report = coordinator([echo("a")])
        .with_locks(Arc::clone(&locks) as _)
        .run(plan, CancellationToken::new(), |event| {
            if matches!(event.kind, RunEventKind::Waiting { .. }) {
                let info = aiswitch_lock::BlockingLockManager::inspect(&*looking, &lock("x"));
                priority = info.expect("it can be looked at").waiters.first().map(|waiter| waiter.priority);
                guard = None;
            }
        })
        .await
        .expect("it runs");
    assert_eq!((report.status, priority), (RunStatus::Completed, Some(Priority::High)));
}

#[tokio::test]
async fn a_busy_lock_is_waited_for_and_each_holder_is_told_once() {
    let locks = Arc::new(MemoryLockManager::new());
    let hold = |purpose: &str| LockOptions::new().with_purpose(purpose);
    let mut first = Some(locks.acquire(&lock("x"), &hold("first")).await.expect("it is free"));
    let queued = Arc::clone(&locks);
    let (let_go, is_told) = tokio::sync::oneshot::channel();
    let second = tokio::spawn(async move {
        let guard = queued.acquire(&lock("x"), &LockOptions::new().with_purpose("second")).await;
        is_told.await.expect("the second holder is told of");
        drop(guard.expect("it comes free"));
    });
    while locks.inspect(&lock("x")).await.expect("it can be looked at").waiters.is_empty() {
        tokio::task::yield_now().await;
    }
    let mut let_go = Some(let_go);
    let mut told = Vec::new();
    let report = coordinator([echo("a")])
        .with_locks(Arc::clone(&locks) as _)
        .run(plan("hello", &["a"]).with_lock(lock("x")), CancellationToken::new(), |event| {
            let RunEventKind::Waiting { wait } = &event.kind else { return };
            told.push((wait.holder.as_ref().and_then(|holder| holder.purpose.clone()), wait.ahead));
            if first.take().is_none() {
                let_go.take().expect("each holder is told once").send(()).expect("it listens");
            }
        })
        .await
        .expect("it runs");
    assert_eq!(report.status, RunStatus::Completed);
    assert_eq!(told, [(Some("first".to_owned()), 1), (Some("second".to_owned()), 0)]);
    second.await.expect("it ends");
}

#[tokio::test]
async fn a_lock_that_stays_busy_is_an_error_that_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path());
    let locks = Arc::new(MemoryLockManager::new());
    let _held = locks.acquire(&lock("x"), &LockOptions::new().with_owner("other")).await.expect("it is free");
    let plan = plan("hello", &["a"]).with_lock(lock("x")).with_lock_timeout(Duration::from_millis(150));
    let mut others = 0;
    let error = coordinator([echo("a")])
        .with_home(home.clone())
        .with_locks(Arc::clone(&locks) as _)
        .run(plan, CancellationToken::new(), |event| {
            others += usize::from(!matches!(event.kind, RunEventKind::Waiting { .. }));
        })
        .await
        .expect_err("it is busy");
    let RunError::Lock(LockError::Timeout { holder: Some(holder), .. }) = error else { panic!("{error}") };
    assert_eq!((holder.owner.as_deref(), others), (Some("other"), 0));
    assert_eq!(std::fs::read_dir(home.runs_dir()).expect("it was made").count(), 0);
    assert_eq!(home.runs().list().expect("it can be read"), []);
}

#[tokio::test]
async fn a_run_that_is_cancelled_while_it_waits_takes_nothing_and_reports() {
    let locks = Arc::new(MemoryLockManager::new());
    let _held = locks.acquire(&lock("x"), &LockOptions::new()).await.expect("it is free");
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let mut started = 0;
    let report = coordinator([echo("a")])
        .with_locks(Arc::clone(&locks) as _)
        .run(plan("hello", &["a"]).with_lock(lock("x")), cancel, |event| match event.kind {
            RunEventKind::Waiting { .. } => stop.cancel(),
            RunEventKind::Started { .. } => started += 1,
            _ => {}
        })
        .await
        .expect("it has a report");
    assert_eq!((report.status, started), (RunStatus::Cancelled, 0));
    let left = locks.inspect(&lock("x")).await.expect("it can be looked at");
    assert_eq!(left.waiters, []);
}

#[tokio::test]
async fn a_lock_that_is_lost_during_the_run_is_a_warning() {
    let locks = Arc::new(MemoryLockManager::new());
    let losing = Arc::clone(&locks);
    let thief = agent("a", move |_| {
        let locks = Arc::clone(&losing);
        async move { answer(locks.release_all().await.expect("it can be done").to_string()) }
    });
    let report = coordinator([thief])
        .with_locks(Arc::clone(&locks) as _)
        .execute_parallel(plan("hello", &["a"]).with_lock(lock("x")))
        .await
        .expect("it runs");
    assert_eq!(report.agents[0].answer.as_deref(), Some("1"));
    assert_eq!(report.warnings, ["lock `resource:x` was lost: all locks of its manager were released"]);
}

#[tokio::test]
async fn a_plan_with_locks_needs_a_place_for_them_and_names_that_can_be() {
    let run = |names: &[LockName]| {
        let plan = names.iter().cloned().fold(plan("hello", &["a"]), aiswitch_coordinator::Plan::with_lock);
        async move {
            coordinator([echo("a")]).execute_parallel(plan).await.expect_err("it is refused").to_string()
        }
    };
    assert_eq!(run(&[lock("x")]).await, "the plan names lock `resource:x`, and no place for locks is known");
    assert!(run(&[lock("x"), lock("x")]).await.starts_with("lock `resource:x` is named twice"));
    assert!(run(&[LockName::Task(String::new())]).await.contains("it is empty"));
    for own in ["aiswitch/state", "aiswitch/audit"] {
        let refused = run(&[lock(own)]).await;
        assert!(
            refused.ends_with("is the one of the state files or the audit log, which every run needs"),
            "{refused}"
        );
    }
}
