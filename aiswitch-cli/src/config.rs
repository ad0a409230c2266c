//! The configuration files: what a person may write, and where a mistake in it is.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use aiswitch_agent::{AgentSpec, BuiltIn, SpecDuration, built_ins};
use aiswitch_coordinator::{
    AgentId, Home, LockName, LogLevel, PermissionMode, Preset, PresetName, PressureLimits, Retention,
    SAMPLE_EVERY_MAX, SAMPLE_EVERY_MIN, Watch, nearest,
};
use aiswitch_tokens::{ModelPrice, PriceList};
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};

use crate::pick::Pick;
use crate::project::Project;

mod alerts;

pub(crate) use alerts::AlertsFile;

/// The longest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// All configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// The agents that can be used, by name: the built-in ones, and what `agents.yaml` says.
    pub(crate) agents: BTreeMap<AgentId, Known>,
    /// The presets of environment variables.
    pub(crate) presets: BTreeMap<PresetName, Preset>,
    /// What a run does when its command line says nothing.
    pub(crate) coordination: Coordination,
    /// What runs watch for.
    pub(crate) alerts: Vec<Watch>,
    /// The preset of a run for which nothing else names one.
    pub(crate) preset: Option<PresetName>,
    /// What agents may do, when the command line does not say.
    pub(crate) mode: Option<PermissionMode>,
}

/// An agent that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// How it is driven.
    pub(crate) spec: AgentSpec,
    /// Who says so.
    pub(crate) origin: Origin,
}

/// Who says how an agent is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    BuiltIn,
    Configured,
}

/// `config/agents.yaml`: the agents of your own, and what differs for the built-in ones.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentsFile {
    /// Name → how it is driven.
    #[serde(default)]
    agents: BTreeMap<AgentId, AgentSpec>,
}

/// `config/presets.yaml`: named sets of environment variables.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PresetsFile {
    /// Name → variables.
    #[serde(default)]
    presets: BTreeMap<PresetName, Preset>,
}

/// `config/prices.yaml`: what tokens cost, before what is known here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PricesFile {
    /// Model, or the start of its name with a `*` behind → dollars per million tokens.
    #[serde(default)]
    models: BTreeMap<String, ModelPrice>,
}

/// `config/coordination.yaml`: what a run does when its command line says nothing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Coordination {
    /// The agents, each written as for `--agent`.
    #[serde(default)]
    pub(crate) agents: Vec<Pick>,
    /// How many agents work at one time.
    #[serde(default)]
    pub(crate) max_parallel: Option<NonZeroUsize>,
    /// How long each agent may take: `90`, `90s`, `10m`, `1h`.
    #[serde(default)]
    pub(crate) timeout: Option<SpecDuration>,
    /// How long an agent may be silent.
    #[serde(default)]
    pub(crate) idle_timeout: Option<SpecDuration>,
    /// The locks that a run has while it goes on, each written as for `--lock`.
    #[serde(default, deserialize_with = "lock_names")]
    #[schemars(with = "Vec<String>")]
    pub(crate) locks: Vec<LockName>,
    /// When the machine is short of memory: then fewer agents start, and those at work are paused, the last one first.
    #[serde(default, deserialize_with = "sensible")]
    pub(crate) pressure: PressureLimits,
    /// From which level on the logs keep what happens: `trace`, `debug`, `info` (the default), `warn` or `error`.
    #[serde(default)]
    pub(crate) log_level: Option<LogLevel>,
    /// How runs measure their agents and the machine.
    #[serde(default)]
    pub(crate) metrics: MetricsSpec,
    /// What holds agents' processes together beside their guard; see `aiswitch doctor` for what this machine has.
    #[serde(default)]
    pub(crate) supervision: Supervise,
    /// How long runs and logs are kept, and how much of them; the oldest goes first.
    #[serde(default)]
    pub(crate) retention: RetentionSpec,
}

/// What holds agents' processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Supervise {
    /// A guard, which adopts all that the agent starts.
    #[default]
    Guard,
    /// The same, and a control group: killed at once, and limits are enforced as far as it has their controllers.
    Cgroup,
    /// The same as `guard`, and a namespace of process numbers: the kernel ends all of it whoever is killed.
    PidNamespace,
    /// A guard, and all of that which this machine has.
    Strongest,
}

impl Supervise {
    /// The word for it in the file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Cgroup => "cgroup",
            Self::PidNamespace => "pid_namespace",
            Self::Strongest => "strongest",
        }
    }
}

/// How runs measure their agents and the machine.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MetricsSpec {
    /// How often a sample is kept, from `1s` to `1m`; `10s` without it.
    #[serde(default, deserialize_with = "sample_every")]
    pub(crate) every: Option<SpecDuration>,
}

