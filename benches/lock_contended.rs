//! What a lock costs that many processes want, beside the kernel's own: hand-over, throughput, order and CPU time.
//!
//! `cargo bench -p aiswitch-benches --bench lock_contended` measures with criterion and then prints the tables of one
//! run; `-- --tables` prints only these. The program starts itself again for each process that it needs.
#![expect(clippy::unwrap_used, reason = "a bench that cannot run has nothing to report")]
#![expect(clippy::cast_precision_loss, reason = "times are shown with three digits")]
#![expect(clippy::print_stdout, reason = "the tables are what it is for")]
#![expect(
    clippy::disallowed_methods,
    reason = "the bare primitives and other processes are what is measured"
)]

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aiswitch_lock::{
    BlockingLockManager, FileLockConfig, FileLockManager, LockManager, LockName, LockOptions, Priority,
    Wakeup,
};
use criterion::{Criterion, SamplingMode, criterion_group};
use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};

const KINDS: [&str; 6] = ["raw flock", "fs4", "fd-lock", "event", "event async", "backoff"];

/// What one process does, as it is passed on its command line.
#[derive(Clone)]
struct Job {
    kind: String,
    /// How long it has the lock each time, asleep.
    hold_us: u64,
    /// How long it waits between two times, asleep.
    think_us: u64,
    sections: u64,
    /// When to stop, also before all sections are done.
    lasts_ms: u64,
    urgent: bool,
}

impl Job {
    fn new(kind: &str, hold_us: u64, think_us: u64, sections: u64) -> Self {
        Self { kind: kind.to_owned(), hold_us, think_us, sections, lasts_ms: 60_000, urgent: false }
    }

    fn spawn(&self, folder: &Path, index: usize) -> Child {
        let numbers = [self.hold_us, self.think_us, self.sections, self.lasts_ms, u64::from(self.urgent)];
        Command::new(std::env::current_exe().unwrap())
            .arg("--worker")
            .arg(folder)
            .arg(&self.kind)
            .arg(index.to_string())
            .args(numbers.map(|number| number.to_string()))
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    }
}

/// One time that a process had the lock, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy)]
struct Section {
    process: usize,
    asked: u64,
    got: u64,
    released: u64,
    /// What the process computed between asking and getting.
    waiting_cpu: u64,
}

fn monotonic_ns() -> u64 {
    ns_of(ClockId::Monotonic)
}

fn ns_of(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

fn sleep_us(us: u64) {
    if us > 0 {
        let until = Instant::now() + Duration::from_micros(us);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            std::thread::park_timeout(left);
        }
    }
}

fn worker(mut arguments: impl Iterator<Item = String>) {
    let folder = std::path::PathBuf::from(arguments.next().unwrap());
    let (kind, index) = (arguments.next().unwrap(), arguments.next().unwrap());
    let mut number = || arguments.next().unwrap().parse::<u64>().unwrap();
    let [hold_us, think_us, sections, lasts_ms, urgent] = [number(), number(), number(), number(), number()];
    let job = Job { kind, hold_us, think_us, sections, lasts_ms, urgent: urgent == 1 };
    let gate = File::open(folder.join("gate")).unwrap();
    OpenOptions::new().append(true).open(folder.join("ready")).unwrap().write_all(b".").unwrap();
    flock(&gate, FlockOperation::LockShared).unwrap();
    let cpu = ns_of(ClockId::ProcessCPUTime);
    let done = run(&job, &folder);
    let cpu = ns_of(ClockId::ProcessCPUTime) - cpu;
    let mut text = format!("{cpu}\n");
    for [asked, got, released, waiting_cpu] in done {
        writeln!(text, "{asked} {got} {released} {waiting_cpu}").unwrap();
    }
    std::fs::write(folder.join(format!("{index}.out")), text).unwrap();
}

