//! The processes below one, as the kernel's own lists of children name them: no other process is looked at.

use std::fs;

use rustix::process::Pid;

/// The most processes of one tree that are looked at.
pub(crate) const PROCESSES_MAX: usize = 100_000;

/// One process at one moment, see `proc_pid_stat(5)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    pub(crate) pid: Pid,
    pub(crate) parent: Option<Pid>,
    /// Its own CPU time, in ticks of the clock.
    pub(crate) own_ticks: u64,
    /// The CPU time of its children that have ended and that it has waited for, and of theirs.
    pub(crate) waited_ticks: u64,
    threads: u64,
    /// When it started, in ticks of the clock after the machine did: with the number, its name for ever.
    pub(crate) started_ticks: u64,
    /// Its resident memory, in pages; what it shares is counted in each that shares it.
    pub(crate) resident_pages: u64,
}

impl ProcessStat {
    /// Looks at one process; `None` where there is none of this number.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
        Self::parse(pid, &stat)
    }

    fn parse(pid: Pid, stat: &str) -> Option<Self> {
        // The name stands in brackets and may hold any character, brackets too; the fields behind it are numbers.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // The state is field 3 of the manual page, so field n is the one at n - 3 here.
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            pid,
            parent: number(4).and_then(|parent| Pid::from_raw(i32::try_from(parent).ok()?)),
            own_ticks: number(14)? + number(15)?,
            waited_ticks: number(16)? + number(17)?,
            threads: number(20)?,
            started_ticks: number(22)?,
            resident_pages: number(24)?,
        })
    }

    /// Its children; each is on the list of the thread that started it, see `proc_pid_task(5)`.
    fn children(&self) -> Vec<Pid> {
        let pid = self.pid.as_raw_pid();
        if self.threads == 1 {
            return listed(&format!("/proc/{pid}/task/{pid}/children"));
        }
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        threads.flat_map(|thread| listed(&format!("{}/children", thread.path().display()))).collect()
    }
}

fn listed(file: &str) -> Vec<Pid> {
    let list = fs::read_to_string(file).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// A process and all below it, the process first; empty where there is none of this number.
///
/// Each is looked at before its children are: the time of a child that ends meanwhile may be missing, and is never
/// counted twice.
pub(crate) fn tree(root: Pid) -> Vec<ProcessStat> {
    let mut found = Vec::new();
    let mut ahead = vec![root];
    while let Some(pid) = ahead.pop() {
        let Some(process) = ProcessStat::of(pid) else { continue };
        ahead.extend(process.children());
        found.push(process);
        if found.len() >= PROCESSES_MAX {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let own = Pid::from_raw(7).unwrap();
        let numbers = "S 1 7 7 0 -1 4194304 0 0 0 0 11 22 33 44 20 0 5 0 678 100000 99 18446744073709551615";
        for name in ["sh", "a) S 2 (b", ""] {
            let read = ProcessStat::parse(own, &format!("7 ({name}) {numbers}\n")).unwrap();
            assert_eq!((read.own_ticks, read.waited_ticks, read.threads), (33, 77, 5));
            assert_eq!((read.started_ticks, read.resident_pages), (678, 99));
            assert_eq!(read.parent, Pid::from_raw(1));
        }
        for cut in ["", "7 (sh", "7 (sh) S 1 7"] {
            assert_eq!(ProcessStat::parse(own, cut), None, "{cut:?}");
        }
    }
}
