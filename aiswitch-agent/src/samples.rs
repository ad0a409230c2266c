//! What an agent, with all that it has started, takes of the machine.

use std::fs;
use std::time::Instant;

use rustix::process::Pid;

use crate::process::{ProcessStat, is_guard, tree};

/// What a tree of processes takes of the machine at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TreeSample {
    /// The CPU time since the sample before, in percent of one core; `None` for the first sample, and where processes
    /// have ended that nobody waited for, since the system drops their time.
    pub cpu_percent: Option<f64>,
    /// The CPU time of all its processes up to now, of those that have ended too, in milliseconds.
    pub cpu_ms: u64,
    /// The sum of the resident memory of its processes, in bytes; what they share is counted in each.
    pub rss_bytes: u64,
    /// How many processes it has; those that have ended are in it until their parent has waited for them.
    pub processes: usize,
    /// How many files its processes have open; `None` where one of them cannot be looked at.
    pub open_files: Option<u64>,
}

/// Looks at one tree of processes again and again.
///
/// It walks the kernel's lists of children (`/proc/PID/task/*/children`) and reads the processes of this tree alone, so a
/// look costs the same whatever else runs on the machine. Processes that an agent has left behind are the guard's
/// children, and so in the tree. Linux alone, as this crate is.
#[derive(Clone, Debug)]
pub struct TreeSampler {
    /// The top of the tree.
    root: Pid,
    root_started_ticks: u64,
    /// The guards at the top, which are none of the agent's processes; what they have waited for is.
    guards: Vec<Pid>,
    last: Option<(Instant, u64)>,
}

impl TreeSampler {
    /// Looks at an agent, whose process was told as [`AgentEvent::Started`](crate::AgentEvent::Started), and at all that
    /// its guard has adopted; `None` where it has ended.
    pub fn of_agent(pid: u32) -> Option<Self> {
        let mut root = ProcessStat::of(Pid::from_raw(i32::try_from(pid).ok()?)?)?;
        let mut guards = Vec::new();
        while let Some(parent) = root.parent.filter(|parent| is_guard(*parent)) {
            guards.push(parent);
            root = ProcessStat::of(parent)?;
        }
        Some(Self { root: root.pid, root_started_ticks: root.started_ticks, guards, last: None })
    }

    /// Looks at the tree; `now` is the moment of the look. `None` once its top has ended.
    pub fn sample(&mut self, now: Instant) -> Option<TreeSample> {
        let mut processes = self.look()?;
        let mut ticks = self.ticks(&processes);
        if self.last.is_some_and(|(_, last)| ticks < last) {
            // A process has ended between the look at its parent and the one at it: its time is its parent's by now.
            processes = self.look()?;
            ticks = self.ticks(&processes);
        }
        let last = self.last.replace((now, ticks));
        let of_agent = processes.iter().filter(|process| !self.guards.contains(&process.pid));
        let pages: u64 = of_agent.clone().map(|process| process.resident_pages).sum();
        Some(TreeSample {
            cpu_percent: last.and_then(|last| percent(last, (now, ticks))),
            cpu_ms: ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second(),
            rss_bytes: pages.saturating_mul(rustix::param::page_size() as u64),
            processes: of_agent.clone().count(),
            open_files: of_agent.map(|process| open_files(process.pid)).sum(),
        })
    }

    /// Reads the tree, if its top is still the same process.
    fn look(&self) -> Option<Vec<ProcessStat>> {
        let processes = tree(self.root);
        let is_same = processes.first()?.started_ticks == self.root_started_ticks;
        is_same.then_some(processes)
    }

    /// The CPU time of the agent's processes, of those that have ended too.
    fn ticks(&self, processes: &[ProcessStat]) -> u64 {
        let own = |process: &ProcessStat| {
            if self.guards.contains(&process.pid) { 0 } else { process.own_ticks }
        };
        processes.iter().map(|process| own(process) + process.waited_ticks).sum()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks of one span are few, and a percentage is no exact figure"
)]
fn percent((before, ticks_before): (Instant, u64), (now, ticks): (Instant, u64)) -> Option<f64> {
    let span = now.checked_duration_since(before).filter(|span| !span.is_zero())?;
    let seconds = ticks.checked_sub(ticks_before)? as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some(100.0 * seconds / span.as_secs_f64())
}

/// How many files a process has open: the size of the folder that lists them (Linux 6.2), else their count.
fn open_files(pid: Pid) -> Option<u64> {
    let folder = format!("/proc/{}/fd", pid.as_raw_pid());
    match fs::metadata(&folder).ok()?.len() {
        0 => Some(fs::read_dir(&folder).ok()?.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_that_is_lost_and_a_clock_that_stands_are_unknown_and_not_none() {
        let start = Instant::now();
        let hz = rustix::param::clock_ticks_per_second();
        let later = start + Duration::from_secs(2);
        assert_eq!(percent((start, 5), (later, 5 + hz)), Some(50.0));
        assert_eq!(percent((start, 5), (later, 5)), Some(0.0));
        assert_eq!(percent((start, 5), (later, 4)), None);
        assert_eq!(percent((start, 5), (start, 9)), None);
        assert_eq!(percent((later, 5), (start, 9)), None);
    }
}
