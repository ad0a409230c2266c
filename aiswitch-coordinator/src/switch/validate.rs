//! What is to be said of a switch before anything is touched.

use std::collections::BTreeMap;

use aiswitch_agent::{Agent, AgentId, Driver, PermissionMode, Profile, Sandbox, TaskSpec};
use aiswitch_env::{
    EnvError, EnvSnapshot, Environment, FlatPreset, FlatValue, PresetName, Variable, check_reference,
    is_redirecting,
};

use super::{Binding, ChangeKind, EnvChange, EnvRecords, SwitchOptions, SwitchProblem, ValidationResult};
use crate::{Coordinator, nearest};

/// A preset put together for one agent; `None` for one that has its caller's credentials.
pub(super) type Under = Option<(PresetName, FlatPreset)>;

/// Where an agent is to be moved.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// To a preset as it is now.
    Preset(PresetName),
    /// To what a snapshot says.
    Snapshot(Box<EnvSnapshot>),
}

impl Goal {
    pub(super) fn preset(&self) -> Option<&PresetName> {
        match self {
            Self::Preset(name) => Some(name),
            Self::Snapshot(snapshot) => snapshot.preset_name.as_ref(),
        }
    }
}

/// What was found of a switch before anything is touched.
pub(super) struct Found {
    pub(super) validation: ValidationResult,
    /// All that the agent may know there; only of use where nothing speaks against the switch.
    pub(super) environment: Environment,
}

impl Coordinator {
    /// The agent with this name.
    pub(super) fn agent(&self, name: &AgentId) -> Option<&dyn Agent> {
        self.agents.iter().map(AsRef::as_ref).find(|agent: &&dyn Agent| agent.profile().id == *name)
    }

    /// The known agent that is probably meant by an unknown name.
    pub(super) fn nearest_agent(&self, name: &AgentId) -> Option<String> {
        let known = self.agents.iter().map(|agent| agent.profile().id.as_ref());
        nearest(name.as_ref(), known).map(str::to_owned)
    }

    /// A preset of now, put together for an agent.
    pub(crate) fn preset_for(&self, name: &PresetName, agent: &Profile) -> Result<FlatPreset, EnvError> {
        FlatPreset::new(&self.presets, name, &[&agent.driver.to_string(), agent.id.as_ref()])
    }

    /// What an agent is bound to by a switch; a snapshot that says what the preset is now anyway is not needed for it.
    pub(super) fn binding(
        &self,
        goal: &Goal,
        agent: &Profile,
        session_id: Option<String>,
    ) -> Option<Binding> {
        let name = goal.preset()?;
        let snapshot = match goal {
            Goal::Preset(_) => None,
            Goal::Snapshot(snapshot) => {
                let then = snapshot.preset().ok().flatten().map(|(_, flat)| flat);
                (self.preset_for(name, agent).ok() != then).then_some(snapshot.id)
            }
        };
        Some(Binding { preset: name.clone(), snapshot, session_id })
    }

    /// What an agent runs under now.
    pub(super) fn under_now(
        &self,
        records: &EnvRecords,
        agent: &Profile,
        unbound: Option<&PresetName>,
    ) -> Result<Under, EnvError> {
        let preset = match records.bindings.get(&agent.id) {
            Some(Binding { snapshot: Some(id), .. }) => {
                let snapshot = records.snapshot(&agent.id, *id);
                let snapshot = snapshot.ok_or(EnvError::SnapshotDamaged { id: *id })?;
                return Ok(snapshot.preset()?.map(|(name, flat)| (name.clone(), flat)));
            }
            Some(Binding { preset, .. }) => Some(preset),
            None => unbound,
        };
        preset.map(|name| Ok((name.clone(), self.preset_for(name, agent)?))).transpose()
    }

    /// All that an agent may know under a preset, and what of the preset cannot be had.
    pub(super) fn environment_under(
        &self,
        agent: &Profile,
        under: Option<&FlatPreset>,
    ) -> (Environment, Vec<EnvError>) {
        let mut problems = Vec::new();
        let preset = under.map(|flat| {
            let mut variables: BTreeMap<String, Variable> = BTreeMap::new();
            let values = flat.iter().zip(flat.resolve_each(&self.ambient, &self.keys));
            for ((name, FlatValue { preset, source }), (_, value)) in values {
                match value.and_then(|value| check_reference(preset, name, source).map(|()| value)) {
                    Ok(variable) => drop(variables.insert(name.to_owned(), variable)),
                    Err(problem) => problems.push(problem),
                }
            }
            variables
        });
        let credentials: Vec<&str> = agent.credentials.iter().map(String::as_str).collect();
        match Environment::compose(&self.ambient, &credentials, preset) {
            Ok(environment) => (environment, problems),
            Err(problem) => {
                problems.push(problem);
                (Environment::default(), problems)
            }
        }
    }

