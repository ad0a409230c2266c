//! Locks between real processes: `aiswitch locks` and `aiswitch run --lock`.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Shown, WITHIN, aiswitch, await_agents, configure, kept_runs, send, show, start};
use crate::sandbox::{Sandbox, holds_within};

/// Says that it runs, and ends with its stdin.
const HOLD: [&str; 3] = ["/bin/sh", "-c", "echo ready; read line; exit 0"];

/// An agent that works until it is stopped.
const STALLED: &str = "agents: {stalled: {driver: echo, args: [--stall]}}\n";

/// A command that holds a lock until its stdin is closed.
fn wanting(sandbox: &Sandbox, lock: &str) -> Child {
    let mut command = aiswitch(sandbox, &["locks", "run", lock, "--"]);
    start(command.args(HOLD).stdin(Stdio::piped()))
}

/// Waits until the command that a lock is wanted for runs.
fn has_it(child: &mut Child) {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
}

fn holding(sandbox: &Sandbox, lock: &str) -> Child {
    let mut child = wanting(sandbox, lock);
    has_it(&mut child);
    child
}

/// Closes its stdin and waits for its end.
fn let_go(mut child: Child) -> Shown {
    drop(child.stdin.take());
    child.wait_with_output().unwrap().into()
}

/// The next line of stderr, up to the time that the lock has been held.
fn next_line(stderr: &mut impl BufRead) -> String {
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn listed(sandbox: &Sandbox) -> Value {
    let shown = show(sandbox, &["locks", "list", "--json"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    shown.json()
}

/// Waits until so many wait for the only lock.
fn await_waiters(sandbox: &Sandbox, count: usize) {
    let waiters = || listed(sandbox)[0]["waiters"].as_array().map_or(0, Vec::len);
    assert!(holds_within(WITHIN, || waiters() == count), "{:#}", listed(sandbox));
}

#[test]
fn who_comes_second_waits_says_for_whom_and_goes_on() {
    let sandbox = Sandbox::new();
    let first = holding(&sandbox, "x");
    let mut second = wanting(&sandbox, "x");
    let mut told = BufReader::new(second.stderr.take().unwrap());
    let line = next_line(&mut told);
    let expected = format!(
        "note: waiting for lock `resource:x`, held by pid {} (aiswitch, \"{}\") for ",
        first.id(),
        HOLD.join(" ")
    );
    assert!(line.starts_with(&expected) && !line.contains("ahead"), "{line}");

    let mut third = wanting(&sandbox, "resource:x");
    let mut third_told = BufReader::new(third.stderr.take().unwrap());
    let line = next_line(&mut third_told);
    assert!(line.starts_with(&expected) && line.ends_with("; 1 ahead of you"), "{line}");

    assert_eq!(let_go(first).code, Some(0));
    has_it(&mut second);
    let line = next_line(&mut third_told);
    let holder = format!("held by pid {} (aiswitch,", second.id());
    assert!(line.contains(&holder) && !line.contains("ahead"), "{line}");
    assert_eq!(let_go(second).code, Some(0));
    has_it(&mut third);
    assert_eq!(let_go(third).code, Some(0));
    assert_eq!(listed(&sandbox)[0]["held"], false);
}

#[test]
fn a_lock_that_stays_busy_ends_with_6_and_names_its_holder() {
    let sandbox = Sandbox::new();
    let holder = holding(&sandbox, "x");
    let late = show(&sandbox, &["locks", "run", "--lock-timeout", "150ms", "x", "--", "/bin/echo", "no"]);
    let holder_named = format!("held by pid {} (aiswitch, \"/bin/sh", holder.id());
    let error = late.stderr.split("error: ").nth(1).unwrap_or_default();
    assert!(error.starts_with("lock `resource:x` was not free within "), "{late}");
    assert!(error.contains(&holder_named), "{late}");
    assert!(
        late.stderr
            .ends_with("hint: wait longer with --lock-timeout TIME; aiswitch locks list shows all locks\n")
    );
    assert_eq!((late.stdout.as_str(), late.code), ("", Some(6)));

    let args =
        ["run", "--quiet", "-a", "echo", "--lock", "y", "--lock", "x", "--lock-timeout", "150ms", "hello"];
    let late = show(&sandbox, &args);
    assert!(late.stderr.starts_with("error: lock `resource:x` was not free within "), "{late}");
    assert!(late.stderr.contains(&holder_named), "{late}");
    assert_eq!((late.stdout.as_str(), late.code), ("", Some(6)));
    assert_eq!(kept_runs(&sandbox).len(), 0);
    let held: Vec<Value> =
        listed(&sandbox).as_array().unwrap().iter().map(|lock| lock["held"].clone()).collect();
    assert_eq!(held.iter().filter(|held| **held == true).count(), 1, "{held:?}");
    assert_eq!(let_go(holder).code, Some(0));
}

#[test]
fn a_holder_that_is_killed_holds_nothing_any_more() {
    let sandbox = Sandbox::new();
    let mut first = holding(&sandbox, "x");
    let second = start(&mut aiswitch(&sandbox, &["locks", "run", "x", "--", "/bin/echo", "mine"]));
    await_waiters(&sandbox, 1);
    send(&first, Signal::KILL);
    let second = Shown::from(second.wait_with_output().unwrap());
    assert_eq!((second.stdout.as_str(), second.code), ("mine\n", Some(0)), "{second}");
    // What the killed one had started goes on until its stdin ends.
    drop(first.stdin.take());
    first.wait().unwrap();
}

#[test]
fn cleaning_removes_what_nobody_holds_and_nothing_else() {
    let sandbox = Sandbox::new();
    let nothing = json!({"locks_removed": 0, "tickets_removed": 0, "waits_removed": 0, "locks_kept": 0});
    assert_eq!(show(&sandbox, &["locks", "clean", "--json"]).json(), nothing);
    assert_eq!(show(&sandbox, &["locks", "list"]).stdout, "LOCK  STATE  WAITING  HOLDER\n");
    assert!(!sandbox.aiswitch_home().join("locks").exists(), "looking makes no folder");

    let holder = holding(&sandbox, "held");
    assert_eq!(show(&sandbox, &["locks", "run", "task:free", "--", "/bin/true"]).code, Some(0));
    let table = show(&sandbox, &["locks", "list"]).stdout;
    let rows: Vec<Vec<&str>> =
        table.lines().skip(1).map(|line| line.split_whitespace().take(5).collect()).collect();
    let pid = holder.id().to_string();
    assert_eq!(rows, [vec!["resource:held", "held", "0", "pid", &pid], vec!["task:free", "free", "0"]]);

    let kept = show(&sandbox, &["locks", "clean", "--unused-for", "1h"]);
    assert_eq!(kept.stdout, "removed: 0 locks, 0 traces of ended waiters; kept: 2 locks\n");
    let cleaned = show(&sandbox, &["locks", "clean"]);
    assert_eq!(cleaned.stdout, "removed: 1 locks, 0 traces of ended waiters; kept: 1 locks\n");
    let left = listed(&sandbox);
    assert_eq!((left.as_array().unwrap().len(), &left[0]["lock"]), (1, &json!("resource:held")), "{left:#}");
    assert_eq!((&left[0]["held"], &left[0]["holder"]["pid"]), (&json!(true), &json!(holder.id())));
    let late = show(&sandbox, &["locks", "run", "held", "--lock-timeout", "1ms", "--", "/bin/true"]);
    assert_eq!(late.code, Some(6), "{late}");
    assert_eq!(let_go(holder).code, Some(0));
}

#[test]
fn a_name_that_no_lock_can_have_is_refused_and_nothing_is_run() {
    let sandbox = Sandbox::new();
    let long = "x".repeat(300);
    for (name, problem) in [
        ("", "it is empty; give it at least one character"),
        ("task:", "it is empty; give it at least one character"),
        ("a\nb", "it holds the control character U+000A; leave it out"),
        ("\u{1b}[31m", "it holds the control character U+001B; leave it out"),
        (long.as_str(), "it takes 309 bytes as a file name, 240 are allowed; shorten it"),
    ] {
        let by_verb = show(&sandbox, &["locks", "run", name, "--", "/bin/echo", "no"]);
        let by_run = show(&sandbox, &["run", "-a", "echo", "--lock", name, "hello"]);
        for shown in [by_verb, by_run] {
            assert!(shown.stderr.contains(problem), "{shown}");
            assert_eq!((shown.stdout.as_str(), shown.code), ("", Some(2)), "{shown}");
        }
    }
    let mut command = aiswitch(&sandbox, &["locks", "run"]);
    command.arg(OsStr::from_bytes(b"a\xff")).args(["--", "/bin/echo", "no"]);
    let shown = Shown::from(command.output().unwrap());
    assert_eq!((shown.stdout.as_str(), shown.code), ("", Some(2)), "{shown}");
    for (args, problem) in [
        (&["--lock", "a", "--lock", "resource:a"][..], "lock `resource:a` is named twice in one request"),
        (&["--lock", "aiswitch/state"], "lock `resource:aiswitch/state` is the one of the state files"),
    ] {
        let shown = show(&sandbox, &[&["run", "-a", "echo", "hello"], args].concat());
        assert!(shown.stderr.contains(problem), "{shown}");
        assert_eq!((shown.stdout.as_str(), shown.code), ("", Some(2)), "{shown}");
    }
    assert!(!sandbox.aiswitch_home().join("locks").exists());

    // Names that other programs would stumble over are names like all others.
    for name in ["../x", "/etc/passwd", "CON", "-x", "$(id)", "resource:.."] {
        let shown = show(&sandbox, &["locks", "run", "--", name, "/bin/echo", "yes"]);
        assert_eq!(shown.code, Some(2), "the lock stands before the command: {shown}");
        let lock = if name.starts_with('-') { format!("resource:{name}") } else { name.to_owned() };
        let shown = show(&sandbox, &["locks", "run", &lock, "--", "/bin/echo", "yes"]);
        assert_eq!((shown.stdout.as_str(), shown.code), ("yes\n", Some(0)), "{shown}");
    }
    let files = fs::read_dir(sandbox.aiswitch_home().join("locks")).unwrap().count();
    assert!(files >= 6 && listed(&sandbox).as_array().unwrap().len() == 6, "{files} {:#}", listed(&sandbox));
}

#[test]
fn a_folder_of_locks_that_cannot_be_trusted_is_refused() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.aiswitch_home().join("locks"), "").unwrap();
    for args in [&["locks", "list"][..], &["locks", "clean"], &["locks", "run", "x", "--", "/bin/echo", "no"]]
    {
        let shown = show(&sandbox, args);
        assert!(shown.stderr.contains("it is not a folder; move that file away"), "{shown}");
        assert_eq!((shown.stdout.as_str(), shown.code), ("", Some(2)), "{shown}");
    }
}

#[test]
fn a_command_under_a_lock_has_its_own_streams_and_exit_code() {
    let sandbox = Sandbox::new();
    let under = |command: &[&str]| show(&sandbox, &[&["locks", "run", "x", "--"], command].concat());
    for (command, code) in [
        (&["/bin/sh", "-c", "exit 7"][..], 7),
        (&["/bin/sh", "-c", "kill -KILL $$"], 137),
        (&["/bin/true"], 0),
    ] {
        let shown = under(command);
        assert_eq!((shown.stderr.as_str(), shown.code), ("", Some(code)), "{shown}");
    }
    let shown = under(&["/bin/sh", "-c", "echo \"$1\"; echo err >&2", "sh", "$HOME *"]);
    assert_eq!((shown.stdout.as_str(), shown.stderr.as_str()), ("$HOME *\n", "err\n"));
    let missing = under(&["no-such-program"]);
    assert!(
        missing.stderr.starts_with("error: `no-such-program` cannot be started\n  because: "),
        "{missing}"
    );
    assert_eq!(missing.code, Some(127));
    let refused = under(&["/etc/passwd"]);
    assert_eq!(refused.code, Some(126), "{refused}");
    assert_eq!(listed(&sandbox)[0]["held"], false);
}

#[test]
fn a_signal_is_passed_on_to_the_command_and_ends_a_wait() {
    let sandbox = Sandbox::new();
    let script = "trap 'kill $!; echo asked; exit 9' TERM; /bin/sleep 100 & echo ready; wait";
    let mut holder = start(&mut aiswitch(&sandbox, &["locks", "run", "x", "--", "/bin/sh", "-c", script]));
    has_it(&mut holder);
    let waiter = start(&mut aiswitch(&sandbox, &["locks", "run", "x", "--", "/bin/echo", "no"]));
    await_waiters(&sandbox, 1);
    send(&waiter, Signal::TERM);
    let waiter = Shown::from(waiter.wait_with_output().unwrap());
    assert_eq!((waiter.stdout.as_str(), waiter.code), ("", Some(143)), "{waiter}");
    await_waiters(&sandbox, 0);
    send(&holder, Signal::TERM);
    let holder = Shown::from(holder.wait_with_output().unwrap());
    assert_eq!((holder.stdout.as_str(), holder.code), ("asked\n", Some(9)), "{holder}");
}

#[test]
fn a_run_has_its_lock_while_its_agents_work() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", STALLED);
    let first = start(&mut aiswitch(&sandbox, &["run", "--json", "-a", "stalled", "--lock", "x", "hello"]));
    await_agents(&sandbox, 1);
    let lock = listed(&sandbox).as_array().unwrap().iter().find(|lock| lock["lock"] == "resource:x").cloned();
    let holder = lock.unwrap()["holder"].clone();
    assert_eq!((&holder["pid"], &holder["purpose"]), (&json!(first.id()), &json!("run of stalled")));

    let args = ["run", "--output-format", "stream-json", "-a", "echo", "--lock", "x", "hello"];
    let mut second = start(&mut aiswitch(&sandbox, &args));
    let mut events = BufReader::new(second.stdout.take().unwrap());
    let mut line = String::new();
    events.read_line(&mut line).unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["seq"], &event["type"]), (&json!(1), &json!("waiting")), "{event:#}");
    assert_eq!(
        (&event["wait"]["lock"], &event["wait"]["holder"]["owner"]),
        (&json!("resource:x"), &holder["owner"])
    );

    send(&first, Signal::INT);
    let first = Shown::from(first.wait_with_output().unwrap());
    assert_eq!((first.code, &first.json()["run_id"]), (Some(130), &holder["owner"]));
    let rest: Vec<Value> = events.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let types: Vec<&str> = rest.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!((types[0], *types.last().unwrap()), ("run_started", "report"), "{types:?}");
    assert_eq!(rest.last().unwrap()["report"]["status"], "completed");
    let second = Shown::from(second.wait_with_output().unwrap());
    assert!(second.stderr.starts_with("note: waiting for lock `resource:x`, held by pid "), "{second}");
    assert_eq!(second.code, Some(0));
    let log = show(&sandbox, &["logs", "last"]).stdout;
    assert!(log.contains("  -  waiting for lock `resource:x`, held by pid "), "{log}");
}

#[test]
fn a_run_that_is_interrupted_while_it_waits_starts_nothing() {
    let sandbox = Sandbox::new();
    let holder = holding(&sandbox, "x");
    let waiter = start(&mut aiswitch(&sandbox, &["run", "--json", "-a", "echo", "--lock", "x", "hello"]));
    await_waiters(&sandbox, 1);
    send(&waiter, Signal::INT);
    let shown = Shown::from(waiter.wait_with_output().unwrap());
    let report = shown.json();
    assert_eq!((&report["status"], shown.code), (&json!("cancelled"), Some(130)), "{shown}");
    assert_eq!(
        (&report["agents"][0]["started_at"], &report["agents"][0]["pid"]),
        (&Value::Null, &Value::Null)
    );
    let lock = listed(&sandbox).as_array().unwrap().iter().find(|lock| lock["lock"] == "resource:x").cloned();
    assert_eq!(lock.unwrap()["waiters"], json!([]));
    assert_eq!(let_go(holder).code, Some(0));
}
