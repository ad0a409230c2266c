//! The loop: all state of a run is here, and nothing else changes it.

use std::any::Any;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::{AgentEvent, AgentId, Guard, Limits, MemoryReading, PermissionMode};
use aiswitch_env::Environment;
use aiswitch_lock::LockGuard;
use aiswitch_metrics::{Collector, MetricsStore};
use aiswitch_tokens::{Cost, CostSource, NanoUsd, PriceList, UsageStore};
use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::alert_command::CommandPlace;
use crate::audit::RunAudit;
use crate::chain;
use crate::clock;
use crate::error::HomeError;
use crate::event::EVENT_VERSION;
use crate::heard::{Told, kind_of, masked_denial, masked_error, usage_of};
use crate::held::{hold, limits};
use crate::journal::Journal;
use crate::part::{PartDone, PartEnd, Verdict, judge, with_hint};
use crate::pressure::Gauge;
use crate::ready::Ready;
use crate::sampling::Sampling;
use crate::state::State;
use crate::used::record_of;
use crate::warm::Pool;
use crate::{
    AgentReport, OnFailure, Order, Outcome, Plan, PressureLimits, RunEvent, RunEventKind, RunId, RunMode,
    RunReport, Watch,
};

mod alerts;
mod begin;
mod budget;
mod finish;
mod measure;
mod memory;
mod pause;
mod save;
mod slot;
mod start;

use alerts::Alerts;
use slot::Slot;

/// How often the loop looks at what the agents take of the machine, and writes the state files if need be.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many events may wait for the loop before agents wait for it.
const EVENTS_MAX: usize = 1024;

/// How many events are heard before the loop looks for ends, so that a flood cannot hide them.
const EVENTS_PER_TURN: usize = 64;

/// How many different warnings a report has.
const WARNINGS_MAX: usize = 100;

/// What a run is made of.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) id: RunId,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) plan: &'a Plan,
    pub(crate) ready: Ready,
    pub(crate) limits: Limits,
    /// When memory is short, and where that is read.
    pub(crate) pressure: PressureLimits,
    pub(crate) proc: PathBuf,
    pub(crate) guard: Option<Guard>,
    /// Folders that no sandbox opens.
    pub(crate) hidden: Vec<PathBuf>,
    pub(crate) cancel: CancellationToken,
    /// Where it is kept; `None` keeps nothing.
    pub(crate) records: Option<Records>,
    /// Where it is kept how the run is.
    pub(crate) state: Option<State>,
    /// Where what the agents used is kept.
    pub(crate) usage: Option<Arc<dyn UsageStore>>,
    /// Where what they take of the machine is kept.
    pub(crate) metrics: Option<Arc<dyn MetricsStore>>,
    pub(crate) collector: Arc<dyn Collector>,
    /// How often a sample is kept.
    pub(crate) sample_every: Duration,
    /// What is watched for, and what the commands of alerts may know.
    pub(crate) alerts: Arc<[Watch]>,
    pub(crate) command_environment: Environment,
    /// What tokens cost whose cost an agent does not tell.
    pub(crate) prices: Arc<PriceList>,
}

/// Where a run is kept.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) journal: Journal,
    pub(crate) audit: RunAudit,
}

/// A run that goes on.
pub(crate) struct Run<'a, F> {
    start: Start<'a>,
    started: Instant,
    slots: Vec<Slot>,
    /// The first agent that has not started; all behind it have not either.
    next: usize,
    parts: JoinSet<PartDone>,
    /// Processes that may do another part.
    pool: Pool,
    /// Those that end; each gives what its agent told meanwhile.
    ends: JoinSet<(usize, Vec<AgentEvent>)>,
    places: HashMap<Id, usize>,
    told: mpsc::Sender<(usize, AgentEvent)>,
    hearing: mpsc::Receiver<(usize, AgentEvent)>,
    /// Stops all parts; a child of the caller's token.
    stop: CancellationToken,
    halt: Option<Halt>,
    /// The plan's locks, let go when the run is dropped.
    held: Vec<LockGuard>,
    saves: JoinSet<Result<Vec<String>, HomeError>>,
    state_changed: bool,
    sampling: Sampling,
    alerts: Alerts,
    seq: u64,
    warnings: Vec<String>,
    /// How short memory is.
    gauge: Gauge,
    on_event: F,
}

