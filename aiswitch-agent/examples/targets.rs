//! Prints what supervision costs, each figure beside what the system itself takes for the same.
//!
//! `cargo run --release -p aiswitch-agent --example targets [GUARD]`
//!
//! The example is its own agent, and its own guard unless another program is named. It takes half a minute.
#![expect(clippy::disallowed_methods, reason = "processes are what it measures with")]
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::fs;
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aiswitch_agent::{
    AgentEvent, AgentSpec, Driver, Fault, Guard, LifeState, Limits, LiveAgent, Pace, PermissionMode, Replay,
    RestartPolicy, RunContext, TaskSpec, TreeSampler, event_channel, guard_main, misbehave,
};
use aiswitch_env::{Ambient, Environment};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The first argument of this program where it is the agent.
const AGENT_VERB: &str = "agent";

/// What makes the agent answer, as one that speaks the aiswitch protocol does.
const GREETING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"agent.initialize","params":{"protocol_version":1,"client":{"name":"x","version":"1"}}}"#;

/// The same for a task.
const TASK: &str = r#"{"jsonrpc":"2.0","id":2,"method":"task.assign","params":{"id":"t","prompt":"behave"}}"#;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let own = guard_main();
    // What this process was given beside the three streams is handed on; the folder that is read here is not.
    let inherited = fs::read_dir("/proc/self/fd")?.count() - 4;
    let mut args = std::env::args().skip(1);
    let first = args.next();
    if first.as_deref() == Some(AGENT_VERB) {
        let fault = args.next().and_then(|name| name.parse().ok()).unwrap_or(Fault::Garbage);
        std::process::exit(misbehave(fault, 1).into());
    }
    let guard = first.map_or(own, Guard::by_program);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("| figure | here | beside | goal |");
    println!("|---|---|---|---|");
    runtime.block_on(async {
        ends(&guard).await?;
        guard_takes(&guard, inherited).await?;
        messages(&guard).await?;
        idle(&guard).await?;
        stderr(&guard).await?;
        starts_and_stops(&guard).await?;
        spawns(&guard).await
    })
}

fn row(figure: &str, here: &str, beside: &str, goal: &str) {
    println!("| {figure} | {here} | {beside} | {goal} |");
}

/// One agent that stays.
struct Bench {
    agent: LiveAgent,
    task: TaskSpec,
    /// The process that it was last told of.
    process: watch::Receiver<Option<Pid>>,
}

impl Bench {
    fn new(guard: Option<&Guard>, fault: Fault) -> Result<Self, Error> {
        let program = std::env::current_exe()?.display().to_string();
        let command = vec![program, AGENT_VERB.to_owned(), fault.name().to_owned()];
        let spec = AgentSpec { command, ..AgentSpec::new(Driver::Rpc) };
        let id: aiswitch_agent::AgentId = "agent".parse()?;
        let (sender, mut events) = event_channel(id.clone());
        let (told, process) = watch::channel(None);
        tokio::spawn(async move {
            while let Some((_, event)) = events.recv().await {
                if let AgentEvent::Started { pid } = event {
                    told.send_replace(i32::try_from(pid).ok().and_then(Pid::from_raw));
                }
            }
        });
        let ambient = Ambient::from_vars([("PATH".into(), "/usr/bin:/bin".into())]);
        let marker = format!("targets-{}:agent", std::process::id());
        let context = RunContext {
            environment: Environment::compose(&ambient, &[], None)?,
            events: sender,
            cancel: CancellationToken::new(),
            limits: Limits::default(),
            output_dir: None,
            pace: Pace::new(marker.clone()),
            marker,
            guard: guard.cloned(),
            hidden: Vec::new(),
        };
        let task = TaskSpec {
            id: "task".parse()?,
            prompt: "behave".into(),
            cwd: "/tmp".into(),
            mode: PermissionMode::Write,
            model: None,
            session_id: None,
        };
        let policy = RestartPolicy {
            restarts_max: u32::MAX,
            backoff: Duration::ZERO,
            healthy_after: Duration::ZERO,
            ..RestartPolicy::default()
        };
        let agent = LiveAgent::new(spec.build(id), task.clone(), context, policy);
        Ok(Self { agent, task, process })
    }

    async fn started(guard: Option<&Guard>, fault: Fault) -> Result<Self, Error> {
        let bench = Self::new(guard, fault)?;
        bench.agent.start().await?;
        Ok(bench)
    }

    async fn ask(&self, prompt: &str) -> Result<(), Error> {
        let task = TaskSpec { prompt: prompt.into(), ..self.task.clone() };
        self.agent.send_task(task, Replay::Never).await?;
        Ok(())
    }
}

