//! Runs that go on in other processes: seen, waited for, and cancelled.

use std::fs;
use std::process::Child;

use serde_json::json;

use crate::harness::{Shown, WITHIN, aiswitch, await_agents, configure, kept_runs, show, start};
use crate::sandbox::{Sandbox, holds_within};

/// An agent that waits for ever, but stops when it is asked to.
const STALLS: &str = "agents: {stalls: {driver: echo, args: [--stall]}}\n";

/// A run that goes on until it is cancelled, and that others know of by now.
fn stalled(sandbox: &Sandbox) -> Child {
    configure(sandbox, "agents.yaml", STALLS);
    let child = start(&mut aiswitch(sandbox, &["run", "--json", "-a", "stalls", "hello"]));
    await_agents(sandbox, 1);
    assert!(holds_within(WITHIN, || show(sandbox, &["ps", "--json"]).json()[0]["pid"].is_u64()));
    child
}

#[test]
fn the_agents_of_a_run_are_listed_while_they_work() {
    let sandbox = Sandbox::new();
    let child = stalled(&sandbox);
    let agents = show(&sandbox, &["ps", "--json"]).json();
    assert_eq!((&agents[0]["agent"], &agents[0]["driver"]), (&json!("stalls"), &json!("echo")));
    let table = show(&sandbox, &["ps"]).stdout;
    assert!(table.starts_with("RUN ") && table.contains("  stalls  echo  "), "{table}");
    assert_eq!(show(&sandbox, &["cancel", "last", "-q"]).code, Some(0));
    assert_eq!(Shown::from(child.wait_with_output().unwrap()).code, Some(130));
    assert_eq!(show(&sandbox, &["ps"]).stdout, "no agent works now\n");
}

#[test]
fn a_run_in_another_process_is_cancelled_and_its_report_says_so() {
    let sandbox = Sandbox::new();
    let child = stalled(&sandbox);
    let waited = show(&sandbox, &["wait", "last", "--timeout", "1ms"]);
    assert!(waited.stderr.contains(" goes on after 1ms\n  hint: what it does: aiswitch logs "), "{waited}");
    assert_eq!(waited.code, Some(3));
    let waiting = start(&mut aiswitch(&sandbox, &["wait", "last", "--json"]));
    let cancelled = show(&sandbox, &["cancel", "last", "--json"]);
    assert_eq!((&cancelled.json()["status"], cancelled.code), (&json!("cancelled"), Some(0)), "{cancelled}");
    let run = Shown::from(child.wait_with_output().unwrap());
    assert_eq!(run.json()["agents"][0]["reason"], "the run was cancelled by another process", "{run}");
    assert_eq!(run.code, Some(130));
    let waited = Shown::from(waiting.wait_with_output().unwrap());
    assert_eq!((waited.json(), waited.code), (run.json(), Some(130)));
    let audit = show(&sandbox, &["audit", "show", "--json"]).json();
    assert_eq!((&audit[0]["action"], &audit[0]["object"]), (&json!("run.cancel"), &run.json()["run_id"]));

    let again = show(&sandbox, &["cancel", "last"]);
    assert!(again.stderr.contains(" has ended: cancelled\n  hint: its answer: aiswitch result "), "{again}");
    assert_eq!(again.code, Some(1));
}

#[test]
fn waiting_for_a_run_that_has_ended_prints_its_answer_and_ends_as_it_did() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents: {bad: {driver: echo, args: [--fail, auth]}}\n");
    let run = show(&sandbox, &["run", "-q", "-a", "echo,bad", "hello"]);
    assert_eq!((run.stdout.as_str(), run.code), ("hello\n", Some(4)), "{run}");
    assert_eq!(show(&sandbox, &["wait", "last", "-q"]), run);
}

#[test]
fn a_run_whose_process_is_gone_is_not_waited_for() {
    let sandbox = Sandbox::new();
    let mut child = stalled(&sandbox);
    child.kill().unwrap();
    child.wait().unwrap();
    let waited = show(&sandbox, &["wait", "last"]);
    assert!(waited.stderr.contains("has no report"), "{waited}");
    assert_eq!(waited.code, Some(1));
    // A folder is all that is left of a run that never stood among the others.
    let folder = kept_runs(&sandbox).remove(0);
    fs::remove_file(sandbox.aiswitch_home().join("state/runs.db")).unwrap();
    let cancelled = show(&sandbox, &["cancel", "last", "--timeout", "1ms"]);
    assert_eq!(cancelled.code, Some(3), "{cancelled}");
    assert!(folder.join("cancel").exists());
}
