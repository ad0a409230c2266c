//! The end of processes that nobody holds any more, found by the mark that they inherited.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::guard::GUARD_MARKER;
use crate::Cgroups;

/// The variable that marks every process of a run; agents' tools inherit it. Its value is `RUN:AGENT`.
pub const MARKER: &str = "AISWITCH_RUN";

/// How often `/proc` is read over again, since a process may fork while it is read.
const ROUNDS_MAX: usize = 50;

/// How often a process without an environment is looked at that may be about to become another program, and how long after
/// the look before.
const BECOMING_LOOKS_MAX: usize = 10;
const BECOMING_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// How long guards whose caller is gone may take to end what they guard.
const GUARDS_PATIENCE: Duration = Duration::from_secs(1);

/// Kills every process whose [`MARKER`] is `value` or starts with `value:`, and says how many were found.
///
/// Agents start tools in sessions of their own, which a signal to their process group does not reach; what tells
/// them apart is the environment that they inherit. Best effort: it needs `/proc` (Linux), and finds only processes
/// of the same user that kept their environment. Elsewhere it does nothing and says 0.
pub fn sweep(value: &str) -> usize {
    kill_marked(MARKER, value)
}

/// Ends what is left of runs whose own process is gone, guards included, and says how many processes were found.
///
/// A guard ends by itself when its caller does, and all that it guards with it, unless it is stopped: so it is made to
/// go on first, and killed only if that does not help. What has no guard any more is swept. Never call it for a run
/// that goes on. Blocks for at most a second for guards, and for a look or more at `/proc`.
pub fn reclaim<'a>(runs: impl IntoIterator<Item = &'a str>) -> usize {
    let mut found = 0;
    // Where there are no control groups, none was made.
    let cgroups = Cgroups::own().ok();
    for run in runs {
        let guards: Vec<OwnedFd> =
            marked(GUARD_MARKER, run).into_iter().map(|(_, process)| process).collect();
        for guard in &guards {
            // An error means that it has ended by itself.
            pidfd_send_signal(guard, Signal::CONT).ok();
        }
        let bound = Instant::now() + GUARDS_PATIENCE;
        found += guards.len();
        for guard in &guards {
            wait_for_end(guard, bound);
        }
        found += kill_marked(GUARD_MARKER, run).saturating_sub(guards.len());
        found += kill_marked(MARKER, run);
        // What has lost its mark is in the agent's group still.
        if let Some(cgroups) = &cgroups {
            cgroups.reclaim(run);
        }
    }
    found
}

fn wait_for_end(process: &OwnedFd, bound: Instant) {
    let left = bound.saturating_duration_since(Instant::now());
    let time = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
    let time = if left.as_secs() > 0 { Timespec { tv_sec: 1, tv_nsec: 0 } } else { time };
    // Whether it has ended in time is seen by the kill that follows.
    poll(&mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)], Some(&time)).ok();
}

fn kill_marked(marker: &str, value: &str) -> usize {
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        let found = marked(marker, value);
        if found.is_empty() {
            break;
        }
        for (pid, process) in found {
            // An error means that it ended by itself meanwhile; a dying one is found again.
            if pidfd_send_signal(&process, Signal::KILL).is_ok() {
                killed.insert(pid);
            }
        }
    }
    killed.len()
}

/// The processes whose variable `marker` is `value` or starts with `value:`.
pub(super) fn marked(marker: &str, value: &str) -> Vec<(Pid, OwnedFd)> {
    let exact = format!("{marker}={value}");
    let prefix = format!("{exact}:");
    let is_marked = |pid: Pid| {
        environ(pid)
            .split(|byte| *byte == 0)
            .any(|variable| variable == exact.as_bytes() || variable.starts_with(prefix.as_bytes()))
    };
    let own = getpid();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|pid| *pid != own && is_marked(*pid))
        .filter_map(|pid| Some((pid, pidfd_open(pid, PidfdFlags::empty()).ok()?)))
        // Once more, now that the process is held: its number could have become another's in between.
        .filter(|(pid, _)| is_marked(*pid))
        .collect()
}

/// The environment of a process; while it becomes another program, the system shows it none for a moment (`execve(2)`).
fn environ(pid: Pid) -> Vec<u8> {
    let folder = Path::new("/proc").join(pid.as_raw_pid().to_string());
    for _ in 0..BECOMING_LOOKS_MAX {
        let environ = fs::read(folder.join("environ")).unwrap_or_default();
        // What has no program is one of the kernel's own, has ended, or is another user's.
        if !environ.is_empty() || fs::read_link(folder.join("exe")).is_err() {
            return environ;
        }
        poll(&mut [], Some(&BECOMING_PAUSE)).ok();
    }
    Vec::new()
}
