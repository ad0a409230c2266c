//! What runs plans: agents, presets, limits and a place to keep records.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::{Agent, AgentId, Driver, Guard, Limits, MARKER, PermissionMode, TaskError};
use aiswitch_env::{Ambient, DataKeys, Environment, Origin, Preset, PresetName};
use aiswitch_lock::{FileLockManager, LockError, LockManager};
use aiswitch_metrics::{Collector, MetricsStore};
use aiswitch_tokens::{PriceList, UsageStore};
use tokio_util::sync::CancellationToken;

use crate::audit::RunAudit;
use crate::clock;
use crate::home::make_folder;
use crate::journal::Journal;
use crate::part::{not_started, with_hint};
use crate::ready::Ready;
use crate::run::{Records, Run, Start};
use crate::run_store::{RunStore, SqliteRunStore};
use crate::state::{State, StateFiles};
use crate::{
    Actor, Audit, AuditDecision, AuditEntry, Channel, Home, Order, Plan, PressureLimits, ProcessCollector,
    RunError, RunEvent, RunId, RunReport, SAMPLE_EVERY_DEFAULT, SAMPLE_EVERY_MAX, SAMPLE_EVERY_MIN, Watch,
};

/// What runs plans: agents, presets, limits and a place to keep records.
///
/// A new one has no agents, gives them an empty environment and writes nothing. Runs do not change it, so several may
/// go on at the same time, in one process and in several.
#[derive(Clone, Debug, Default)]
pub struct Coordinator {
    pub(crate) agents: Vec<Arc<dyn Agent>>,
    pub(crate) ambient: Ambient,
    pub(crate) presets: BTreeMap<PresetName, Preset>,
    pub(crate) keys: DataKeys,
    pub(crate) home: Option<Home>,
    locks: Option<Arc<dyn LockManager>>,
    pub(crate) limits: Limits,
    pressure: PressureLimits,
    proc: Proc,
    pub(crate) guard: Option<Guard>,
    pub(crate) caller: Caller,
    usage: Option<Arc<dyn UsageStore>>,
    metrics: Option<Arc<dyn MetricsStore>>,
    collector: Option<Arc<dyn Collector>>,
    runs: Option<Arc<dyn RunStore>>,
    prices: Arc<PriceList>,
    alerts: Arc<[Watch]>,
    sample_every: SampleEvery,
}

/// Who calls, and what they are heard through.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) actor: Actor,
    pub(crate) channel: Channel,
}

/// How often samples are kept.
#[derive(Clone, Copy, Debug)]
struct SampleEvery(Duration);

impl Default for SampleEvery {
    fn default() -> Self {
        Self(SAMPLE_EVERY_DEFAULT)
    }
}

/// The folder in which the system tells of itself.
#[derive(Clone, Debug)]
struct Proc(PathBuf);

impl Default for Proc {
    fn default() -> Self {
        Self("/proc".into())
    }
}

impl Default for Caller {
    fn default() -> Self {
        Self { actor: Actor::Operator, channel: Channel::Caller }
    }
}

impl Coordinator {
    /// A coordinator without agents, with an empty environment, that writes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an agent under the name of its profile.
    #[must_use]
    pub fn with_agent(mut self, agent: Arc<dyn Agent>) -> Self {
        self.agents.push(agent);
        self
    }

    /// Sets the caller's environment, of which agents are given what they may have.
    #[must_use]
    pub fn with_ambient(mut self, ambient: Ambient) -> Self {
        self.ambient = ambient;
        self
    }

    /// Sets the presets that plans may name.
    #[must_use]
    pub fn with_presets(mut self, presets: BTreeMap<PresetName, Preset>) -> Self {
        self.presets = presets;
        self
    }

    /// Sets the keys that open the encrypted values of presets.
    #[must_use]
    pub fn with_keys(mut self, keys: DataKeys) -> Self {
        self.keys = keys;
        self
    }

    /// Keeps the folder of every run in this home, and shows in its `state` folder how the last runs are.
    #[must_use]
    pub fn with_home(mut self, home: Home) -> Self {
        self.home = Some(home);
        self
    }

