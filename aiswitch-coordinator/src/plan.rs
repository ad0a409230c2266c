//! What a run is to do.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use aiswitch_agent::{AgentId, PermissionMode, Replay};
use aiswitch_env::{EnvSnapshot, PresetName};
use aiswitch_lock::{LockName, Priority, TIMEOUT_DEFAULT};
use aiswitch_tokens::NanoUsd;
use serde::{Deserialize, Serialize};

/// How many agents of a parallel run work at the same time unless the plan says otherwise.
pub const MAX_PARALLEL_DEFAULT: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not zero");

/// The longest prompt, in bytes.
pub const PROMPT_BYTES_MAX: usize = 1024 * 1024;

/// The most agents that one run may have.
pub const AGENTS_MAX: usize = 1000;

/// What a run is to do: one prompt, the agents that get it, and the rules between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the agents are asked.
    pub prompt: String,
    /// The folder that they work in; a relative one is taken from the folder of this process.
    pub cwd: PathBuf,
    /// Who works, in this order.
    pub agents: Vec<Assignment>,
    /// Who is given the answers of all others, once they have ended, where `aggregate` asks for one.
    pub judge: Option<Assignment>,
    /// Side by side or one after the other.
    pub order: Order,
    /// What they may do; `None` is read-only when several agents share the folder, else write.
    pub mode: Option<PermissionMode>,
    /// How long each agent may take; `None` is without end.
    pub timeout: Option<Duration>,
    /// How long each agent may give no sign of life; `None` is without end.
    pub idle_timeout: Option<Duration>,
    /// What happens when an agent does not complete.
    pub on_failure: OnFailure,
    /// Whether the task is given once more to an agent whose process ended while it worked on it.
    pub replay: Replay,
    /// How the answers become one.
    pub aggregate: Aggregate,
    /// What the run has to itself: taken before anything starts, let go after the report.
    pub locks: Vec<LockName>,
    /// How long all locks together are waited for.
    pub lock_timeout: Duration,
    /// How early the run is served among those that wait for the same locks.
    pub lock_priority: Priority,
    /// What all agents together may cost; the run stops when that is spent. `None` has no limit.
    pub budget: Option<NanoUsd>,
}

impl Plan {
    /// A plan without agents.
    ///
    /// It works in parallel, without time-outs, goes on after a failure, lists all answers and takes no lock; one that it
    /// is told to take is waited for half a minute.
    pub fn new(prompt: impl Into<String>, cwd: impl Into<PathBuf>) -> Self {
        Self {
            prompt: prompt.into(),
            cwd: cwd.into(),
            agents: Vec::new(),
            judge: None,
            order: Order::default(),
            mode: None,
            timeout: None,
            idle_timeout: None,
            on_failure: OnFailure::Continue,
            replay: Replay::Never,
            aggregate: Aggregate::List,
            locks: Vec::new(),
            lock_timeout: TIMEOUT_DEFAULT,
            lock_priority: Priority::Normal,
            budget: None,
        }
    }

    /// Adds an agent, without a preset and with its own model.
    #[must_use]
    pub fn with_agent(self, agent: AgentId) -> Self {
        self.with_assignment(Assignment::new(agent))
    }

    /// Adds an agent with what is its own in this run.
    #[must_use]
    pub fn with_assignment(mut self, assignment: Assignment) -> Self {
        self.agents.push(assignment);
        self
    }

    /// Sets who is given the answers of all others, for [`Aggregate::Judge`] and [`Aggregate::Synthesize`].
    #[must_use]
    pub fn with_judge(mut self, judge: Assignment) -> Self {
        self.judge = Some(judge);
        self
    }

    /// Sets whether the agents work side by side or one after the other.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sets what the agents may do.
    #[must_use]
    pub fn with_mode(mut self, mode: PermissionMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets how long each agent may take.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how long each agent may give no sign of life.
    #[must_use]
    pub fn with_idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.idle_timeout = Some(idle_timeout);
        self
    }