fn run(job: &Job, folder: &Path) -> Vec<[u64; 4]> {
    let path = folder.join("file");
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).unwrap();
    let (name, options) = (LockName::resource("bench").unwrap(), LockOptions::new());
    let options = options.with_timeout(Duration::from_mins(2)).with_priority(if job.urgent {
        Priority::Urgent
    } else {
        Priority::Normal
    });
    let mut config = FileLockConfig::default();
    config.wakeup = if job.kind == "backoff" { Wakeup::Backoff } else { Wakeup::Event };
    let locks = FileLockManager::open_with(folder.join("locks"), config).unwrap();
    match job.kind.as_str() {
        "raw flock" => {
            let file = open();
            sections(
                job,
                || flock(&file, FlockOperation::LockExclusive).unwrap(),
                |()| {
                    flock(&file, FlockOperation::Unlock).unwrap();
                },
            )
        }
        "fs4" => {
            let file = open();
            sections(job, || fs4::FileExt::lock(&file).unwrap(), |()| fs4::FileExt::unlock(&file).unwrap())
        }
        "fd-lock" => {
            let mut file = fd_lock::RwLock::new(open());
            let mut done = Vec::new();
            let until = Instant::now() + Duration::from_millis(job.lasts_ms);
            while (done.len() as u64) < job.sections && Instant::now() < until {
                let cpu = ns_of(ClockId::ProcessCPUTime);
                let asked = monotonic_ns();
                let guard = file.write().unwrap();
                let got = monotonic_ns();
                let waiting_cpu = ns_of(ClockId::ProcessCPUTime) - cpu;
                sleep_us(job.hold_us);
                let released = monotonic_ns();
                drop(guard);
                done.push([asked, got, released, waiting_cpu]);
                sleep_us(job.think_us);
            }
            done
        }
        "event" | "backoff" => {
            sections(job, || BlockingLockManager::acquire(&locks, &name, &options).unwrap(), drop)
        }
        "event async" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            sections(job, || runtime.block_on(LockManager::acquire(&locks, &name, &options)).unwrap(), drop)
        }
        other => unreachable!("{other} is not a kind"),
    }
}

fn sections<G>(job: &Job, acquire: impl Fn() -> G, release: impl Fn(G)) -> Vec<[u64; 4]> {
    let mut done = Vec::new();
    let until = Instant::now() + Duration::from_millis(job.lasts_ms);
    while (done.len() as u64) < job.sections && Instant::now() < until {
        let cpu = ns_of(ClockId::ProcessCPUTime);
        let asked = monotonic_ns();
        let guard = acquire();
        let got = monotonic_ns();
        let waiting_cpu = ns_of(ClockId::ProcessCPUTime) - cpu;
        sleep_us(job.hold_us);
        let released = monotonic_ns();
        release(guard);
        done.push([asked, got, released, waiting_cpu]);
        sleep_us(job.think_us);
    }
    done
}

/// What the processes of one run wrote down, in the order in which they had the lock, and their CPU times.
struct Outcome {
    sections: Vec<Section>,
    cpu_ns: Vec<u64>,
}

/// Runs jobs as processes that begin together.
fn race(jobs: &[Job]) -> Outcome {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    let gate = File::create(folder.join("gate")).unwrap();
    File::create(folder.join("ready")).unwrap();
    flock(&gate, FlockOperation::LockExclusive).unwrap();
    let mut children: Vec<_> = jobs.iter().enumerate().map(|(index, job)| job.spawn(folder, index)).collect();
    while std::fs::metadata(folder.join("ready")).unwrap().len() < jobs.len() as u64 {
        sleep_us(500);
    }
    flock(&gate, FlockOperation::Unlock).unwrap();
    for child in &mut children {
        assert!(child.wait().unwrap().success(), "a worker failed");
    }
    let mut outcome = Outcome { sections: Vec::new(), cpu_ns: Vec::new() };
    for process in 0..jobs.len() {
        let text = std::fs::read_to_string(folder.join(format!("{process}.out"))).unwrap();
        let mut lines = text.lines();
        outcome.cpu_ns.push(lines.next().unwrap().parse().unwrap());
        outcome.sections.extend(lines.map(|line| {
            let mut numbers = line.split(' ').map(|number| number.parse().unwrap());
            let mut next = || numbers.next().unwrap();
            Section { process, asked: next(), got: next(), released: next(), waiting_cpu: next() }
        }));
    }
    outcome.sections.sort_by_key(|section| section.got);
    outcome
}

