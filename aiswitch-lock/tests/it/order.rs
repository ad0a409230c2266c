//! The order of service, against a model and over time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aiswitch_lock::{
    BlockingLockManager, FileLockConfig, FileLockManager, LockGuard, LockManager, LockMode, LockOptions,
    MemoryLockManager, Priority, Wakeup,
};
use proptest::prelude::*;
use tokio::task::JoinHandle;

use crate::support::{Folder, PATIENCE, name, within};

#[test]
fn a_low_priority_waits_no_longer_than_its_steps_among_high_ones() {
    let step = Duration::from_millis(200);
    let folder = Folder::new();
    let mut config = FileLockConfig::default();
    config.priority_step = step;
    let managers: Vec<_> =
        (0..8).map(|_| FileLockManager::open_with(folder.path(), config).unwrap()).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for locks in &managers[1..] {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let options = within(PATIENCE).with_priority(Priority::Urgent);
                    drop(BlockingLockManager::acquire(locks, &name("x"), &options).unwrap());
                }
            });
        }
        let options = within(PATIENCE).with_priority(Priority::Low);
        for _ in 0..3 {
            let started = Instant::now();
            drop(BlockingLockManager::acquire(&managers[0], &name("x"), &options).unwrap());
            let waited = started.elapsed();
            assert!(waited < step * 3 + Duration::from_secs(1), "{waited:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[derive(Debug, Clone)]
enum Op {
    Acquire { client: usize, priority: Priority, mode: LockMode },
    Try { client: usize, mode: LockMode },
    Release(prop::sample::Index),
    GiveUp(prop::sample::Index),
}

fn ops(clients: usize, modes: &'static [LockMode]) -> impl Strategy<Value = Vec<Op>> {
    let priorities =
        prop::sample::select(&[Priority::Low, Priority::Normal, Priority::High, Priority::Urgent]);
    let acquire = (0..clients, priorities, prop::sample::select(modes))
        .prop_map(|(client, priority, mode)| Op::Acquire { client, priority, mode });
    let attempt =
        (0..clients, prop::sample::select(modes)).prop_map(|(client, mode)| Op::Try { client, mode });
    let release = any::<prop::sample::Index>().prop_map(Op::Release);
    let give_up = any::<prop::sample::Index>().prop_map(Op::GiveUp);
    prop::collection::vec(prop_oneof![4 => acquire, 1 => attempt, 3 => release, 1 => give_up], 1..24)
}

/// What should be: who has the lock, and who waits in which order.
#[derive(Default)]
struct Model {
    holders: Vec<(usize, LockMode)>,
    /// Sorted by priority, the highest first, and then by arrival.
    waiters: Vec<(usize, LockMode, Priority)>,
}

impl Model {
    fn admits(&self, mode: LockMode) -> bool {
        let shares = |(_, held): &(usize, LockMode)| *held == LockMode::Shared;
        self.holders.is_empty() || (mode == LockMode::Shared && self.holders.iter().all(shares))
    }

    fn enter(&mut self, id: usize, mode: LockMode, priority: Priority) {
        let at = self.waiters.partition_point(|(_, _, other)| *other >= priority);
        self.waiters.insert(at, (id, mode, priority));
        self.settle();
    }

    fn settle(&mut self) {
        while let Some((id, mode, _)) =
            self.waiters.first().copied().filter(|(_, mode, _)| self.admits(*mode))
        {
            self.waiters.remove(0);
            self.holders.push((id, mode));
        }
    }
}

/// Runs operations on clients and on the model, and compares after each.
async fn compare(clients: Vec<Arc<dyn LockManager>>, ops: Vec<Op>) {
    let mut model = Model::default();
    let mut tasks: BTreeMap<usize, (usize, JoinHandle<LockGuard>)> = BTreeMap::new();
    let mut guards: BTreeMap<usize, LockGuard> = BTreeMap::new();
    for (id, op) in ops.into_iter().enumerate() {
        match op {
            Op::Acquire { client, priority, mode } => {
                let options =
                    LockOptions::new().with_timeout(PATIENCE).with_priority(priority).with_mode(mode);
                let (locks, options) = (Arc::clone(&clients[client]), options.with_owner(id.to_string()));
                let task = tokio::spawn(async move { locks.acquire(&name("x"), &options).await.unwrap() });
                tasks.insert(id, (client, task));
                model.enter(id, mode, priority);
            }
            Op::Try { client, mode } => {
                let options = LockOptions::new().with_mode(mode);
                let taken = clients[client].try_acquire(&name("x"), &options).await.unwrap();
                assert_eq!(taken.is_some(), model.waiters.is_empty() && model.admits(mode), "try {id}");
                if let Some(guard) = taken {
                    guards.insert(id, guard);
                    model.holders.push((id, mode));
                }
            }
            Op::Release(which) if !model.holders.is_empty() => {
                let (holder, _) = model.holders.remove(which.index(model.holders.len()));
                drop(guards.remove(&holder).unwrap());
                model.settle();
            }
            Op::GiveUp(which) if !model.waiters.is_empty() => {
                let (waiter, ..) = model.waiters.remove(which.index(model.waiters.len()));
                let (_, task) = tasks.remove(&waiter).unwrap();
                task.abort();
                assert!(task.await.unwrap_err().is_cancelled(), "{waiter} had no reason to get the lock");
                model.settle();
            }
            Op::Release(_) | Op::GiveUp(_) => {}
        }
        settle(&clients, &model, &mut tasks, &mut guards).await;
    }
}

/// Waits until those who should have the lock have it and those who should wait do.
async fn settle(
    clients: &[Arc<dyn LockManager>],
    model: &Model,
    tasks: &mut BTreeMap<usize, (usize, JoinHandle<LockGuard>)>,
    guards: &mut BTreeMap<usize, LockGuard>,
) {
    for (id, _) in &model.holders {
        if let Some((_, task)) = tasks.remove(id) {
            let got = tokio::time::timeout(PATIENCE, task).await;
            guards.insert(*id, got.unwrap_or_else(|_| panic!("{id} should have got the lock")).unwrap());
        }
    }
    for (id, ..) in &model.waiters {
        let (client, task) = &tasks[id];
        let started = Instant::now();
        loop {
            let info = clients[*client].inspect(&name("x")).await.unwrap();
            if info.waiters.iter().any(|waiter| waiter.owner == Some(id.to_string())) {
                break;
            }
            assert!(!task.is_finished() && started.elapsed() < PATIENCE, "{id} should wait");
            tokio::task::yield_now().await;
        }
    }
    assert!(guards.values().all(|guard| guard.verify().is_ok()));
}

fn in_runtime(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
}

/// The long form: `PROPTEST_CASES=10000`.
fn cases(usual: u32) -> ProptestConfig {
    let cases = u32::try_from(crate::child::number("PROPTEST_CASES", u64::from(usual))).unwrap();
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

const BOTH: &[LockMode] = &[LockMode::Shared, LockMode::Exclusive];

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn locks_in_memory_serve_in_the_order_of_the_model(ops in ops(1, BOTH)) {
        in_runtime(compare(vec![Arc::new(MemoryLockManager::new())], ops));
    }

    #[test]
    fn file_locks_of_one_manager_serve_in_the_order_of_the_model(ops in ops(1, BOTH)) {
        let folder = Folder::new();
        in_runtime(compare(vec![Arc::new(folder.open())], ops));
    }

    #[test]
    fn file_locks_of_several_managers_serve_in_the_order_of_the_model(ops in ops(3, &[LockMode::Exclusive])) {
        let folder = Folder::new();
        let clients: Vec<Arc<dyn LockManager>> =
            (0..3).map(|_| Arc::new(folder.open_with(Wakeup::Event)) as Arc<dyn LockManager>).collect();
        in_runtime(compare(clients, ops));
    }
}
