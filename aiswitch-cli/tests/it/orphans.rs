//! No orphan, ever: a hostile agent is gone soon after the command was killed by SIGKILL, which it cannot notice.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{WITHIN, aiswitch, configure, kept_runs, send, start};
use crate::sandbox::{Sandbox, holds_within};

/// The tree of the agent crate's own tests: other sessions, double forks, deaf to signals, without mark, a comet.
const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../aiswitch-agent/tests/fixtures/hostile.sh");

/// How often the command is killed; the variable `AISWITCH_HOSTILE_RUNS` asks for more.
const HOSTILE_RUNS: usize = 3;

#[expect(clippy::disallowed_methods, reason = "only whoever runs the tests knows how long they may take")]
fn hostile_runs() -> usize {
    std::env::var("AISWITCH_HOSTILE_RUNS").map_or(HOSTILE_RUNS, |runs| runs.parse().unwrap())
}

/// How long anything may be left: that it goes is always asked; how soon, only of many runs on a machine of their own.
fn gone_within() -> Duration {
    if hostile_runs() > HOSTILE_RUNS { Duration::from_millis(250) } else { WITHIN }
}

/// The living processes that work in the sandbox's workspace, or guard those that do.
fn alive(sandbox: &Sandbox, command: &Child) -> Vec<String> {
    let workspace = sandbox.workspace().canonicalize().unwrap();
    let runs = kept_runs(sandbox);
    let run = runs.first().and_then(|folder| folder.file_name()?.to_str()).unwrap_or_default();
    let guard = format!("AISWITCH_GUARD={run}:hostile\0");
    let works_here = |process: &Path| fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == workspace);
    let is_guard =
        |process: &Path| fs::read(process.join("environ")).is_ok_and(|environ| environ == guard.as_bytes());
    let own = command.id().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes
        .filter(|process| !process.ends_with(&own) && works_here(process) || is_guard(process))
        .filter_map(|process| fs::read_to_string(process.join("stat")).ok())
        .collect()
}

/// The guards of the sandbox's agents.
fn guards(sandbox: &Sandbox) -> Vec<Pid> {
    let runs = kept_runs(sandbox);
    let run = runs.first().and_then(|folder| folder.file_name()?.to_str()).unwrap_or_default();
    let guard = format!("AISWITCH_GUARD={run}:hostile\0");
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| fs::read(process.path().join("environ")).is_ok_and(|all| all == guard.as_bytes()))
        .filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?))
        .collect()
}

#[test]
fn in_a_namespace_nothing_is_left_even_if_command_and_guard_are_killed_at_once() {
    let guard = aiswitch_agent::Guard::by_program(env!("CARGO_BIN_EXE_aiswitch"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Err(error) = runtime.block_on(guard.in_tier(aiswitch_agent::Tier::PidNamespace)) {
        // Past the capture of test output, which would hide it; a closed stderr hides it rightly.
        drop(writeln!(std::io::stderr(), "skipped: {}", aiswitch_agent::chain(&error)));
        return;
    }
    for _ in 0..hostile_runs() {
        let sandbox = Sandbox::new();
        configure(&sandbox, "coordination.yaml", "supervision: pid_namespace\n");
        let mut command = start_hostile(&sandbox);
        let guards = guards(&sandbox);
        assert_eq!(guards.len(), 1);
        // The guard cannot do anything between the two.
        kill_process(guards[0], Signal::STOP).unwrap();
        send(&command, Signal::KILL);
        kill_process(guards[0], Signal::KILL).unwrap();
        let took = gone(&sandbox, &command);
        command.wait().unwrap();
        assert!(took < gone_within(), "{took:?}");
    }
}

/// Starts the hostile agent, and waits until all of it is there.
fn start_hostile(sandbox: &Sandbox) -> Child {
    configure(
        sandbox,
        "agents.yaml",
        &format!("agents:\n  hostile: {{driver: command, command: [/bin/sh, {HOSTILE}]}}\n"),
    );
    let mut command = aiswitch(sandbox, &["run", "--quiet", "-a", "hostile", "hello"]);
    command.env("PATH", "/usr/bin:/bin");
    let command = start(&mut command);
    let ready = sandbox.workspace().join("ready");
    assert!(holds_within(WITHIN, || ready.exists()), "{:?}", alive(sandbox, &command));
    assert!(alive(sandbox, &command).len() > 4, "{:?}", alive(sandbox, &command));
    command
}

/// Waits until nothing of the agent is alive, and tells how long that took.
fn gone(sandbox: &Sandbox, command: &Child) -> Duration {
    let killed = Instant::now();
    while !alive(sandbox, command).is_empty() {
        assert!(killed.elapsed() < WITHIN, "{:?}", alive(sandbox, command));
    }
    killed.elapsed()
}

#[test]
fn a_hostile_agent_is_gone_soon_after_the_command_is_killed() {
    for _ in 0..hostile_runs() {
        let sandbox = Sandbox::new();
        let mut command = start_hostile(&sandbox);
        send(&command, Signal::KILL);
        let took = gone(&sandbox, &command);
        command.wait().unwrap();
        assert!(took < gone_within(), "{took:?}");
    }
}
