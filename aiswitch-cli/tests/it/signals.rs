//! Signals: the first stops a run politely, the second kills it, and nothing is left either way.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Shown, WITHIN, aiswitch, await_agents, configure, is_ignored, kept_runs, send, show, start,
};
use crate::sandbox::{Sandbox, holds_within};

/// An agent that waits for ever but stops when it is asked to, and one that does not even then.
const AGENTS: &str = "agents:
  polite: {driver: echo, args: [--stall]}
  stubborn: {driver: command, command: [/bin/sh, -c, 'trap \"\" INT TERM; while :; do /bin/sleep 1; done']}
";

/// Longer than it takes to kill an agent, and shorter than the time that agents are given to stop.
const AT_ONCE: Duration = Duration::from_secs(4);

fn stalled(sandbox: &Sandbox, agents: &str, processes: usize) -> Child {
    configure(sandbox, "agents.yaml", AGENTS);
    let child = start(&mut aiswitch(sandbox, &["run", "--json", "-a", agents, "hello"]));
    await_agents(sandbox, processes);
    child
}

#[test]
fn fault_13_a_signal_stops_all_agents_and_the_report_is_printed_all_the_same() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        if is_ignored(signal.as_raw()) {
            continue;
        }
        let sandbox = Sandbox::new();
        let child = stalled(&sandbox, "polite,echo", 1);
        // What is done by then stays done.
        let journal = || show(&sandbox, &["logs", "last"]).stdout;
        assert!(
            crate::sandbox::holds_within(crate::harness::WITHIN, || journal().contains("echo  completed"))
        );
        send(&child, signal);
        let shown = Shown::from(child.wait_with_output().unwrap());
        let report = shown.json();
        assert_eq!(report["agents"][0]["status"], "cancelled", "{shown}");
        assert_eq!(report["agents"][1]["status"], "completed", "{shown}");
        assert_eq!(report["status"], "partial");
        assert_eq!(shown.code, Some(code));
        assert!(
            shown.stderr.starts_with("note: stopping all agents; a second signal kills them\n"),
            "{shown}"
        );
    }
}

#[test]
fn a_run_of_which_nothing_was_done_is_cancelled() {
    let sandbox = Sandbox::new();
    let child = stalled(&sandbox, "polite", 1);
    send(&child, Signal::INT);
    let shown = Shown::from(child.wait_with_output().unwrap());
    assert_eq!(shown.json()["status"], "cancelled");
    assert_eq!(shown.json()["answer"], Value::Null);
    assert_eq!(shown.code, Some(130));
    assert_eq!(show(&sandbox, &["runs", "--json"]).json()[0]["status"], "cancelled");
}

#[test]
fn one_signal_that_comes_twice_at_once_is_one() {
    // GNU timeout signals the command and then the whole process group, with the command in it.
    let sandbox = Sandbox::new();
    let child = stalled(&sandbox, "stubborn", 2);
    send(&child, Signal::TERM);
    send(&child, Signal::INT);
    let shown = Shown::from(child.wait_with_output().unwrap());
    assert_eq!(shown.json()["status"], "cancelled", "{shown}");
    assert!([Some(143), Some(130)].contains(&shown.code), "{shown}");
}

#[test]
fn fault_13_a_second_signal_kills_at_once() {
    let sandbox = Sandbox::new();
    let mut child = stalled(&sandbox, "stubborn", 2);
    send(&child, Signal::INT);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "note: stopping all agents; a second signal kills them\n");
    // As often as an impatient user does: one that follows at once counts as the first.
    let mut status = None;
    let ended = crate::sandbox::holds_within(AT_ONCE, || {
        status = child.try_wait().unwrap();
        if status.is_none() {
            send(&child, Signal::INT);
        }
        status.is_some()
    });
    assert!(ended, "it goes on");
    assert_eq!(status.unwrap().code(), Some(130));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(
        rest,
        "error: the run was killed before it could report\n  hint: what was heard until then: aiswitch logs last\n"
    );
    assert_eq!(show(&sandbox, &["runs", "--json"]).json()[0]["status"], "interrupted");
    assert!(show(&sandbox, &["logs", "last"]).stdout.contains("stubborn  process"));
    let result = show(&sandbox, &["result"]);
    assert!(result.stderr.contains("has no report: it goes on, or was killed\n  hint: "), "{result}");
    assert_eq!(result.code, Some(1));
}

/// The state letter of a process: `proc_pid_stat(5)`.
fn letter(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().unwrap_or_default().chars().take(1).collect()
}

/// The process of the first agent of the only run, once it is told of.
fn agent_process(sandbox: &Sandbox) -> u32 {
    let look = || {
        let events = std::fs::read_to_string(kept_runs(sandbox)[0].join("events.jsonl")).unwrap();
        let mut lines = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let started = lines.find(|event| event["type"] == "process")?;
        u32::try_from(started["pid"].as_u64()?).ok()
    };
    let mut pid = None;
    assert!(holds_within(WITHIN, || {
        pid = look();
        pid.is_some()
    }));
    pid.unwrap()
}

#[test]
fn fault_14_ctrl_z_stops_the_agents_with_the_command_and_both_go_on_together() {
    let sandbox = Sandbox::new();
    let child = stalled(&sandbox, "polite", 1);
    let agent = agent_process(&sandbox);
    send(&child, Signal::TSTP);
    let both_are = |wanted: &str| letter(child.id()) == wanted && letter(agent) == wanted;
    assert!(holds_within(WITHIN, || both_are("T")), "{} {}", letter(child.id()), letter(agent));
    send(&child, Signal::CONT);
    let goes_on = |pid| !["T", ""].contains(&letter(pid).as_str());
    assert!(holds_within(WITHIN, || goes_on(child.id()) && goes_on(agent)));
    send(&child, Signal::INT);
    let shown = Shown::from(child.wait_with_output().unwrap());
    assert_eq!((shown.json()["status"].as_str(), shown.code), (Some("cancelled"), Some(130)), "{shown}");
}

#[test]
fn time_in_which_the_command_was_stopped_is_no_time_out() {
    const AGENT: &str = "agents: {waiter: {driver: command, command: \
        [/bin/sh, -c, 'until [ -e go ]; do /bin/sleep 0.05; done; echo went']}}";
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", AGENT);
    let limits = ["run", "--json", "-a", "waiter", "--timeout", "4s", "--idle-timeout", "3s", "hello"];
    let child = start(&mut aiswitch(&sandbox, &limits));
    await_agents(&sandbox, 2);
    send(&child, Signal::STOP);
    let since = Instant::now();
    assert!(holds_within(WITHIN, || since.elapsed() > Duration::from_secs(6)));
    send(&child, Signal::CONT);
    // It has to live on for a look or two before the agent is told to end.
    let since = Instant::now();
    assert!(holds_within(WITHIN, || since.elapsed() > Duration::from_millis(500)));
    std::fs::write(sandbox.workspace().join("go"), "").unwrap();
    let shown = Shown::from(child.wait_with_output().unwrap());
    assert_eq!((shown.json()["status"].as_str(), shown.code), (Some("completed"), Some(0)), "{shown}");
}
