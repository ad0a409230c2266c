//! The look at what an agent and all that it has started take of the machine.

use std::fs;

use rustix::process::{Pid, getpid};

use crate::Resources;
use crate::resources::{Excess, Resource};

/// One MiB, in bytes.
const MIB: u64 = 1024 * 1024;

/// The most processes that are looked at; an agent with more is over every limit.
const PROCESSES_MAX: usize = 100_000;

/// The limit that the guard's descendants are over, if they are over one.
pub(super) fn excess(limits: &Resources) -> Option<Excess> {
    if limits.memory_mb.is_none() && limits.processes.is_none() {
        return None;
    }
    let processes = descendants();
    let over = |resource, found, max: u64| (found > max).then_some(Excess { resource, found, max });
    let count =
        limits.processes.and_then(|max| over(Resource::Processes, processes.len() as u64, max.get().into()));
    count.or_else(|| {
        let max = limits.memory_mb?.get();
        let sum = |of: fn(Pid) -> Option<u64>| processes.iter().filter_map(|pid| of(*pid)).sum::<u64>() / MIB;
        // What processes share is in each one's resident memory, so the dearer figure has the last word.
        over(Resource::Memory, sum(resident_bytes), max)?;
        over(Resource::Memory, sum(proportional_bytes), max)
    })
}

/// All processes below this one.
fn descendants() -> Vec<Pid> {
    let mut found = Vec::new();
    let mut parents = vec![getpid()];
    while let Some(parent) = parents.pop() {
        let tasks = fs::read_dir(format!("/proc/{}/task", parent.as_raw_pid()));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children =
                children.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
            parents.extend(children);
        }
        if parent != getpid() {
            found.push(parent);
        }
        if found.len() >= PROCESSES_MAX {
            break;
        }
    }
    found
}

/// The second number of `proc_pid_statm(5)`, which counts pages.
fn resident_bytes(pid: Pid) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_pid())).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// The line `Pss` of `proc_pid_smaps(5)`, which counts KiB: shared memory in equal parts to all that share it.
fn proportional_bytes(pid: Pid) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_pid())).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}
