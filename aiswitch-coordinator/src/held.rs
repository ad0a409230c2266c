//! What an agent of a run was held to: by what its processes were, and how far each of its limits was kept.

use std::time::Duration;

use aiswitch_agent::{Enforcement, Guard, Hold, Resource, Resources};
use serde::{Deserialize, Serialize};

/// A limit of an agent, and how far it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LimitReport {
    /// What is limited, with its unit: `memory_mb`, `cpu_percent`, `processes`, `open_files`, `timeout_ms`,
    /// `idle_timeout_ms` or `output_mb`.
    pub limit: String,
    /// The most that it may be.
    pub max: u64,
    /// How far that was kept.
    pub kept: Kept,
    /// By what, where it was only tried.
    pub means: Option<String>,
}

/// How far a limit was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The system, or the run itself, sees to it.
    Enforced,
    /// It was tried.
    BestEffort,
    /// There was no means.
    Unsupported,
}

/// What agents' processes are held by.
pub(crate) fn hold(guard: Option<&Guard>) -> Hold {
    guard.map_or(Hold::GROUP, Guard::hold)
}

/// The limits of an agent, its times included.
pub(crate) fn limits(
    resources: &Resources,
    (timeout, idle_timeout): (Option<Duration>, Option<Duration>),
    guard: Option<&Guard>,
) -> Vec<LimitReport> {
    let hold = hold(guard);
    let times = [(Resource::Time, timeout), (Resource::Idle, idle_timeout)];
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let times = times.into_iter().filter_map(|(resource, time)| Some((resource, ms(time?))));
    resources.limited().chain(times).map(|(resource, max)| limit(resource, max, hold)).collect()
}

fn limit(resource: Resource, max: u64, hold: Hold) -> LimitReport {
    let (kept, means) = match resource.how_far(hold) {
        Enforcement::Enforced => (Kept::Enforced, None),
        Enforcement::BestEffort(means) => (Kept::BestEffort, Some(means.to_owned())),
        Enforcement::Unsupported => (Kept::Unsupported, None),
    };
    let unit = if matches!(resource, Resource::Time | Resource::Idle) { "_ms" } else { "" };
    LimitReport { limit: format!("{resource}{unit}"), max, kept, means }
}
