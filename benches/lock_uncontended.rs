//! What a lock costs that nobody else wants, beside the kernel's own and two other crates.
//!
//! `cargo bench -p aiswitch-benches --bench lock_uncontended` measures with criterion and then prints the ratios of one
//! interleaved run; `-- --ratios` prints only these.
#![expect(clippy::unwrap_used, reason = "a bench that cannot run has nothing to report")]
#![expect(clippy::cast_precision_loss, reason = "times are shown with three digits")]
#![expect(clippy::print_stdout, reason = "the tables are what it is for")]
#![expect(clippy::disallowed_methods, reason = "the bare primitives are what is measured")]

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aiswitch_lock::{
    BlockingLockManager, FileLockManager, LockFile, LockManager, LockMode, LockName, LockOptions,
    MemoryLockManager,
};
use criterion::{Criterion, criterion_group};
use rustix::fs::{AtFlags, FlockOperation, SeekFrom, StatxFlags, flock, seek, statx};
use rustix::io::{pread, pwrite};
use rustix::process::getpid;
use tokio::runtime::Runtime;

/// Everything that is measured once and again, opened beforehand.
struct Subjects {
    raw: File,
    fs4: File,
    fd_lock: fd_lock::RwLock<File>,
    bare: (LockFile, PathBuf),
    calls: File,
    full: FileLockManager,
    memory: MemoryLockManager,
    runtime: Runtime,
    name: LockName,
    options: LockOptions,
}

impl Subjects {
    fn open(folder: &Path) -> Self {
        let open = |name: &str| {
            let path = folder.join(name);
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
        };
        let bare = folder.join("bare");
        Self {
            raw: open("raw"),
            fs4: open("fs4"),
            fd_lock: fd_lock::RwLock::new(open("fd_lock")),
            bare: (LockFile::open(&bare).unwrap(), bare),
            full: FileLockManager::open(folder.join("locks")).unwrap(),
            calls: open("calls"),
            memory: MemoryLockManager::new(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            name: LockName::resource("bench").unwrap(),
            options: LockOptions::new().with_owner("bench").with_purpose("measuring"),
        }
    }

    /// Runs one of [`ROWS`] `count` times.
    fn run(&mut self, row: &str, count: u64) {
        match row {
            "raw flock" => (0..count).for_each(|_| {
                flock(&self.raw, FlockOperation::NonBlockingLockExclusive).unwrap();
                flock(&self.raw, FlockOperation::Unlock).unwrap();
            }),
            "std" => (0..count).for_each(|_| {
                self.raw.try_lock().unwrap();
                self.raw.unlock().unwrap();
            }),
            "fs4" => (0..count).for_each(|_| {
                fs4::FileExt::try_lock(&self.fs4).unwrap();
                fs4::FileExt::unlock(&self.fs4).unwrap();
            }),
            "fd-lock" => (0..count).for_each(|_| drop(black_box(self.fd_lock.try_write().unwrap()))),
            "bare pair" => (0..count).for_each(|_| {
                let (file, path) = &self.bare;
                black_box(file.try_lock(LockMode::Exclusive, path).unwrap());
                file.unlock(path).unwrap();
            }),
            "system calls of the full pair" => {
                (0..count).for_each(|_| calls_of_the_full_pair(&self.calls));
            }
            "full pair" => (0..count).for_each(|_| {
                drop(black_box(BlockingLockManager::acquire(&self.full, &self.name, &self.options).unwrap()));
            }),
            "async full pair" => self.runtime.block_on(async {
                for _ in 0..count {
                    let acquired = LockManager::acquire(&self.full, &self.name, &self.options).await;
                    drop(black_box(acquired.unwrap()));
                }
            }),
            "memory" => (0..count).for_each(|_| {
                drop(black_box(
                    BlockingLockManager::acquire(&self.memory, &self.name, &self.options).unwrap(),
                ));
            }),
            other => unreachable!("{other} is not a row"),
        }
    }
}

const ROWS: [&str; 9] = [
    "raw flock",
    "std",
    "fs4",
    "fd-lock",
    "bare pair",
    "system calls of the full pair",
    "full pair",
    "async full pair",
    "memory",
];

/// What an acquire and a release ask of the kernel, with nothing in between: the bound of the full pair.
fn calls_of_the_full_pair(file: &File) {
    const RECORD: [u8; 134] = [7; 134];
    black_box(getpid());
    flock(file, FlockOperation::NonBlockingLockExclusive).unwrap();
    black_box(statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::NLINK | StatxFlags::SIZE).unwrap());
    black_box(pread(file, &mut [0; 24], 0).unwrap());
    black_box(pwrite(file, &RECORD, 0).unwrap());
    black_box(getpid());
    flock(file, FlockOperation::Unlock).unwrap();
    black_box(seek(file, SeekFrom::End(0)).unwrap());
}