/// A time between two samples that can be.
fn sample_every<'de, D: Deserializer<'de>>(every: D) -> Result<Option<SpecDuration>, D::Error> {
    let every = Option::<SpecDuration>::deserialize(every)?;
    match every {
        Some(time) if !(SAMPLE_EVERY_MIN..=SAMPLE_EVERY_MAX).contains(&time.0) => Err(D::Error::custom(
            format!("samples are kept every {SAMPLE_EVERY_MIN:?} to {SAMPLE_EVERY_MAX:?}"),
        )),
        every => Ok(every),
    }
}

/// Names that locks can have.
fn lock_names<'de, D: Deserializer<'de>>(names: D) -> Result<Vec<LockName>, D::Error> {
    let names = Vec::<String>::deserialize(names)?;
    names.iter().map(|name| name.parse().map_err(D::Error::custom)).collect()
}

/// Limits of memory that make sense together.
fn sensible<'de, D: Deserializer<'de>>(limits: D) -> Result<PressureLimits, D::Error> {
    let limits = PressureLimits::deserialize(limits)?;
    limits.check().map(|()| limits).map_err(D::Error::custom)
}

/// How long runs and logs are kept, and how much of them.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetentionSpec {
    /// How old a run may become: `12h`, `30d`; 90 days without it.
    #[serde(default)]
    pub(crate) runs: Option<SpecDuration>,
    /// How much all runs may take together, in MiB; 5120 without it.
    #[serde(default)]
    runs_mb: Option<u64>,
    /// How old the lines of a log may become, once its file was put away; 30 days without it.
    #[serde(default)]
    pub(crate) logs: Option<SpecDuration>,
    /// How much all files of logs that were put away may take together, in MiB; 1024 without it.
    #[serde(default)]
    logs_mb: Option<u64>,
}

impl RetentionSpec {
    /// What it says, and what holds where it says nothing.
    pub(crate) fn retention(self) -> Retention {
        let built_in = Retention::default();
        let bytes = |mebibytes: Option<u64>| mebibytes.map(|mebibytes| mebibytes.saturating_mul(1024 * 1024));
        Retention {
            run_age_max: self.runs.map_or(built_in.run_age_max, |age| age.0),
            run_bytes_max: bytes(self.runs_mb).unwrap_or(built_in.run_bytes_max),
            log_age_max: self.logs.map_or(built_in.log_age_max, |age| age.0),
            log_bytes_max: bytes(self.logs_mb).unwrap_or(built_in.log_bytes_max),
        }
    }
}

impl Config {
    /// Reads the files of the home folder; a file that is not there says nothing.
    ///
    /// # Errors
    /// A file that cannot be read, or that holds what it may not.
    pub(crate) fn read(home: &Home) -> Result<Self, ConfigError> {
        let folder = home.config_dir();
        let configured = read_agents(&folder.join("agents.yaml"))?;
        let presets = read_presets(&folder.join("presets.yaml"))?;
        let coordination = read_file(&folder.join("coordination.yaml"))?;
        let Self { mut agents, .. } = Self::built_in();
        agents.extend(
            configured.into_iter().map(|(id, spec)| (id, Known { spec, origin: Origin::Configured })),
        );
        Ok(Self { agents, presets, coordination, alerts: read_alerts(home)?, preset: None, mode: None })
    }

    /// The same, with what a project says before what `coordination.yaml` says.
    pub(crate) fn under(mut self, project: Project) -> Self {
        let coordination = &mut self.coordination;
        if !project.agents.is_empty() {
            coordination.agents = project.agents;
        }
        coordination.max_parallel = project.max_parallel.or(coordination.max_parallel);
        coordination.timeout = project.timeout.or(coordination.timeout);
        Self { preset: project.preset, mode: project.mode.map(PermissionMode::from), ..self }
    }

    /// What holds without any file.
    pub(crate) fn built_in() -> Self {
        let known = |agent: &BuiltIn| Known { spec: AgentSpec::new(agent.driver), origin: Origin::BuiltIn };
        let agents = built_ins().iter().map(|agent| (built_in_id(agent), known(agent))).collect();
        Self {
            agents,
            presets: BTreeMap::new(),
            coordination: Coordination::default(),
            alerts: Vec::new(),
            preset: None,
            mode: None,
        }
    }
}

/// The name of a built-in agent.
pub(crate) fn built_in_id(agent: &BuiltIn) -> AgentId {
    agent.driver.to_string().parse().expect("the name of a driver is a name for an agent")
}

/// The presets of a file; one that is not there has none.
///
/// # Errors
/// It holds what it may not, or cannot be read.
pub(crate) fn read_presets(path: &Path) -> Result<BTreeMap<PresetName, Preset>, ConfigError> {
    read_file::<PresetsFile>(path).map(|file| file.presets)
}

