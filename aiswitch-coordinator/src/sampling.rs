//! What the agents of a run take of the machine, on its way into the store.

use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::AgentId;
use aiswitch_metrics::{
    AgentSample, AgentStatus, AlertRule, Collector, Judged, MetricsError, MetricsStore, Rejected, Sample,
    SampleBatch, Stored, forget_alerts, judge_alerts,
};
use aiswitch_tokens::Usage;
use chrono::{DateTime, Utc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::run::Start;
use crate::{AgentReport, Outcome};

/// How often a sample of each agent and of the machine is kept; looks are more frequent, and a sample has their mean.
pub const SAMPLE_EVERY_DEFAULT: Duration = Duration::from_secs(10);

/// The shortest time between two samples: that between two looks.
pub const SAMPLE_EVERY_MIN: Duration = Duration::from_secs(1);

/// The longest time between two samples: far less than that after which a figure says nothing any more.
pub const SAMPLE_EVERY_MAX: Duration = Duration::from_mins(1);

/// How often the store lets go of what is too old, beside once a run.
const FORGET_EVERY: Duration = Duration::from_hours(1);

/// What the agents of a run take of the machine, on its way into the store.
#[derive(Debug)]
pub(crate) struct Sampling {
    collector: Box<dyn Collector>,
    store: Option<Arc<dyn MetricsStore>>,
    /// What was seen of each agent since its last sample, by its place in the plan.
    agents: Vec<Seen>,
    sampled: Instant,
    forgotten: Option<Instant>,
    every: Duration,
    /// The rules of alerts, by which samples and the time are judged.
    rules: Arc<[AlertRule]>,
    judged: Instant,
    batch: SampleBatch,
    /// At most one, so that batches are written in their order.
    writes: JoinSet<Written>,
}

/// What became of samples, and what they say.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) stored: Result<Stored, MetricsError>,
    pub(crate) judged: Judged,
}

/// What was seen of an agent since its last sample.
#[derive(Debug)]
struct Seen {
    /// The agent's label.
    agent: String,
    cpu_percents: Vec<f64>,
    newest: Option<AgentSample>,
    /// The input and output tokens that samples have told already.
    told_tokens: [u64; 2],
}

impl Seen {
    fn of(agent: &AgentId) -> Self {
        Self { agent: agent.to_string(), cpu_percents: Vec::new(), newest: None, told_tokens: [0; 2] }
    }

    /// What one sample tells; the next begins anew.
    #[expect(clippy::cast_precision_loss, reason = "there are few looks between two samples")]
    fn take(&mut self, now: DateTime<Utc>, usage: Option<Usage>) -> AgentSample {
        let looks = self.cpu_percents.len() as f64;
        let cpu = self.cpu_percents.drain(..).reduce(|sum, percent| sum + percent).map(|sum| sum / looks);
        let seen = self.newest.take().unwrap_or_else(|| AgentSample::new(&self.agent, now));
        let [input, output] = [
            (usage.and_then(|usage| usage.input_tokens), 0),
            (usage.and_then(|usage| usage.output_tokens), 1),
        ]
        .map(|(tokens, kind)| {
            let told = std::mem::replace(&mut self.told_tokens[kind], tokens?);
            // A figure that went back tells nothing new.
            Some(self.told_tokens[kind].saturating_sub(told))
        });
        AgentSample {
            at: now,
            cpu_percent: cpu.map(|percent| (percent * 100.0).round() / 100.0),
            tokens_input: input,
            tokens_output: output,
            ..seen
        }
    }
}

impl Sampling {
    pub(crate) fn new(start: &Start<'_>) -> Self {
        Self {
            collector: start.collector.fresh(),
            store: start.metrics.clone(),
            agents: start.ready.agents.iter().map(|ready| Seen::of(ready.id())).collect(),
            every: start.sample_every,
            rules: start.alerts.iter().map(|watch| watch.rule.clone()).collect(),
            judged: Instant::now(),
            sampled: Instant::now(),
            forgotten: None,
            batch: SampleBatch::new(),
            writes: JoinSet::new(),
        }
    }

    /// The rules by which what is measured is judged.
    pub(crate) fn rules(&self) -> Arc<[AlertRule]> {
        Arc::clone(&self.rules)
    }

