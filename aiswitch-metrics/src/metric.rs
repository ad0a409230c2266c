//! What a figure is of: the metrics that are known, and those that agents name themselves.

use std::fmt;
use std::sync::Arc;

use crate::MetricsError;

/// The longest name of a metric, in bytes.
pub const METRIC_BYTES_MAX: usize = 64;

/// What a metric's figures mean, and so what may be done with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// How much there is of something: the newest figure and the mean say something, the sum does not.
    Gauge,
    /// How much came since the sample before: the sum says something.
    Count,
}

impl MetricKind {
    /// Its name in reports: `gauge` or `count`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Count => "count",
        }
    }
}

/// One row of the table of known metrics. Its place is its number in stores: rows are only ever added at the end.
struct Known {
    name: &'static str,
    kind: MetricKind,
    /// What a reader of an export is told.
    help: &'static str,
}

const fn gauge(name: &'static str, help: &'static str) -> Known {
    Known { name, kind: MetricKind::Gauge, help }
}

const fn count(name: &'static str, help: &'static str) -> Known {
    Known { name, kind: MetricKind::Count, help }
}

const KNOWN: [Known; 19] = [
    gauge(
        "status",
        "State: 0 stopped, 1 starting, 2 idle, 3 busy, 4 stopping, 5 backoff, 6 paused, 7 failed.",
    ),
    gauge("cpu_percent", "CPU use, of one core."),
    gauge("memory_bytes", "Resident memory of the process tree."),
    gauge("processes", "Processes of the tree."),
    count("tokens_input", "Input tokens that were used."),
    count("tokens_output", "Output tokens that were used."),
    gauge("response_time_ms", "How long a task took."),
    count("error_count", "Tasks that did not complete."),
    count("task_count", "Tasks that ended."),
    gauge("load_1m", "Processes that ran or waited, mean of a minute."),
    gauge("load_5m", "Processes that ran or waited, mean of 5 minutes."),
    gauge("load_15m", "Processes that ran or waited, mean of 15 minutes."),
    gauge("memory_total_bytes", "Memory of the machine."),
    gauge("memory_available_bytes", "Memory that programs can have without swapping."),
    gauge("swap_used_bytes", "Swap in use."),
    gauge("cpu_pressure_percent", "Share of 10 seconds in which some process waited for a CPU."),
    gauge("memory_pressure_percent", "Share of 10 seconds in which some process waited for memory."),
    gauge("io_pressure_percent", "Share of 10 seconds in which some process waited for a disk."),
    gauge("cpus", "CPUs that the system uses."),
];

/// The number of the first metric that is not known beforehand.
pub(crate) const OTHER_NUMBER_MIN: u32 = 1_000;

/// What a figure is of.
///
/// A name ends in its unit, has only lowercase letters, digits and `_`, and begins with a letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metric(Name);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    /// Its place in the table.
    Known(u8),
    Other(Arc<str>),
}

macro_rules! known {
    ($($(#[$doc:meta])* $constant:ident = $place:literal;)*) => {
        $($(#[$doc])* pub const $constant: Self = Self(Name::Known($place));)*
    };
}

impl Metric {
    known! {
        /// The state of an agent, as [`AgentStatus::code`](crate::AgentStatus::code) numbers it.
        STATUS = 0;
        /// CPU use in percent, 100 being one core.
        CPU_PERCENT = 1;
        /// The resident memory of a tree of processes.
        MEMORY_BYTES = 2;
        /// How many processes a tree has.
        PROCESSES = 3;
        /// Input tokens since the sample before.
        TOKENS_INPUT = 4;
        /// Output tokens since the sample before.
        TOKENS_OUTPUT = 5;
        /// How long a task took; the one metric of which quantiles are kept.
        RESPONSE_TIME_MS = 6;
        /// Tasks that did not complete, since the sample before.
        ERROR_COUNT = 7;
        /// Tasks that ended, since the sample before.
        TASK_COUNT = 8;
        /// The load of one minute.
        LOAD_1M = 9;
        /// The load of five minutes.
        LOAD_5M = 10;
        /// The load of fifteen minutes.
        LOAD_15M = 11;
        /// The machine's memory.
        MEMORY_TOTAL_BYTES = 12;
        /// Memory that programs can still have.
        MEMORY_AVAILABLE_BYTES = 13;
        /// Swap in use.
        SWAP_USED_BYTES = 14;
        /// How much of the last 10 seconds some process waited for a CPU.
        CPU_PRESSURE_PERCENT = 15;
        /// How much of the last 10 seconds some process waited for memory.
        MEMORY_PRESSURE_PERCENT = 16;
        /// How much of the last 10 seconds some process waited for a disk.
        IO_PRESSURE_PERCENT = 17;
        /// How many CPUs the system uses.
        CPUS = 18;
    }

    /// The metric with this name; one that is not known is a gauge of its own.
    ///
    /// # Errors
    /// The name is empty, longer than [`METRIC_BYTES_MAX`], or has other characters than a metric's name may have.
    pub fn named(name: &str) -> Result<Self, MetricsError> {
        if let Some(place) = KNOWN.iter().position(|known| known.name == name) {
            return Ok(Self::numbered(place));
        }
        let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if name.len() > METRIC_BYTES_MAX || !is_name {
            let mut start = name.to_owned();
            start.truncate(name.floor_char_boundary(METRIC_BYTES_MAX));
            return Err(MetricsError::Metric { start, bytes: name.len() });
        }
        Ok(Self(Name::Other(name.into())))
    }

    fn numbered(place: usize) -> Self {
        Self(Name::Known(u8::try_from(place).expect("the table is short")))
    }

    /// Its name, which ends in its unit.
    pub fn name(&self) -> &str {
        match &self.0 {
            Name::Known(place) => KNOWN[usize::from(*place)].name,
            Name::Other(name) => name,
        }
    }

    /// What its figures mean.
    pub fn kind(&self) -> MetricKind {
        match &self.0 {
            Name::Known(place) => KNOWN[usize::from(*place)].kind,
            Name::Other(_) => MetricKind::Gauge,
        }
    }

    /// What it is, in a sentence; `None` for one that an agent has named.
    pub fn help(&self) -> Option<&'static str> {
        match &self.0 {
            Name::Known(place) => Some(KNOWN[usize::from(*place)].help),
            Name::Other(_) => None,
        }
    }

    /// The number that it has in every store; `None` for one that a store numbers itself.
    pub(crate) fn number(&self) -> Option<u32> {
        match &self.0 {
            Name::Known(place) => Some(u32::from(*place)),
            Name::Other(_) => None,
        }
    }

    /// The known metric with this number.
    pub(crate) fn of_number(number: u32) -> Option<Self> {
        let place = usize::try_from(number).ok().filter(|place| *place < KNOWN.len())?;
        Some(Self::numbered(place))
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
