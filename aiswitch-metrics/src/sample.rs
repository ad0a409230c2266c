//! What an agent, or the system, used at one moment.

use std::fmt;

use chrono::{DateTime, Utc};

use crate::{Metric, MetricsError, VALUE_MAX};

/// The longest label of an agent, in bytes.
pub const LABEL_BYTES_MAX: usize = 512;

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentStatus {
    /// It has no process.
    Stopped,
    /// Its process gets ready.
    Starting,
    /// It waits for a task.
    Idle,
    /// It works.
    Busy,
    /// It was asked to stop.
    Stopping,
    /// It waits to be started again.
    Backoff,
    /// It is held still.
    Paused,
    /// It will not be started again.
    Failed,
}

impl AgentStatus {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Stopped, "stopped"),
        (Self::Starting, "starting"),
        (Self::Idle, "idle"),
        (Self::Busy, "busy"),
        (Self::Stopping, "stopping"),
        (Self::Backoff, "backoff"),
        (Self::Paused, "paused"),
        (Self::Failed, "failed"),
    ];

    /// Its number in a series: 0 to 7, in the order of this type.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The state with this number.
    pub fn of_code(code: f64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .map(|(status, _)| status)
            .find(|status| f64::from(status.code()).to_bits() == code.to_bits())
    }

    /// The state that a figure of this metric says; `None` of every other metric.
    pub fn of_figure(metric: &Metric, figure: f64) -> Option<Self> {
        Self::of_code(figure).filter(|_| *metric == Metric::STATUS)
    }
}

impl fmt::Display for AgentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL[usize::from(self.code())].1)
    }
}

/// What one agent used at one moment, its whole process tree together. What is not known is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentSample {
    /// The agent's label.
    pub agent: String,
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// How it was.
    pub status: Option<AgentStatus>,
    /// The CPU that the tree used since the sample before, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// The resident memory of the whole tree, in bytes; shared pages count in each process.
    pub memory_bytes: Option<u64>,
    /// How many processes the tree had.
    pub processes: Option<u64>,
    /// Input tokens since the sample before.
    pub tokens_input: Option<u64>,
    /// Output tokens since the sample before.
    pub tokens_output: Option<u64>,
    /// How long the task took that ended since the sample before.
    pub response_time_ms: Option<f64>,
    /// Tasks that did not complete, since the sample before.
    pub error_count: Option<u64>,
    /// Tasks that ended, since the sample before.
    pub task_count: Option<u64>,
}

impl AgentSample {
    /// A sample in which nothing is known yet.
    pub fn new(agent: impl Into<String>, at: DateTime<Utc>) -> Self {
        Self {
            agent: agent.into(),
            at,
            status: None,
            cpu_percent: None,
            memory_bytes: None,
            processes: None,
            tokens_input: None,
            tokens_output: None,
            response_time_ms: None,
            error_count: None,
            task_count: None,
        }
    }
}

/// What the machine had and used at one moment. What is not known is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemSample {
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// CPUs that the system uses.
    pub cpus: Option<u64>,
    /// The CPU that was used since the sample before, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// How many processes ran or waited to: the means of 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// The machine's memory.
    pub memory_total_bytes: Option<u64>,
    /// Memory that programs can still have without swapping.
    pub memory_available_bytes: Option<u64>,
    /// Swap in use.
    pub swap_used_bytes: Option<u64>,
    /// How much of the last 10 seconds some process waited for a CPU.
    pub cpu_pressure_percent: Option<f64>,
    /// How much of the last 10 seconds some process waited for memory.
    pub memory_pressure_percent: Option<f64>,
    /// How much of the last 10 seconds some process waited for a disk.
    pub io_pressure_percent: Option<f64>,
}

/// Whom figures are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The machine.
    System,
    /// An agent, by its label.
    Agent(String),
}

impl Source {
    /// The label of an agent.
    pub fn agent(&self) -> Option<&str> {
        match self {
            Self::System => None,
            Self::Agent(agent) => Some(agent),
        }
    }

    /// Checks what a store takes.
    ///
    /// # Errors
    /// The label is empty or longer than [`LABEL_BYTES_MAX`].
    pub fn check(&self) -> Result<(), MetricsError> {
        match self.agent().map(str::len) {
            Some(bytes) if bytes == 0 || bytes > LABEL_BYTES_MAX => Err(MetricsError::Label { bytes }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.agent().unwrap_or("(system)"))
    }
}

/// Figures of one source at one moment, as stores take them.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Whom they are about.
    pub source: Source,
    /// When they were measured.
    pub at: DateTime<Utc>,
    /// The figures; a metric that is not among them is not known.
    pub figures: Vec<(Metric, f64)>,
}

/// Whether a figure can be: finite, not beyond [`VALUE_MAX`], and not negative where nothing can be.
pub(crate) fn is_possible(metric: &Metric, value: f64) -> bool {
    let can_be_negative = metric.number().is_none();
    value.is_finite() && value.abs() <= VALUE_MAX && (can_be_negative || value >= 0.0)
}

#[expect(clippy::cast_precision_loss, reason = "a count beyond 2⁵³ is told within one part in 2⁵³")]
fn real(count: Option<u64>) -> Option<f64> {
    count.map(|count| count as f64)
}

fn known(figures: impl IntoIterator<Item = (Metric, Option<f64>)>) -> Vec<(Metric, f64)> {
    figures.into_iter().filter_map(|(metric, value)| Some((metric, value?))).collect()
}

impl From<AgentSample> for Sample {
    fn from(sample: AgentSample) -> Self {
        let figures = known([
            (Metric::STATUS, sample.status.map(|status| f64::from(status.code()))),
            (Metric::CPU_PERCENT, sample.cpu_percent),
            (Metric::MEMORY_BYTES, real(sample.memory_bytes)),
            (Metric::PROCESSES, real(sample.processes)),
            (Metric::TOKENS_INPUT, real(sample.tokens_input)),
            (Metric::TOKENS_OUTPUT, real(sample.tokens_output)),
            (Metric::RESPONSE_TIME_MS, sample.response_time_ms),
            (Metric::ERROR_COUNT, real(sample.error_count)),
            (Metric::TASK_COUNT, real(sample.task_count)),
        ]);
        Self { source: Source::Agent(sample.agent), at: sample.at, figures }
    }
}

impl From<SystemSample> for Sample {
    fn from(sample: SystemSample) -> Self {
        let [one, five, fifteen] = sample.load.map_or([None; 3], |load| load.map(Some));
        let figures = known([
            (Metric::CPU_PERCENT, sample.cpu_percent),
            (Metric::LOAD_1M, one),
            (Metric::LOAD_5M, five),
            (Metric::LOAD_15M, fifteen),
            (Metric::MEMORY_TOTAL_BYTES, real(sample.memory_total_bytes)),
            (Metric::MEMORY_AVAILABLE_BYTES, real(sample.memory_available_bytes)),
            (Metric::SWAP_USED_BYTES, real(sample.swap_used_bytes)),
            (Metric::CPU_PRESSURE_PERCENT, sample.cpu_pressure_percent),
            (Metric::MEMORY_PRESSURE_PERCENT, sample.memory_pressure_percent),
            (Metric::IO_PRESSURE_PERCENT, sample.io_pressure_percent),
            (Metric::CPUS, real(sample.cpus)),
        ]);
        Self { source: Source::System, at: sample.at, figures }
    }
}
