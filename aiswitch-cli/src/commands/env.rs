//! `aiswitch env`: which preset an agent runs under.

use std::path::PathBuf;

use aiswitch_coordinator::{
    AgentId, Channel, Coordinator, Home, PresetName, SwitchError, SwitchOptions, SwitchProbe, Switched,
    TURN_TIMEOUT_DEFAULT,
};

use crate::args::{EnvSwitchArgs, EnvTarget, EnvVerb, TurnArgs};
use crate::assemble;
use crate::bound::{Bound, tell};
use crate::caller::{Caller, absolute};
use crate::commands::runtime;
use crate::config::Config;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::output::env::{HistoryView, SnapshotView, SwitchView, ValidationView};
use crate::project::trusted;

/// What the verbs need to move an agent.
struct Bench<'a> {
    coordinator: Coordinator,
    options: SwitchOptions,
    output: &'a Output,
}

/// Does what the verb says.
///
/// # Errors
/// What keeps it from that; the agent is under the preset before then.
pub(crate) fn env(verb: &EnvVerb, home: &Home, caller: &Caller, output: &Output) -> Result<Code, Error> {
    let bench = |agent: &AgentId, preset: Option<&PresetName>, cwd: Option<&PathBuf>| {
        Bench::new((agent, preset, cwd), home, caller, output)
    };
    match verb {
        EnvVerb::Switch(args) => {
            let EnvTarget { agent, preset, cwd, .. } = &args.target;
            bench(agent, Some(preset), cwd.as_ref())?.switch(args)
        }
        EnvVerb::Validate(target) => {
            bench(&target.agent, Some(&target.preset), target.cwd.as_ref())?.validate(target)
        }
        EnvVerb::Snapshot { agent } => bench(agent, None, None)?.snapshot(agent),
        EnvVerb::Rollback { agent, snapshot, turn } => {
            let Bench { coordinator, options, .. } = bench(agent, None, None)?.with_turn(*turn);
            let options = SwitchOptions { probe: SwitchProbe::Nothing, ..options };
            let switched = runtime()?.block_on(coordinator.rollback_env(agent, *snapshot, options));
            Ok(done(&switched.map_err(|error| told(error, output))?, output))
        }
        EnvVerb::History { agent } => history(agent.as_ref(), home, output),
    }
}

impl<'a> Bench<'a> {
    fn new(
        (agent, preset, cwd): (&AgentId, Option<&PresetName>, Option<&PathBuf>),
        home: &Home,
        caller: &Caller,
        output: &'a Output,
    ) -> Result<Self, Error> {
        let cwd = absolute(cwd.cloned().unwrap_or_default())?;
        let config = Config::read(home)?.under(trusted(&cwd, home, output)?);
        let bound = Bound::read(home, output)?;
        let unbound = match config.agents.get(agent) {
            Some(known) => assemble::unbound(&known.spec, &config, caller)?.map(|(preset, _)| preset),
            None => None,
        };
        let mut coordinator = Coordinator::new()
            .with_ambient(caller.ambient())
            .with_guard(caller.guard.clone())
            .with_caller(Caller::actor(), Channel::CommandLine)
            .with_home(home.clone());
        for id in config.agents.keys() {
            coordinator = coordinator.with_agent(assemble::spec(&config, id)?.build(id.clone()));
        }
        let keys = assemble::keys_of_switch(&config.presets, preset, &bound, (home, caller))?;
        let options = SwitchOptions { unbound, ..SwitchOptions::new(cwd) };
        Ok(Self { coordinator: coordinator.with_presets(config.presets).with_keys(keys), options, output })
    }

    fn with_turn(mut self, turn: TurnArgs) -> Self {
        self.options.turn = turn.turn();
        self.options.turn_timeout = turn.timeout.map_or(TURN_TIMEOUT_DEFAULT, |time| time.0);
        self
    }

    fn switch(self, args: &EnvSwitchArgs) -> Result<Code, Error> {
        if args.dry_run {
            return self.validate(&args.target);
        }
        let Self { coordinator, options, output } = self.with_turn(args.turn);
        let EnvTarget { agent, preset, session, .. } = &args.target;
        let options = SwitchOptions { probe: args.probe.into(), session_id: session.clone(), ..options };
        let switched = runtime()?.block_on(coordinator.switch_agent_env(agent, preset, options));
        Ok(done(&switched.map_err(|error| told(error, output))?, output))
    }

    fn validate(self, target: &EnvTarget) -> Result<Code, Error> {
        let EnvTarget { agent, preset, session, .. } = target;
        let options = SwitchOptions { session_id: session.clone(), ..self.options };
        let found = self.coordinator.validate_env_switch(agent, preset, &options)?;
        let view = ValidationView::of(&found);
        self.output.result(&view, || view.text());
        Ok(if found.is_valid() { Code::Completed } else { Code::Usage })
    }

    fn snapshot(self, agent: &AgentId) -> Result<Code, Error> {
        let kept = runtime()?.block_on(self.coordinator.create_env_snapshot(agent, &self.options));
        let (snapshot, notices) = kept?;
        tell(&notices, self.output);
        let view = SnapshotView::of(&snapshot);
        self.output.result(&view, || format!("{} keeps what {agent} runs under", snapshot.id));
        Ok(Code::Completed)
    }
}

/// Tells what happened beside a switch that was taken back.
fn told(error: SwitchError, output: &Output) -> SwitchError {
    if let SwitchError::RolledBack { notices, .. } = &error {
        tell(notices, output);
    }
    error
}

/// Says that a switch counts.
fn done(switched: &Switched, output: &Output) -> Code {
    tell(&switched.notices, output);
    let view = SwitchView::of(&switched.record);
    output.result(&view, || view.text());
    Code::Completed
}

fn history(agent: Option<&AgentId>, home: &Home, output: &Output) -> Result<Code, Error> {
    let bound = Bound::read(home, output)?;
    let view = HistoryView::of(bound.records(), agent);
    output.result(&view, || view.text());
    Ok(Code::Completed)
}
