//! The command line. The doc comments of this file are the help.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use aiswitch_agent::{ErrorKind, SpecDuration};
use aiswitch_coordinator::{AgentId, Aggregate, OnFailure, PermissionMode, PresetName};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};

use crate::pick::Pick;

/// What the list of verbs does not say.
const AFTER_HELP: &str = "\
Try:
  aiswitch doctor
  aiswitch run -a claude,codex \"what does this project do?\"
  git diff | aiswitch run -a claude --json \"review this\"

AISWITCH_HOME moves ~/.aiswitch. NO_COLOR, CLICOLOR_FORCE and CI are heeded.
What exit codes mean: aiswitch help exit-codes";

/// Runs AI agent CLIs side by side and hands back one honest report.
#[derive(Debug, Parser)]
#[command(name = "aiswitch", version, disable_help_subcommand = true, arg_required_else_help = true)]
#[command(after_help = AFTER_HELP, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
pub(crate) struct Args {
    /// What goes with every verb.
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What goes with every verb.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Common {
    /// Keep configuration and state in this folder [default: ~/.aiswitch]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Common options")]
    pub(crate) home: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long, global = true, help_heading = "Common options")]
    pub(crate) json: bool,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, help_heading = "Common options")]
    pub(crate) quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Give one task to one or more agents
    #[command(visible_alias = "exec")]
    Run(Box<RunArgs>),
    /// Show the agents that are known: built in and configured
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Agents(AgentsVerb),
    /// List the runs that are kept
    Runs,
    /// Print the answer of a run that is kept
    Result {
        /// A run's id, the start of one, or `last`
        #[arg(default_value = "last")]
        run: String,
    },
    /// Print what happened in a run
    Logs {
        /// A run's id, the start of one, or `last`
        #[arg(default_value = "last")]
        run: String,
        /// Print what this agent's program printed, as it was: stderr, then stdout
        #[arg(short, long, value_name = "NAME")]
        agent: Option<AgentId>,
    },
    /// Check this machine: agents and their versions, the home folder, what is enforced
    Doctor,
    /// Print a JSON Schema
    Schema {
        /// What the schema is of
        document: Document,
    },
    /// Print a completion script
    Completions {
        /// The shell that it is for
        shell: clap_complete::Shell,
    },
    /// Explain a verb or a topic
    Help {
        /// A verb, or `exit-codes`
        topic: Vec<String>,
    },
    /// The built-in echo agent: an adapter that speaks the aiswitch protocol on stdin and stdout
    #[command(name = "__echo", hide = true)]
    Echo(EchoArgs),
}