/// The same agent without anybody between.
struct Bare {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Bare {
    fn started() -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([AGENT_VERB, "garbage"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let mut bare = Self { child, output };
        bare.ask(GREETING)?;
        Ok(bare)
    }

    fn ask(&mut self, line: &str) -> io::Result<()> {
        let input = self.child.stdin.as_mut().expect("piped");
        input.write_all(format!("{line}\n").as_bytes())?;
        self.output.read_line(&mut String::new())?;
        Ok(())
    }
}

/// How soon the end of a process is seen, and the next one is ready.
async fn ends(guard: &Guard) -> Result<(), Error> {
    const ROUNDS: u32 = 200;
    let mut bench = Bench::started(Some(guard), Fault::Garbage).await?;
    let (mut seen, mut again, mut bare_seen, mut bare_again) = (vec![], vec![], vec![], vec![]);
    let mut last = None;
    for round in 1..=ROUNDS {
        // The first one, or the one that was started again at the end of the last round.
        let pid = bench.process.wait_for(|pid| pid.is_some() && *pid != last).await?.ok_or("no process")?;
        last = Some(pid);
        let mut status = bench.agent.watch();
        let start = Instant::now();
        kill_process(pid, Signal::KILL)?;
        status.wait_for(|status| status.state != LifeState::Idle).await?;
        seen.push(start.elapsed());
        status.wait_for(|status| status.restarts == round && status.state == LifeState::Idle).await?;
        again.push(start.elapsed());

        let mut bare = Bare::started()?;
        let start = Instant::now();
        bare.child.kill()?;
        bare.child.wait()?;
        bare_seen.push(start.elapsed());
        Bare::started()?.child.kill()?;
        bare_again.push(start.elapsed());
    }
    bench.agent.stop().await?;
    row(
        "end of a process seen, p50 / p95",
        &two(&mut seen),
        &format!("{} kill + wait", two(&mut bare_seen)),
        "p95 ≤ 20 ms",
    );
    row(
        "killed → the next one greeted, p50 / p95",
        &two(&mut again),
        &format!("{} kill + wait + spawn + greeting", two(&mut bare_again)),
        "p50 ≤ 15 ms",
    );
    Ok(())
}

/// The median and the 95th percentile, in milliseconds.
fn two(times: &mut [Duration]) -> String {
    format!("{:.2} / {:.2} ms", ms(quantile(times, 50)), ms(quantile(times, 95)))
}

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What one guard takes.
async fn guard_takes(guard: &Guard, inherited: usize) -> Result<(), Error> {
    let mut bench = Bench::started(Some(guard), Fault::Garbage).await?;
    let pid = bench.process.wait_for(Option::is_some).await?.ok_or("it told no process")?.as_raw_pid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)).ok_or("no parent")?;
    let rollup = fs::read_to_string(format!("/proc/{parent}/smaps_rollup"))?;
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("no Pss")?;
    let kib: f64 = kib.trim().trim_end_matches(" kB").parse()?;
    let files = fs::read_dir(format!("/proc/{parent}/fd"))?.count() - inherited;
    bench.agent.stop().await?;
    row("a guard's memory (PSS)", &format!("{:.2} MB", kib / 1000.0), "-", "≤ 1 MB");
    row("a guard's open files", &files.to_string(), "3 streams", "≤ 6");
    Ok(())
}

/// How long a task takes that is answered at once.
async fn messages(guard: &Guard) -> Result<(), Error> {
    const ROUNDS: usize = 5000;
    let with = Bench::started(Some(guard), Fault::Garbage).await?;
    let without = Bench::started(None, Fault::Garbage).await?;
    let mut bare = Bare::started()?;
    let (mut guarded, mut unguarded, mut pipes) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        for (bench, times) in [(&with, &mut guarded), (&without, &mut unguarded)] {
            let start = Instant::now();
            bench.ask("behave").await?;
            times.push(start.elapsed());
        }
        let start = Instant::now();
        bare.ask(TASK)?;
        pipes.push(start.elapsed());
    }
    with.agent.stop().await?;
    without.agent.stop().await?;
    bare.child.kill()?;
    let us = |times: &mut [Duration]| quantile(times, 50).as_secs_f64() * 1e6;
    let (guarded, unguarded) = (us(&mut guarded), us(&mut unguarded));
    row(
        "a task there and back, with a guard, p50",
        &format!("{guarded:.1} µs: {:+.1} µs", guarded - unguarded),
        &format!("{unguarded:.1} µs without a guard, {:.1} µs bare pipes", us(&mut pipes)),
        "< 1 µs added",
    );
    Ok(())
}

/// What ten agents take that have nothing to do, and are looked at once a second.
async fn idle(guard: &Guard) -> Result<(), Error> {
    const AGENTS: usize = 10;
    const SECONDS: u32 = 10;
    let mut benches = Vec::new();
    for _ in 0..AGENTS {
        benches.push(Bench::started(Some(guard), Fault::Garbage).await?);
    }
    let pids = benches.iter().filter_map(|bench| *bench.process.borrow());
    let mut samplers: Vec<_> =
        pids.filter_map(|pid| TreeSampler::of_agent(pid.as_raw_pid().unsigned_abs())).collect();
    let (start, cpu) = (Instant::now(), cpu_time());
    let mut second = tokio::time::interval(Duration::from_secs(1));
    for _ in 0..SECONDS {
        second.tick().await;
        for sampler in &mut samplers {
            black_box(sampler.sample(Instant::now()));
        }
    }
    let share = cpu_time().saturating_sub(cpu).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    let here = format!("{share:.2} % of a core, {} MB", resident_mb()?);
    row("10 idle agents, looked at once a second", &here, "-", "≤ 0.5 %, ≤ 25 MB");
    for bench in benches {
        bench.agent.stop().await?;
    }
    Ok(())
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// The memory of this process that is in RAM, see `proc_pid_statm(5)`.
fn resident_mb() -> Result<u64, Error> {
    let pages: u64 = fs::read_to_string("/proc/self/statm")?.split(' ').nth(1).ok_or("no pages")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64 / 1_000_000)
}