/// Why no further agent starts.
#[derive(Debug)]
enum Halt {
    /// The caller cancelled the run.
    Caller,
    /// Another process asked for its end.
    Asked,
    /// What a run in mode `yolo` does cannot be written into the audit log.
    Unaudited,
    /// The budget of the run is spent.
    Budget { budget: NanoUsd },
    /// An agent did not complete.
    Failure { agent: AgentId, outcome: Outcome },
}

impl Halt {
    fn reason(&self) -> String {
        match self {
            Self::Caller => "the run was cancelled".to_owned(),
            Self::Asked => "the run was cancelled by another process".to_owned(),
            Self::Unaudited => "the audit log cannot hold what mode `yolo` allowed".to_owned(),
            Self::Budget { budget } => format!("the budget of {budget} is spent"),
            Self::Failure { agent, outcome } => {
                format!("agent `{agent}` ended {outcome}, and the run stops on failure")
            }
        }
    }
}

impl<'a, F: FnMut(&RunEvent) + Send> Run<'a, F> {
    pub(crate) fn new(start: Start<'a>, on_event: F) -> Self {
        let (told, hearing) = mpsc::channel(EVENTS_MAX);
        Self {
            started: Instant::now(),
            slots: start.ready.agents.iter().map(|ready| Slot::new(&ready.environment)).collect(),
            next: 0,
            parts: JoinSet::new(),
            pool: Pool::default(),
            ends: JoinSet::new(),
            places: HashMap::new(),
            told,
            hearing,
            stop: start.cancel.child_token(),
            halt: None,
            held: Vec::new(),
            saves: JoinSet::new(),
            state_changed: false,
            sampling: Sampling::new(&start),
            alerts: Alerts::new(CommandPlace {
                run: start.id,
                cwd: start.ready.cwd.clone(),
                environment: start.command_environment.clone(),
                guard: start.guard.clone(),
            }),
            seq: 0,
            warnings: Vec::new(),
            gauge: Gauge::at(&start.pressure, MemoryReading::read(&start.proc)),
            on_event,
            start,
        }
    }

    /// Does the run to its end.
    ///
    /// # Cancel safety
    /// Dropping the future drops all parts, which kills the agents' processes at once; no report is made.
    pub(crate) async fn drive(mut self) -> RunReport {
        let agents = self.start.ready.agents.iter().map(|ready| ready.id().clone()).collect();
        self.tell(None, RunEventKind::RunStarted { mode: self.mode(), agents });
        for warning in std::mem::take(&mut self.start.ready.warnings) {
            self.warn(warning);
        }
        self.begin_alerts().await;
        self.heed_order();
        let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(EVENTS_PER_TURN);
        loop {
            self.start_more();
            if self.parts.is_empty() {
                break;
            }
            // Events before ends, so that an agent's last words are heard before its end; the look is rare and short.
            tokio::select! {
                biased;
                _ = look.tick() => {
                    self.heed_order();
                    self.look();
                    self.end_long_pauses();
                    self.keep_paused();
                    self.mind_memory();
                }
                _ = self.hearing.recv_many(&mut batch, EVENTS_PER_TURN) => {}
                Some(saved) = self.saves.join_next() => self.saved(saved),
                Some(written) = self.sampling.written() => self.sampled(written),
                Some(ended) = self.alerts.commands.ended() => self.command_ended(ended),
                Some(settled) = self.alerts.settling.join_next() => self.settled(settled),
                Some(written) = audited(&mut self.start.records) => self.audited(written),
                Some(retired) = self.ends.join_next() => self.retired(retired),
                Some(ended) = self.parts.join_next_with_id() => self.collect(ended),
                () = self.start.cancel.cancelled(), if self.halt.is_none() => {}
            }
            for (index, event) in batch.drain(..) {
                self.hear(index, event);
            }
            while let Some(ended) = self.parts.try_join_next_with_id() {
                self.collect(ended);
            }
        }
        self.finish().await
    }

    fn hear(&mut self, index: usize, event: AgentEvent) {
        let id = self.id(index);
        let slot = &mut self.slots[index];
        slot.heard.note(&event, &slot.redactor);
        if let AgentEvent::Queried { names, reply } = event {
            slot.heard.reported.answer(self.start.metrics.as_ref(), &id, names, reply);
            return;
        }
        self.state_changed |= matches!(event, AgentEvent::Started { .. });
        match kind_of(event, &slot.redactor, &mut slot.output) {
            Told::Event(kind) => {
                if let RunEventKind::Refused { method, reason } = &kind {
                    self.warn(format!("agent `{id}` was refused `{method}`: {reason}"));
                }
                if let Some(records) = &mut self.start.records {
                    records.audit.note(&id, &kind);
                }
                self.tell(Some(index), kind);
            }
            Told::LogLost { reason } => {
                self.warn(format!("the raw output of agent `{id}` is not kept: {reason}"));
            }
            Told::Nothing => {}
        }
    }