    /// Takes locks from here instead of the files in the home's own `locks` folder.
    #[must_use]
    pub fn with_locks(mut self, locks: Arc<dyn LockManager>) -> Self {
        self.locks = Some(locks);
        self
    }

    /// Sets how much each agent may print, and how long it may take to stop.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets when the machine counts as short of memory: then fewer agents start, and the last ones of a plan are paused.
    #[must_use]
    pub fn with_pressure(mut self, pressure: PressureLimits) -> Self {
        self.pressure = pressure;
        self
    }

    /// Reads how short memory is in this folder instead of `/proc`.
    #[must_use]
    pub fn with_proc(mut self, folder: PathBuf) -> Self {
        self.proc = Proc(folder);
        self
    }

    /// Guards the processes of every agent, so that none outlives its run; [`guard_main`](crate::guard_main) gives one.
    #[must_use]
    pub fn with_guard(mut self, guard: Guard) -> Self {
        self.guard = Some(guard);
        self
    }

    /// Keeps what the agents of each run used in this store.
    #[must_use]
    pub fn with_usage(mut self, usage: Arc<dyn UsageStore>) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Keeps what the agents of each run take of the machine, and how long their tasks took, in this store.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<dyn MetricsStore>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Looks at agents and the machine with this instead of a [`ProcessCollector`].
    #[must_use]
    pub fn with_collector(mut self, collector: Arc<dyn Collector>) -> Self {
        self.collector = Some(collector);
        self
    }

    /// Keeps a sample so often instead of every 10 seconds: from [`SAMPLE_EVERY_MIN`] to [`SAMPLE_EVERY_MAX`].
    #[must_use]
    pub fn with_sample_every(mut self, every: Duration) -> Self {
        self.sample_every = SampleEvery(every);
        self
    }

    /// Watches each run by these rules, which judge what is kept in the store of [`with_metrics`](Self::with_metrics).
    ///
    /// What is known of other rules in that store is forgotten.
    #[must_use]
    pub fn with_alerts(mut self, alerts: impl IntoIterator<Item = Watch>) -> Self {
        self.alerts = alerts.into_iter().collect();
        self
    }

    /// Keeps how each run is, and which of its agents work, in this store instead of the home's own `state/runs.db`.
    #[must_use]
    pub fn with_run_store(mut self, runs: Arc<dyn RunStore>) -> Self {
        self.runs = Some(runs);
        self
    }

    /// Prices what agents used and did not tell the cost of by this list, instead of the one that is known here.
    #[must_use]
    pub fn with_prices(mut self, prices: PriceList) -> Self {
        self.prices = Arc::new(prices);
        self
    }

    /// Says who calls, as the channel tells through which they are heard; without this, it is the operator.
    #[must_use]
    pub fn with_caller(mut self, actor: Actor, channel: Channel) -> Self {
        self.caller = Caller { actor, channel };
        self
    }