impl Outcome {
    /// Times from a release to the next holder's start, where that one was already waiting; sorted.
    fn hand_overs(&self) -> Vec<u64> {
        let waited = |pair: &&[Section]| pair[1].asked < pair[0].released;
        let mut all: Vec<_> = self
            .sections
            .windows(2)
            .filter(waited)
            .map(|pair| pair[1].got.saturating_sub(pair[0].released))
            .collect();
        all.sort_unstable();
        all
    }

    fn waits(&self, of: impl Fn(usize) -> bool) -> Vec<u64> {
        let mut all: Vec<_> = self
            .sections
            .iter()
            .filter(|section| of(section.process))
            .map(|section| section.got - section.asked)
            .collect();
        all.sort_unstable();
        all
    }

    fn per_second(&self) -> f64 {
        let first = self.sections.first().unwrap().got;
        let last = self.sections.last().unwrap().released;
        self.sections.len() as f64 * 1e9 / (last - first) as f64
    }

    /// The fewest and the most sections of a process, from when all have begun until the first is done.
    fn progress(&self, processes: usize) -> (usize, usize) {
        let of = |process| self.sections.iter().filter(move |section| section.process == process);
        let Some(begin) = (0..processes).map(|process| of(process).next().map(|s| s.got)).max().unwrap()
        else {
            return (0, self.sections.len());
        };
        let end = (0..processes).map(|process| of(process).next_back().map_or(0, |s| s.got)).min().unwrap();
        let counts =
            (0..processes).map(|process| of(process).filter(|s| s.got >= begin && s.got <= end).count());
        (counts.clone().min().unwrap(), counts.max().unwrap())
    }
}

fn percentile(sorted: &[u64], percent: usize) -> f64 {
    sorted
        .get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1)))
        .map_or(f64::NAN, |ns| *ns as f64)
}

fn hand_over_table() {
    println!(
        "\n| 8 processes, hold 2 ms, think 2 ms | sections/s | hand-over p50 / p99 µs | × raw | wait p50 / p99 ms | CPU µs per section |"
    );
    println!("|---|---|---|---|---|---|");
    let mut raw_p50 = f64::NAN;
    for kind in KINDS {
        let outcome = race(&vec![Job::new(kind, 2000, 2000, 150); 8]);
        let (hand_overs, waits) = (outcome.hand_overs(), outcome.waits(|_| true));
        let p50 = percentile(&hand_overs, 50);
        if kind == "raw flock" {
            raw_p50 = p50;
        }
        println!(
            "| {kind} | {:.0} | {:.0} / {:.0} | {:.1} | {:.1} / {:.1} | {:.0} |",
            outcome.per_second(),
            p50 / 1e3,
            percentile(&hand_overs, 99) / 1e3,
            p50 / raw_p50,
            percentile(&waits, 50) / 1e6,
            percentile(&waits, 99) / 1e6,
            outcome.cpu_ns.iter().sum::<u64>() as f64 / outcome.sections.len() as f64 / 1e3,
        );
    }
}

fn fairness_table() {
    println!("\n| hot loop | processes | sections/s | fewest / most | ratio |\n|---|---|---|---|---|");
    for processes in [8, 32] {
        for kind in ["raw flock", "event", "backoff"] {
            let mut job = Job::new(kind, 0, 0, 1000);
            job.lasts_ms = 4000;
            let outcome = race(&vec![job; processes]);
            let (fewest, most) = outcome.progress(processes);
            println!(
                "| {kind} | {processes} | {:.0} | {fewest} / {most} | {:.2} |",
                outcome.per_second(),
                fewest as f64 / most.max(1) as f64
            );
        }
    }
}

