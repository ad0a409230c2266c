//! What the machine has and uses, as Linux's `/proc` tells it.

use std::fs;

use chrono::{DateTime, Utc};

use crate::SystemSample;

/// Looks at the machine again and again.
///
/// A look reads six small files (`loadavg`, `meminfo`, `stat` and `pressure/{cpu,memory,io}`), so it costs the same however
/// many processes there are. A file that is not there, as `pressure` on old kernels, leaves its figures unknown.
#[derive(Clone, Debug, Default)]
pub struct SystemProbe {
    last: Option<CpuTicks>,
}

/// The ticks of all CPUs up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuTicks {
    busy: u64,
    all: u64,
    cpus: u64,
}

impl SystemProbe {
    /// A probe that has not looked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the machine; `now` is when.
    pub fn sample(&mut self, now: DateTime<Utc>) -> SystemSample {
        let read = |file: &str| fs::read_to_string(format!("/proc/{file}")).ok();
        let ticks = read("stat").as_deref().and_then(cpu_ticks);
        let last = std::mem::replace(&mut self.last, ticks);
        let memory = read("meminfo").unwrap_or_default();
        let (swap, swap_free) = (memory_bytes(&memory, "SwapTotal:"), memory_bytes(&memory, "SwapFree:"));
        let pressure = |of: &str| read(&format!("pressure/{of}")).as_deref().and_then(pressure_percent);
        SystemSample {
            at: now,
            cpus: ticks.map(|ticks| ticks.cpus),
            cpu_percent: last.zip(ticks).and_then(|(last, ticks)| cpu_percent(last, ticks)),
            load: read("loadavg").as_deref().and_then(load),
            memory_total_bytes: memory_bytes(&memory, "MemTotal:"),
            memory_available_bytes: memory_bytes(&memory, "MemAvailable:"),
            swap_used_bytes: swap.zip(swap_free).and_then(|(swap, free)| swap.checked_sub(free)),
            cpu_pressure_percent: pressure("cpu"),
            memory_pressure_percent: pressure("memory"),
            io_pressure_percent: pressure("io"),
        }
    }
}

/// The first line of `stat`, and how many lines of single CPUs follow, see `proc_stat(5)`.
fn cpu_ticks(stat: &str) -> Option<CpuTicks> {
    let mut lines = stat.lines().take_while(|line| line.starts_with("cpu"));
    let mut fields = lines.next()?.split_ascii_whitespace().skip(1);
    let mut field = || fields.next().and_then(|ticks| ticks.parse::<u64>().ok());
    let [user, nice, system, idle] = [field()?, field()?, field()?, field()?];
    // A guest's time is in the user's. What an old kernel does not tell is 0 there too.
    let [waiting, interrupts, soft, stolen] = [(); 4].map(|()| field().unwrap_or(0));
    let busy = user + nice + system + interrupts + soft + stolen;
    Some(CpuTicks { busy, all: busy + idle + waiting, cpus: lines.count() as u64 })
}

#[expect(clippy::cast_precision_loss, reason = "a percentage is no exact figure")]
fn cpu_percent(last: CpuTicks, now: CpuTicks) -> Option<f64> {
    let all = now.all.checked_sub(last.all).filter(|ticks| *ticks > 0)?;
    // The time that CPUs wait for a disk may go back, and so may what is counted as busy.
    let busy = now.busy.checked_sub(last.busy)?;
    Some((100 * now.cpus) as f64 * busy as f64 / all as f64)
}

/// The first three figures of `loadavg`, see `proc_loadavg(5)`.
fn load(loadavg: &str) -> Option<[f64; 3]> {
    let mut figures = loadavg.split_ascii_whitespace().map(|figure| figure.parse().ok());
    Some([figures.next()??, figures.next()??, figures.next()??])
}

/// A line of `meminfo`, which is in KiB whatever it says, see `proc_meminfo(5)`.
fn memory_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// `some avg10=` of a file of `pressure`, see the kernel's `Documentation/accounting/psi.rst`.
fn pressure_percent(pressure: &str) -> Option<f64> {
    let some = pressure.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_ascii_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_kernel_are_read_as_its_manual_says() {
        let stat = "cpu  100 20 30 400 50 6 7 8 90 0\ncpu0 50 10 15 200 25 3 3 4 45 0\ncpu1 50 10 15 200 25 3 4 4 45 0\nintr 7\n";
        assert_eq!(cpu_ticks(stat), Some(CpuTicks { busy: 171, all: 621, cpus: 2 }));
        assert_eq!(load("0.25 1.50 2.00 1/200 4242\n"), Some([0.25, 1.5, 2.0]));
        let meminfo = "MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    600 kB\n";
        assert_eq!(memory_bytes(meminfo, "MemAvailable:"), Some(600 * 1024));
        assert_eq!(memory_bytes(meminfo, "SwapTotal:"), None);
        let pressure =
            "some avg10=1.25 avg60=0.50 avg300=0.10 total=7\nfull avg10=0.75 avg60=0 avg300=0 total=1\n";
        assert_eq!(pressure_percent(pressure), Some(1.25));
    }

    #[test]
    fn files_that_are_damaged_leave_figures_unknown() {
        for text in [
            "",
            "cpu",
            "cpu  1 2 x 4",
            "some avg10=x",
            "MemAvailable: many kB",
            "MemAvailable: 99999999999999999999 kB",
            "0.1 0.2",
        ] {
            assert_eq!(cpu_ticks(text), None, "{text}");
            assert_eq!(
                (load(text), memory_bytes(text, "MemAvailable:"), pressure_percent(text)),
                (None, None, None),
                "{text}"
            );
        }
    }

    #[test]
    fn cpu_use_is_told_in_percent_of_one_core_and_not_at_all_where_ticks_went_back() {
        let ticks = |busy, all| CpuTicks { busy, all, cpus: 2 };
        assert_eq!(cpu_percent(ticks(100, 1_000), ticks(150, 1_100)), Some(100.0));
        assert_eq!(cpu_percent(ticks(100, 1_000), ticks(100, 1_100)), Some(0.0));
        assert_eq!(cpu_percent(ticks(100, 1_000), ticks(90, 1_100)), None);
        assert_eq!(cpu_percent(ticks(100, 1_000), ticks(100, 1_000)), None);
    }
}
