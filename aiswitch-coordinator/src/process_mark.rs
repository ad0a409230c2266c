//! A process, told apart from a later one with the same number.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// A process, told apart from a later one with the same number by the time at which it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProcessMark {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the start of the system; `None` where it is not told.
    pub started_ticks: Option<u64>,
}

impl ProcessMark {
    /// The process that runs this code.
    pub(crate) fn own() -> Self {
        let pid = std::process::id();
        let started_ticks = match look_up(pid) {
            Presence::Since(ticks) => Some(ticks),
            Presence::Gone | Presence::Untold => None,
        };
        Self { pid, started_ticks }
    }

    /// Whether it is there; a number that cannot be looked up counts as a process that is there.
    pub(crate) fn is_there(self) -> bool {
        match (look_up(self.pid), self.started_ticks) {
            (Presence::Gone, _) => false,
            (Presence::Since(now), Some(then)) => now == then,
            (Presence::Since(_), None) | (Presence::Untold, _) => true,
        }
    }
}

/// What the system tells about a process number.
enum Presence {
    Gone,
    /// A process that started at this clock tick.
    Since(u64),
    /// There is one, or may be one.
    Untold,
}

fn look_up(pid: u32) -> Presence {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if !number.is_some_and(|number| test_kill_process(number) != Err(Errno::SRCH)) {
        return Presence::Gone;
    }
    // Linux alone tells more.
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Presence::Untold;
    };
    // proc_pid_stat(5): the name stands in brackets and may hold any character; behind it come the state, which is
    // field 3, and more, of which field 22 is the start.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace().collect();
    match (fields.first(), fields.get(19).and_then(|ticks| ticks.parse().ok())) {
        (Some(&("Z" | "X")), _) => Presence::Gone,
        (_, Some(ticks)) => Presence::Since(ticks),
        (_, None) => Presence::Untold,
    }
}
