//! How much of the machine an agent may take.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

use crate::{Enforcement, Promise, Tier};

/// How much of the machine an agent, with all that it starts, may take; what is not named is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// The memory of all its processes together, in MiB.
    #[serde(default)]
    pub memory_mb: Option<NonZeroU64>,
    /// How many processes it may have at once.
    #[serde(default)]
    pub processes: Option<NonZeroU32>,
    /// How many files each of its processes may have open.
    #[serde(default)]
    pub open_files: Option<NonZeroU64>,
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
    /// The number of its processes.
    Processes,
    /// The number of files that one of its processes has open.
    OpenFiles,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory_mb",
            Self::Processes => "processes",
            Self::OpenFiles => "open_files",
        })
    }
}

impl Resource {
    /// How far a limit of it is kept where agents' processes are held together by this.
    pub fn how_far(self, tier: Tier) -> Enforcement {
        match (tier, self) {
            (Tier::Guard, Self::Memory) => Enforcement::BestEffort(
                "the guard looks five times a second, and ends an agent that is over it",
            ),
            (Tier::Guard, Self::Processes) => Enforcement::BestEffort(
                "the guard counts five times a second, and ends an agent that is over it",
            ),
            (Tier::Guard, Self::OpenFiles) => Enforcement::Enforced,
            (Tier::Group, _) => Enforcement::Unsupported,
        }
    }
}

impl Resources {
    /// What is limited.
    pub fn limited(&self) -> impl Iterator<Item = Resource> {
        let all = [
            self.memory_mb.map(|_| Resource::Memory),
            self.processes.map(|_| Resource::Processes),
            self.open_files.map(|_| Resource::OpenFiles),
        ];
        all.into_iter().flatten()
    }

    /// The first limit that must not be asked for, and how far it would be kept.
    pub(crate) fn refused(&self, tier: Tier) -> Option<(Resource, Enforcement)> {
        let kept = self.limited().map(|resource| (resource, resource.how_far(tier)));
        kept.into_iter().find(|(_, how_far)| match how_far {
            Enforcement::Enforced => false,
            Enforcement::BestEffort(_) => self.unenforced == Unenforced::Refuse,
            Enforcement::Unsupported => true,
        })
    }

    /// How far each limit would be kept.
    pub(crate) fn promises(tier: Tier) -> [Promise; 3] {
        [
            ("a limit of memory", Resource::Memory),
            ("a limit of the number of processes", Resource::Processes),
            ("a limit of the number of open files of a process", Resource::OpenFiles),
        ]
        .map(|(what, resource)| Promise { what, how_far: resource.how_far(tier) })
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
