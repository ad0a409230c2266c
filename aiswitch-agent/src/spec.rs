//! One entry of `agents.yaml`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_env::PresetName;
use aiswitch_rpc::protocol::{AgentId, PermissionMode};
use serde::{Deserialize, Serialize};

use crate::acp_agent::AcpAgent;
use crate::claude_agent::ClaudeAgent;
use crate::codex_agent::CodexAgent;
use crate::command_agent::CommandAgent;
use crate::registry::BuiltIn;
use crate::rpc_agent::RpcAgent;
use crate::{Agent, Profile, Resources, RestartPolicy, Sandbox, built_in};

/// How an agent is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Driver {
    /// The program's own echo agent.
    Echo,
    /// Any program: prompt on stdin, answer on stdout.
    Command,
    /// A child that speaks the aiswitch protocol.
    Rpc,
    /// A child that speaks the Agent Client Protocol.
    Acp,
    /// Claude Code's stream-json in both directions.
    Claude,
    /// `codex app-server`.
    Codex,
    /// Gemini CLI, through the Agent Client Protocol.
    Gemini,
    /// opencode, through the Agent Client Protocol.
    Opencode,
    /// Qwen Code's stream-json in both directions.
    Qwen,
    /// An agent within the caller's own process; no spec can name it.
    #[serde(skip_deserializing)]
    Memory,
}

impl Driver {
    /// Whether one process of it does several tasks, one after the other, and each in a conversation of its own.
    pub fn stays(self) -> bool {
        match self {
            Self::Echo | Self::Rpc | Self::Acp | Self::Gemini | Self::Opencode | Self::Codex => true,
            // Their process is one conversation, or one answer.
            Self::Claude | Self::Qwen | Self::Command | Self::Memory => false,
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Command => "command",
            Self::Rpc => "rpc",
            Self::Acp => "acp",
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Opencode => "opencode",
            Self::Qwen => "qwen",
            Self::Memory => "memory",
        })
    }
}

/// One entry of `agents.yaml`: how an agent is driven, and what differs from the driver's own defaults.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// How it is driven.
    pub driver: Driver,
    /// Its program and first arguments, instead of the driver's own.
    #[serde(default)]
    pub command: Vec<String>,
    /// More arguments, behind those of the command.
    #[serde(default)]
    pub args: Vec<String>,
    /// The preset that it runs under when the run names none.
    #[serde(default)]
    pub preset: Option<PresetName>,
    /// The model that it uses when the run names none.
    #[serde(default)]
    pub model: Option<String>,
    /// How long it may take for a task when the run says nothing: `90`, `90s`, `10m`, `1h`.
    #[serde(default)]
    pub timeout: Option<SpecDuration>,
    /// How long it may give no sign of life when the run says nothing.
    #[serde(default)]
    pub idle_timeout: Option<SpecDuration>,
    /// The permission modes that it can keep to, where you know more than the driver.
    #[serde(default)]
    pub modes: Option<Vec<PermissionMode>>,
    /// How much of the machine it may take.
    #[serde(default)]
    pub limits: Resources,
    /// What it may touch: `none`, `standard`, `read-only` or `offline`.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// How often its process is started again when it ends by itself between tasks; one that is there for a single task is
    /// not.
    #[serde(default)]
    pub restart: RestartSpec,
}

/// How often an agent's process is started again, where that differs from [`RestartPolicy::default`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RestartSpec {
    /// How often at most: 0 is never, and 3 without it.
    #[serde(default)]
    pub max: Option<u8>,
    /// Within which time, which slides: `90`, `90s`, `10m`, `1h`; a minute without it.
    #[serde(default)]
    pub within: Option<SpecDuration>,
}

impl RestartSpec {
    /// What it says, and what holds where it says nothing.
    pub fn policy(self) -> RestartPolicy {
        let built_in = RestartPolicy::default();
        RestartPolicy {
            restarts_max: self.max.map_or(built_in.restarts_max, u32::from),
            window: self.within.map_or(built_in.window, |time| time.0),
            ..built_in
        }
    }
}

impl AgentSpec {
    /// The spec of a driver's own agent.
    pub fn new(driver: Driver) -> Self {
        Self {
            driver,
            command: Vec::new(),
            args: Vec::new(),
            preset: None,
            model: None,
            timeout: None,
            idle_timeout: None,
            modes: None,
            limits: Resources::default(),
            sandbox: Sandbox::None,
            restart: RestartSpec::default(),
        }
    }

