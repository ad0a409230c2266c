//! The steps of a switch, each written down before the next one.

use std::future::Future;
use std::time::Duration;

use aiswitch_agent::{
    Agent, AgentId, ErrorKind, LiveError, Pace, RunContext, TaskError, TaskSpec, TaskStatus, event_channel,
};
use aiswitch_env::{EnvSnapshot, Environment, PresetName, SnapshotId};
use tokio_util::sync::CancellationToken;

use super::turn::wait_for_turns;
use super::validate::{Found, Goal, place};
use super::{
    EnvNotice, EnvRecords, EnvState, SwitchError, SwitchOptions, SwitchProbe, SwitchRecord, SwitchStep,
    Switched, ValidationResult, named,
};
use crate::{Actor, AuditDecision, AuditEntry, Coordinator, chain, clock};

/// What an agent is asked to show that its provider takes its key.
const PROBE_PROMPT: &str = "Reply with the single word OK and do nothing else.";

/// How long it may take to answer that.
const PROBE_ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

impl Coordinator {
    /// Says all that speaks against moving an agent to a preset, and what would become of its variables; touches nothing.
    ///
    /// # Errors
    /// There is no home, or its records cannot be read. What speaks against the switch is in the result.
    pub fn validate_env_switch(
        &self,
        agent: &AgentId,
        preset: &PresetName,
        options: &SwitchOptions,
    ) -> Result<ValidationResult, SwitchError> {
        let records = self.env_state()?.read()?;
        Ok(self.look((agent, &Goal::Preset(preset.clone())), &records, options).validation)
    }

    /// All that an agent may know under what it is bound to, or under the preset that it has without that.
    ///
    /// # Errors
    /// There is no home, its records cannot be read, or the preset cannot be had.
    pub fn agent_environment(
        &self,
        agent: &AgentId,
        options: &SwitchOptions,
    ) -> Result<Environment, SwitchError> {
        let records = self.env_state()?.read()?;
        let profile = self.known_agent(agent)?.profile();
        let unusable = |source| SwitchError::Unusable { agent: agent.clone(), source };
        let under = self.under_now(&records, profile, options.unbound.as_ref()).map_err(unusable)?;
        let (environment, problems) = self.environment_under(profile, under.as_ref().map(|(_, flat)| flat));
        problems.into_iter().next().map_or(Ok(environment), |problem| Err(unusable(problem)))
    }

    /// Moves an agent to a preset: snapshot, end of the turn, restart, probe; then it counts, else it is taken back.
    ///
    /// Every step is written down before the next one. Broken off at any of them, the agent is under the old preset or the
    /// new one, and [`EnvState::settle`] says which.
    ///
    /// # Errors
    /// Nothing was touched, or it was taken back ([`SwitchError::RolledBack`]).
    ///
    /// # Panics
    /// Outside of a Tokio runtime with timers and I/O.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the switch to itself; it ends with the runtime at the latest.
    pub async fn switch_agent_env(
        &self,
        agent: &AgentId,
        preset: &PresetName,
        options: SwitchOptions,
    ) -> Result<Switched, SwitchError> {
        let (all, agent, goal) = (self.clone(), agent.clone(), Goal::Preset(preset.clone()));
        to_its_end(async move {
            let state = all.env_state()?;
            let (_lock, settled) = state.hold(&agent).await?;
            all.change(&state, ("env.switch", agent, goal), &options, settled).await
        })
        .await
    }

    /// Keeps what an agent runs under now.
    ///
    /// # Errors
    /// The agent is not known, its preset cannot be put together or holds a secret in clear, or the records cannot be written.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with timers.
    ///
    /// # Cancel safety
    /// A dropped future may have kept the snapshot or not.
    pub async fn create_env_snapshot(
        &self,
        agent: &AgentId,
        options: &SwitchOptions,
    ) -> Result<(EnvSnapshot, Vec<EnvNotice>), SwitchError> {
        let state = self.env_state()?;
        self.operator_only("env.snapshot", agent, String::new()).await?;
        let (_lock, mut notices) = state.hold(agent).await?;
        let snapshot = self.snapshot_of(agent, &state.read()?, options)?;
        notices.extend(state.keep(snapshot.clone()).await?);
        Ok((snapshot, notices))
    }

    /// Moves an agent back to what a snapshot says, or to what was before its last switch that counts.
    ///
    /// # Errors
    /// As [`switch_agent_env`](Self::switch_agent_env), and if there is no such snapshot.
    ///
    /// # Panics
    /// As [`switch_agent_env`](Self::switch_agent_env).
    ///
    /// # Cancel safety
    /// As [`switch_agent_env`](Self::switch_agent_env).
    pub async fn rollback_env(
        &self,
        agent: &AgentId,
        snapshot: Option<SnapshotId>,
        options: SwitchOptions,
    ) -> Result<Switched, SwitchError> {
        let (all, agent) = (self.clone(), agent.clone());
        to_its_end(async move {
            let state = all.env_state()?;
            let (_lock, settled) = state.hold(&agent).await?;
            let goal = Goal::Snapshot(Box::new(wanted(&state.read()?, &agent, snapshot)?));
            all.change(&state, ("env.rollback", agent, goal), &options, settled).await
        })
        .await
    }

