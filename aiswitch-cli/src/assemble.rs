//! From command line and configuration to a coordinator and its plan: the only place where parts are chosen.

use std::fmt;
use std::path::PathBuf;

use aiswitch_agent::{AgentSpec, Cgroups, Driver, Guard, built_ins, find};
use aiswitch_coordinator::{
    AgentId, Assignment, Channel, Coordinator, DataKeys, EnvSnapshot, Home, MAX_PARALLEL_DEFAULT, Order,
    Plan, PresetName, Replay, SAMPLE_EVERY_DEFAULT, nearest,
};
use aiswitch_env::Environment;
use serde::Serialize;

use crate::args::RunArgs;
use crate::bound::Bound;
use crate::caller::{Caller, absolute};
use crate::commands::runtime;
use crate::config::{Config, Supervise, built_in_id};
use crate::error::Error;
use crate::pick::Pick;
use crate::vault::{Presets, Vault};

/// The verb of this program that is the echo agent.
pub(crate) const ECHO_VERB: &str = "__echo";

/// Who is asked when neither the command line nor the configuration says it.
pub(crate) const DEFAULT_AGENTS: &str = "all built-in ones that are installed, else echo";

/// What says which preset an agent is under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PresetFrom {
    /// `--preset`, or `NAME@PRESET`.
    CommandLine,
    /// `aiswitch env switch`.
    EnvSwitch,
    /// The agent's entry in `agents.yaml`.
    AgentsYaml,
    /// The shell that the command is typed in.
    Shell,
    /// The project file.
    Project,
}

impl fmt::Display for PresetFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandLine => "the command line says so",
            Self::EnvSwitch => "bound by aiswitch env switch",
            Self::AgentsYaml => "agents.yaml says so",
            Self::Shell => "the shell is under it",
            Self::Project => "the project says so",
        })
    }
}

/// The parts of a run.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) coordinator: Coordinator,
    pub(crate) plan: Plan,
    /// What says which preset each agent of the plan is under.
    pub(crate) presets_from: Vec<Option<PresetFrom>>,
}

/// Chooses the parts of a run; `picks` are its agents.
///
/// # Errors
/// An agent that is not known or has no command, or a working folder that is gone.
pub(crate) fn run(
    args: &RunArgs,
    prompt: String,
    picks: &[Pick],
    (config, bound): (Config, &Bound),
    (home, caller): (&Home, &Caller),
) -> Result<Parts, Error> {
    let mut plan = plan(args, prompt, &config)?;
    let mut coordinator = Coordinator::new()
        .with_ambient(caller.ambient())
        .with_guard(guard(config.coordination.supervision, caller)?)
        .with_pressure(config.coordination.pressure)
        .with_sample_every(config.coordination.metrics.every.map_or(SAMPLE_EVERY_DEFAULT, |time| time.0))
        .with_alerts(config.alerts.clone())
        .with_caller(Caller::actor(), Channel::CommandLine);
    let mut presets_from = Vec::new();
    for pick in picks.iter().chain(&args.judge) {
        let mut spec = spec(&config, &pick.agent)?;
        spec.sandbox = args.sandbox.unwrap_or(spec.sandbox);
        if spec.profile(pick.agent.clone()).command.is_empty() {
            return Err(Error::NoCommand { id: pick.agent.clone() });
        }
        let named = pick.preset.clone().or_else(|| args.preset.clone());
        let (chosen, snapshot) = match (named, bound.of(&pick.agent)) {
            (Some(preset), _) => (Some((preset, PresetFrom::CommandLine)), None),
            (None, Some((preset, snapshot))) => (Some((preset, PresetFrom::EnvSwitch)), snapshot),
            (None, None) => (unbound(&spec, &config, caller)?, None),
        };
        for id in pick.ids()? {
            presets_from.push(chosen.as_ref().map(|(_, from)| *from));
            plan.agents.push(Assignment {
                agent: id.clone(),
                preset: chosen.as_ref().map(|(preset, _)| preset.clone()),
                snapshot: snapshot.clone(),
                model: pick.model.clone().or_else(|| args.model.clone()).or_else(|| spec.model.clone()),
                timeout: spec.timeout.filter(|_| args.timeout.is_none()).map(|time| time.0),
                idle_timeout: spec.idle_timeout.filter(|_| args.idle_timeout.is_none()).map(|time| time.0),
            });
            coordinator = coordinator.with_agent(spec.build(id));
        }
    }
    if args.judge.is_some() {
        // The last of them, once.
        plan.judge = plan.agents.pop();
    }
    let keys = keys_of_plan(&plan, &config, (home, caller))?;
    let coordinator = coordinator.with_presets(config.presets).with_keys(keys);
    Ok(Parts { coordinator, plan, presets_from })
}

/// The plan of a run, without its agents.
fn plan(args: &RunArgs, prompt: String, config: &Config) -> Result<Plan, Error> {
    let max_parallel = args.max_parallel.or(config.coordination.max_parallel).unwrap_or(MAX_PARALLEL_DEFAULT);
    let mut plan = Plan {
        order: if args.sequential { Order::Sequential } else { Order::Parallel { max_parallel } },
        mode: args.mode.or(config.mode),
        timeout: args.timeout.or(config.coordination.timeout).map(|time| time.0),
        idle_timeout: args.idle_timeout.or(config.coordination.idle_timeout).map(|time| time.0),
        on_failure: args.on_failure,
        replay: if args.idempotent { Replay::Idempotent } else { Replay::Never },
        aggregate: args.aggregate.into(),
        locks: if args.locks.is_empty() { config.coordination.locks.clone() } else { args.locks.clone() },
        lock_priority: args.priority,
        budget: args.budget_usd,
        ..Plan::new(prompt, cwd(args)?)
    };
    if let Some(time) = args.lock_timeout {
        plan.lock_timeout = time.0;
    }
    Ok(plan)
}

