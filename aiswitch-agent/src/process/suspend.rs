//! Processes that are stopped for a while, and go on.

use std::collections::HashSet;

use rustix::process::{Signal, getpid, kill_process, pidfd_send_signal};

use super::MARKER;
use super::sweep::marked;

/// How often `/proc` is read over again, since a process may fork while it is read.
const ROUNDS_MAX: usize = 20;

/// Stops every process whose [`MARKER`] is `value` or starts with `value:`, and this one; when somebody has this one go on
/// (SIGCONT), has the others go on too.
///
/// This is what a terminal's Ctrl-Z is to do, which reaches no process group but that of the caller. Best effort, as
/// [`sweep`](crate::sweep) is. Call it on the main thread.
pub fn suspend(value: &str) {
    halt(value);
    // An error means that it is not stopped, and then nobody is.
    kill_process(getpid(), Signal::STOP).ok();
    go_on(value);
}

/// Stops every process whose [`MARKER`] is `value` or starts with `value:`, and says how many were found.
///
/// Best effort, as [`sweep`](crate::sweep) is. What serves as a guard is not stopped.
pub(crate) fn halt(value: &str) -> usize {
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
pub(crate) fn go_on(value: &str) {
    for (_, process) in marked(MARKER, value) {
        // An error means that it has ended.
        pidfd_send_signal(&process, Signal::CONT).ok();
    }
}