    fn collect(&mut self, ended: Result<(Id, PartDone), JoinError>) {
        let (place, done) = match ended {
            Ok(ended) => ended,
            Err(error) => (error.id(), PartEnd::Panicked { message: panic_message(error) }.into()),
        };
        // What the part told before its end is in the queue by now; what others tell meanwhile may wait.
        for _ in 0..self.hearing.len() {
            if let Ok((index, event)) = self.hearing.try_recv() {
                self.hear(index, event);
            }
        }
        // A part may hear of the caller's cancel before the loop does.
        self.notice_cancel();
        let index = self.places.remove(&place).expect("each part has a place");
        let text = self.slots[index].output.finish_text();
        if !text.is_empty() {
            self.tell(Some(index), RunEventKind::Output { text });
        }
        self.end_pause(index);
        self.tell_of_pauses(index);
        self.slots[index].restarts = done.restarts;
        if let Some(warm) = done.warm
            && let Some(surplus) = self.pool.put(index, warm)
        {
            self.retire(vec![surplus]);
        }
        let mut verdict = judge(done.end);
        if matches!(self.halt, Some(Halt::Budget { .. })) && verdict.outcome == Outcome::Cancelled {
            verdict.outcome = Outcome::OverBudget;
        }
        let report = self.report(index, verdict);
        self.end_judged(index, report);
    }

    /// Ends a part, and with it the run where the plan says so of one that did not complete.
    fn end_judged(&mut self, index: usize, report: AgentReport) {
        let failed = report.status != Outcome::Completed;
        let halt = Halt::Failure { agent: report.id.clone(), outcome: report.status };
        self.end_part(index, report);
        self.keep_one_going();
        if failed && self.halt.is_none() && self.start.plan.on_failure == OnFailure::Stop {
            self.halt(halt);
        }
    }

    fn end_part(&mut self, index: usize, mut report: AgentReport) {
        if report.cost.source == CostSource::Unknown
            && let Some(record) = record_of(self.start.id, self.start.plan, &report)
        {
            report.cost = self.start.prices.cost(&record);
        }
        self.note_unpriced(&report);
        self.sampling.add_end(index, &report, clock::now());
        self.add_reported(index);
        if let Some(problem) = self.slots[index].heard.reported.problem(&report.id) {
            self.warn(problem);
        }
        self.slots[index].report = Some(report.clone());
        self.state_changed = true;
        if let Some(records) = &self.start.records {
            let path = records.journal.home().agent_dir(&self.start.id, &report.id).join("stderr.log");
            crate::log::tell_stderr(self.start.id, &report.id, &path);
        }
        self.tell(Some(index), RunEventKind::Ended { report: Box::new(report) });
    }

    fn notice_cancel(&mut self) {
        if self.halt.is_none() && self.start.cancel.is_cancelled() {
            self.halt(Halt::Caller);
        }
    }

    /// Stops the run if another process has asked for that; see [`Runs::cancel`](crate::Runs::cancel).
    fn heed_order(&mut self) {
        let Some(records) = &self.start.records else { return };
        if self.halt.is_none() && records.journal.home().cancel_file(&self.start.id).exists() {
            self.halt(Halt::Asked);
        }
    }

    /// Stops all agents that work, and ends those that wait.
    fn halt(&mut self, halt: Halt) {
        self.stop.cancel();
        let outcome = match halt {
            Halt::Caller | Halt::Asked | Halt::Unaudited => Outcome::Cancelled,
            Halt::Budget { .. } => Outcome::OverBudget,
            Halt::Failure { .. } => Outcome::Skipped,
        };
        self.halt = Some(halt);
        for index in self.next..self.slots.len() {
            let report = self.report(index, Verdict { outcome, error: None, result: None });
            self.end_part(index, report);
        }
        self.next = self.slots.len();
    }

