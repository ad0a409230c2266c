//! What the coordinator's own collector sees of real processes.
#![expect(clippy::disallowed_methods, reason = "these tests are about real processes")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aiswitch_coordinator::ProcessCollector;
use aiswitch_metrics::Collector as _;
use chrono::DateTime;
use tempfile::TempDir;

/// How far from the truth a tree's CPU may be told, in points of one core.
const POINTS_MAX: f64 = 5.0;

/// How long a test waits at most.
const PATIENCE: Duration = Duration::from_mins(2);

/// Starts one short process after the other once it is told to, and then writes how much CPU time all have taken.
const BUSY: &str = "echo ready; read line; n=0; while [ $n -lt 400 ]; do
    sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done'; n=$((n+1)); done; times >told.new; mv told.new told; read line";

/// A shell that ends with the test.
struct Shell(Child);

impl Shell {
    /// Starts a script, which says when it is ready.
    fn start(script: &str, folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = Self(command.spawn().expect("a shell"));
        let stdout = shell.0.stdout.take().expect("it is a pipe");
        BufReader::new(stdout).read_line(&mut String::new()).expect("it is ready");
        shell
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The end of its input ends it and what it has started; an error means that it has ended.
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

/// The seconds that `times` of a shell has written, of itself and its children, in user and system mode.
fn told_by_shell(file: &Path) -> f64 {
    let text = std::fs::read_to_string(file).expect("it was written");
    let seconds = text.split_ascii_whitespace().map(|time| {
        let (minutes, seconds) =
            time.strip_suffix('s').and_then(|time| time.split_once('m')).expect("a time");
        minutes.parse::<f64>().expect("minutes") * 60.0 + seconds.parse::<f64>().expect("seconds")
    });
    seconds.sum()
}

#[test]
fn the_collector_tells_the_cpu_of_processes_that_come_and_go_within_five_points() {
    let folder = TempDir::new().expect("a folder");
    let mut shell = Shell::start(BUSY, folder.path());
    let (pid, told) = (shell.0.id(), folder.path().join("told"));
    let mut collector = ProcessCollector::new();
    let mut look = || {
        let sample = collector.collect_agent_metrics("busy", pid, DateTime::UNIX_EPOCH);
        sample.expect("it runs").cpu_percent
    };
    assert_eq!(look(), None);
    let start = Instant::now();
    shell.0.stdin.as_mut().expect("it is a pipe").write_all(b"go\n").expect("it reads");
    let (mut points, mut looked, mut is_over) = (0.0, start, false);
    while !is_over {
        // One look more after the end of the work, which that look has to tell.
        is_over = told.exists();
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
        let percent = look().expect("it has looked before");
        let now = Instant::now();
        points += percent * (now - looked).as_secs_f64();
        looked = now;
    }
    let elapsed = (looked - start).as_secs_f64();
    let (sampled, truth) = (points / elapsed, 100.0 * told_by_shell(&told) / elapsed);
    // On a machine that has much else to do the truth itself may be a few points.
    assert!(truth > 0.0 && sampled > truth / 2.0, "samples {sampled:.1}, truth {truth:.1}");
    assert!((sampled - truth).abs() < POINTS_MAX, "samples {sampled:.1}, truth {truth:.1}");
}

#[test]
fn the_collector_sees_a_tree_until_it_ends_and_the_machine() {
    let folder = TempDir::new().expect("a folder");
    let shell = Shell::start("sleep 300 & echo ready; read line; kill $!", folder.path());
    let (pid, at) = (shell.0.id(), DateTime::UNIX_EPOCH);
    let mut collector = ProcessCollector::new();
    let sample = collector.collect_agent_metrics("claude", pid, at).expect("it runs");
    assert_eq!((sample.agent.as_str(), sample.at, sample.cpu_percent), ("claude", at, None));
    assert!(
        sample.processes == Some(2) && sample.memory_bytes.is_some_and(|bytes| bytes > 100_000),
        "{sample:?}"
    );
    assert!(collector.collect_system_metrics(at).is_some_and(|system| system.cpus.is_some()));
    let mut shell = shell;
    drop(shell.0.stdin.take());
    shell.0.wait().expect("it ends with its input");
    assert_eq!(collector.collect_agent_metrics("claude", pid, at), None);
}
