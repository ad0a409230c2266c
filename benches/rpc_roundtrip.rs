//! Round trips and pipelined calls to a child over real pipes, each beside raw bytes on the same kind of pipe.
//!
//! `taskset -c 1 cargo bench -p aiswitch-benches --bench rpc_roundtrip`; ratios are medians of paired rounds.
#![expect(clippy::disallowed_methods, reason = "each contender is a child process on real pipes")]
#![expect(clippy::print_stdout, reason = "the table of ratios is the result")]

#[path = "rpc_roundtrip/contenders.rs"]
mod contenders;
#[cfg(feature = "peers")]
#[path = "rpc_roundtrip/peers.rs"]
mod peers;

use std::time::{Duration, Instant};

use contenders::{Contender, Payload};

/// How often every contender is measured; odd, so that there is a median.
const ROUNDS: usize = 9;
const WINDOW: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, kind] = &arguments[..]
        && flag == "--child"
    {
        return contenders::serve(kind);
    }
    let text = Payload::text(80);
    let items = Payload::items(10);
    table("round trip, 128 B text", &text, 1, 4000);
    table("64 in flight, 128 B text", &text, WINDOW, 40_000);
    table("64 in flight, 1 KiB structured", &items, WINDOW, 10_000);
    println!("\nmemory per idle connection: {} bytes", contenders::idle_connection_bytes());
}

/// One table: medians over the rounds, each ratio within its round.
fn table(title: &str, payload: &Payload, window: usize, count: usize) {
    let mut contenders = contenders::all(payload);
    let mut rounds: Vec<Vec<Sample>> = Vec::new();
    for contender in &mut contenders {
        measure(contender.as_mut(), window, count / 4);
    }
    for _ in 0..ROUNDS {
        let measured = contenders.iter_mut().map(|contender| measure(contender.as_mut(), window, count));
        rounds.push(measured.collect());
    }
    println!("\n{title}\n{:<28}{:>10}{:>12}{:>12}{:>14}", "", "us/call", "calls/s", "x raw", "CPU us/call");
    for (index, contender) in contenders.iter().enumerate() {
        let of = |figure: fn(&Sample, &Sample) -> f64| {
            let mut figures: Vec<f64> = rounds.iter().map(|round| figure(&round[index], &round[0])).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        let us = of(|sample, _| sample.us);
        let ratio = of(|sample, raw| sample.us / raw.us);
        let cpu = of(|sample, _| sample.cpu_us);
        println!("{:<28}{us:>10.2}{:>12.0}{ratio:>12.2}{cpu:>14.2}", contender.name(), 1e6 / us);
    }
}

/// One measurement, per call.
struct Sample {
    us: f64,
    cpu_us: f64,
}

fn measure(contender: &mut dyn Contender, window: usize, count: usize) -> Sample {
    let cpu = |contender: &dyn Contender| cpu_time("self") + cpu_time(&contender.child().to_string());
    let (cpu_before, start) = (cpu(contender), Instant::now());
    contender.run(window, count);
    let (elapsed, cpu_after) = (start.elapsed(), cpu(contender));
    let per_call =
        |time: Duration| time.as_secs_f64() * 1e6 / f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    Sample { us: per_call(elapsed), cpu_us: per_call(cpu_after.saturating_sub(cpu_before)) }
}

/// The time that all threads of a process have spent on a CPU, from Linux's `schedstat`.
fn cpu_time(process: &str) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let times = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum::<u64>())
}
