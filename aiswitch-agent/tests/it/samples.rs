//! Samples of an agent's whole tree: true also where processes come and go faster than anybody looks.

use std::path::Path;
use std::time::{Duration, Instant};

use aiswitch_agent::{AgentEvent, TaskResult, TreeSample, TreeSampler};
use tokio::task::JoinHandle;

use crate::support::{Bench, PATIENCE, wait_for};

/// How far from the truth a sample may be, in points of one core.
const POINTS_MAX: f64 = 5.0;

/// Work for a shell, and where it writes how much CPU time it and its children have taken, as the kernel told them.
const BUSY: &str = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done";

/// Starts an agent whose script makes the file `ready`; gives its process.
async fn started(script: &str) -> (Bench, JoinHandle<TaskResult>, u32) {
    let mut bench = Bench::script(script).guarded();
    let (agent, task, context) = (bench.agent.clone(), bench.task(""), bench.context.clone());
    let run = tokio::spawn(async move { agent.run(task, context).await.unwrap() });
    wait_for(&bench.dir.path().join("ready")).await;
    let started = async {
        loop {
            if let (_, AgentEvent::Started { pid }) = bench.events.recv().await.unwrap() {
                break pid;
            }
        }
    };
    let pid = tokio::time::timeout(PATIENCE, started).await.unwrap();
    (bench, run, pid)
}

async fn ended(bench: Bench, run: JoinHandle<TaskResult>) {
    bench.context.cancel.cancel();
    tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap();
    assert_eq!(bench.alive(), Vec::<String>::new());
}

/// What `times` of a shell has printed into a file, in milliseconds: of itself and its children, in user and system mode.
fn told_by_shell(file: &Path) -> f64 {
    let text = std::fs::read_to_string(file).unwrap();
    let seconds = text.split_ascii_whitespace().map(|time| {
        let (minutes, seconds) = time.strip_suffix('s').unwrap().split_once('m').unwrap();
        minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
    });
    seconds.sum::<f64>() * 1000.0
}

#[tokio::test]
async fn the_cpu_time_of_processes_that_come_and_go_is_within_five_points_of_the_truth() {
    // Children that are waited for, and in a session of its own an orphan, for which the guard alone waits.
    let orphan = format!(
        "n=0; while [ $n -lt 150 ]; do (sh -c \"{BUSY}\"); n=$((n+1)); done; times >far.new; mv far.new far"
    );
    let script = format!(
        "(setsid sh -c '{orphan}' &); : >ready
        n=0; while [ $n -lt 300 ]; do sh -c '{BUSY}'; n=$((n+1)); done; times >near.new; mv near.new near
        exec sleep 300",
    );
    let (bench, run, pid) = started(&script).await;
    let mut sampler = TreeSampler::of_agent(pid).unwrap();
    let (start, first) = (Instant::now(), sampler.sample(Instant::now()).unwrap());
    assert_eq!(first.cpu_percent, None);
    let [near, far] = ["near", "far"].map(|name| bench.dir.path().join(name));
    let (mut last, mut points, mut looked) = (first, 0.0, start);
    while !(near.exists() && far.exists()) {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = Instant::now();
        last = sampler.sample(now).unwrap();
        points += last.cpu_percent.unwrap_or_default() * (now - looked).as_secs_f64();
        looked = now;
    }
    let elapsed = start.elapsed().as_secs_f64();
    last = sampler.sample(Instant::now()).unwrap_or(last);
    let of_one_core = |ms: f64| ms / 1000.0 / elapsed * 100.0;
    let truth = of_one_core(told_by_shell(&near) + told_by_shell(&far));
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a test are few")]
    let total = of_one_core((last.cpu_ms - first.cpu_ms) as f64);
    let sampled = points / elapsed;
    assert!(truth > 2.0 * POINTS_MAX, "no load: {truth}");
    assert!((total - truth).abs() < POINTS_MAX, "total {total:.1}, truth {truth:.1}");
    assert!((sampled - truth).abs() < POINTS_MAX, "samples {sampled:.1}, truth {truth:.1}");
    ended(bench, run).await;
}

#[tokio::test]
async fn a_sample_has_the_whole_tree_and_nothing_of_its_guard() {
    let (bench, run, pid) = started(
        "sleep 300 & setsid sh -c '(sleep 300 & touch far; sleep 300 & wait)' & until [ -e far ]; do :; done
        exec 5</dev/null 6</dev/null; : >ready; exec sleep 300",
    )
    .await;
    let guard = bench.guard().unwrap().as_raw_pid().unsigned_abs();
    // What has just begun may still be on its way from one program to the next: both looks are to see the same.
    let look = |pid| TreeSampler::of_agent(pid).unwrap().sample(Instant::now()).unwrap();
    let settled = async {
        loop {
            let (sample, with_guard) = (look(pid), look(guard));
            if with_guard.processes == sample.processes + 1 {
                break sample;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let sample = tokio::time::timeout(PATIENCE, settled).await.expect("both looks see the same tree");
    // The agent, its child, and the three of the session that nobody but the guard holds: some shells save one.
    assert!((4..=6).contains(&sample.processes), "{sample:?}");
    assert!(sample.rss_bytes > 500_000 && sample.rss_bytes < 100_000_000, "{sample:?}");
    // Each has its three streams at least, and the agent two files more.
    assert!(sample.open_files.unwrap() >= 3 * sample.processes as u64 + 2, "{sample:?}");
    ended(bench, run).await;
}

#[tokio::test]
async fn a_tree_that_has_ended_has_no_sample() {
    let (bench, run, pid) = started(": >ready; exec sleep 300").await;
    let mut sampler = TreeSampler::of_agent(pid).unwrap();
    let sample = sampler.sample(Instant::now());
    assert!(matches!(sample, Some(TreeSample { processes: 1, cpu_percent: None, .. })), "{sample:?}");
    ended(bench, run).await;
    assert_eq!(sampler.sample(Instant::now()), None);
    assert!(TreeSampler::of_agent(pid).is_none());
    assert!(TreeSampler::of_agent(u32::MAX).is_none());
}
