//! The echo agent's faults: a run reports each for what it is, and nothing is left.
#![expect(clippy::disallowed_methods, reason = "what makes a clock jump has to be built")]

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Shown, aiswitch, configure, show};
use crate::sandbox::Sandbox;

/// How a run reports each fault: the status, and the kind of the error.
const REPORTED: [(&str, &str, &str, Option<&str>); 33] = [
    ("--crash", "start", "crashed", Some("crash")),
    ("--crash", "initialize", "crashed", Some("crash")),
    ("--crash", "idle", "crashed", Some("crash")),
    ("--crash", "before", "crashed", Some("crash")),
    ("--crash", "during", "crashed", Some("crash")),
    ("--crash", "frame", "failed", Some("protocol")),
    ("--crash", "stop", "completed", None),
    ("--fault", "half-line", "failed", Some("protocol")),
    ("--fault", "stop-reading", "timed_out", Some("timeout")),
    ("--fault", "stop-answering", "timed_out", Some("timeout")),
    ("--fault", "stop-itself", "timed_out", Some("timeout")),
    ("--fault", "close-stdout", "crashed", Some("crash")),
    ("--fault", "close-stdin", "timed_out", Some("timeout")),
    ("--fault", "drip", "timed_out", Some("timeout")),
    ("--fault", "garbage", "completed", None),
    ("--fault", "invalid-utf8", "failed", Some("protocol")),
    ("--fault", "nul", "completed", None),
    ("--fault", "bom", "completed", None),
    ("--fault", "crlf", "completed", None),
    ("--fault", "giant-line", "failed", Some("protocol")),
    ("--fault", "deep-json", "completed", None),
    ("--fault", "huge-number", "failed", Some("protocol")),
    ("--fault", "duplicate-keys", "failed", Some("protocol")),
    ("--fault", "unknown-id", "completed", None),
    ("--fault", "duplicate-id", "completed", None),
    ("--fault", "forged", "completed", None),
    ("--fault", "reply-storm", "completed", None),
    ("--fault", "stderr-flood", "completed", None),
    ("--fault", "grandchildren", "completed", None),
    ("--fault", "comet", "completed", None),
    ("--fault", "fork-bomb", "completed", None),
    ("--fault", "cpu-hog", "timed_out", Some("timeout")),
    ("--fault", "memory-hog", "failed", Some("oom")),
];

#[test]
fn each_fault_of_the_echo_agent_is_reported_for_what_it_is_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let mut agents = "agents:\n".to_owned();
    let mut names = vec!["echo".to_owned()];
    for (number, (option, what, status, _)) in REPORTED.iter().enumerate() {
        let name = format!("{what}-{number}");
        let timeout = if *status == "timed_out" { "2s" } else { "60s" };
        let limits =
            if *what == "memory-hog" { ", limits: {memory_mb: 100, unenforced: best_effort}" } else { "" };
        writeln!(agents, "  {name}: {{driver: echo, args: [{option}, {what}], timeout: {timeout}{limits}}}")
            .unwrap();
        names.push(name);
    }
    configure(&sandbox, "agents.yaml", &agents);
    let shown = show(&sandbox, &["run", "--json", "--max-parallel", "4", "-a", &names.join(","), "hello"]);
    let report = shown.json();
    let ends = report["agents"].as_array().unwrap();
    assert_eq!((ends[0]["status"].as_str(), ends.len()), (Some("completed"), REPORTED.len() + 1));
    for (end, (_, what, status, kind)) in ends[1..].iter().zip(REPORTED) {
        let told = (end["status"].as_str(), end["error"]["kind"].as_str());
        assert_eq!(told, (Some(status), kind), "{what}: {end}");
        if status == "completed" {
            let answer = if what == "stop" { "crash-stop" } else { what };
            assert_eq!(end["answer"], Value::from(answer), "{end}");
        }
    }
}

#[test]
fn an_exit_code_or_a_signal_of_choice_ends_the_echo_agent() {
    let sandbox = Sandbox::new();
    let agents = "agents:
  coded: {driver: echo, args: [--crash, before, --exit-code, '42']}
  killed: {driver: echo, args: [--crash, start, --exit-code, '137']}
";
    configure(&sandbox, "agents.yaml", agents);
    let report = show(&sandbox, &["run", "--json", "-a", "coded,killed", "hello"]).json();
    let messages = [0, 1].map(|agent| report["agents"][agent]["error"]["message"].as_str().unwrap());
    assert_eq!(
        messages,
        ["exit code 42", "signal 9"].map(|end| format!("it ended with {end} before it answered"))
    );
}

/// A library that has the wall clock go a day forth and back at every look at it.
const WILD_CLOCK: &str = "
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    static long looks;
    int done = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME) time->tv_sec += (__sync_fetch_and_add(&looks, 1) % 3 - 1) * 86400;
    return done;
}";

#[test]
fn fault_36_a_wall_clock_that_jumps_by_days_ends_no_agent_and_no_lock() {
    let sandbox = Sandbox::new();
    let (source, library) = (sandbox.home().join("wild.c"), sandbox.home().join("wild.so"));
    fs::write(&source, WILD_CLOCK).unwrap();
    // What links Rust programs.
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    assert!(built.unwrap().success());
    let agents = "agents:
  slow: {driver: echo, args: [--delay, 1s], timeout: 20s}
  hung: {driver: echo, args: [--stall], timeout: 2s}
";
    configure(&sandbox, "agents.yaml", agents);
    let mut command = aiswitch(&sandbox, &["run", "--json", "-a", "slow,hung", "--lock", "x", "hello"]);
    let began = Instant::now();
    let shown = Shown::from(command.env("LD_PRELOAD", &library).output().unwrap());
    let report = shown.json();
    let statuses = [0, 1].map(|agent| report["agents"][agent]["status"].as_str().unwrap());
    assert_eq!(statuses, ["completed", "timed_out"], "{shown}");
    assert_eq!((&report["agents"][0]["restarts"], shown.code), (&Value::from(0), Some(4)));
    let duration = Duration::from_millis(report["duration_ms"].as_u64().unwrap());
    assert!(duration >= Duration::from_secs(2) && duration <= began.elapsed(), "{report}");
    // The clock did jump.
    let date = Command::new("date").env("LD_PRELOAD", &library).arg("+%F").output().unwrap().stdout;
    let today = Command::new("date").arg("+%F").output().unwrap().stdout;
    assert_ne!(date, today);
}
