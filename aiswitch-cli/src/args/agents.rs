//! The command line of `agents`: the registry.

use aiswitch_agent::{Driver, SpecDuration};
use aiswitch_coordinator::{AgentId, PermissionMode, PresetName};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::run::modes;

/// The registry of agents.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentsVerb {
    /// List all agents, and whether they are installed
    List,
    /// Show one agent: command, modes, and the variables that it is given
    Show {
        /// The agent
        name: AgentId,
    },
    /// Add an agent to agents.yaml, or say what differs for a built-in one
    Add(AgentAdd),
    /// Remove agents from agents.yaml, all or none; a built-in one is then again as it is built in
    Remove {
        /// The agents
        #[arg(required = true, value_name = "NAME")]
        names: Vec<AgentId>,
    },
    /// Start agents' programs to see which version they are
    Check {
        /// The agents; all that are known when none is named
        names: Vec<AgentId>,
    },
}

/// An agent of one's own.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentAdd {
    /// Its name
    pub(crate) name: AgentId,
    /// How it is driven
    #[arg(long, value_name = "DRIVER", default_value = "command", value_parser = drivers())]
    pub(crate) driver: Driver,
    /// The preset that it runs under when a run names none
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: Option<PresetName>,
    /// The model that it uses when a run names none
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// How long it may take for a task when a run says nothing: 90s, 10m, 1h
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) timeout: Option<SpecDuration>,
    /// A mode that it can keep to, where you know more than the driver; repeatable
    #[arg(long = "mode", value_name = "MODE", value_parser = modes())]
    pub(crate) modes: Vec<PermissionMode>,
    /// Its program and arguments; without them, the driver's own
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// What a spec can name.
const DRIVERS: [(&str, Driver); 9] = [
    ("command", Driver::Command),
    ("rpc", Driver::Rpc),
    ("acp", Driver::Acp),
    ("claude", Driver::Claude),
    ("codex", Driver::Codex),
    ("gemini", Driver::Gemini),
    ("opencode", Driver::Opencode),
    ("qwen", Driver::Qwen),
    ("echo", Driver::Echo),
];

fn drivers() -> impl TypedValueParser<Value = Driver> {
    PossibleValuesParser::new(DRIVERS.map(|(name, _)| name)).map(|name| {
        let of_name = DRIVERS.iter().find(|(known, _)| *known == name);
        of_name.expect("the parser lets no other name through").1
    })
}
