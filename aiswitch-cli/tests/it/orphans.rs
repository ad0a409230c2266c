//! No orphan, ever: a hostile agent is gone soon after the command was killed by SIGKILL, which it cannot notice.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;

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

#[test]
fn a_hostile_agent_is_gone_soon_after_the_command_is_killed() {
    for _ in 0..hostile_runs() {
        let sandbox = Sandbox::new();
        configure(
            &sandbox,
            "agents.yaml",
            &format!("agents:\n  hostile: {{driver: command, command: [/bin/sh, {HOSTILE}]}}\n"),
        );
        let mut command = aiswitch(&sandbox, &["run", "--quiet", "-a", "hostile", "hello"]);
        command.env("PATH", "/usr/bin:/bin");
        let mut command = start(&mut command);
        let ready = sandbox.workspace().join("ready");
        assert!(holds_within(WITHIN, || ready.exists()), "{:?}", alive(&sandbox, &command));
        assert!(alive(&sandbox, &command).len() > 4, "{:?}", alive(&sandbox, &command));

        send(&command, Signal::KILL);
        let killed = Instant::now();
        while !alive(&sandbox, &command).is_empty() {
            assert!(killed.elapsed() < WITHIN, "{:?}", alive(&sandbox, &command));
        }
        let took = killed.elapsed();
        command.wait().unwrap();
        assert!(took < gone_within(), "{took:?}");
    }
}