fn pairs(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let mut subjects = Subjects::open(folder.path());
    let mut group = criterion.benchmark_group("uncontended");
    for row in ROWS {
        group.bench_function(row, |bencher| {
            bencher.iter_custom(|count| {
                let started = Instant::now();
                subjects.run(row, count);
                started.elapsed()
            });
        });
    }
    group.finish();
}

/// Many waiters in one process: each of `waiters` threads takes the lock in turn.
fn in_process(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let locks = Arc::new(FileLockManager::open(folder.path().join("locks")).unwrap());
    let name = LockName::resource("bench").unwrap();
    let mut group = criterion.benchmark_group("in_process");
    for waiters in [4, 64] {
        group.bench_function(format!("raw flock, {waiters} threads"), |bencher| {
            bencher.iter_custom(|count| {
                threads(waiters, count, |share| {
                    let file = File::open(folder.path()).unwrap();
                    for _ in 0..share {
                        flock(&file, FlockOperation::LockExclusive).unwrap();
                        flock(&file, FlockOperation::Unlock).unwrap();
                    }
                })
            });
        });
        group.bench_function(format!("full, {waiters} threads"), |bencher| {
            bencher.iter_custom(|count| {
                threads(waiters, count, |share| {
                    for _ in 0..share {
                        drop(BlockingLockManager::acquire(&*locks, &name, &LockOptions::new()).unwrap());
                    }
                })
            });
        });
        group.bench_function(format!("full, {waiters} tasks"), |bencher| {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            bencher.iter_custom(|count| {
                let started = Instant::now();
                runtime.block_on(tasks(&locks, &name, waiters, count));
                started.elapsed()
            });
        });
    }
    group.finish();
}

fn threads(waiters: u64, count: u64, work: impl Fn(u64) + Sync) -> Duration {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for index in 0..waiters {
            let work = &work;
            scope.spawn(move || work(count / waiters + u64::from(index < count % waiters)));
        }
    });
    started.elapsed()
}

async fn tasks(locks: &Arc<FileLockManager>, name: &LockName, waiters: u64, count: u64) {
    let mut running = Vec::new();
    for index in 0..waiters {
        let (locks, name) = (Arc::clone(locks), name.clone());
        let share = count / waiters + u64::from(index < count % waiters);
        running.push(tokio::spawn(async move {
            for _ in 0..share {
                drop(LockManager::acquire(&*locks, &name, &LockOptions::new()).await.unwrap());
            }
        }));
    }
    for task in running {
        task.await.unwrap();
    }
}

/// A thousand locks in one folder.
fn thousand(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let locks = FileLockManager::open(folder.path().join("locks")).unwrap();
    let make = || {
        for index in 0..1000 {
            let name = LockName::task(format!("{index}")).unwrap();
            drop(BlockingLockManager::acquire(&locks, &name, &LockOptions::new()).unwrap());
        }
    };
    make();
    let held = LockName::task("7").unwrap();
    let _guard = BlockingLockManager::acquire(&locks, &held, &LockOptions::new()).unwrap();
    let mut group = criterion.benchmark_group("thousand");
    group.bench_function("inspect one", |bencher| {
        bencher.iter(|| BlockingLockManager::inspect(&locks, &held).unwrap());
    });
    group.bench_function("list", |bencher| bencher.iter(|| BlockingLockManager::list(&locks).unwrap()));
    group.bench_function("cleanup, all kept", |bencher| {
        bencher.iter(|| {
            let unused_for = Duration::from_hours(1);
            BlockingLockManager::cleanup_stale_locks(&locks, unused_for).unwrap()
        });
    });
    group.finish();
}

/// The rows one after the other in many short rounds, so that whatever else the machine does hits all alike; the
/// smallest time of each counts.
fn print_ratios() {
    const ROUNDS: u32 = 200;
    const COUNT: u64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let mut subjects = Subjects::open(folder.path());
    let mut least = [Duration::MAX; ROWS.len()];
    for _ in 0..ROUNDS {
        for (row, least) in ROWS.iter().zip(&mut least) {
            let started = Instant::now();
            subjects.run(row, COUNT);
            *least = started.elapsed().min(*least);
        }
    }
    let nanos = |time: Duration| time.as_secs_f64() * 1e9 / COUNT as f64;
    println!("\n| uncontended | ns | × raw flock | × std |\n|---|---|---|---|");
    for (row, time) in ROWS.iter().zip(least) {
        let ratio = |to: Duration| nanos(time) / nanos(to);
        println!("| {row} | {:.0} | {:.2} | {:.2} |", nanos(time), ratio(least[0]), ratio(least[1]));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .sample_size(30);
    targets = pairs, in_process, thousand
}

fn main() {
    if !std::env::args().any(|argument| argument == "--ratios") {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
    print_ratios();
}
