//! `aiswitch agents`: the agents that are known, built in and configured.

use std::path::PathBuf;

use aiswitch_agent::{Profile, built_in, check, find};
use aiswitch_coordinator::{AgentId, Home};
use aiswitch_env::{ALLOWED, Ambient, Environment};
use serde::Serialize;

use crate::args::AgentsVerb;
use crate::assemble;
use crate::caller::Caller;
use crate::commands::{registry, runtime};
use crate::config::{Config, Origin};
use crate::error::{Error, chain};
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::table_within;

/// One agent in a list.
#[derive(Debug, Serialize)]
pub(super) struct AgentView {
    name: AgentId,
    driver: String,
    origin: Origin,
    description: Option<&'static str>,
    /// Its program's file; `None` when it is not installed.
    program: Option<PathBuf>,
}

/// One agent with all that is known of it.
#[derive(Debug, Serialize)]
struct AgentDetails {
    #[serde(flatten)]
    agent: AgentView,
    command: Vec<String>,
    modes: Vec<String>,
    preset: Option<String>,
    model: Option<String>,
    timeout_ms: Option<u64>,
    /// The variables that it is given from the caller's environment, whichever it is.
    allowed: &'static [&'static str],
    /// The variables that it alone is given when it runs without a preset.
    credentials: Vec<Credential>,
    install: Option<String>,
    login: Option<String>,
    version_min: Option<String>,
}

/// A variable that holds a credential.
#[derive(Debug, Serialize)]
pub(super) struct Credential {
    pub(super) name: String,
    /// Whether the caller's environment has it.
    pub(super) is_set: bool,
}

/// One agent after a look at its program.
#[derive(Debug, Serialize)]
pub(super) struct CheckView {
    pub(super) name: AgentId,
    pub(super) program: Option<PathBuf>,
    pub(super) version: Option<String>,
    /// What keeps it from being used.
    pub(super) problem: Option<String>,
    /// What to do about the problem.
    pub(super) hint: Option<String>,
    /// How a person logs in; whether somebody has is not looked at.
    pub(super) login: Option<String>,
    pub(super) credentials: Vec<Credential>,
}

/// Shows the registry of agents.
///
/// # Errors
/// An agent is not known, or the configuration cannot be read.
pub(crate) fn agents(
    verb: &AgentsVerb,
    home: &Home,
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let config = Config::read(home)?;
    let ambient = caller.ambient();
    match verb {
        AgentsVerb::Add(add) => registry::add(add, home, caller, output),
        AgentsVerb::Remove { names } => registry::remove(names, home, caller, output),
        AgentsVerb::List => list(&config, &ambient, output),
        AgentsVerb::Show { name } => show(name, &config, &ambient, output),
        AgentsVerb::Check { names } => {
            let checked = check_all(&config, names, &ambient)?;
            output.result(&checked, || check_table(&checked, output.columns()));
            let has_problem = checked.iter().any(|agent| agent.problem.is_some());
            Ok(match names.as_slice() {
                [] if !checked.iter().any(CheckView::is_usable) => Code::NoAgent,
                [_, ..] if has_problem => Code::Failed,
                _ => Code::Completed,
            })
        }
    }
}

fn list(config: &Config, ambient: &Ambient, output: &Output) -> Result<Code, Error> {
    let views = views(config, ambient)?;
    output.result(&views, || {
        let head = ["NAME", "DRIVER", "STATE", "DESCRIPTION"].map(str::to_owned).to_vec();
        let rows = views.iter().map(|view| {
            let state = if view.program.is_some() { "installed" } else { "not installed" };
            let description = view.description.unwrap_or("configured in agents.yaml");
            vec![view.name.to_string(), view.driver.clone(), state.to_owned(), description.to_owned()]
        });
        table_within(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), output.columns())
    });
    Ok(Code::Completed)
}

/// All agents that are known.
///
/// # Errors
/// The caller's environment holds what no environment can.
pub(super) fn views(config: &Config, ambient: &Ambient) -> Result<Vec<AgentView>, Error> {
    let environment = Environment::compose(ambient, &[], None)?;
    config.agents.keys().map(|id| view(config, id, &environment)).collect()
}

fn view(config: &Config, id: &AgentId, environment: &Environment) -> Result<AgentView, Error> {
    let spec = assemble::spec(config, id)?;
    let known = config.agents.get(id).map_or(Origin::Configured, |known| known.origin);
    Ok(AgentView {
        name: id.clone(),
        driver: spec.driver.to_string(),
        origin: known,
        description: built_in(spec.driver)
            .filter(|_| known == Origin::BuiltIn)
            .map(|known| known.description),
        program: find(&spec.profile(id.clone()), environment).ok(),
    })
}

