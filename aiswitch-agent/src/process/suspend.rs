//! Processes that are stopped for a while, and go on.

use std::collections::HashSet;

use rustix::process::{Signal, pidfd_send_signal};

use super::MARKER;
use super::sweep::marked;

/// How often `/proc` is read over again, since a process may fork while it is read.
const ROUNDS_MAX: usize = 20;

/// Stops every process whose [`MARKER`] is `value` or starts with `value:`, and says how many were found.
///
/// Best effort, as [`sweep`](crate::sweep) is. What serves as a guard is not stopped.
pub fn halt(value: &str) -> usize {
    let mut stopped = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let before = stopped.len();
        for (pid, process) in marked(MARKER, value) {
            // An error means that it ended by itself meanwhile.
            if pidfd_send_signal(&process, Signal::STOP).is_ok() {
                stopped.insert(pid);
            }
        }
        // A process that is stopped starts no other.
        if stopped.len() == before {
            break;
        }
    }
    stopped.len()
}

/// Has every process whose [`MARKER`] is `value` or starts with `value:` go on.
pub fn go_on(value: &str) {
    for (_, process) in marked(MARKER, value) {
        // An error means that it has ended.
        pidfd_send_signal(&process, Signal::CONT).ok();
    }
}
