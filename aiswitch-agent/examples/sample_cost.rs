//! Prints what one look at one agent's tree costs, beside sysinfo's, on a machine with few and with many processes.
//!
//! `cargo run --release -p aiswitch-agent --example sample_cost`
#![expect(clippy::disallowed_methods, reason = "processes are what it measures with")]
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::hint::black_box;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aiswitch_agent::TreeSampler;
use rustix::time::{ClockId, clock_gettime};
use sysinfo::{ProcessesToUpdate, System};

/// How many processes of others there are meanwhile.
const FOREIGN: [usize; 2] = [50, 1000];

/// An agent with three tools, which end with its input.
const AGENT: &str =
    "sleep 300 & a=$!; sleep 300 & b=$!; sleep 300 & echo ready; read line; kill $a $b $!; wait";

/// How often it is looked at.
const LOOKS: u32 = 500;

/// The same, by what takes its time.
const SLOW_LOOKS: u32 = 20;

fn main() -> io::Result<()> {
    println!(
        "| processes of others | aiswitch, ms CPU a look | sysinfo, ms CPU a look | sampled processes |"
    );
    println!("|---|---|---|---|");
    let mut foreign = Vec::new();
    for count in FOREIGN {
        while foreign.len() < count {
            foreign.push(Ended(Command::new("sleep").arg("300").spawn()?));
        }
        let mut agent =
            Command::new("sh").args(["-c", AGENT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        BufReader::new(agent.stdout.take().expect("piped")).read_line(&mut String::new())?;
        let mut sampler = TreeSampler::of_agent(agent.id()).expect("it runs");
        let processes = sampler.sample(Instant::now()).expect("it runs").processes;
        let own = cost(LOOKS, || sampler.sample(Instant::now()));
        let mut system = System::new().map_err(io::Error::other)?;
        let peer = cost(SLOW_LOOKS, || system.refresh_processes(ProcessesToUpdate::All, true));
        println!("| {count} | {own:.3} | {peer:.3} | {processes} |");
        drop(agent.stdin.take());
        agent.wait()?;
    }
    Ok(())
}

/// The CPU time that one look takes, in milliseconds.
fn cost<T>(looks: u32, mut look: impl FnMut() -> T) -> f64 {
    black_box(look());
    let start = cpu_time();
    for _ in 0..looks {
        black_box(look());
    }
    (cpu_time().saturating_sub(start) / looks).as_secs_f64() * 1000.0
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// A process that ends when it is not needed any more.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // An error means that it has ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