fn show(id: &AgentId, config: &Config, ambient: &Ambient, output: &Output) -> Result<Code, Error> {
    let spec = assemble::spec(config, id)?;
    let profile = spec.profile(id.clone());
    let details = AgentDetails {
        agent: view(config, id, &Environment::compose(ambient, &[], None)?)?,
        credentials: credentials(&profile, ambient),
        command: profile.command,
        modes: profile.modes.iter().map(ToString::to_string).collect(),
        preset: spec.preset.map(|preset| preset.to_string()),
        model: spec.model,
        timeout_ms: spec.timeout.and_then(|time| u64::try_from(time.0.as_millis()).ok()),
        allowed: ALLOWED,
        install: profile.install,
        login: profile.login,
        version_min: profile.version_min,
    };
    output.result(&details, || details.text(output.columns()));
    Ok(Code::Completed)
}

impl AgentDetails {
    fn text(&self, columns: Option<usize>) -> String {
        let credentials: Vec<String> = self.credentials.iter().map(Credential::text).collect();
        let lines = [
            ("name", Some(self.agent.name.to_string())),
            ("driver", Some(self.agent.driver.clone())),
            (
                "program",
                Some(
                    self.agent
                        .program
                        .as_ref()
                        .map_or("not installed".into(), |path| path.display().to_string()),
                ),
            ),
            ("command", Some(self.command.join(" "))),
            ("modes", Some(self.modes.join(", "))),
            ("preset", self.preset.clone()),
            ("model", self.model.clone()),
            ("timeout", self.timeout_ms.map(crate::output::human::duration)),
            ("credentials", (!credentials.is_empty()).then(|| credentials.join(", "))),
            ("variables", Some(self.allowed.join(" "))),
            ("install", self.install.clone()),
            ("login", self.login.clone()),
            ("version", self.version_min.as_ref().map(|version| format!("{version} or newer"))),
        ];
        let rows: Vec<Vec<String>> =
            lines.into_iter().filter_map(|(key, value)| Some(vec![key.to_owned(), value?])).collect();
        table_within(&rows, columns)
    }
}

impl Credential {
    fn text(&self) -> String {
        let Self { name, is_set } = self;
        format!("{name} ({})", if *is_set { "set" } else { "not set" })
    }
}

fn credentials(profile: &Profile, ambient: &Ambient) -> Vec<Credential> {
    let look = |name: &String| Credential { is_set: ambient.get(name).is_some(), name: name.clone() };
    profile.credentials.iter().map(look).collect()
}

impl CheckView {
    /// Whether it could do real work: there, without a problem, and not the echo agent.
    pub(super) fn is_usable(&self) -> bool {
        self.problem.is_none() && self.login.is_some()
    }
}

/// Looks at the programs of agents, all at the same time.
///
/// # Errors
/// One is not known.
pub(super) fn check_all(
    config: &Config,
    names: &[AgentId],
    ambient: &Ambient,
) -> Result<Vec<CheckView>, Error> {
    let names: Vec<&AgentId> =
        if names.is_empty() { config.agents.keys().collect() } else { names.iter().collect() };
    let profiles: Vec<Profile> = names
        .into_iter()
        .map(|id| Ok(assemble::spec(config, id)?.profile(id.clone())))
        .collect::<Result<_, Error>>()?;
    let environment = Environment::compose(ambient, &[], None)?;
    let runtime = runtime()?;
    let running: Vec<_> = profiles
        .into_iter()
        .map(|profile| {
            let environment = environment.clone();
            let credentials = credentials(&profile, ambient);
            runtime.spawn(async move { check_one(profile, credentials, &environment).await })
        })
        .collect();
    runtime.block_on(async {
        let mut views = Vec::with_capacity(running.len());
        for view in running {
            views.push(view.await.map_err(|source| Error::Panicked { source })?);
        }
        Ok(views)
    })
}

async fn check_one(profile: Profile, credentials: Vec<Credential>, environment: &Environment) -> CheckView {
    let found = check(&profile, environment).await;
    let hint = found
        .problem
        .as_ref()
        .and(profile.install.as_ref())
        .map(|install| format!("install it with: {install}"));
    CheckView {
        program: found.program,
        version: found.version,
        problem: found.problem.map(|problem| chain(&problem)),
        hint,
        login: profile.login,
        name: profile.id,
        credentials,
    }
}

/// The looks as a table for people.
pub(super) fn check_table(checked: &[CheckView], columns: Option<usize>) -> String {
    let head = ["NAME", "VERSION", "STATE", "TO DO"].map(str::to_owned).to_vec();
    let rows = checked.iter().map(|agent| {
        let state = agent.problem.as_deref().unwrap_or("ok").to_owned();
        let is_keyed = agent.credentials.iter().any(|credential| credential.is_set);
        let login = agent.login.as_deref().filter(|_| agent.problem.is_none() && !is_keyed);
        let to_do = agent.hint.clone().or_else(|| login.map(|login| format!("if not logged in: {login}")));
        vec![
            agent.name.to_string(),
            agent.version.clone().unwrap_or("-".into()),
            state,
            to_do.unwrap_or_default(),
        ]
    });
    table_within(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), columns)
}