    /// Runs a plan to its end and tells each step; a failing agent is a line of the report.
    ///
    /// A cancelled `cancel` stops all agents in their own way, and the report is made all the same. `on_event` is
    /// called in order from within the run, which waits for it. The plan's locks are taken before anything starts and
    /// let go after the report; a run that is cancelled while it waits for them takes none and starts no agent.
    ///
    /// # Errors
    /// The run could not start; nothing was started then, and no folder of the run is left.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with timers and I/O.
    ///
    /// # Cancel safety
    /// Dropping the future kills all agents at once and makes no report. The folder of the run keeps what was written
    /// until then; the state files show the run as running until this process ends, and as interrupted afterwards.
    pub async fn run(
        &self,
        plan: Plan,
        cancel: CancellationToken,
        on_event: impl FnMut(&RunEvent) + Send,
    ) -> Result<RunReport, RunError> {
        let ready = self.ready(&plan)?;
        self.check_watches()?;
        if let (Some(name), None, None) = (plan.locks.first(), &self.home, &self.locks) {
            return Err(RunError::NoLocks { name: name.clone() });
        }
        if let Some(home) = &self.home {
            home.check().map_err(|source| RunError::Home { path: home.root().to_owned(), source })?;
        }
        let started_at = clock::now();
        let id = RunId::at(started_at);
        self.allow(&ready, id).await?;
        let records = self.home.as_ref().map(|home| self.open_records(home, id, ready.mode)).transpose()?;
        let state = self.state()?;
        let locks = match &self.home {
            Some(home) => Some(self.lock_manager(home)?),
            None => self.locks.clone(),
        };
        let start = Start {
            id,
            started_at,
            plan: &plan,
            ready,
            limits: self.limits,
            pressure: self.pressure,
            proc: self.proc.0.clone(),
            guard: self.guard.clone(),
            hidden: self.home.iter().map(|home| home.root().to_owned()).collect(),
            cancel,
            records,
            state,
            usage: self.usage.clone(),
            metrics: self.metrics.clone(),
            collector: self.collector.clone().unwrap_or_else(|| Arc::new(ProcessCollector::new())),
            prices: Arc::clone(&self.prices),
            sample_every: self.sample_every.0,
            alerts: Arc::clone(&self.alerts),
            command_environment: Environment::compose(&self.ambient, &[], None)?,
        };
        let mut run = Run::new(start, on_event);
        run.begin(locks.as_deref()).await?;
        Ok(run.drive().await)
    }

    /// Runs a plan with its agents side by side; without events, and to its end.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn execute_parallel(&self, plan: Plan) -> Result<RunReport, RunError> {
        let order = match plan.order {
            Order::Sequential => Order::default(),
            parallel @ Order::Parallel { .. } => parallel,
        };
        self.run(plan.with_order(order), CancellationToken::new(), |_| {}).await
    }

    /// Runs a plan with one agent after the other, each given the answers before it; without events.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    ///
    /// # Panics
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    /// As [`run`](Self::run).
    pub async fn execute_sequential(&self, plan: Plan) -> Result<RunReport, RunError> {
        self.run(plan.with_order(Order::Sequential), CancellationToken::new(), |_| {}).await
    }

    /// Says what a run of this plan would start, and starts nothing.
    ///
    /// # Errors
    /// As [`run`](Self::run), but for the home, which is not touched.
    pub fn dry_run(&self, plan: &Plan) -> Result<Vec<PlannedLaunch>, RunError> {
        let ready = self.ready(plan)?;
        let run = RunId::at(clock::now());
        let planned = (0..ready.agents.len()).map(|index| {
            let task = ready.task(run, index, plan.prompt.clone());
            let agent = &ready.agents[index];
            let (launch, problem) = match agent.launch(&task) {
                Ok(launch) => (launch, None),
                Err(error) => (None, Some(with_hint(not_started(&error), agent.agent.profile()))),
            };
            let environment = launch.as_ref().map_or(&agent.environment, |launch| &launch.environment);
            PlannedLaunch {
                agent: agent.id().clone(),
                driver: agent.agent.profile().driver,
                environment: planned(environment, launch.is_some()),
                argv: launch.map(|launch| {
                    std::iter::once(launch.program.to_string_lossy().into_owned())
                        .chain(launch.args)
                        .collect()
                }),
                cwd: task.cwd,
                mode: task.mode,
                model: task.model,
                prompt: ready.shown_prompt.clone(),
                problem,
            }
        });
        Ok(planned.collect())
    }

    /// Refuses rules of alerts that can never fire or have one name, and times between samples that cannot be.
    fn check_watches(&self) -> Result<(), RunError> {
        let every = self.sample_every.0;
        if !(SAMPLE_EVERY_MIN..=SAMPLE_EVERY_MAX).contains(&every) {
            return Err(RunError::SampleEvery { every });
        }
        for (place, watch) in self.alerts.iter().enumerate() {
            let rule = || watch.rule.name.clone();
            watch.check().map_err(|source| RunError::Watch { rule: rule(), source })?;
            if self.alerts[..place].iter().any(|other| other.rule.name == watch.rule.name) {
                return Err(RunError::DuplicateWatch { rule: rule() });
            }
        }
        Ok(())
    }

    /// Refuses what the caller may not have done, and writes down what only the operator may.
    async fn allow(&self, ready: &Ready, id: RunId) -> Result<(), RunError> {
        if ready.mode != PermissionMode::Yolo {
            return Ok(());
        }
        let Caller { actor, channel } = self.caller.clone();
        let is_operator = actor == Actor::Operator;
        if let Some(audit) = self.audit()? {
            let agents: Vec<&str> = ready.agents.iter().map(|agent| agent.id().as_ref()).collect();
            let entry = AuditEntry {
                actor: actor.clone(),
                channel,
                action: "run.yolo".to_owned(),
                object: id.to_string(),
                decision: if is_operator { AuditDecision::Allowed } else { AuditDecision::Denied },
                detail: Some(agents.join(", ")),
            };
            audit.append(vec![entry]).await.map_err(|source| RunError::Audit { source })?;
        }
        if is_operator { Ok(()) } else { Err(RunError::OperatorOnly { actor }) }
    }

    /// What writes the audit log; `None` without a home.
    pub(crate) fn audit(&self) -> Result<Option<Audit>, LockError> {
        let Some(home) = &self.home else { return Ok(None) };
        Ok(Some(Audit::new(home.clone(), self.lock_manager(home)?)))
    }

    /// Where it is kept how runs are; `None` without a home and a store.
    fn state(&self) -> Result<Option<State>, RunError> {
        let Some(home) = &self.home else {
            return Ok(self.runs.clone().map(|store| State::new(store, None)));
        };
        let store = self.runs.clone().unwrap_or_else(|| Arc::new(SqliteRunStore::at(home.runs_file())));
        let files = StateFiles { home: home.clone(), locks: self.lock_manager(home)? };
        Ok(Some(State::new(store, Some(files))))
    }

    /// Where locks are taken from.
    pub(crate) fn lock_manager(&self, home: &Home) -> Result<Arc<dyn LockManager>, LockError> {
        Ok(match &self.locks {
            Some(locks) => Arc::clone(locks),
            None => Arc::new(FileLockManager::open(home.locks_dir())?),
        })
    }

    /// Makes the folder of a run.
    fn open_records(&self, home: &Home, run: RunId, mode: PermissionMode) -> Result<Records, RunError> {
        let unusable = |source| RunError::Home { path: home.root().to_owned(), source };
        make_folder(&home.state_dir()).map_err(unusable)?;
        let locks = self.lock_manager(home)?;
        let journal = Journal::create(home.clone(), run).map_err(unusable)?;
        let audit = RunAudit::new(Audit::new(home.clone(), locks), run, mode);
        Ok(Records { journal, audit })
    }
}

