//! `aiswitch logs` over all runs.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;

use crate::harness::{aiswitch, configure, send, show, start};
use crate::sandbox::Sandbox;

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let agents = "agents:\n  bad: {driver: command, modes: [write], command: [/bin/sh, -c, \"echo oops >&2; exit 3\"]}\n";
    configure(&sandbox, "agents.yaml", agents);
    sandbox
}

fn assert_ran(sandbox: &Sandbox, args: &[&str]) {
    let shown = show(sandbox, args);
    assert!(matches!(shown.code, Some(0 | 4)), "{shown}");
}

#[test]
fn what_happened_over_all_runs_is_found_by_agent_level_run_text_and_condition() {
    let sandbox = sandbox();
    let first = show(&sandbox, &["run", "--json", "-a", "echo", "one"]).json()["run_id"].clone();
    assert_ran(&sandbox, &["run", "-a", "bad,echo", "--mode", "write", "two"]);
    let count =
        |options: &[&str]| show(&sandbox, &[&["logs", "--json"], options].concat()).json_lines().len();
    let all = count(&[]);
    assert!(all > 10, "{all}");
    assert_eq!(count(&["--until", "1h"]), 0);
    assert_eq!(count(&["--since", "1h"]), all);
    assert_eq!(count(&["-n", "3"]), 3);
    let of_first = count(&["--run", first.as_str().unwrap()]);
    assert!(of_first > 0 && of_first < all);
    let warned = show(&sandbox, &["logs", "--level", "warn", "-a", "bad"]).stdout;
    assert!(warned.contains("bad  the agent ended") && warned.lines().count() == 1, "{warned}");
    let stderr = show(&sandbox, &["logs", "--json", "--grep", "^oops$"]).json_lines();
    assert!(!stderr.is_empty(), "{}", show(&sandbox, &["logs"]));
    assert_eq!(
        (stderr.len(), &stderr[0]["target"], &stderr[0]["agent"]),
        (1, &"aiswitch::stderr".into(), &"bad".into())
    );
    assert_eq!(count(&["--where", "agent = bad and status = failed"]), 1);
    let refused = show(&sandbox, &["logs", "--where", "agent ="]);
    assert!(refused.stderr.contains("expected a value, found the end at character 8"), "{refused}");
    assert_eq!(refused.code, Some(2));
    assert_eq!(show(&sandbox, &["logs", "last", "--level", "warn"]).code, Some(2));
}

#[test]
fn who_follows_is_shown_what_comes_and_ends_by_a_signal() {
    let sandbox = sandbox();
    assert_ran(&sandbox, &["run", "-a", "echo", "one"]);
    let mut child = start(aiswitch(&sandbox, &["logs", "-f", "--grep", "the run"]).stdout(Stdio::piped()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let heard: Vec<String> = lines.by_ref().take(2).collect();
    assert!(heard[0].contains("the run began") && heard[1].contains("the run ended"), "{heard:?}");
    assert_ran(&sandbox, &["run", "-a", "echo", "two"]);
    let heard: Vec<String> = lines.by_ref().take(2).collect();
    assert!(heard[0].contains("the run began") && heard[1].contains("the run ended"), "{heard:?}");
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(lines.next(), None);
}