    /// The spec of any program: prompt on stdin, answer on stdout.
    pub fn command<I, A>(command: I) -> Self
    where
        I: IntoIterator<Item = A>,
        A: Into<String>,
    {
        Self { command: command.into_iter().map(Into::into).collect(), ..Self::new(Driver::Command) }
    }

    /// Who the agent of this spec is, and what it can do.
    pub fn profile(&self, id: AgentId) -> Profile {
        let known = built_in(self.driver);
        let own = |list: fn(&BuiltIn) -> &[&str]| -> Vec<String> {
            known.map(|known| list(known).iter().map(ToString::to_string).collect()).unwrap_or_default()
        };
        let mut command =
            if self.command.is_empty() { own(|known| known.command) } else { self.command.clone() };
        command.extend(self.args.iter().cloned());
        let modes = match (&self.modes, known) {
            (Some(modes), _) => modes.clone(),
            (None, Some(known)) => known.modes.to_vec(),
            (None, None) => vec![PermissionMode::Write, PermissionMode::Yolo],
        };
        Profile {
            id,
            driver: self.driver,
            command,
            modes,
            credentials: own(|known| known.credentials),
            install: known.and_then(|known| known.install).map(str::to_owned),
            login: known.and_then(|known| known.login).map(str::to_owned),
            version_min: known.and_then(|known| known.version_min).map(str::to_owned),
            resources: self.limits,
            sandbox: self.sandbox,
            restart: self.restart.policy(),
            folders: own(|known| known.folders),
        }
    }

    /// The agent of this spec under a name.
    pub fn build(&self, id: AgentId) -> Arc<dyn Agent> {
        let profile = self.profile(id);
        match self.driver {
            Driver::Command | Driver::Memory => Arc::new(CommandAgent::new(profile)),
            Driver::Rpc | Driver::Echo => Arc::new(RpcAgent::new(profile)),
            Driver::Acp | Driver::Gemini | Driver::Opencode => Arc::new(AcpAgent::new(profile)),
            Driver::Claude | Driver::Qwen => Arc::new(ClaudeAgent::new(profile)),
            Driver::Codex => Arc::new(CodexAgent::new(profile)),
        }
    }
}

/// A length of time as people write it: `90` or `90s`, `500ms`, `10m`, `1h`; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
#[serde(try_from = "Written")]
pub struct SpecDuration(pub Duration);

impl fmt::Display for SpecDuration {
    /// Writes it in the largest unit in which it is a whole number, so that it can be read again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
        let (size, unit) = units.into_iter().find(|(size, _)| ms.is_multiple_of(*size)).unwrap_or((1, "ms"));
        write!(f, "{}{unit}", ms / size)
    }
}

/// A duration in a config file: a bare number of seconds, or text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a length of time like 90s, 500ms, 10m or 1h")]
enum Written {
    Seconds(i64),
    Text(String),
}

impl TryFrom<Written> for SpecDuration {
    type Error = DurationError;

    fn try_from(written: Written) -> Result<Self, DurationError> {
        match written {
            Written::Seconds(seconds) => seconds.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

/// A text that is no length of time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a length of time like 90s, 500ms, 10m or 1h")]
pub struct DurationError {
    text: String,
}

impl FromStr for SpecDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit_ms = match unit.trim() {
            "ms" => 1,
            "" | "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => 0,
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)) {
            Some(ms) if ms > 0 => Ok(Self(Duration::from_millis(ms))),
            _ => Err(DurationError { text: text.escape_default().to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_people_write_it() {
        let read = |text: &str| text.parse::<SpecDuration>().ok().map(|duration| duration.0.as_millis());
        let all = ["90", "90s", "500ms", "10m", "1h", "5 min", "30d"].map(read);
        assert_eq!(all, [90_000, 90_000, 500, 600_000, 3_600_000, 300_000, 2_592_000_000].map(Some));
        for text in ["90s", "1500ms", "10m", "36h", "30d"] {
            assert_eq!(text.parse::<SpecDuration>().map(|read| read.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "0", "-1", "1.5s", "10 parsecs", "m", "99999999999999999999h", "9999999999999999999h"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_agent_is_started_again_as_its_spec_says_and_else_as_is_built_in() {
        let built_in = RestartPolicy::default();
        assert_eq!(RestartSpec::default().policy(), built_in);
        let own = RestartSpec { max: Some(0), within: Some(SpecDuration(Duration::from_secs(5))) };
        let expected = RestartPolicy { restarts_max: 0, window: Duration::from_secs(5), ..built_in };
        assert_eq!(own.policy(), expected);
        let spec = AgentSpec { restart: own, ..AgentSpec::new(Driver::Rpc) };
        assert_eq!(spec.profile("a".parse().unwrap()).restart, expected);
    }
}
