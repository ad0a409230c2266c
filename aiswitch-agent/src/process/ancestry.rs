//! Which agent started this process, told by the mark that it, or a process above it, carries.

use std::fs;

use rustix::process::Pid;

use super::{GUARD_MARKER, MARKER, ProcessStat};

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
        if let Some(mark) = mark_of(pid, &[MARKER, GUARD_MARKER]) {
            return Some(mark);
        }
        let process = Pid::from_raw(i32::try_from(pid).ok()?)?;
        pid = ProcessStat::of(process)?.parent?.as_raw_pid().unsigned_abs();
    }
    Some(String::new())
}

/// Whether a process is a guard.
pub(crate) fn is_guard(process: Pid) -> bool {
    mark_of(process.as_raw_pid().unsigned_abs(), &[GUARD_MARKER]).is_some()
}

fn mark_of(pid: u32, names: &[&str]) -> Option<String> {
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.split(|byte| *byte == 0).find_map(|variable| {
        let (name, mark) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        names.contains(&name).then(|| mark.to_owned())
    })
}
