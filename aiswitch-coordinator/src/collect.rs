//! The collector that looks at the processes of agents.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use aiswitch_agent::TreeSampler;
use aiswitch_metrics::{AgentSample, AgentStatus, Collector, SystemProbe, SystemSample};
use chrono::{DateTime, Utc};

/// Looks at the processes of agents, all that each has started included, and at the machine.
#[derive(Debug, Default)]
pub struct ProcessCollector {
    /// By the process that was told as the agent's.
    trees: HashMap<u32, TreeSampler>,
    system: SystemProbe,
}

impl ProcessCollector {
    /// A collector that has not looked yet.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Collector for ProcessCollector {
    fn fresh(&self) -> Box<dyn Collector> {
        Box::new(Self::new())
    }

    fn collect_agent_metrics(&mut self, agent: &str, pid: u32, now: DateTime<Utc>) -> Option<AgentSample> {
        let tree = match self.trees.entry(pid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(TreeSampler::of_agent(pid)?),
        };
        let Some(tree) = tree.sample(Instant::now()) else {
            // Another process may get the number.
            self.trees.remove(&pid);
            return None;
        };
        Some(AgentSample {
            status: Some(AgentStatus::Busy),
            // The kernel counts hundredths of a second: more digits would tell nothing.
            cpu_percent: tree.cpu_percent.map(|percent| (percent * 100.0).round() / 100.0),
            memory_bytes: Some(tree.rss_bytes),
            processes: Some(tree.processes as u64),
            ..AgentSample::new(agent, now)
        })
    }

    fn collect_system_metrics(&mut self, now: DateTime<Utc>) -> Option<SystemSample> {
        Some(self.system.sample(now))
    }
}