fn priority_table() {
    println!(
        "\n| 1 urgent among 6 normal, hold 2 ms | wait p50 / p99 ms of the urgent | of the others |\n|---|---|---|"
    );
    for kind in ["raw flock", "event"] {
        let mut jobs = vec![Job::new(kind, 2000, 2000, 100); 7];
        jobs[0].urgent = true;
        jobs[0].think_us = 10_000;
        let outcome = race(&jobs);
        let (urgent, others) = (outcome.waits(|process| process == 0), outcome.waits(|process| process > 0));
        println!(
            "| {kind} | {:.2} / {:.1} | {:.1} / {:.1} |",
            percentile(&urgent, 50) / 1e6,
            percentile(&urgent, 99) / 1e6,
            percentile(&others, 50) / 1e6,
            percentile(&others, 99) / 1e6
        );
    }
}

fn waiting_table() {
    println!("\n| 9 processes, hold 1 s | CPU of a waiter, % of a core |\n|---|---|");
    for kind in KINDS {
        let outcome = race(&vec![Job::new(kind, 1_000_000, 0, 1); 9]);
        let waited = outcome.waits(|_| true).iter().sum::<u64>() as f64;
        let cpu = outcome.sections.iter().map(|section| section.waiting_cpu).sum::<u64>() as f64;
        println!("| {kind} | {:.4} |", cpu / waited * 100.0);
    }
}

/// How long after the kill of a holder the next process has the lock.
fn kill_table() {
    println!("\n| kill of the holder → next holder | p50 / max ms |\n|---|---|");
    for kind in ["raw flock", "event", "event async"] {
        let mut delays: Vec<u64> = (0..20).map(|_| kill_once(kind)).collect();
        delays.sort_unstable();
        println!("| {kind} | {:.2} / {:.2} |", percentile(&delays, 50) / 1e6, percentile(&delays, 100) / 1e6);
    }
}

fn kill_once(kind: &str) -> u64 {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    File::create(folder.join("gate")).unwrap();
    File::create(folder.join("ready")).unwrap();
    let ready = |count| {
        while std::fs::metadata(folder.join("ready")).unwrap().len() < count {
            sleep_us(500);
        }
    };
    let mut holder = Job::new(kind, 60_000_000, 0, 1).spawn(folder, 0);
    ready(1);
    sleep_us(50_000);
    let mut waiter = Job::new(kind, 0, 0, 1).spawn(folder, 1);
    ready(2);
    sleep_us(50_000);
    let killed = monotonic_ns();
    holder.kill().unwrap();
    assert!(waiter.wait().unwrap().success());
    holder.wait().unwrap();
    let text = std::fs::read_to_string(folder.join("1.out")).unwrap();
    let got: u64 = text.lines().nth(1).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    got.saturating_sub(killed)
}

/// The time for one section when 2, 8 or 32 processes take turns without a pause.
fn hot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hot_loop");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).warm_up_time(Duration::from_millis(1));
    for processes in [2, 8, 32] {
        for kind in ["raw flock", "fs4", "fd-lock", "event"] {
            group.bench_function(format!("{kind}, {processes} processes"), |bencher| {
                bencher.iter_custom(|count| {
                    let share = count.div_ceil(processes).max(10);
                    let jobs = vec![Job::new(kind, 0, 0, share); usize::try_from(processes).unwrap()];
                    Duration::from_secs_f64(count as f64 / race(&jobs).per_second())
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, hot);

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--worker") => return worker(arguments),
        Some("--tables") => {}
        _ => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
    hand_over_table();
    fairness_table();
    priority_table();
    waiting_table();
    kill_table();
}
