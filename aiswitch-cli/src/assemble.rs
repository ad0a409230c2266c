//! From command line and configuration to a coordinator and its plan: the only place where parts are chosen.

use std::path::PathBuf;

use aiswitch_agent::{AgentSpec, Driver, built_ins, find};
use aiswitch_coordinator::{
    AgentId, Assignment, Channel, Coordinator, Home, MAX_PARALLEL_DEFAULT, Order, Plan, nearest,
};
use aiswitch_env::Environment;

use crate::args::RunArgs;
use crate::caller::{Caller, absolute};
use crate::config::{Config, built_in_id};
use crate::error::Error;
use crate::pick::Pick;
use crate::vault::Vault;

/// The verb of this program that is the echo agent.
pub(crate) const ECHO_VERB: &str = "__echo";

/// Chooses the parts of a run; `picks` are its agents.
///
/// # Errors
/// An agent that is not known or has no command, or a working folder that is gone.
pub(crate) fn run(
    args: &RunArgs,
    prompt: String,
    picks: &[Pick],
    config: Config,
    (home, caller): (&Home, &Caller),
) -> Result<(Coordinator, Plan), Error> {
    let cwd = cwd(args)?;
    let timeout = args.timeout.or(config.coordination.timeout).map(|time| time.0);
    let max_parallel = args.max_parallel.or(config.coordination.max_parallel).unwrap_or(MAX_PARALLEL_DEFAULT);
    let mut plan = Plan {
        order: if args.sequential { Order::Sequential } else { Order::Parallel { max_parallel } },
        mode: args.mode.or(config.mode),
        timeout,
        idle_timeout: args.idle_timeout.or(config.coordination.idle_timeout).map(|time| time.0),
        on_failure: args.on_failure,
        aggregate: args.aggregate,
        locks: args.locks.clone(),
        budget: args.budget_usd,
        ..Plan::new(prompt, cwd)
    };
    if let Some(time) = args.lock_timeout {
        plan.lock_timeout = time.0;
    }
    let mut coordinator = Coordinator::new()
        .with_ambient(caller.ambient())
        .with_guard(caller.guard.clone())
        .with_caller(Caller::actor(), Channel::CommandLine);
    // A key that the shell's preset set must not go where only that preset leads it.
    let shell_preset = caller.shell_preset()?;
    for pick in picks {
        let spec = spec(&config, &pick.agent)?;
        if spec.profile(pick.agent.clone()).command.is_empty() {
            return Err(Error::NoCommand { id: pick.agent.clone() });
        }
        for id in pick.ids()? {
            plan.agents.push(Assignment {
                agent: id.clone(),
                preset: pick
                    .preset
                    .clone()
                    .or_else(|| args.preset.clone())
                    .or_else(|| spec.preset.clone())
                    .or_else(|| shell_preset.clone())
                    .or_else(|| config.preset.clone()),
                snapshot: None,
                model: pick.model.clone().or_else(|| args.model.clone()).or_else(|| spec.model.clone()),
                timeout: if args.timeout.is_some() { None } else { spec.timeout.map(|time| time.0) },
            });
            coordinator = coordinator.with_agent(spec.build(id));
        }
    }
    let used = plan.agents.iter().filter_map(|assignment| assignment.preset.as_ref());
    let keys = Vault::new(home, caller).keys_for(&config.presets, used)?;
    Ok((coordinator.with_presets(config.presets).with_keys(keys), plan))
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