    /// Looks at an agent, and says how much memory it has; `None` when there is nothing to see.
    ///
    /// The look blocks for some tens of microseconds a process.
    pub(crate) fn look(&mut self, place: usize, pid: u32, now: DateTime<Utc>) -> Option<u64> {
        let seen = &mut self.agents[place];
        let sample = self.collector.collect_agent_metrics(&seen.agent, pid, now)?;
        seen.cpu_percents.extend(sample.cpu_percent);
        let memory_bytes = sample.memory_bytes;
        seen.newest = Some(sample);
        memory_bytes
    }

    /// Whether a sample of each agent is due, which then are to be added.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.store.is_some() && self.sampled.elapsed() >= self.every;
        if is_due {
            self.sampled = Instant::now();
        }
        is_due
    }

    /// Adds the sample of an agent that works, or is held still.
    pub(crate) fn add_agent(
        &mut self,
        place: usize,
        usage: Option<Usage>,
        is_paused: bool,
        now: DateTime<Utc>,
    ) {
        let mut sample = self.agents[place].take(now, usage);
        if is_paused {
            sample.status = Some(AgentStatus::Paused);
        }
        self.batch.add(sample.into(), std::time::Instant::now());
    }

    /// Adds the last sample of an agent, whose part has ended.
    pub(crate) fn add_end(&mut self, place: usize, report: &AgentReport, now: DateTime<Utc>) {
        if self.store.is_none() || report.started_at.is_none() {
            return;
        }
        let sample = AgentSample {
            status: Some(AgentStatus::Stopped),
            #[expect(clippy::cast_precision_loss, reason = "a run ends within 2⁵³ ms")]
            response_time_ms: Some(report.duration_ms as f64),
            error_count: Some(u64::from(report.status != Outcome::Completed)),
            task_count: Some(1),
            ..self.agents[place].take(now, report.usage)
        };
        self.batch.add(sample.into(), std::time::Instant::now());
    }

    /// Adds a sample that an agent has taken itself.
    pub(crate) fn add(&mut self, sample: Sample) {
        if self.store.is_some() {
            self.batch.add(sample, std::time::Instant::now());
        }
    }

    /// Adds a sample of the machine.
    pub(crate) fn add_system(&mut self, now: DateTime<Utc>) {
        if self.store.is_some()
            && let Some(sample) = self.collector.collect_system_metrics(now)
        {
            self.batch.add(sample.into(), std::time::Instant::now());
        }
    }

    /// Starts to look which alerts fire, and lets go of what is known of rules that are gone.
    pub(crate) fn begin(&mut self, now: DateTime<Utc>) {
        let Some(store) = self.store.clone().filter(|_| !self.rules.is_empty()) else { return };
        let rules = Arc::clone(&self.rules);
        self.writes.spawn_blocking(move || {
            let stored = forget_alerts(&*store, &rules).map(|()| Stored::default());
            Written { stored, judged: judge_alerts(&*store, &rules, &[], now) }
        });
    }

    /// Starts writing the samples that are due, all of them at the end, unless others are still being written.
    pub(crate) fn write(&mut self, is_end: bool, now: DateTime<Utc>) {
        let Some(store) = self.store.clone().filter(|_| self.writes.is_empty()) else { return };
        let samples =
            if is_end { self.batch.take_all() } else { self.batch.take_due(std::time::Instant::now()) };
        // Where nothing is measured, time goes by all the same.
        let is_judge_due = !self.rules.is_empty() && self.judged.elapsed() >= self.every;
        if samples.is_empty() && !is_judge_due {
            return;
        }
        self.judged = Instant::now();
        let forgets = self.forgotten.is_none_or(|at| at.elapsed() >= FORGET_EVERY);
        if forgets {
            self.forgotten = Some(Instant::now());
        }
        let rules = Arc::clone(&self.rules);
        self.writes.spawn_blocking(move || {
            let kept = store.store_metrics(&samples, now);
            let stored =
                kept.and_then(|stored| if forgets { store.forget(now).map(|_| stored) } else { Ok(stored) });
            Written { stored, judged: judge_alerts(&*store, &rules, &samples, now) }
        });
    }

    /// Waits for what is being written; `None` when nothing is.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn written(&mut self) -> Option<Result<Written, JoinError>> {
        self.writes.join_next().await
    }

    /// How many samples were dropped because the store did not keep up.
    pub(crate) fn dropped(&self) -> u64 {
        self.batch.dropped()
    }
}

/// What to tell of samples that were not taken.
pub(crate) fn told(rejected: Rejected) -> Option<String> {
    (!rejected.is_none()).then(|| format!("not all that was measured is kept: {rejected}"))
}