/// How fast stderr is drained.
async fn stderr(guard: &Guard) -> Result<(), Error> {
    const FLOODS: usize = 4;
    const FLOOD_BYTES: usize = 64 << 20;
    let bench = Bench::started(Some(guard), Fault::StderrFlood).await?;
    let before = resident_mb()?;
    let start = Instant::now();
    for _ in 0..FLOODS {
        bench.ask("flood").await?;
    }
    let speed = mb_per_s(FLOODS * FLOOD_BYTES, start.elapsed());
    let grown = resident_mb()?.saturating_sub(before);
    bench.agent.stop().await?;

    let mut bare = Command::new(std::env::current_exe()?)
        .args([AGENT_VERB, Fault::StderrFlood.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let (mut input, mut output) = (bare.stdin.take().expect("piped"), bare.stderr.take().expect("piped"));
    let start = Instant::now();
    input.write_all(format!("{}\n", TASK.replace("behave", "flood")).as_bytes())?;
    drop(input);
    let (mut bytes, mut buffer) = (0, vec![0; 64 * 1024]);
    while let read @ 1.. = output.read(&mut buffer)? {
        bytes += read;
    }
    let limit = mb_per_s(bytes, start.elapsed());
    bare.wait()?;
    let here = format!("{speed} MB/s, {grown} MB grown");
    row("a flood on stderr is drained", &here, &format!("{limit} MB/s read and dropped"), "≥ 300 MB/s");
    Ok(())
}

fn mb_per_s(bytes: usize, time: Duration) -> u128 {
    bytes as u128 / time.as_micros().max(1)
}

/// What is left after many agents have come and gone.
async fn starts_and_stops(guard: &Guard) -> Result<(), Error> {
    const ROUNDS: u32 = 1000;
    let census = || -> Result<(usize, usize), Error> {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        Ok((fs::read_dir("/proc/self/fd")?.count(), tasks))
    };
    let bench = Bench::started(Some(guard), Fault::Garbage).await?;
    bench.agent.stop().await?;
    let before = census()?;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        bench.agent.start().await?;
        bench.agent.stop().await?;
    }
    let each = ms(start.elapsed()) / f64::from(ROUNDS);
    let after = census()?;
    let here = format!(
        "{} files, {} tasks; {each:.2} ms each",
        after.0.cast_signed() - before.0.cast_signed(),
        after.1.cast_signed() - before.1.cast_signed()
    );
    row("left after 1,000 starts and stops", &here, "-", "0");
    Ok(())
}

/// How long a start takes from a process that has much memory.
async fn spawns(guard: &Guard) -> Result<(), Error> {
    const GIB: usize = 1 << 30;
    let small = [start_times(Some(guard)).await?, start_times(None).await?, bare_spawn()?];
    let memory = black_box(vec![1_u8; GIB]);
    let large = [start_times(Some(guard)).await?, start_times(None).await?, bare_spawn()?];
    let taken = resident_mb()?;
    drop(memory);
    for (index, what) in ["with a guard", "without"].into_iter().enumerate() {
        row(
            &format!("a process is started {what}, from a parent of {taken} MB, p50"),
            &format!("{:.2} ms ({:.2} from a small one)", large[index], small[index]),
            &format!("{:.2} ms bare ({:.2})", large[2], small[2]),
            "≤ 2 × bare",
        );
    }
    Ok(())
}

const SPAWNS: usize = 100;

/// How long it takes until an agent's program runs, at the median, in milliseconds.
async fn start_times(guard: Option<&Guard>) -> Result<f64, Error> {
    let mut times = Vec::new();
    for _ in 0..SPAWNS {
        let mut bench = Bench::new(guard, Fault::Garbage)?;
        let start = Instant::now();
        let (started, told) = tokio::join!(bench.agent.start(), async {
            let told = bench.process.wait_for(Option::is_some).await.map(drop);
            told.map(|()| start.elapsed())
        });
        started?;
        times.push(told?);
        bench.agent.stop().await?;
    }
    Ok(ms(quantile(&mut times, 50)))
}

/// How long the system takes for the same, at the median, in milliseconds.
fn bare_spawn() -> Result<f64, Error> {
    let mut times = Vec::new();
    for _ in 0..SPAWNS {
        let start = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args([AGENT_VERB, "garbage"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        times.push(start.elapsed());
        child.kill()?;
        child.wait()?;
    }
    Ok(ms(quantile(&mut times, 50)))
}