/// What runs watch for.
///
/// # Errors
/// The file holds what it may not, or cannot be read.
pub(crate) fn read_alerts(home: &Home) -> Result<Vec<Watch>, ConfigError> {
    read_file::<AlertsFile>(&home.config_dir().join("alerts.yaml")).map(|file| file.alerts)
}

/// What tokens cost: by the home's file first.
///
/// # Errors
/// It holds what it may not, or cannot be read.
pub(crate) fn read_prices(home: &Home) -> Result<PriceList, ConfigError> {
    let file: PricesFile = read_file(&home.config_dir().join("prices.yaml"))?;
    Ok(PriceList::new(file.models))
}

/// The agents of a file; one that is not there has none.
///
/// # Errors
/// It holds what it may not, or cannot be read.
pub(crate) fn read_agents(path: &Path) -> Result<BTreeMap<AgentId, AgentSpec>, ConfigError> {
    read_file::<AgentsFile>(path).map(|file| file.agents)
}

/// The agents of a text; an empty one has none.
///
/// # Errors
/// It holds what it may not.
pub(crate) fn parse_agents(text: &str) -> Result<BTreeMap<AgentId, AgentSpec>, serde_saphyr::Error> {
    parse::<AgentsFile>(text).map(|file| file.agents)
}

/// The presets of a text; an empty one has none.
///
/// # Errors
/// It holds what it may not.
pub(crate) fn parse_presets(text: &str) -> Result<BTreeMap<PresetName, Preset>, serde_saphyr::Error> {
    parse::<PresetsFile>(text).map(|file| file.presets)
}

/// Reads YAML.
///
/// # Errors
/// It is none, or not of this form.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_saphyr::Error> {
    // A snippet of the file could show a secret.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options)
}

fn read_file<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = read_text(path)?;
    parse(&text).map_err(|error| ConfigError::explain(path, &error))
}

/// The text of a configuration file; one that is not there is empty.
///
/// # Errors
/// It is too long or cannot be read.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(text),
        Err(error) => return Err(unreadable(error)),
    };
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLong { path: path.to_owned() });
    }
    Ok(text)
}

/// A place in a file; it prints as editors and terminals like to follow it.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    /// Line and column, both counted from one.
    at: Option<(u64, u64)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.at {
            Some((line, column)) => write!(f, ":{line}:{column}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with a configuration file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("`{path}` cannot be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` is longer than {FILE_BYTES_MAX} bytes")]
    TooLong { path: PathBuf },
    #[error("{place}: unknown key `{key}`")]
    UnknownKey { place: Place, key: String, expected: Vec<&'static str> },
    #[error("{place}: unknown value `{value}`")]
    UnknownValue { place: Place, value: String, expected: Vec<&'static str> },
    #[error("{place}: `{key}` stands here a second time")]
    Twice { place: Place, key: String },
    #[error("{place}: {message}")]
    Invalid { place: Place, message: String },
}

impl ConfigError {
    /// What is wrong, and where.
    pub(crate) fn explain(path: &Path, error: &serde_saphyr::Error) -> Self {
        use serde_saphyr::Error as Yaml;
        let at = error.location().map(|location| (location.line(), location.column()));
        let place = Place { path: path.to_owned(), at };
        match error {
            Yaml::SerdeUnknownField { field, expected, .. } => {
                Self::UnknownKey { place, key: field.clone(), expected: expected.clone() }
            }
            Yaml::SerdeUnknownVariant { variant, expected, .. } => {
                Self::UnknownValue { place, value: variant.clone(), expected: expected.clone() }
            }
            Yaml::DuplicateMappingKey { key: Some(key), .. } => Self::Twice { place, key: key.clone() },
            other => {
                let text = other.render_with_formatter(&serde_saphyr::UserMessageFormatter);
                let suffix =
                    at.map(|(line, column)| format!(" at line {line}, column {column}")).unwrap_or_default();
                let message = text.strip_suffix(suffix.as_str()).unwrap_or(&text).to_owned();
                Self::Invalid { place, message }
            }
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { key: word, expected, .. }
            | Self::UnknownValue { value: word, expected, .. } => {
                let known = expected.join(", ");
                Some(match nearest(word, expected.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`? known here: {known}"),
                    None => format!("known here: {known}"),
                })
            }
            Self::Twice { .. } => Some("keep one of the two, or give one another name".into()),
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
                Some("write it as UTF-8 text".into())
            }
            Self::Unreadable { .. } => {
                Some("correct the file's permissions, or point --home elsewhere".into())
            }
            Self::Invalid { place, .. } => {
                let document = match place.path.file_stem().unwrap_or_default().to_string_lossy() {
                    stem if stem == ".aiswitch" => "project".into(),
                    stem => stem,
                };
                Some(format!("what may stand there: aiswitch schema {document}"))
            }
            Self::TooLong { .. } => None,
        }
    }
}
