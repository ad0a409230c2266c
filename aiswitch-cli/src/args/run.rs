//! The command line of `run`: who does what, and how the answers are shown.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use aiswitch_agent::{Sandbox, SpecDuration};
use aiswitch_coordinator::{Aggregate, LockName, OnFailure, PermissionMode, PresetName, Priority};
use aiswitch_tokens::NanoUsd;
use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use schemars::JsonSchema;
use serde::Deserialize;

use super::locks::priorities;
use super::quota::dollars;
use crate::pick::{Pick, PickError};

/// What the judge of a run is called, unless it is given another name.
const JUDGE: &str = "judge";

/// One task for one or more agents.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
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
    /// What agents may touch, whatever their specs say [default: as the spec says, else none]
    #[arg(long, value_name = "SANDBOX", value_parser = sandboxes(), help_heading = "Agents")]
    pub(crate) sandbox: Option<Sandbox>,
    /// The folder that the agents work in [default: this one]
    #[arg(short = 'C', long, value_name = "DIR", help_heading = "Agents")]
    pub(crate) cwd: Option<PathBuf>,

    /// One after the other, each given the answers before it [default: in parallel]
    #[arg(long, conflicts_with = "max_parallel", help_heading = "The run")]
    pub(crate) sequential: bool,
    /// How many agents work at one time [default: 8]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true, help_heading = "The run")]
    pub(crate) max_parallel: Option<NonZeroUsize>,
    /// How long each agent may take: 90s, 10m, 1h [default: no limit]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, help_heading = "The run")]
    pub(crate) timeout: Option<SpecDuration>,
    /// How long an agent may be silent [default: no limit]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, help_heading = "The run")]
    pub(crate) idle_timeout: Option<SpecDuration>,
    /// Have this lock while the run goes on; repeatable. See: aiswitch locks --help
    #[arg(long = "lock", value_name = "LOCK", help_heading = "The run")]
    pub(crate) locks: Vec<LockName>,
    /// How long to wait for the locks [default: 30s]
    #[arg(long, value_name = "TIME", help_heading = "The run")]
    pub(crate) lock_timeout: Option<SpecDuration>,
    /// How early it is served among those that wait for the same locks
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "normal",
        value_parser = priorities(),
        help_heading = "The run"
    )]
    pub(crate) priority: Priority,
    /// Stop when all agents together have cost this much, as far as costs are known [default: no limit]
    #[arg(
        long,
        value_name = "DOLLARS",
        value_parser = dollars,
        allow_negative_numbers = true,
        help_heading = "The run"
    )]
    pub(crate) budget_usd: Option<NanoUsd>,
    /// What an agent's failure means for the others
    #[arg(long, value_name = "WHAT", default_value = "continue", value_parser = on_failure(), help_heading = "The run")]
    pub(crate) on_failure: OnFailure,
    /// Doing it twice does no harm: give the task once more to an agent whose process ends early
    #[arg(long, help_heading = "The run")]
    pub(crate) idempotent: bool,
    /// Exit with 1 instead of 4 when only some agents completed
    #[arg(long, help_heading = "The run")]
    pub(crate) strict: bool,
    /// Print what would be started, and start nothing
    #[arg(long, help_heading = "The run")]
    pub(crate) dry_run: bool,

    /// How the answers become one
    #[arg(long, value_name = "HOW", default_value = "list", help_heading = "Output")]
    pub(crate) aggregate: HowJoined,
    /// Who is given all answers at the end, for --aggregate judge and synthesize; written as for --agent
    ///
    /// It is called `judge` in the run, unless it is given as ALIAS=NAME.
    #[arg(long, value_name = "NAME", value_parser = judge, help_heading = "Output")]
    pub(crate) judge: Option<Pick>,
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

/// How the answers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HowJoined {
    /// All of them, each under its agent's name
    List,
    /// The one that was complete first
    First,
    /// The one that most agents gave, word for word; all, where none has a majority over each other
    Vote,
    /// The one that the --judge names as the best
    Judge,
    /// The one that the --judge makes of all
    Synthesize,
}

impl From<HowJoined> for Aggregate {
    fn from(how: HowJoined) -> Self {
        match how {
            HowJoined::List => Self::List,
            HowJoined::First => Self::First,
            HowJoined::Vote => Self::Vote,
            HowJoined::Judge => Self::Judge,
            HowJoined::Synthesize => Self::Synthesize,
        }
    }
}

fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().ok().ok_or_else(|| "expected a number from 1 on".to_owned())
}

fn judge(item: &str) -> Result<Pick, PickError> {
    as_judge(item.parse()?)
}

/// An agent as the judge of a run, under a name of its own.
///
/// # Errors
/// It is several.
pub(crate) fn as_judge(pick: Pick) -> Result<Pick, PickError> {
    if pick.count.is_some() {
        return Err(PickError::SeveralJudges);
    }
    let alias = pick.alias.unwrap_or_else(|| JUDGE.parse().expect("a good name for an agent"));
    Ok(Pick { alias: Some(alias), ..pick })
}

/// What agents may do.
pub(super) fn modes() -> impl TypedValueParser<Value = PermissionMode> {
    PossibleValuesParser::new(["read-only", "write", "yolo"]).try_map(|mode| mode.parse::<PermissionMode>())
}

fn sandboxes() -> impl TypedValueParser<Value = Sandbox> {
    PossibleValuesParser::new(["none", "standard", "read-only", "offline"])
        .try_map(|sandbox| sandbox.parse::<Sandbox>())
}

fn on_failure() -> impl TypedValueParser<Value = OnFailure> {
    PossibleValuesParser::new(["continue", "stop"])
        .map(|what| if what == "stop" { OnFailure::Stop } else { OnFailure::Continue })
}
