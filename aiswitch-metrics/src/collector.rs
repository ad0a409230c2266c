//! How samples are come by.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use chrono::{DateTime, Utc};

use crate::{AgentSample, SystemSample};

/// Looks at agents and the machine, and says what they use.
///
/// Looks must be short, as a loop makes them: well under a millisecond an agent.
pub trait Collector: fmt::Debug + Send + Sync {
    /// A collector of the same kind that has not looked yet, since what is used is told since the look before.
    fn fresh(&self) -> Box<dyn Collector>;

    /// Looks at an agent whose process is `pid`; `None` when there is nothing to see.
    fn collect_agent_metrics(&mut self, agent: &str, pid: u32, now: DateTime<Utc>) -> Option<AgentSample>;

    /// Looks at the machine; `None` when there is nothing to see.
    fn collect_system_metrics(&mut self, now: DateTime<Utc>) -> Option<SystemSample>;
}

/// Samples that were recorded before: each look is given the next, with the time of the look.
///
/// The last one of an agent is given again and again.
#[derive(Clone, Debug, Default)]
pub struct RecordedCollector {
    agents: BTreeMap<String, VecDeque<AgentSample>>,
    system: VecDeque<SystemSample>,
}

impl RecordedCollector {
    /// A collector that sees nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what the next look at its agent sees.
    #[must_use]
    pub fn with_agent(mut self, sample: AgentSample) -> Self {
        self.agents.entry(sample.agent.clone()).or_default().push_back(sample);
        self
    }

    /// Adds what the next look at the machine sees.
    #[must_use]
    pub fn with_system(mut self, sample: SystemSample) -> Self {
        self.system.push_back(sample);
        self
    }
}

/// The next of some samples, of which the last stays.
fn next<T: Clone>(samples: &mut VecDeque<T>) -> Option<T> {
    if samples.len() > 1 { samples.pop_front() } else { samples.front().cloned() }
}

impl Collector for RecordedCollector {
    fn fresh(&self) -> Box<dyn Collector> {
        Box::new(self.clone())
    }

    fn collect_agent_metrics(&mut self, agent: &str, _pid: u32, now: DateTime<Utc>) -> Option<AgentSample> {
        Some(AgentSample { at: now, ..next(self.agents.get_mut(agent)?)? })
    }

    fn collect_system_metrics(&mut self, now: DateTime<Utc>) -> Option<SystemSample> {
        Some(SystemSample { at: now, ..next(&mut self.system)? })
    }
}
