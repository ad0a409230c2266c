//! The check at the door: a plan becomes agents that can start, or an error before anything starts.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::{Agent, AgentId, Launch, PermissionMode, Profile, TaskSpec};
use aiswitch_env::{Ambient, Environment, FlatPreset, PresetName, Redactor, Secret, is_redirecting};
use aiswitch_lock::{LockError, LockName};

use crate::audit::audit_lock;
use crate::nearest::nearest;
use crate::plan::{AGENTS_MAX, PROMPT_BYTES_MAX};
use crate::state::state_lock;
use crate::{Assignment, Coordinator, Plan, RunError, RunId};

/// What is told of a prompt that holds a secret.
const PROMPT_WARNING: &str =
    "the prompt holds a secret: agents are given it as it is, and it is masked in what is kept";

/// A plan that can start.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) agents: Vec<ReadyAgent>,
    pub(crate) cwd: PathBuf,
    pub(crate) mode: PermissionMode,
    /// The prompt as it is kept and shown, with the agents' secrets masked.
    pub(crate) shown_prompt: String,
    pub(crate) warnings: Vec<String>,
}

/// An agent that can start.
#[derive(Debug)]
pub(crate) struct ReadyAgent {
    pub(crate) agent: Arc<dyn Agent>,
    pub(crate) environment: Environment,
    pub(crate) model: Option<String>,
    /// How long it may take, and how long it may give no sign of life.
    pub(crate) times: (Option<Duration>, Option<Duration>),
}

impl Ready {
    /// The task of one agent.
    pub(crate) fn task(&self, run: RunId, index: usize, prompt: String) -> TaskSpec {
        let ready = &self.agents[index];
        let id = format!("{run}-{}", ready.id());
        TaskSpec {
            id: id.parse().expect("a ULID, a hyphen and an agent's name make a task's name"),
            prompt,
            cwd: self.cwd.clone(),
            mode: self.mode,
            model: ready.model.clone(),
            session_id: None,
        }
    }
}

impl Ready {
    /// What would be started for a task of an agent whose process may do others afterwards.
    ///
    /// `None` also where nothing can be started, which is told when it is tried.
    pub(crate) fn stays(&self, index: usize, task: &TaskSpec) -> Option<Launch> {
        let ready = &self.agents[index];
        let stays = ready.agent.profile().driver.stays();
        let task = TaskSpec { model: ready.model.clone(), ..task.clone() };
        stays.then(|| ready.launch(&task).ok().flatten()).flatten()
    }
}

impl ReadyAgent {
    pub(crate) fn id(&self) -> &AgentId {
        &self.agent.profile().id
    }

    /// What would be started for a task.
    pub(crate) fn launch(&self, task: &TaskSpec) -> Result<Option<Launch>, aiswitch_agent::AgentError> {
        self.agent.launch(task, &self.environment)
    }
}

impl Coordinator {
    /// Checks a plan and makes the environment of each of its agents.
    pub(crate) fn ready(&self, plan: &Plan) -> Result<Ready, RunError> {
        check_prompt(&plan.prompt)?;
        if plan.agents.is_empty() {
            return Err(RunError::NoAgents);
        }
        check_judge(plan)?;
        let count = plan.assignments().count();
        if count > AGENTS_MAX {
            return Err(RunError::TooManyAgents { count, count_max: AGENTS_MAX });
        }
        check_unique(self.agents.iter().map(|agent| &agent.profile().id))?;
        check_unique(plan.assignments().map(|assignment| &assignment.agent))?;
        check_locks(&plan.locks)?;
        let cwd = check_cwd(&plan.cwd)?;
        let mut warnings = Vec::new();
        let mut agents = Vec::with_capacity(count);
        for assignment in plan.assignments() {
            let ready = self.ready_agent(plan, assignment)?;
            if assignment.preset.is_none() && assignment.snapshot.is_none() {
                warnings.extend(not_passed_on(ready.agent.profile(), &self.ambient));
            }
            agents.push(ready);
        }
        let redactor = share_secrets(&mut agents);
        let shown_prompt = redactor.redact(&plan.prompt).into_owned();
        if shown_prompt != plan.prompt {
            warnings.push(PROMPT_WARNING.to_owned());
        }
        Ok(Ready { agents, cwd, mode: plan.effective_mode(), shown_prompt, warnings })
    }

    fn ready_agent(&self, plan: &Plan, assignment: &Assignment) -> Result<ReadyAgent, RunError> {
        let name = &assignment.agent;
        let ids = || self.agents.iter().map(|agent| &agent.profile().id);
        let agent = self.agents.iter().find(|agent| agent.profile().id == *name).ok_or_else(|| {
            let meant = nearest(name.as_ref(), ids().map(AsRef::as_ref));
            RunError::UnknownAgent {
                name: name.clone(),
                nearest: meant.and_then(|meant| ids().find(|id| id.as_ref() == meant)).cloned(),
            }
        })?;
        let timeout = assignment.timeout.or(plan.timeout);
        let idle_timeout = assignment.idle_timeout.or(plan.idle_timeout);
        if [timeout, idle_timeout].contains(&Some(Duration::ZERO)) {
            return Err(RunError::ZeroTimeout { agent: name.clone() });
        }
        let flat = match (&assignment.snapshot, &assignment.preset) {
            (Some(snapshot), _) => snapshot.preset()?.map(|(_, flat)| flat),
            (None, Some(preset)) => Some(self.known_preset(preset, agent.profile())?),
            (None, None) => None,
        };
        let preset = flat.map(|flat| flat.resolve(&self.ambient, &self.keys)).transpose()?;
        let credentials: Vec<&str> = agent.profile().credentials.iter().map(String::as_str).collect();
        let environment = Environment::compose(&self.ambient, &credentials, preset)?;
        Ok(ReadyAgent {
            agent: Arc::clone(agent),
            environment,
            model: assignment.model.clone(),
            times: (timeout, idle_timeout),
        })
    }

