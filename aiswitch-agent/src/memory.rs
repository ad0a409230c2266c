//! How short of memory the machine is, as its system tells.

use std::fs;
use std::path::Path;

/// How short of memory the machine is, as its system tells; a figure that it does not tell is `None`.
///
/// Sources: <https://docs.kernel.org/accounting/psi.html>, `proc_meminfo(5)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MemoryReading {
    /// How much of the last ten seconds at least one process waited for memory, in percent.
    pub stall_percent: Option<f64>,
    /// How much can be had without swapping, in bytes.
    pub available_bytes: Option<u64>,
}

impl MemoryReading {
    /// Reads `pressure/memory` and `meminfo` of this folder, which is `/proc` but for tests.
    ///
    /// Blocks for some tens of microseconds.
    pub fn read(proc: &Path) -> Self {
        let text = |name| fs::read_to_string(proc.join(name)).unwrap_or_default();
        Self {
            stall_percent: stall_percent(&text("pressure/memory")),
            available_bytes: available_bytes(&text("meminfo")),
        }
    }
}

/// `some avg10=1.53 avg60=0.87 avg300=0.10 total=58761459`
fn stall_percent(pressure: &str) -> Option<f64> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split(' ').find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

/// `MemAvailable:   12345678 kB`
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_read_as_the_kernel_writes_them() {
        let pressure = "some avg10=1.53 avg60=0.87 avg300=0.10 total=58761459\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
        let meminfo =
            "MemTotal:       24640584 kB\nMemFree:          911776 kB\nMemAvailable:   18432000 kB\n";
        assert_eq!((stall_percent(pressure), available_bytes(meminfo)), (Some(1.53), Some(18_874_368_000)));
        assert_eq!((stall_percent("full avg10=2.00"), available_bytes("MemFree: 1 kB")), (None, None));
        assert_eq!(MemoryReading::read(Path::new("/no-such-folder")), MemoryReading::default());
        // Every Linux tells this one.
        assert!(MemoryReading::read(Path::new("/proc")).available_bytes.is_some_and(|bytes| bytes > 0));
    }
}
