//! The end of processes that left their agent's process group.

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, Signal, getpid, kill_process};

/// The variable that marks every process of a run; agents' tools inherit it. Its value is `RUN:AGENT`.
pub const MARKER: &str = "AISWITCH_RUN";

/// How often `/proc` is read over again, since a process may fork while it is read.
const ROUNDS_MAX: usize = 50;

/// Kills every process whose [`MARKER`] is `value` or starts with `value:`, and says how many were found.
///
/// Agents start tools in sessions of their own, which a signal to their process group does not reach; what tells
/// them apart is the environment that they inherit. Best effort: it needs `/proc` (Linux), and finds only processes
/// of the same user that kept their environment. Elsewhere it does nothing and says 0.
pub fn sweep(value: &str) -> usize {
    let exact = format!("{MARKER}={value}");
    let prefix = format!("{exact}:");
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let found: Vec<Pid> = marked(&exact, &prefix).collect();
        if found.is_empty() {
            break;
        }
        for pid in found {
            // An error means that it ended by itself meanwhile; a dying one is found again.
            if kill_process(pid, Signal::KILL).is_ok() {
                killed.insert(pid);
            }
        }
    }
    killed.len()
}

fn marked<'a>(exact: &'a str, prefix: &'a str) -> impl Iterator<Item = Pid> + 'a {
    let own = getpid();
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(move |entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        if pid == own {
            return None;
        }
        let environ = fs::read(entry.path().join("environ")).ok()?;
        let is_marked = environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == exact.as_bytes() || variable.starts_with(prefix.as_bytes()));
        is_marked.then_some(pid)
    })
}