    fn known_preset(&self, name: &PresetName, agent: &Profile) -> Result<FlatPreset, RunError> {
        if !self.presets.contains_key(name) {
            let meant = nearest(name.as_ref(), self.presets.keys().map(AsRef::as_ref));
            return Err(RunError::UnknownPreset {
                name: name.clone(),
                nearest: meant
                    .and_then(|meant| self.presets.keys().find(|name| name.as_ref() == meant))
                    .cloned(),
            });
        }
        Ok(self.preset_for(name, agent)?)
    }
}

/// Has every agent's secrets masked in what any of them prints: one may come upon another's.
fn share_secrets(agents: &mut [ReadyAgent]) -> Redactor {
    let mut all: Vec<Secret> = Vec::new();
    for secret in agents.iter().flat_map(|agent| agent.environment.secrets()) {
        if !all.contains(secret) {
            all.push(secret.clone());
        }
    }
    let all: Arc<[Secret]> = all.into();
    for agent in agents {
        agent.environment = std::mem::take(&mut agent.environment).with_foreign_secrets(Arc::clone(&all));
    }
    Redactor::new(all.iter())
}

fn check_prompt(prompt: &str) -> Result<(), RunError> {
    if prompt.trim().is_empty() {
        return Err(RunError::EmptyPrompt);
    }
    if prompt.len() > PROMPT_BYTES_MAX {
        return Err(RunError::PromptTooLong { bytes: prompt.len(), bytes_max: PROMPT_BYTES_MAX });
    }
    match prompt.find('\0') {
        Some(at) => Err(RunError::NulInPrompt { at }),
        None => Ok(()),
    }
}

fn check_unique<'a>(names: impl Iterator<Item = &'a AgentId>) -> Result<(), RunError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(RunError::DuplicateAgent { name: name.clone() });
        }
    }
    Ok(())
}

/// There is somebody who judges where that is asked for, and only there.
fn check_judge(plan: &Plan) -> Result<(), RunError> {
    match &plan.judge {
        None if plan.aggregate.needs_judge() => Err(RunError::NoJudge),
        Some(judge) if !plan.aggregate.needs_judge() => {
            Err(RunError::IdleJudge { name: judge.agent.clone() })
        }
        _ => Ok(()),
    }
}

/// Each lock has a name that can be one, none is named twice, and none is needed by the run itself.
fn check_locks(locks: &[LockName]) -> Result<(), RunError> {
    let mut seen = BTreeSet::new();
    for lock in locks {
        lock.file_name()?;
        if !seen.insert(lock) {
            return Err(LockError::NamedTwice { name: lock.clone() }.into());
        }
        if [state_lock(), audit_lock()].contains(lock) {
            return Err(RunError::StateLock { name: lock.clone() });
        }
    }
    Ok(())
}

/// The folder to work in, from the root; agents' protocols take no other.
fn check_cwd(cwd: &Path) -> Result<PathBuf, RunError> {
    let error = |source| RunError::Cwd { cwd: cwd.to_owned(), source };
    if !cwd.metadata().map_err(error)?.is_dir() {
        return Err(error(io::ErrorKind::NotADirectory.into()));
    }
    let whole = std::path::absolute(cwd).map_err(error)?;
    if whole.to_str().is_none() {
        return Err(RunError::CwdNotUtf8 { cwd: whole });
    }
    Ok(whole)
}

/// Says which variables of the caller would lead this agent elsewhere, and do not.
fn not_passed_on(profile: &Profile, ambient: &Ambient) -> Option<String> {
    // The vendor's word starts the names of its variables: ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL, CODEX_HOME.
    let word = |name: &str| name.split('_').next().unwrap_or_default().to_owned();
    let mut vendors: BTreeSet<String> = profile.credentials.iter().map(|name| word(name)).collect();
    let uses_network = !vendors.is_empty();
    vendors.insert(profile.driver.to_string().to_ascii_uppercase());
    let is_general = |name: &str| {
        name.to_ascii_uppercase().ends_with("_PROXY") || name.starts_with("NODE_") || name.starts_with("SSL_")
    };
    let names: Vec<&str> = ambient
        .names()
        .filter(|name| is_redirecting(name))
        .filter(|name| vendors.contains(&word(name)) || (uses_network && is_general(name)))
        .collect();
    let (be, them) = match names.len() {
        0 => return None,
        1 => ("is", "it"),
        _ => ("are", "them"),
    };
    let (agent, names) = (&profile.id, names.join("`, `"));
    Some(format!(
        "the caller's `{names}` {be} not passed on to agent `{agent}`; put {them} in a preset to do so"
    ))
}