    /// Sets what happens when an agent does not complete.
    #[must_use]
    pub fn with_on_failure(mut self, on_failure: OnFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// Sets whether the task is given once more to an agent whose process ended while it worked on it.
    ///
    /// Where the agent's process may do several tasks, that is; any other agent has failed by then.
    #[must_use]
    pub fn with_replay(mut self, replay: Replay) -> Self {
        self.replay = replay;
        self
    }

    /// Sets how the answers become one.
    #[must_use]
    pub fn with_aggregate(mut self, aggregate: Aggregate) -> Self {
        self.aggregate = aggregate;
        self
    }

    /// Adds a lock that the run has to itself while it goes on.
    #[must_use]
    pub fn with_lock(mut self, lock: LockName) -> Self {
        self.locks.push(lock);
        self
    }

    /// Sets how long all locks together are waited for; zero takes what is free and else gives up.
    #[must_use]
    pub fn with_lock_timeout(mut self, lock_timeout: Duration) -> Self {
        self.lock_timeout = lock_timeout;
        self
    }

    /// Sets how early the run is served among those that wait for the same locks.
    #[must_use]
    pub fn with_lock_priority(mut self, lock_priority: Priority) -> Self {
        self.lock_priority = lock_priority;
        self
    }

    /// Sets what all agents together may cost.
    ///
    /// Costs are known when agents tell them, or what they used; so the last answer may go beyond it.
    #[must_use]
    pub fn with_budget(mut self, budget: NanoUsd) -> Self {
        self.budget = Some(budget);
        self
    }

    /// All that are given a task, in the order in which they start: the agents, and behind them the judge.
    pub fn assignments(&self) -> impl Iterator<Item = &Assignment> {
        self.agents.iter().chain(&self.judge)
    }

    /// What the agents may do in this plan: the mode that it names, else its default.
    pub fn effective_mode(&self) -> PermissionMode {
        match (self.mode, self.assignments().count()) {
            (Some(mode), _) => mode,
            (None, 0 | 1) => PermissionMode::Write,
            (None, _) => PermissionMode::ReadOnly,
        }
    }
}

/// One agent of a plan, with what is its own in this run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The agent.
    pub agent: AgentId,
    /// The preset that its environment comes from; `None` gives the credentials that it declares.
    pub preset: Option<PresetName>,
    /// What that preset was, where the agent is to have it as a snapshot tells; `None` for the preset as it is now.
    pub snapshot: Option<EnvSnapshot>,
    /// The model that it is to use; `None` leaves that to the agent.
    pub model: Option<String>,
    /// How long it may take, instead of the plan's time.
    pub timeout: Option<Duration>,
    /// How long it may give no sign of life, instead of the plan's time.
    pub idle_timeout: Option<Duration>,
}

impl Assignment {
    /// An agent without a preset, with its own model and the plan's time-out.
    pub fn new(agent: AgentId) -> Self {
        Self { agent, preset: None, snapshot: None, model: None, timeout: None, idle_timeout: None }
    }

    /// Sets the preset that its environment comes from.
    #[must_use]
    pub fn with_preset(mut self, preset: PresetName) -> Self {
        self.preset = Some(preset);
        self
    }

    /// Sets the model that it is to use.
    #[must_use]
    pub fn with_model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Sets how long it may take, instead of the plan's time.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// Whether agents work side by side or one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All get the same prompt, so many at the same time.
    Parallel {
        /// The most that work at the same time.
        max_parallel: NonZeroUsize,
    },
    /// One after the other, each given the answers before it; see [`hand_over`](crate::hand_over).
    Sequential,
}

impl Default for Order {
    fn default() -> Self {
        Self::Parallel { max_parallel: MAX_PARALLEL_DEFAULT }
    }
}

/// What happens to the other agents when one does not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They go on.
    Continue,
    /// Those that work are cancelled, those that wait are skipped.
    Stop,
}

/// How the answers of a run become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Aggregate {
    /// All answers in the order of the plan, each under its agent's name.
    ///
    /// One answer alone stands as it is.
    List,
    /// The answer that was complete first.
    First,
    /// The answer that most agents gave, word for word but for white space at its ends.
    ///
    /// Where no answer was given more often than every other, all are listed.
    Vote,
    /// The answer that the judge of the plan names as the best; where it names none, all are listed.
    Judge,
    /// What the judge of the plan makes of all answers; where it does not complete, all are listed.
    Synthesize,
}

impl Aggregate {
    /// Whether it needs an agent that is given all answers.
    pub fn needs_judge(self) -> bool {
        matches!(self, Self::Judge | Self::Synthesize)
    }
}
