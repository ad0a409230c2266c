#![cfg(test)]
//! Samples of real process trees.
#![expect(clippy::disallowed_methods, reason = "samples of processes are tested on processes")]

mod nab;
mod nab_detector;
mod nab_scorer;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aiswitch_metrics::{AgentSample, sample};
use chrono::DateTime;

/// A shell that says `ready` once what it starts runs, and ends with its stdin.
fn ready(script: &str) -> Child {
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    child
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().expect("the shell ends");
}

fn look(pid: u32) -> Option<AgentSample> {
    sample("agent", pid, DateTime::UNIX_EPOCH)
}

#[test]
fn a_sample_counts_children_and_grandchildren() {
    // The innermost shell reads the one stdin, which all inherit.
    let alone = ready("echo ready; read line");
    let tree = ready("(sh -c 'sh -c \"echo ready; read line; :\"; :'; :)");
    let (small, large) = (look(alone.id()), look(tree.id()));
    end(alone);
    end(tree);
    let (small, large) = (small.expect("it runs"), large.expect("it runs"));
    assert_eq!((small.agent.as_str(), small.at, small.processes), ("agent", DateTime::UNIX_EPOCH, 1));
    assert!(large.processes >= 3, "{large:?}");
    assert!(large.memory_bytes > small.memory_bytes, "{large:?} beside {small:?}");
}

#[test]
fn a_large_child_shows_up_in_the_memory_of_its_parent() {
    // The inner shell holds 32 MiB in a variable while it waits.
    let script = "sh -c 'v=$(head -c 33554432 /dev/zero | tr \"\\0\" x); echo ready; read line; : $v'; :";
    let tree = ready(script);
    let seen = look(tree.id());
    end(tree);
    let seen = seen.expect("it runs");
    assert!(seen.memory_bytes >= 32 * 1024 * 1024, "{seen:?}");
}

#[test]
fn a_process_that_is_gone_has_no_sample() {
    let child = ready("echo ready; read line");
    let pid = child.id();
    end(child);
    assert_eq!(look(pid), None);
}

#[test]
fn a_child_that_has_ended_is_not_counted_while_nobody_has_waited_for_it() {
    // `exec` replaces the shell that would have waited for the background one, which ends at once.
    let parent = ready("true & exec sh -c 'echo ready; read line'");
    let bound = Instant::now() + Duration::from_secs(10);
    let mut seen = look(parent.id());
    while seen.as_ref().is_some_and(|sample| sample.processes != 1) && Instant::now() < bound {
        std::thread::yield_now();
        seen = look(parent.id());
    }
    end(parent);
    assert_eq!(seen.map(|sample| sample.processes), Some(1));
}
