//! The look at what an agent and all that it has started take of the machine.

use std::fs;

use rustix::process::getpid;

use crate::Resources;
use crate::process::{ProcessStat, tree};
use crate::resources::{Excess, Resource};

/// One MiB, in bytes.
const MIB: u64 = 1024 * 1024;

/// The limit that the guard's descendants are over, if they are over one.
pub(super) fn excess(limits: &Resources) -> Option<Excess> {
    if limits.memory_mb.is_none() && limits.processes.is_none() {
        return None;
    }
    let tree = tree(getpid());
    // Without itself.
    let processes = tree.get(1..).unwrap_or_default();
    let over = |resource, found, max: u64| (found > max).then_some(Excess { resource, found, max });
    let count =
        limits.processes.and_then(|max| over(Resource::Processes, processes.len() as u64, max.get().into()));
    count.or_else(|| {
        let max = limits.memory_mb?.get();
        let sum = |of: fn(&ProcessStat) -> u64| processes.iter().map(of).sum::<u64>() / MIB;
        // What processes share is in each one's resident memory, so the dearer figure has the last word.
        over(Resource::Memory, sum(resident_bytes), max)?;
        over(Resource::Memory, sum(proportional_bytes), max)
    })
}

/// The line `Pss` of `proc_pid_smaps(5)`, which counts KiB: shared memory in equal parts to all that share it.
/// One that has ended, or may not be looked at, has none.
fn proportional_bytes(process: &ProcessStat) -> u64 {
    let rollup = format!("/proc/{}/smaps_rollup", process.pid.as_raw_pid());
    let kib = fs::read_to_string(rollup).ok().and_then(|rollup| {
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    kib.unwrap_or_default().saturating_mul(1024)
}

fn resident_bytes(process: &ProcessStat) -> u64 {
    process.resident_pages.saturating_mul(rustix::param::page_size() as u64)
}