/// The variables of an agent, by name; one with a process has its mark as well.
fn planned(environment: &Environment, has_process: bool) -> Vec<PlannedVariable> {
    let mark = has_process.then_some((MARKER, Origin::Driver));
    let given = environment.iter().map(|(name, variable)| (name, variable.origin));
    let mut variables: Vec<PlannedVariable> =
        given.chain(mark).map(|(name, origin)| PlannedVariable { name: name.to_owned(), origin }).collect();
    variables.sort_by(|a, b| a.name.cmp(&b.name));
    variables
}

/// What a run would start for one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedLaunch {
    /// The agent.
    pub agent: AgentId,
    /// How it is driven.
    pub driver: Driver,
    /// The program's file and its arguments; `None` where nothing would be started.
    pub argv: Option<Vec<String>>,
    /// The variables that it would be given, by name.
    pub environment: Vec<PlannedVariable>,
    /// The folder that it would work in.
    pub cwd: PathBuf,
    /// What it would be allowed to do.
    pub mode: PermissionMode,
    /// The model that it would be told to use.
    pub model: Option<String>,
    /// The prompt with secrets masked; one behind another of a sequence would be given the answers before it as well.
    pub prompt: String,
    /// Why it could not be started.
    pub problem: Option<TaskError>,
}

/// A variable that an agent would be given; never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedVariable {
    /// Its name.
    pub name: String,
    /// Why it would be there.
    pub origin: Origin,
}
