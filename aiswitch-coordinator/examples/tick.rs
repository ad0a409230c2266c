//! Prints what one look at eight agents and the machine costs, and how true it is where processes come and go, beside sysinfo;
//! and what it costs to judge their samples by rules of alerts.
//!
//! `cargo run --release -p aiswitch-coordinator --example tick` exits with 1 if a look takes more than 1 ms of CPU time, or the
//! CPU of a tree is told more than 5 points from what the kernel tells the shell at its root, or ten rules take more than 1 ms
//! of CPU time to judge a sample of each agent.

#![expect(clippy::disallowed_methods, reason = "processes are what it measures with")]
#![expect(clippy::print_stdout, reason = "an example that prints figures")]

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use aiswitch_coordinator::ProcessCollector;
use aiswitch_metrics::{
    AlertCondition, AlertRule, Collector as _, Metric, Sample, Source, SqliteMetricsStore, judge_alerts,
};
use chrono::{DateTime, TimeDelta};
use rustix::time::{ClockId, clock_gettime};
use sysinfo::{Pid, ProcessesToUpdate, System};

const AGENTS: usize = 8;

/// An agent with three tools, which end with its input.
const AGENT: &str =
    "sleep 300 & a=$!; sleep 300 & b=$!; sleep 300 & echo ready; read line; kill $a $b $!; wait";

/// An agent that starts one short process after the other, and then tells how much CPU time all have taken.
const BUSY: &str = "echo ready; read line; n=0; while [ $n -lt 600 ]; do
    sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done'; n=$((n+1)); done; times >told.new; mv told.new told; read line";

/// How often all are looked at.
const LOOKS: u32 = 500;

/// The same, by what takes its time.
const SLOW_LOOKS: u32 = 20;

/// How long it is between two looks at the tree whose processes come and go.
const PAUSE: Duration = Duration::from_millis(100);

/// How many rules of alerts judge each sample, and how often.
const RULES: u32 = 10;
const JUDGEMENTS: u32 = 500;

