//! Several live agents, each by its name.

use std::time::Instant;

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{AgentId, TaskResult, TaskSpec};

use crate::keeper::Order;
use crate::live_agent::Answer;
use crate::{LiveAgent, LiveError, LiveStatus, Replay, TreeSample, TreeSampler, Turn};

/// What came of something for each of several agents, in the order in which it was done.
pub type Each<T> = Vec<(AgentId, Result<T, LiveError>)>;

/// Several live agents, each by its name; what fails with one is a value, and the others go on.
///
/// One alone is had by [`get`](Self::get).
#[derive(Debug, Default)]
pub struct Agents {
    agents: Vec<LiveAgent>,
    /// What looks at the processes of those that were looked at.
    samplers: Vec<(u32, TreeSampler)>,
}

impl Agents {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one, as it is.
    ///
    /// # Errors
    /// There is one of its name; the new one is dropped.
    pub fn add(&mut self, agent: LiveAgent) -> Result<(), LiveError> {
        if self.get(agent.id()).is_ok() {
            return Err(LiveError::Twice { agent: agent.id().clone() });
        }
        self.agents.push(agent);
        Ok(())
    }

    /// Takes one out, as it is.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remove(&mut self, id: &AgentId) -> Result<LiveAgent, LiveError> {
        match self.agents.iter().position(|agent| agent.id() == id) {
            Some(index) => Ok(self.agents.remove(index)),
            None => Err(LiveError::Unknown { agent: id.clone() }),
        }
    }

    /// The one of a name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn get(&self, id: &AgentId) -> Result<&LiveAgent, LiveError> {
        self.agents
            .iter()
            .find(|agent| agent.id() == id)
            .ok_or_else(|| LiveError::Unknown { agent: id.clone() })
    }

    /// All of them, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &LiveAgent> {
        self.agents.iter()
    }

    /// Starts all that are stopped or failed, side by side, in the order in which they were added.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each start that was ordered to itself.
    pub async fn start_all(&self) -> Each<()> {
        self.order_all(|_| Some(Order::Start)).await
    }

    /// Stops all, one after the other: the one that was started last is stopped first.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the stop that was ordered to itself; the others are not stopped.
    pub async fn stop_all(&self) -> Each<()> {
        let mut agents: Vec<&LiveAgent> = self.agents.iter().collect();
        // The sort keeps the order of those that were started at one moment, so it is turned round before.
        agents.reverse();
        agents.sort_by_key(|agent| std::cmp::Reverse(agent.status().started));
        let mut each = Vec::with_capacity(agents.len());
        for agent in agents {
            each.push((agent.id().clone(), agent.stop().await));
        }
        each
    }

    /// Stops all that run, side by side, and starts all.
    ///
    /// # Cancel safety
    /// Dropping the future leaves each restart that was ordered to itself.
    pub async fn restart_all(&self) -> Each<()> {
        self.order_all(|_| Some(Order::Restart)).await
    }

    /// Has each of those that `environment` names one for go on under it, side by side; see [`LiveAgent::switch_env`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves each switch that was ordered to itself.
    pub async fn switch_env_all(
        &self,
        mut environment: impl FnMut(&AgentId) -> Option<Environment>,
        turn: Turn,
    ) -> Each<()> {
        self.order_all(|id| Some(Order::Switch(Box::new(environment(id)?), turn))).await
    }

    /// Gives all the same task, and waits for all results.
    ///
    /// # Cancel safety
    /// As [`LiveAgent::send_task`], for each.
    pub async fn send_task_all(&self, task: &TaskSpec, replay: Replay) -> Each<TaskResult> {
        let mut given = Vec::with_capacity(self.agents.len());
        for agent in &self.agents {
            given.push((agent, agent.give_task(task.clone(), replay).await));
        }
        told(given).await
    }

    /// How each is.
    pub fn status_all(&self) -> Vec<(AgentId, LiveStatus)> {
        self.agents.iter().map(|agent| (agent.id().clone(), agent.status())).collect()
    }

    /// Looks at what one takes of the machine, with all that it has started; `now` is the moment of the look.
    ///
    /// `None` while it has no process.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn collect_metrics(&mut self, id: &AgentId, now: Instant) -> Result<Option<TreeSample>, LiveError> {
        let pid = self.get(id)?.status().pid;
        Ok(pid.and_then(|pid| self.sample(pid, now)))
    }

    /// Looks at what each takes of the machine; as [`collect_metrics`](Self::collect_metrics).
    pub fn collect_metrics_all(&mut self, now: Instant) -> Vec<(AgentId, Option<TreeSample>)> {
        let pids: Vec<_> = self.agents.iter().map(|agent| (agent.id().clone(), agent.status().pid)).collect();
        self.samplers.retain(|(sampled, _)| pids.iter().any(|(_, pid)| *pid == Some(*sampled)));
        pids.into_iter().map(|(id, pid)| (id, pid.and_then(|pid| self.sample(pid, now)))).collect()
    }

    fn sample(&mut self, pid: u32, now: Instant) -> Option<TreeSample> {
        if let Some((_, sampler)) = self.samplers.iter_mut().find(|(sampled, _)| *sampled == pid)
            && let Some(sample) = sampler.sample(now)
        {
            return Some(sample);
        }
        // It is new, or its number was another's before.
        self.samplers.retain(|(sampled, _)| *sampled != pid);
        let mut sampler = TreeSampler::of_agent(pid)?;
        let sample = sampler.sample(now);
        self.samplers.push((pid, sampler));
        sample
    }

    async fn order_all(&self, mut order: impl FnMut(&AgentId) -> Option<Order>) -> Each<()> {
        let mut given = Vec::with_capacity(self.agents.len());
        for agent in &self.agents {
            if let Some(order) = order(agent.id()) {
                given.push((agent, agent.give_order(order).await));
            }
        }
        told(given).await
    }
}

/// Waits for what comes of something for each.
async fn told<T>(given: Vec<(&LiveAgent, Answer<T>)>) -> Each<T> {
    let mut each = Vec::with_capacity(given.len());
    for (agent, answer) in given {
        each.push((agent.id().clone(), agent.told(answer).await));
    }
    each
}
