//! Which agent started this process, told by the mark that it, or a process above it, carries.

use std::fs;

use super::{GUARD_MARKER, MARKER};

/// How many processes above this one are looked at; more are a chain that somebody made to hide.
const ANCESTORS_MAX: usize = 1000;

/// The mark, `RUN:AGENT`, of the agent that started this process, through however many others; `None` for none.
///
/// A process may drop the mark from its own environment, but not from that of the agent above it, nor from that of the
/// guard, to which all that an agent leaves behind is given. Best effort: it needs `/proc`, and a process of the same
/// user that something outside starts for it, such as a service, is not found.
pub fn mark_above() -> Option<String> {
    let mut pid = std::process::id();
    for _ in 0..ANCESTORS_MAX {
        if let Some(mark) = mark_of(pid) {
            return Some(mark);
        }
        pid = parent_of(pid)?;
    }
    Some(String::new())
}

fn mark_of(pid: u32) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|byte| *byte == 0).find_map(|variable| {
        let (name, mark) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        [MARKER, GUARD_MARKER].contains(&name).then(|| mark.to_owned())
    })
}

/// The parent of a process; `None` for the first one of all.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): the name stands in brackets and may hold any character; behind it come the state and the parent.
    let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (parent != 0).then_some(parent)
}