const LOOK_MS_MAX: f64 = 1.0;
const JUDGE_MS_MAX: f64 = 1.0;
const POINTS_MAX: f64 = 5.0;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let agents: Vec<Agent> =
        (0..AGENTS).map(|_| Agent::start(AGENT, folder.path())).collect::<Result<_, _>>()?;
    let names: Vec<String> = (0..AGENTS).map(|number| format!("agent-{number}")).collect();
    let mut collector = ProcessCollector::new();
    let at = DateTime::UNIX_EPOCH;
    let own = cost(LOOKS, || {
        for (name, agent) in names.iter().zip(&agents) {
            black_box(collector.collect_agent_metrics(name, agent.0.id(), at));
        }
        collector.collect_system_metrics(at)
    });
    println!("{AGENTS} agents of 4 processes and the machine: {own:.3} ms of CPU time a look");
    let mut system = System::new()?;
    let pids: Vec<Pid> = agents.iter().map(|agent| Pid::from_u32(agent.0.id())).collect();
    let roots = cost(LOOKS, || system.refresh_processes(ProcessesToUpdate::Some(&pids), true));
    let all = cost(SLOW_LOOKS, || system.refresh_processes(ProcessesToUpdate::All, true));
    println!(
        "sysinfo: {roots:.3} ms for the {AGENTS} first processes alone, {all:.3} ms for all, as trees need"
    );
    drop(agents);
    let [own_percent, peer_percent, truth] = busy(folder.path())?;
    println!(
        "a tree whose processes come and go: {own_percent:.1} % of a core, sysinfo {peer_percent:.1} %, in truth {truth:.1} %"
    );
    let thresholds = judging(folder.path(), AlertCondition::Above(1e9), RULES)?;
    println!("{RULES} rules of alerts over {AGENTS} agents: {thresholds:.3} ms of CPU time a judgement");
    let anomaly = judging(folder.path(), AlertCondition::Anomaly, 1)?;
    println!("one that asks for anomalies: {anomaly:.3} ms");
    let is_met =
        thresholds <= JUDGE_MS_MAX && own <= LOOK_MS_MAX && (own_percent - truth).abs() <= POINTS_MAX;
    Ok(if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The CPU time in milliseconds that it takes to judge a sample of each agent by so many rules in a store on disk.
fn judging(folder: &Path, condition: AlertCondition, count: u32) -> Result<f64, Box<dyn Error>> {
    let path = folder.join(format!("{condition}.db"));
    let store = SqliteMetricsStore::at(path);
    let rule = |number: u32| AlertRule::new(format!("rule-{number}"), Metric::MEMORY_BYTES, condition);
    let rules: Vec<AlertRule> = (0..count).map(rule).collect();
    let (mut tick, mut problem) = (0_u32, None);
    let cost = cost(JUDGEMENTS, || {
        tick += 1;
        let at = DateTime::UNIX_EPOCH + TimeDelta::seconds(10 * i64::from(tick));
        let bytes =
            |agent: usize| f64::from(tick % 97) * 1e6 + f64::from(u32::try_from(agent).unwrap_or_default());
        let sample = |agent: usize| Sample {
            source: Source::Agent(format!("agent-{agent}")),
            at,
            figures: vec![(Metric::MEMORY_BYTES, bytes(agent))],
        };
        let samples: Vec<Sample> = (0..AGENTS).map(sample).collect();
        let judged = judge_alerts(&store, &rules, &samples, at);
        problem = problem.take().or(judged.problem);
    });
    problem.map_or(Ok(cost), |problem| Err(problem.into()))
}

/// The CPU of a busy tree as we tell it, as sysinfo does, and in truth, in percent of one core.
fn busy(folder: &Path) -> Result<[f64; 3], Box<dyn Error>> {
    let mut agent = Agent::start(BUSY, folder)?;
    let pid = agent.0.id();
    let (mut collector, mut system) = (ProcessCollector::new(), System::new()?);
    collector.collect_agent_metrics("busy", pid, DateTime::UNIX_EPOCH);
    system.refresh_processes(ProcessesToUpdate::All, true);
    let start = Instant::now();
    let (mut own, mut peer, mut looked) = (0.0, 0.0, start);
    agent.0.stdin.as_mut().ok_or("its stdin is a pipe")?.write_all(b"go\n")?;
    let told = folder.join("told");
    let mut is_over = false;
    while !is_over {
        is_over = told.exists();
        std::thread::sleep(PAUSE);
        let percent = collector.collect_agent_metrics("busy", pid, DateTime::UNIX_EPOCH);
        let seconds = looked.elapsed().as_secs_f64();
        looked = Instant::now();
        own += percent.and_then(|sample| sample.cpu_percent).unwrap_or_default() * seconds;
        system.refresh_processes(ProcessesToUpdate::All, true);
        let of_tree = |process: &&sysinfo::Process| {
            process.pid().as_u32() == pid || process.parent().is_some_and(|parent| parent.as_u32() == pid)
        };
        let live = system.processes().values().filter(of_tree).map(sysinfo::Process::cpu_usage);
        peer += f64::from(live.sum::<f32>()) * seconds;
    }
    let elapsed = looked.duration_since(start).as_secs_f64();
    let truth = told_by_shell(&std::fs::read_to_string(told)?).ok_or("`times` tells minutes and seconds")?;
    Ok([own / elapsed, peer / elapsed, 100.0 * truth / elapsed])
}

/// The seconds that `times` of a shell prints, of itself and its children, in user and system mode.
fn told_by_shell(text: &str) -> Option<f64> {
    let seconds = text.split_ascii_whitespace().map(|time| {
        let (minutes, seconds) = time.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    });
    seconds.sum()
}

/// The CPU time that one look takes, in milliseconds.
fn cost<T>(looks: u32, mut look: impl FnMut() -> T) -> f64 {
    black_box(look());
    let start = cpu_time();
    for _ in 0..looks {
        black_box(look());
    }
    (cpu_time().saturating_sub(start) / looks).as_secs_f64() * 1_000.0
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// A shell that ends when it is not needed any more.
struct Agent(Child);

impl Agent {
    /// Starts a script, which says when it is ready.
    fn start(script: &str, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut agent = Self(command.spawn()?);
        BufReader::new(agent.0.stdout.take().ok_or("its stdout is a pipe")?).read_line(&mut String::new())?;
        Ok(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The end of its input ends it and what it has started; an error means that it has ended.
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}