/// The preset of an agent that neither the command line nor a switch says anything of.
///
/// # Errors
/// The shell is under what has no preset's name.
pub(crate) fn unbound(
    spec: &AgentSpec,
    config: &Config,
    caller: &Caller,
) -> Result<Option<(PresetName, PresetFrom)>, Error> {
    // A key that the shell's preset set must not go where only that preset leads it.
    let shell_preset = caller.shell_preset()?;
    let own = spec.preset.clone().map(|preset| (preset, PresetFrom::AgentsYaml));
    let shell = || shell_preset.map(|preset| (preset, PresetFrom::Shell));
    let project = || config.preset.clone().map(|preset| (preset, PresetFrom::Project));
    Ok(own.or_else(shell).or_else(project))
}

/// The keys that a run needs.
fn keys_of_plan(plan: &Plan, config: &Config, (home, caller): (&Home, &Caller)) -> Result<DataKeys, Error> {
    let vault = Vault::new(home, caller);
    if plan.assignments().filter_map(|agent| agent.snapshot.as_ref()).any(EnvSnapshot::is_encrypted) {
        return vault.keys();
    }
    let of_now = plan.assignments().filter(|agent| agent.snapshot.is_none());
    vault.keys_for(&config.presets, of_now.filter_map(|agent| agent.preset.as_ref()))
}

/// The keys that a switch to a preset needs, or one to a snapshot where there is none; without any, values that need one are its
/// problems.
///
/// # Errors
/// There are keys, and they do not open.
pub(crate) fn keys_of_switch(
    presets: &Presets,
    to: Option<&PresetName>,
    bound: &Bound,
    (home, caller): (&Home, &Caller),
) -> Result<DataKeys, Error> {
    let vault = Vault::new(home, caller);
    let keys = match to {
        Some(preset) => vault.keys_for(presets, [preset]),
        None if bound.records().snapshots.iter().any(EnvSnapshot::is_encrypted) => vault.keys(),
        None => return Ok(DataKeys::default()),
    };
    match keys {
        Err(Error::NoSecretsKey { .. }) => Ok(DataKeys::default()),
        keys => keys,
    }
}

/// What guards the processes of agents, held as the configuration says.
///
/// # Errors
/// This machine does not have it.
pub(crate) fn guard(supervision: Supervise, caller: &Caller) -> Result<Guard, Error> {
    let guard = caller.guard.clone();
    Ok(match supervision {
        Supervise::Guard => guard,
        // Whether there is one shows itself when an agent starts.
        Supervise::PidNamespace => guard.with_namespace(),
        Supervise::Cgroup => guard.with_cgroups(Cgroups::own().map_err(|source| Error::NoCgroup { source })?),
        Supervise::Strongest => runtime()?.block_on(guard.in_strongest()),
    })
}

/// The folder that a run is in.
///
/// # Errors
/// The working folder is gone.
pub(crate) fn cwd(args: &RunArgs) -> Result<PathBuf, Error> {
    absolute(args.cwd.clone().unwrap_or_default())
}

/// How an agent is driven.
///
/// # Errors
/// It is not known.
pub(crate) fn spec(config: &Config, id: &AgentId) -> Result<AgentSpec, Error> {
    let Some(known) = config.agents.get(id) else {
        let known: Vec<String> = config.agents.keys().map(ToString::to_string).collect();
        let nearest = nearest(id.as_ref(), known.iter().map(String::as_str)).map(str::to_owned);
        return Err(Error::UnknownAgent { name: id.to_string(), nearest, known });
    };
    let mut spec = known.spec.clone();
    if spec.driver == Driver::Echo && spec.command.is_empty() {
        let program = std::env::current_exe().map_err(|source| Error::OwnProgram { source })?;
        let program = program
            .into_os_string()
            .into_string()
            .map_err(|path| Error::OwnProgramName { path: path.into() })?;
        spec.command = vec![program, ECHO_VERB.to_owned()];
    }
    Ok(spec)
}

/// The agents of a run whose command line names none, and what to tell about that choice.
///
/// # Errors
/// The caller's environment holds what no environment can.
pub(crate) fn default_picks(config: &Config, caller: &Caller) -> Result<(Vec<Pick>, Option<String>), Error> {
    if !config.coordination.agents.is_empty() {
        return Ok((config.coordination.agents.clone(), None));
    }
    let environment = Environment::compose(&caller.ambient(), &[], None)?;
    let is_installed = |id: &AgentId| {
        config.agents.get(id).is_some_and(|known| find(&known.spec.profile(id.clone()), &environment).is_ok())
    };
    let (echo, others): (Vec<_>, Vec<_>) = built_ins().iter().partition(|agent| agent.driver == Driver::Echo);
    let installed: Vec<AgentId> = others.into_iter().map(built_in_id).filter(is_installed).collect();
    if installed.is_empty() {
        let note = "no agent is installed, so echo answers, which repeats the prompt (see: aiswitch doctor)";
        return Ok((echo.into_iter().map(|agent| Pick::of(built_in_id(agent))).collect(), Some(note.into())));
    }
    let names: Vec<&str> = installed.iter().map(AsRef::as_ref).collect();
    let note = format!("no agent is named, so all that are installed are asked: {}", names.join(", "));
    Ok((installed.into_iter().map(Pick::of).collect(), Some(note)))
}