    /// Looks at all that a switch needs.
    pub(super) fn look(
        &self,
        (agent, goal): (&AgentId, &Goal),
        records: &EnvRecords,
        options: &SwitchOptions,
    ) -> Found {
        let mut validation = ValidationResult {
            agent: agent.clone(),
            preset: goal.preset().cloned(),
            problems: Vec::new(),
            changes: Vec::new(),
        };
        let problems = &mut validation.problems;
        problems.extend(self.unknown_preset(goal));
        let Some(found) = self.agent(agent) else {
            let nearest = self.nearest_agent(agent);
            problems.push(SwitchProblem::UnknownAgent { name: agent.clone(), nearest });
            return Found { validation, environment: Environment::default() };
        };
        let profile = found.profile();
        let wanted = match goal {
            Goal::Snapshot(snapshot) => {
                snapshot.preset().map(|preset| preset.map(|(name, flat)| (name.clone(), flat)))
            }
            Goal::Preset(name) if !self.presets.contains_key(name) => Ok(None),
            Goal::Preset(name) => self.preset_for(name, profile).map(|flat| Some((name.clone(), flat))),
        };
        let wanted = wanted.unwrap_or_else(|problem| {
            problems.push(SwitchProblem::Variable(problem));
            None
        });
        let flat = wanted.as_ref().map(|(_, flat)| flat);
        let (environment, missing) = self.environment_under(profile, flat);
        problems.extend(missing.into_iter().map(SwitchProblem::Variable));
        problems.extend(self.barred(profile, flat));
        problems.extend(cannot_resume(profile, options));
        if problems.is_empty() {
            let place = place(profile, options);
            problems.extend(found.launch(&place, &environment).err().map(SwitchProblem::Start));
        }
        // What cannot be put together any more has no variables that could be compared.
        let now = self.under_now(records, profile, options.unbound.as_ref()).unwrap_or(None);
        validation.changes = changes(now.as_ref().map(|(_, flat)| flat), flat);
        Found { validation, environment }
    }

    fn unknown_preset(&self, goal: &Goal) -> Option<SwitchProblem> {
        let Goal::Preset(name) = goal else { return None };
        let known = || self.presets.keys().map(AsRef::as_ref);
        (!self.presets.contains_key(name)).then(|| SwitchProblem::UnknownPreset {
            name: name.clone(),
            nearest: nearest(name.as_ref(), known()).map(str::to_owned),
        })
    }

    /// The hosts that the preset leads to and that the agent's sandbox keeps it from.
    fn barred(&self, agent: &Profile, flat: Option<&FlatPreset>) -> Vec<SwitchProblem> {
        if agent.sandbox != Sandbox::Offline {
            return Vec::new();
        }
        let hosts = flat.map(|flat| flat.audience(&self.ambient)).unwrap_or_default();
        let barred = hosts.split_ascii_whitespace().map(|host| SwitchProblem::HostBarred {
            agent: agent.id.clone(),
            host: host.to_owned(),
            sandbox: agent.sandbox,
        });
        barred.collect()
    }
}

/// The session that has to go on.
pub(super) fn session_of(options: &SwitchOptions) -> Option<String> {
    options.live.as_ref().map_or_else(|| options.session_id.clone(), |live| live.status().session_id)
}

fn cannot_resume(agent: &Profile, options: &SwitchOptions) -> Option<SwitchProblem> {
    let session_id = session_of(options)?;
    // The others say themselves, when they are started, whether they can.
    let has_none = matches!(agent.driver, Driver::Command | Driver::Echo | Driver::Memory);
    has_none.then(|| SwitchProblem::CannotResume { agent: agent.id.clone(), session_id })
}

/// A task that tells where the agent works, and changes as little as the agent can be told to.
pub(super) fn place(agent: &Profile, options: &SwitchOptions) -> TaskSpec {
    let modes = [PermissionMode::ReadOnly, PermissionMode::Write, PermissionMode::Yolo];
    let mode = modes.into_iter().find(|mode| agent.modes.contains(mode)).unwrap_or(PermissionMode::Write);
    TaskSpec {
        id: "env-switch".parse().expect("a good name for a task"),
        prompt: String::new(),
        cwd: options.cwd.clone(),
        mode,
        model: None,
        session_id: session_of(options),
    }
}

/// What would become of each variable.
fn changes(now: Option<&FlatPreset>, then: Option<&FlatPreset>) -> Vec<EnvChange> {
    let of = |flat: Option<&FlatPreset>| -> BTreeMap<String, String> {
        let values = flat.into_iter().flat_map(FlatPreset::iter);
        values.map(|(name, value)| (name.to_owned(), value.source.written())).collect()
    };
    let (now, then) = (of(now), of(then));
    let unset = now.keys().filter(|name| !then.contains_key(*name)).map(|name| (name, ChangeKind::Unset));
    let others = then.iter().map(|(name, value)| {
        let change = match now.get(name) {
            None => ChangeKind::Set,
            Some(before) if before == value => ChangeKind::Kept,
            Some(_) => ChangeKind::Changed,
        };
        (name, change)
    });
    let mut changes: Vec<EnvChange> = unset
        .chain(others)
        .map(|(name, change)| EnvChange { name: name.clone(), change, redirects: is_redirecting(name) })
        .collect();
    changes.sort_by(|a, b| a.name.cmp(&b.name));
    changes
}