    async fn change(
        &self,
        state: &EnvState,
        (action, agent, goal): (&'static str, AgentId, Goal),
        options: &SwitchOptions,
        mut notices: Vec<EnvNotice>,
    ) -> Result<Switched, SwitchError> {
        let records = state.read()?;
        let detail = format!("to {}", named(goal.preset()));
        if self.caller.actor != Actor::Operator {
            self.operator_only(action, &agent, detail.clone()).await?;
        }
        let Found { validation, environment } = self.look((&agent, &goal), &records, options);
        if !validation.is_valid() {
            return Err(SwitchError::Invalid(Box::new(validation)));
        }
        let found = self.known_agent(&agent)?;
        self.operator_only(action, &agent, detail).await?;
        let place = place(found.profile(), options);
        let (before, unkept) = match self.snapshot_of(&agent, &records, options) {
            Ok(snapshot) => (Some(snapshot), None),
            // A preset that is not there any more is no reason to stay under it.
            Err(error) => (None, Some(chain(&error))),
        };
        let started_at = clock::now();
        let record = SwitchRecord {
            id: before.as_ref().map_or_else(|| SnapshotId::at(started_at), |snapshot| snapshot.id),
            agent: agent.clone(),
            from: preset_now(&records, &agent, options),
            to: self.binding(&goal, found.profile(), place.session_id.clone()),
            step: SwitchStep::Begun,
            reason: unkept,
            started_at,
            ended_at: None,
        };
        notices.extend(state.begin(record.clone(), before).await?);
        let tried = self.try_out(found, place, &environment, options).await;
        if let Err(problem) = tried {
            let problem = masked(problem, &environment);
            return Err(self.taken_back(state, &record, problem, notices).await?);
        }
        if let Err(error) =
            state.probed(record.id, options.live.as_ref().and_then(|live| live.status().session_id)).await
        {
            // What is not written down does not count: the live agent goes back as well.
            self.return_live(&records, &agent, options).await;
            return Err(error.into());
        }
        let record = state.end(&record, SwitchStep::Committed, None).await?;
        Ok(Switched { record, notices })
    }

    /// A snapshot of what an agent runs under now.
    fn snapshot_of(
        &self,
        agent: &AgentId,
        records: &EnvRecords,
        options: &SwitchOptions,
    ) -> Result<EnvSnapshot, SwitchError> {
        let found = self.known_agent(agent)?;
        let unusable = |source| SwitchError::Unusable { agent: agent.clone(), source };
        let under = self.under_now(records, found.profile(), options.unbound.as_ref()).map_err(unusable)?;
        let session_id = super::validate::session_of(options)
            .or_else(|| records.bindings.get(agent).and_then(|binding| binding.session_id.clone()));
        let preset = under.as_ref().map(|(name, flat)| (name, flat));
        EnvSnapshot::new(agent.as_ref(), clock::now(), preset, session_id).map_err(unusable)
    }

    fn known_agent(&self, name: &AgentId) -> Result<&dyn Agent, SwitchError> {
        self.agent(name).ok_or_else(|| SwitchError::UnknownAgent {
            name: name.clone(),
            nearest: self.nearest_agent(name),
        })
    }

    /// Has an agent do under its new environment what it has to.
    async fn try_out(
        &self,
        agent: &dyn Agent,
        place: TaskSpec,
        environment: &Environment,
        options: &SwitchOptions,
    ) -> Result<(), TaskError> {
        let name = &agent.profile().id;
        let context = || self.probe_context(name, environment);
        if options.probe == SwitchProbe::Answer {
            let fresh = TaskSpec { prompt: PROBE_PROMPT.to_owned(), session_id: None, ..place.clone() };
            answers(agent, fresh, context()).await?;
        }
        let live = options.live.as_ref();
        let starts_later = live.is_none_or(|live| !live.status().state.has_process());
        if live.is_none()
            && let Some(home) = &self.home
        {
            wait_for_turns(home, name, options.turn, options.turn_timeout).await?;
        }
        if starts_later && options.probe != SwitchProbe::Nothing {
            agent.probe(place, context()).await?;
        }
        match live {
            Some(live) => live.switch_env(environment.clone(), options.turn).await.map_err(problem_of),
            None => Ok(()),
        }
    }

    /// What a probe is given beside its task.
    fn probe_context(&self, agent: &AgentId, environment: &Environment) -> RunContext {
        // Nobody hears what is told meanwhile: what counts is the end.
        let (events, _) = event_channel(agent.clone());
        let marker = format!("{}:{agent}", SnapshotId::at(clock::now()));
        RunContext {
            environment: environment.clone(),
            events,
            cancel: CancellationToken::new(),
            limits: self.limits,
            output_dir: None,
            pace: Pace::new(marker.clone()),
            marker,
            guard: self.guard.clone(),
            hidden: self.home.iter().map(|home| home.root().to_owned()).collect(),
        }
    }

    /// Has a live agent go back to what it runs under by the records.
    async fn return_live(&self, records: &EnvRecords, agent: &AgentId, options: &SwitchOptions) {
        let (Some(live), Some(found)) = (&options.live, self.agent(agent)) else { return };
        let under = self.under_now(records, found.profile(), options.unbound.as_ref()).unwrap_or(None);
        let (environment, _) = self.environment_under(found.profile(), under.as_ref().map(|(_, flat)| flat));
        // It said why the records cannot be written; what the agent says beside is in its status.
        drop(live.switch_env(environment, options.turn).await);
    }

    /// Writes down that a switch is taken back.
    async fn taken_back(
        &self,
        state: &EnvState,
        record: &SwitchRecord,
        problem: TaskError,
        notices: Vec<EnvNotice>,
    ) -> Result<SwitchError, SwitchError> {
        let reason = Some(problem.message.clone());
        let record = Box::new(state.end(record, SwitchStep::RolledBack, reason).await?);
        Ok(SwitchError::RolledBack { record, problem, notices })
    }

    /// Refuses everybody but the operator, and writes down who asked for what.
    pub(super) async fn operator_only(
        &self,
        action: &'static str,
        agent: &AgentId,
        detail: String,
    ) -> Result<(), SwitchError> {
        let is_operator = self.caller.actor == Actor::Operator;
        if let Some(audit) = self.audit()? {
            let entry = AuditEntry {
                actor: self.caller.actor.clone(),
                channel: self.caller.channel,
                action: action.to_owned(),
                object: agent.to_string(),
                decision: if is_operator { AuditDecision::Allowed } else { AuditDecision::Denied },
                detail: Some(detail).filter(|detail| !detail.is_empty()),
            };
            let unaudited = |source| SwitchError::Unaudited { action, source };
            audit.append(vec![entry]).await.map_err(unaudited)?;
        }
        if is_operator {
            Ok(())
        } else {
            Err(SwitchError::OperatorOnly { action, actor: self.caller.actor.clone() })
        }
    }

    /// The records of the home.
    fn env_state(&self) -> Result<EnvState, SwitchError> {
        let home = self.home.as_ref().ok_or(SwitchError::NoHome)?;
        Ok(EnvState::new(home.clone(), self.lock_manager(home)?))
    }
}

/// Has a switch go on when nobody waits for it any more.
async fn to_its_end<T: Send + 'static>(
    switch: impl Future<Output = Result<T, SwitchError>> + Send + 'static,
) -> Result<T, SwitchError> {
    match tokio::spawn(switch).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The snapshot that is meant: a named one, or that of the last switch that counts.
fn wanted(
    records: &EnvRecords,
    agent: &AgentId,
    snapshot: Option<SnapshotId>,
) -> Result<EnvSnapshot, SwitchError> {
    let last = || {
        let counts = |record: &&SwitchRecord| record.agent == *agent && record.step == SwitchStep::Committed;
        records.switches.iter().rfind(counts).map(|record| record.id)
    };
    let id = snapshot.or_else(last).ok_or_else(|| SwitchError::NothingToTakeBack { agent: agent.clone() })?;
    let found = records.snapshot(agent, id).cloned();
    found.ok_or_else(|| SwitchError::NoSnapshot { agent: agent.clone(), id })
}

/// The preset that an agent runs under.
fn preset_now(records: &EnvRecords, agent: &AgentId, options: &SwitchOptions) -> Option<PresetName> {
    let bound = records.bindings.get(agent).map(|binding| &binding.preset);
    bound.or(options.unbound.as_ref()).cloned()
}

/// Has an agent answer a short prompt, within a bound.
async fn answers(agent: &dyn Agent, task: TaskSpec, context: RunContext) -> Result<(), TaskError> {
    let answered = tokio::time::timeout(PROBE_ANSWER_TIMEOUT, agent.run(task, context)).await;
    let result = match answered {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => return Err(TaskError::new(error.kind(), chain(&error))),
        Err(_) => {
            let message = format!("it did not answer within {} s", PROBE_ANSWER_TIMEOUT.as_secs());
            return Err(TaskError::new(ErrorKind::Timeout, message));
        }
    };
    match (result.status, result.error) {
        // A tool that it was denied does not matter: it has answered.
        (TaskStatus::Completed | TaskStatus::Denied, _) => Ok(()),
        (_, Some(error)) => Err(error),
        (_, None) => Err(TaskError::new(ErrorKind::Empty, "it gave no answer")),
    }
}

/// Why a live agent did not go on under its new environment.
fn problem_of(error: LiveError) -> TaskError {
    match error {
        LiveError::RolledBack { problem, .. } | LiveError::Start { problem, .. } => problem,
        other => TaskError::new(ErrorKind::Internal, chain(&other)),
    }
}

/// A problem without the secrets of the environment that it came up under.
fn masked(problem: TaskError, environment: &Environment) -> TaskError {
    let redactor = environment.redactor();
    TaskError { message: redactor.redact(&problem.message).into_owned(), ..problem }
}
