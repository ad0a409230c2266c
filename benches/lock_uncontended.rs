//! What a lock costs in one process, beside the kernel's own and two other crates.
//!
//! `cargo bench -p aiswitch-benches --bench lock_uncontended` measures with criterion and then prints the ratios of one
//! interleaved run; `-- --ratios` prints only these. Many waiters of one process and a folder of many locks follow.
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
    BlockingLockManager, FileLockManager, LockFile, LockGuard, LockManager, LockMode, LockName, LockOptions,
    MemoryLockManager,
};
use criterion::{Criterion, criterion_group};
use rustix::fs::{AtFlags, FlockOperation, SeekFrom, StatxFlags, flock, seek, statx};
use rustix::io::{pread, pwrite};
use rustix::process::getpid;
use tempfile::TempDir;
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

/// What many waiters of one process use in turn, opened beforehand.
struct Together {
    folder: TempDir,
    locks: Arc<FileLockManager>,
    name: LockName,
    runtime: Runtime,
}

const TOGETHER: [&str; 5] = ["raw flock", "fs4", "fd-lock", "full pair", "async full pair"];

impl Together {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            locks: Arc::new(FileLockManager::open(folder.path().join("locks")).unwrap()),
            folder,
            name: LockName::resource("bench").unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap(),
        }
    }

    /// Takes one of [`TOGETHER`] `count` times, by `waiters` threads, or by tasks if it is async.
    fn run(&self, row: &str, waiters: u64, count: u64) -> Duration {
        let open = || File::open(self.folder.path()).unwrap();
        match row {
            "raw flock" => threads(waiters, count, |share| {
                let file = open();
                for _ in 0..share {
                    flock(&file, FlockOperation::LockExclusive).unwrap();
                    flock(&file, FlockOperation::Unlock).unwrap();
                }
            }),
            "fs4" => threads(waiters, count, |share| {
                let file = open();
                for _ in 0..share {
                    fs4::FileExt::lock(&file).unwrap();
                    fs4::FileExt::unlock(&file).unwrap();
                }
            }),
            "fd-lock" => threads(waiters, count, |share| {
                let mut file = fd_lock::RwLock::new(open());
                (0..share).for_each(|_| drop(file.write().unwrap()));
            }),
            "full pair" => threads(waiters, count, |share| {
                for _ in 0..share {
                    let options = LockOptions::new();
                    drop(BlockingLockManager::acquire(&*self.locks, &self.name, &options).unwrap());
                }
            }),
            "async full pair" => {
                let started = Instant::now();
                self.runtime.block_on(tasks(&self.locks, &self.name, waiters, count));
                started.elapsed()
            }
            other => unreachable!("{other} is not a row"),
        }
    }
}

/// Many waiters in one process: each of `waiters` takes the lock in turn.
fn in_process(criterion: &mut Criterion) {
    let together = Together::open();
    let mut group = criterion.benchmark_group("in_process");
    for waiters in WAITERS {
        for row in TOGETHER {
            group.bench_function(format!("{row}, {waiters} waiters"), |bencher| {
                bencher.iter_custom(|count| together.run(row, waiters, count));
            });
        }
    }
    group.finish();
}

const WAITERS: [u64; 2] = [4, 64];

/// The smallest time of each row in rounds that take turns.
fn print_in_process() {
    const ROUNDS: u32 = 15;
    const COUNT: u64 = 6400;
    let together = Together::open();
    println!("\n| one process | waiters | ns | × raw flock |\n|---|---|---|---|");
    for waiters in WAITERS {
        let mut least = [Duration::MAX; TOGETHER.len()];
        for _ in 0..ROUNDS {
            for (row, least) in TOGETHER.iter().zip(&mut least) {
                *least = together.run(row, waiters, COUNT).min(*least);
            }
        }
        let nanos = |time: Duration| time.as_secs_f64() * 1e9 / COUNT as f64;
        for (row, time) in TOGETHER.iter().zip(least) {
            let ratio = nanos(time) / nanos(least[0]);
            println!("| {row} | {waiters} | {:.0} | {ratio:.2} |", nanos(time));
        }
    }
}

/// A folder of a thousand locks, of which one is held.
struct Thousand {
    locks: FileLockManager,
    held: LockName,
    /// Kept while it is looked at.
    _guard: LockGuard,
    _folder: TempDir,
}

impl Thousand {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let locks = FileLockManager::open(folder.path().join("locks")).unwrap();
        for index in 0..1000 {
            let name = LockName::task(format!("{index}")).unwrap();
            drop(BlockingLockManager::acquire(&locks, &name, &LockOptions::new()).unwrap());
        }
        let held = LockName::task("7").unwrap();
        let guard = BlockingLockManager::acquire(&locks, &held, &LockOptions::new()).unwrap();
        Self { locks, held, _guard: guard, _folder: folder }
    }

    fn run(&self, row: &str) {
        match row {
            "inspect one" => drop(BlockingLockManager::inspect(&self.locks, &self.held).unwrap()),
            "list" => drop(BlockingLockManager::list(&self.locks).unwrap()),
            "cleanup, all kept" => {
                let unused_for = Duration::from_hours(1);
                black_box(BlockingLockManager::cleanup_stale_locks(&self.locks, unused_for).unwrap());
            }
            other => unreachable!("{other} is not a row"),
        }
    }
}

const THOUSAND: [&str; 3] = ["inspect one", "list", "cleanup, all kept"];

fn thousand(criterion: &mut Criterion) {
    let thousand = Thousand::open();
    let mut group = criterion.benchmark_group("thousand");
    for row in THOUSAND {
        group.bench_function(row, |bencher| bencher.iter(|| thousand.run(row)));
    }
    group.finish();
}

fn print_thousand() {
    let thousand = Thousand::open();
    println!("\n| a folder of 1,000 locks | ms |\n|---|---|");
    for row in THOUSAND {
        let time = |_| {
            let started = Instant::now();
            thousand.run(row);
            started.elapsed()
        };
        let least = (0..20).map(time).min().unwrap();
        println!("| {row} | {:.3} |", least.as_secs_f64() * 1e3);
    }
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
    print_in_process();
    print_thousand();
}
