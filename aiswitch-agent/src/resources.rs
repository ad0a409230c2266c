//! How much of the machine an agent may take.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

use crate::{Enforcement, Hold, Limits, Promise, Tier};

/// How much of the machine an agent, with all that it starts, may take; what is not named is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// The memory of all its processes together, in MiB.
    #[serde(default)]
    pub memory_mb: Option<NonZeroU64>,
    /// The CPU time of all its processes together, in percent of one core.
    #[serde(default)]
    pub cpu_percent: Option<NonZeroU32>,
    /// How many processes it may have at once.
    #[serde(default)]
    pub processes: Option<NonZeroU32>,
    /// How many files each of its processes may have open.
    #[serde(default)]
    pub open_files: Option<NonZeroU64>,
    /// All that it may print on stdout, in MiB; 256, unless it says another one.
    #[serde(default)]
    pub output_mb: Option<NonZeroU64>,
    /// What to do about a limit that this machine does not enforce.
    #[serde(default)]
    pub unenforced: Unenforced,
}

/// What to do about a limit that the machine does not enforce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Unenforced {
    /// Not to start the agent.
    #[default]
    Refuse,
    /// To start it, and to keep to the limit as well as can be.
    BestEffort,
}

/// Something of the machine that can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resource {
    /// The memory of all its processes together.
    Memory,
    /// The CPU time of all its processes together.
    Cpu,
    /// The number of its processes.
    Processes,
    /// The number of files that one of its processes has open.
    OpenFiles,
    /// How long it takes for a task.
    Time,
    /// How long it gives no sign of life.
    Idle,
    /// What it prints on stdout.
    Output,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory_mb",
            Self::Cpu => "cpu_percent",
            Self::Processes => "processes",
            Self::OpenFiles => "open_files",
            Self::Time => "timeout",
            Self::Idle => "idle_timeout",
            Self::Output => "output_mb",
        })
    }
}

impl Resource {
    /// Everything that can be limited.
    pub const ALL: [Self; 7] =
        [Self::Memory, Self::Cpu, Self::Processes, Self::OpenFiles, Self::Time, Self::Idle, Self::Output];

    /// How far a limit of it is kept for agents that are held so.
    pub fn how_far(self, hold: Hold) -> Enforcement {
        match self {
            Self::Time | Self::Idle | Self::Output => Enforcement::Enforced,
            _ if hold.tier == Tier::Group => Enforcement::Unsupported,
            Self::OpenFiles => Enforcement::Enforced,
            Self::Memory if hold.controllers.memory => Enforcement::Enforced,
            Self::Cpu if hold.controllers.cpu => Enforcement::Enforced,
            Self::Processes if hold.controllers.processes => Enforcement::Enforced,
            Self::Memory => Enforcement::BestEffort(
                "the guard looks five times a second, and ends an agent that is over it",
            ),
            Self::Processes => Enforcement::BestEffort(
                "the guard counts five times a second, and ends an agent that is over it",
            ),
            Self::Cpu => Enforcement::BestEffort("its processes give way to others, at nice 10"),
        }
    }

    /// What a limit of it is a limit of, in words.
    fn what(self) -> &'static str {
        match self {
            Self::Memory => "a limit of memory",
            Self::Cpu => "a limit of CPU time",
            Self::Processes => "a limit of the number of processes",
            Self::OpenFiles => "a limit of the number of open files of a process",
            Self::Time => "a limit of the time for a task",
            Self::Idle => "a limit of the time without a sign of life",
            Self::Output => "a limit of what is printed",
        }
    }
}

impl Resources {
    /// What is limited, and to how much.
    pub fn limited(&self) -> impl Iterator<Item = (Resource, u64)> {
        let all = [
            (Resource::Memory, self.memory_mb.map(NonZeroU64::get)),
            (Resource::Cpu, self.cpu_percent.map(|max| max.get().into())),
            (Resource::Processes, self.processes.map(|max| max.get().into())),
            (Resource::OpenFiles, self.open_files.map(NonZeroU64::get)),
            (Resource::Output, self.output_mb.map(NonZeroU64::get)),
        ];
        all.into_iter().filter_map(|(resource, max)| Some((resource, max?)))
    }

    /// Whether the guard itself has to look whether a limit is kept.
    pub(crate) fn looked_after(&self) -> bool {
        self.memory_mb.is_some() || self.processes.is_some()
    }

    /// All that the agent may print on stdout, in bytes.
    pub(crate) fn output_bytes_max(&self, limits: &Limits) -> u64 {
        self.output_mb.map_or(limits.output_bytes_max, |max| max.get().saturating_mul(1024 * 1024))
    }

    /// The first limit that must not be asked for, and how far it would be kept.
    pub(crate) fn refused(&self, hold: Hold) -> Option<(Resource, Enforcement)> {
        let kept = self.limited().map(|(resource, _)| (resource, resource.how_far(hold)));
        kept.into_iter().find(|(_, how_far)| match how_far {
            Enforcement::Enforced => false,
            Enforcement::BestEffort(_) => self.unenforced == Unenforced::Refuse,
            Enforcement::Unsupported => true,
        })
    }

    /// How far each limit would be kept.
    pub(crate) fn promises(hold: Hold) -> [Promise; 7] {
        Resource::ALL.map(|resource| Promise { what: resource.what(), how_far: resource.how_far(hold) })
    }
}

/// A limit that an agent was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Excess {
    pub(crate) resource: Resource,
    pub(crate) found: u64,
    pub(crate) max: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it was ended since it had {} of {} at `{}`", self.found, self.max, self.resource)
    }
}