    /// Puts together what an agent told, how it ended and what that means.
    fn report(&self, index: usize, Verdict { outcome, error, result }: Verdict) -> AgentReport {
        let ready = &self.start.ready.agents[index];
        let profile = ready.agent.profile();
        let Slot { redactor, heard, started, restarts, paused_ms, cancelled_for, .. } = &self.slots[index];
        let masked = |text: &str| redactor.redact(text).into_owned();
        let result = result.as_ref();
        let partial = (outcome != Outcome::Completed && !heard.text.is_empty()).then_some(&heard.text);
        let halted = matches!(outcome, Outcome::Cancelled | Outcome::OverBudget | Outcome::Skipped);
        AgentReport {
            id: profile.id.clone(),
            driver: profile.driver.to_string(),
            status: outcome,
            answer: result.and_then(|result| result.answer.as_ref()).or(partial).map(|text| masked(text)),
            session_id: result
                .and_then(|result| result.session_id.as_ref())
                .or(heard.session_id.as_ref())
                .map(|id| masked(id)),
            model: result
                .and_then(|result| result.model.as_ref())
                .or(heard.model.as_ref())
                .map(|model| masked(model)),
            usage: result.and_then(|result| result.usage.map(usage_of)).or(heard.usage),
            cost: match Cost::reported(result.and_then(|result| result.cost_usd)) {
                Cost { usd: None, .. } => heard.cost,
                known => known,
            },
            error: error.map(|error| with_hint(error, profile)).map(|error| masked_error(error, redactor)),
            reason: cancelled_for
                .clone()
                .filter(|_| outcome == Outcome::Cancelled)
                .or_else(|| self.halt.as_ref().filter(|_| halted).map(Halt::reason)),
            denials: result
                .map(|result| result.denials.iter().map(|denial| masked_denial(denial, redactor)).collect())
                .unwrap_or_default(),
            started_at: started.map(|(_, at)| at),
            ended_at: started.map(|_| clock::now()),
            duration_ms: started.map_or(0, |(since, _)| clock::ms_since(since)),
            restarts: *restarts,
            paused_ms: *paused_ms,
            pid: heard.pid,
            held_by: heard.pid.map(|_| hold(self.start.guard.as_ref()).tier.to_string()),
            limits: limits(&profile.resources, ready.times, self.start.guard.as_ref()),
            unknown_lines: heard.unknown_lines,
            memory_bytes_peak: heard.memory_bytes_peak,
        }
    }

    fn audited(&mut self, written: Result<(), String>) {
        if let Err(problem) = written {
            self.warn(format!("the audit log does not hold what was decided: {problem}"));
            if self.start.ready.mode == PermissionMode::Yolo && self.halt.is_none() {
                self.halt(Halt::Unaudited);
            }
        }
    }

    fn tell(&mut self, index: Option<usize>, kind: RunEventKind) {
        self.seq += 1;
        let agent = index.map(|index| self.id(index));
        let event =
            RunEvent { v: EVENT_VERSION, run: self.start.id, seq: self.seq, at: clock::now(), agent, kind };
        let added = self.start.records.as_mut().map(|records| records.journal.add(&event));
        crate::log::tell(&event);
        (self.on_event)(&event);
        if let Some(Err(error)) = added {
            self.warn(chain(&error));
        }
    }

    /// Says a thing once, as an event and in the report.
    fn warn(&mut self, message: String) {
        if self.warnings.len() < WARNINGS_MAX && !self.warnings.contains(&message) {
            self.warnings.push(message.clone());
            self.tell(None, RunEventKind::Warning { message });
        }
    }

    fn id(&self, index: usize) -> AgentId {
        self.start.ready.agents[index].id().clone()
    }

    fn mode(&self) -> RunMode {
        self.start.mode()
    }
}

impl Start<'_> {
    fn mode(&self) -> RunMode {
        match self.plan.order {
            Order::Parallel { .. } => RunMode::Parallel,
            Order::Sequential => RunMode::Sequential,
        }
    }
}

/// Waits until some of the run's audit lines are written; `None` when there are none.
async fn audited(records: &mut Option<Records>) -> Option<Result<(), String>> {
    records.as_mut()?.audit.written().await
}

fn panic_message(error: JoinError) -> String {
    let text = |payload: Box<dyn Any + Send>| match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => {
            payload.downcast_ref::<&str>().map_or_else(|| "without words".to_owned(), ToString::to_string)
        }
    };
    error.try_into_panic().map_or_else(|error| error.to_string(), text)
}