/// One task for one or more agents.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// What the agents are to do; `-` reads it from stdin
    ///
    /// Input that is piped in beside a prompt is appended to it as a `<stdin>` block.
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Option<String>,
    /// The prompt, where it could be taken for an option
    #[arg(
        short = 'p',
        long = "prompt",
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with = "file"
    )]
    pub(crate) text: Option<String>,
    /// Read the prompt from a file; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) file: Option<PathBuf>,

    /// Who does it: NAME, ALIAS=NAME, NAME:MODEL, NAME@PRESET, NAME*3; several with commas or by repeating
    ///
    /// Without it: the agents of coordination.yaml, else every built-in agent that is installed, else echo.
    #[arg(short, long = "agent", value_name = "NAME", value_delimiter = ',', help_heading = "Agents")]
    pub(crate) agents: Vec<Pick>,
    /// The model, for agents that are not told another
    #[arg(short, long, value_name = "MODEL", help_heading = "Agents")]
    pub(crate) model: Option<String>,
    /// The preset of environment variables, for agents that are not told another
    #[arg(long, value_name = "PRESET", help_heading = "Agents")]
    pub(crate) preset: Option<PresetName>,
    /// What agents may do [default: read-only when several share the folder, else write]
    #[arg(long, value_name = "MODE", value_parser = modes(), help_heading = "Agents")]
    pub(crate) mode: Option<PermissionMode>,
    /// The folder that the agents work in [default: this one]
    #[arg(short = 'C', long, value_name = "DIR", help_heading = "Agents")]
    pub(crate) cwd: Option<PathBuf>,

    /// One after the other, each given the answers before it [default: in parallel]
    #[arg(long, conflicts_with = "max_parallel", help_heading = "The run")]
    pub(crate) sequential: bool,
    /// How many agents work at one time [default: 8]
    #[arg(long, value_name = "N", help_heading = "The run")]
    pub(crate) max_parallel: Option<NonZeroUsize>,
    /// How long each agent may take: 90s, 10m, 1h [default: no limit]
    #[arg(long, value_name = "TIME", help_heading = "The run")]
    pub(crate) timeout: Option<SpecDuration>,
    /// How long an agent may be silent [default: no limit]
    #[arg(long, value_name = "TIME", help_heading = "The run")]
    pub(crate) idle_timeout: Option<SpecDuration>,
    /// What an agent's failure means for the others
    #[arg(long, value_name = "WHAT", default_value = "continue", value_parser = on_failure(), help_heading = "The run")]
    pub(crate) on_failure: OnFailure,
    /// Exit with 1 instead of 4 when only some agents completed
    #[arg(long, help_heading = "The run")]
    pub(crate) strict: bool,
    /// Print what would be started, and start nothing
    #[arg(long, help_heading = "The run")]
    pub(crate) dry_run: bool,

    /// How the answers become one: all of them, or the first that is there
    #[arg(long, value_name = "HOW", default_value = "list", value_parser = aggregate(), help_heading = "Output")]
    pub(crate) aggregate: Aggregate,
    /// The answer as text, the report as one JSON document, or all events as JSON lines with the report last
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        conflicts_with = "json",
        help_heading = "Output"
    )]
    pub(crate) output_format: OutputFormat,
}

/// What stdout carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    Text,
    Json,
    StreamJson,
}

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
    /// Start agents' programs to see which version they are
    Check {
        /// The agents; all that are known when none is named
        names: Vec<AgentId>,
    },
}

/// What there is a JSON Schema of.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Document {
    /// The report of a run
    Report,
    /// One line of `--output-format stream-json`
    Event,
    /// config/agents.yaml
    Agents,
    /// config/presets.yaml
    Presets,
    /// config/coordination.yaml
    Coordination,
}

/// Ways to make the echo agent behave like a worse one.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EchoArgs {
    /// Wait before the answer
    #[arg(long, value_name = "TIME")]
    pub(crate) delay: Option<SpecDuration>,
    /// Stream the answer in at most this many pieces
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) chunks: NonZeroUsize,
    /// End the task with an error of this kind, as reports name it: auth, network, …
    #[arg(long, value_name = "KIND", value_parser = error_kind)]
    pub(crate) fail: Option<ErrorKind>,
    /// Exit without an answer, before the task's first output or during it
    #[arg(long, value_name = "WHEN")]
    pub(crate) crash: Option<Crash>,
    /// Report that this tool was denied
    #[arg(long, value_name = "TOOL")]
    pub(crate) deny: Option<String>,
    /// Never answer
    #[arg(long)]
    pub(crate) stall: bool,
}

/// When the echo agent crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Crash {
    Before,
    During,
}

fn modes() -> impl TypedValueParser<Value = PermissionMode> {
    PossibleValuesParser::new(["read-only", "write", "yolo"]).try_map(|mode| mode.parse::<PermissionMode>())
}

fn on_failure() -> impl TypedValueParser<Value = OnFailure> {
    PossibleValuesParser::new(["continue", "stop"])
        .map(|what| if what == "stop" { OnFailure::Stop } else { OnFailure::Continue })
}

fn aggregate() -> impl TypedValueParser<Value = Aggregate> {
    PossibleValuesParser::new(["list", "first"])
        .map(|how| if how == "first" { Aggregate::First } else { Aggregate::List })
}

fn error_kind(kind: &str) -> Result<ErrorKind, serde_json::Error> {
    serde_json::from_value(kind.into())
}
