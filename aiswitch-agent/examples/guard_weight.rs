//! Prints what a guard weighs, and how long an agent takes to start without one and in each tier.
//!
//! `cargo build --release -p aiswitch-cli && cargo run --release -p aiswitch-agent --example guard_weight target/release/aiswitch`
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::error::Error;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use aiswitch_agent::{
    AgentEvent, AgentSpec, GUARD_MARKER, Guard, Limits, Pace, PermissionMode, RunContext, TaskSpec, Tier,
    chain, event_channel,
};
use aiswitch_env::{Ambient, Environment};
use tokio_util::sync::CancellationToken;

/// How often each way to start is taken.
const STARTS: usize = 30;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let own = aiswitch_agent::guard_main();
    let program = std::env::args_os().nth(1);
    let guard = program.map_or(own, Guard::by_program);
    let weight = weigh(&guard).await?;
    println!(
        "guard `{}`: {} KiB PSS, {} threads, {} open files",
        guard.program().display(),
        weight[0],
        weight[1],
        weight[2]
    );
    println!("| held by | start of an agent, ms, median | p95 |");
    println!("|---|---|---|");
    let mut ways = vec![("group".to_owned(), None), ("guard".to_owned(), Some(guard.clone()))];
    for tier in [Tier::Cgroup, Tier::PidNamespace] {
        match guard.in_tier(tier).await {
            Ok(held) => ways.push((tier.to_string(), Some(held))),
            Err(error) => println!("| {tier} | {} | |", chain(&error)),
        }
    }
    // In turns, so that what else the machine does meets all of them.
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..STARTS {
        for ((_, guard), times) in ways.iter().zip(&mut times) {
            times.push(start(guard.clone(), async |_| Ok(())).await?.0);
        }
    }
    for ((name, _), times) in ways.iter().zip(&mut times) {
        times.sort();
        let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
        println!("| {name} | {:.1} | {:.1} |", ms(STARTS / 2), ms(STARTS * 95 / 100));
    }
    Ok(())
}

/// Starts an agent, looks at it while it runs, and ends it; tells how long it took until it ran.
async fn start<T>(
    guard: Option<Guard>,
    look: impl AsyncFnOnce(u32) -> io::Result<T>,
) -> Result<(Duration, T), Box<dyn Error>> {
    let agent = AgentSpec::command(["sleep", "300"]).build("weighed".parse()?);
    let (events, mut heard) = event_channel(agent.profile().id.clone());
    let path = [("PATH".into(), "/usr/bin:/bin".into())];
    let context = RunContext {
        environment: Environment::compose(&Ambient::from_vars(path), &[], None)?,
        events,
        cancel: CancellationToken::new(),
        limits: Limits::default(),
        output_dir: None,
        marker: format!("guard-weight-{}:weighed", std::process::id()),
        guard,
        hidden: Vec::new(),
        pace: Pace::new("weighed"),
    };
    let task = TaskSpec {
        id: "weight".parse()?,
        prompt: String::new(),
        cwd: "/".into(),
        mode: PermissionMode::Write,
        model: None,
        session_id: None,
    };
    let (begun, cancel) = (Instant::now(), context.cancel.clone());
    let mut run = agent.run(task, context);
    let pid = loop {
        tokio::select! {
            ended = &mut run => return Err(format!("it ended at once: {:?}", ended?.error).into()),
            event = heard.recv() => if let Some((_, AgentEvent::Started { pid })) = event { break pid },
        }
    };
    let took = begun.elapsed();
    let seen = look(pid).await?;
    cancel.cancel();
    run.await?;
    Ok((took, seen))
}

/// The proportional memory of a guard in KiB, its threads and its open files beside those that it was given.
async fn weigh(guard: &Guard) -> Result<[usize; 3], Box<dyn Error>> {
    let look = async |agent: u32| {
        let status = fs::read_to_string(format!("/proc/{agent}/status"))?;
        let guard = number(&status, "PPid:")?;
        let environ = fs::read(format!("/proc/{guard}/environ"))?;
        if !environ.starts_with(GUARD_MARKER.as_bytes()) {
            return Err(io::Error::other("the agent's parent is no guard"));
        }
        let memory = number(&fs::read_to_string(format!("/proc/{guard}/smaps_rollup"))?, "Pss:")?;
        let threads = number(&fs::read_to_string(format!("/proc/{guard}/status"))?, "Threads:")?;
        Ok([memory, threads, fs::read_dir(format!("/proc/{guard}/fd"))?.count()])
    };
    Ok(start(Some(guard.clone()), look).await?.1)
}

/// The number behind a name.
fn number(text: &str, name: &str) -> io::Result<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {name}")))
}
