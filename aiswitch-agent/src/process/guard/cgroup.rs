//! A control group of the kernel around one agent, made and removed by its guard: five files, written by hand.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Resources;
use crate::resources::{Excess, Resource};

/// How long the kernel counts for one allowance of CPU time, in microseconds; its own default.
const CPU_PERIOD_US: u64 = 100_000;

/// The group of one agent. Dropping it ends what is in it, and removes it.
pub(super) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes the group, and writes the limits for which its files are there; the others are looked after by the guard.
    pub(super) fn create(folder: PathBuf, limits: &Resources) -> io::Result<Self> {
        fs::create_dir(&folder)?;
        let group = Self(folder);
        if let Some(memory) = limits.memory_mb
            && group.has("memory.max")
        {
            group.write("memory.max", &memory.get().saturating_mul(1024 * 1024).to_string())?;
            // The whole agent ends, not whichever of its tools was biggest; and no swap hides what it takes.
            group.write("memory.oom.group", "1")?;
            if group.has("memory.swap.max") {
                group.write("memory.swap.max", "0")?;
            }
        }
        if let Some(processes) = limits.processes
            && group.has("pids.max")
        {
            group.write("pids.max", &processes.to_string())?;
        }
        if let Some(cpu) = limits.cpu_percent
            && group.has("cpu.max")
        {
            let quota_us = u64::from(cpu.get()) * CPU_PERIOD_US / 100;
            group.write("cpu.max", &format!("{quota_us} {CPU_PERIOD_US}"))?;
        }
        Ok(group)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// What of the limits the kernel does not keep here.
    pub(super) fn left_of(&self, limits: &Resources) -> Resources {
        Resources {
            memory_mb: limits.memory_mb.filter(|_| !self.has("memory.max")),
            processes: limits.processes.filter(|_| !self.has("pids.max")),
            ..*limits
        }
    }

    /// The limit of memory, if the kernel has ended the agent for it.
    pub(super) fn excess(&self, limits: &Resources) -> Option<Excess> {
        let max = limits.memory_mb?.get();
        let events = fs::read_to_string(self.0.join("memory.events")).ok()?;
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        (kills.trim() != "0").then_some(Excess { resource: Resource::Memory, found: max, max })
    }

    /// Kills all that is in the group at once, also what forks faster than it can be found.
    pub(super) fn kill(&self) {
        // An error leaves it to the guard's own search.
        drop(self.write("cgroup.kill", "1"));
    }

    fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.0.join(file), text)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        // An error leaves an empty group, which the next look for what is left removes.
        drop(fs::remove_dir(&self.0));
    }
}
