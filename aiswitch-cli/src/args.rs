//! The command line. The doc comments of this file are the help.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use aiswitch_agent::{ErrorKind, SpecDuration};
use aiswitch_coordinator::{
    AgentId, Aggregate, Expression, LockName, LogLevel, OnFailure, PermissionMode, PresetName,
};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use regex::Regex;

use crate::moment::Moment;
use crate::pick::Pick;

mod presets;
mod python;
mod shell;

pub(crate) use presets::{PresetChange, PresetExport, PresetImport, PresetVerb};
pub(crate) use python::PythonVerb;
pub(crate) use shell::{ShellName, ShellVerb};

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

/// What `tokens` shows.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct TokensArgs {
    /// What to do instead of showing
    #[command(subcommand)]
    pub(crate) verb: Option<TokensVerb>,
    /// What to sum up by
    #[arg(value_enum, default_value_t = TokensBy::Daily)]
    pub(crate) by: TokensBy,
    /// Not before this time: `10m`, `2h` or `3d` ago, a date such as 2026-11-23, or a time such as 2026-11-23T10:15
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
    /// Only this agent
    #[arg(short, long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// Only this model
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// The zone of days, weeks and months, such as Europe/Berlin [default: that of the system]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub(crate) timezone: Option<TimeZone>,
}

/// What `tokens` does beside showing.
#[derive(Debug, Subcommand)]
pub(crate) enum TokensVerb {
    /// Import what Claude Code and Codex left on disk: months of history on the first day
    ///
    /// Each request counts once, however often it is imported and in however many files it stands. Sessions that are known
    /// from runs of this home are passed over: they count already.
    Import {
        /// Read Claude Code's transcripts below this folder [default: ~/.claude/projects]
        #[arg(long, value_name = "DIR")]
        claude: Option<PathBuf>,
        /// Read Codex's transcripts below this folder [default: ~/.codex/sessions]
        #[arg(long, value_name = "DIR")]
        codex: Option<PathBuf>,
    },
}

/// What tokens are summed up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokensBy {
    /// The days of the zone
    Daily,
    /// Weeks, from Monday on
    Weekly,
    /// Months
    Monthly,
    /// Sessions of agents
    Session,
    /// Blocks of five hours from the first request on, as some providers count (an estimate)
    Blocks,
    /// Models
    Models,
    /// Agents
    Agents,
    /// Presets
    Presets,
    /// Runs of this home
    Runs,
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .ok()
        .ok_or_else(|| "expected a zone of the IANA list, such as Europe/Berlin or UTC".to_owned())
}

/// What `logs` prints.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// A run's id, the start of one, or `last`; without it, the logs of all runs
    pub(crate) run: Option<String>,
    /// Only this agent; with a RUN, print what its program printed, as it was: stderr, then stdout
    #[arg(short, long, value_name = "NAME")]
    pub(crate) agent: Option<AgentId>,
    /// What the logs of all runs are searched for.
    #[command(flatten)]
    pub(crate) search: LogSearchArgs,
}

/// What the logs of all runs are searched for.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Search in the logs of all runs")]
pub(crate) struct LogSearchArgs {
    /// Not before this time
    #[arg(long, value_name = "TIME", conflicts_with = "run")]
    pub(crate) since: Option<Moment>,
    /// Before this time
    #[arg(long, value_name = "TIME", conflicts_with = "run")]
    pub(crate) until: Option<Moment>,
    /// Only what is about this run: its id, or the start of it
    #[arg(long = "run", id = "of_run", value_name = "RUN", conflicts_with = "run")]
    pub(crate) of_run: Option<String>,
    /// Only this level and graver ones: trace, debug, info, warn, error
    #[arg(long, conflicts_with = "run")]
    pub(crate) level: Option<LogLevel>,
    /// Only lines whose message or fields match this regular expression
    #[arg(long, value_name = "REGEX", conflicts_with = "run")]
    pub(crate) grep: Option<Regex>,
    /// Only lines for which this holds
    #[arg(long = "where", value_name = "EXPR", conflicts_with = "run")]
    pub(crate) condition: Option<Expression>,
    /// Only the last N lines
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "run")]
    pub(crate) lines: Option<usize>,
    /// Go on with what comes, until interrupted
    #[arg(short, long, conflicts_with = "run")]
    pub(crate) follow: bool,
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
    /// Print what happened: in one run, or over all runs and agents, merged by time
    ///
    /// Without a RUN the logs of all runs are searched. TIME is `10m`, `2h` or `3d` ago, a date such as 2026-11-23, a local
    /// time such as 2026-11-23T10:15, or one with its zone. EXPR compares fields: `level >= warn and agent = claude`,
    /// `pid = 7 or msg ~ "timed out"`, `not task`; its operators are = != < <= > >= and ~ (contains), joined by
    /// and, or, not and parentheses.
    Logs(Box<LogsArgs>),
    /// Show how many tokens were used, and what they cost
    ///
    /// Counted are the runs of this home and the transcripts that were imported, each request once. A cost that nobody knows
    /// is not counted as free: it is said how many requests have none.
    Tokens(TokensArgs),
    /// Look for known secrets, in every form, in what a run has kept or in any file or folder
    ///
    /// Known are the values that presets take from elsewhere, and the variables of the caller whose names look secret
    /// or that an agent takes as a credential. Exits with 8 when one is found; no value is printed.
    LeakCheck {
        /// A run's id, the start of one, or `last`; or a path, which has a `/` in it
        #[arg(value_name = "RUN|PATH", default_value = "last")]
        target: String,
    },
    /// Keep named sets of variables for agents
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Preset(PresetVerb),
    /// Run one command under a preset, with the environment that an agent would be given; no shell is in between
    ///
    /// The command takes the place of this one: its exit code, its signals and its terminal are its own.
    Apply(ApplyArgs),
    /// Have `aiswitch apply PRESET` change the shell that it is typed in
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Shell(ShellVerb),
    /// Keep secrets encrypted in presets, each bound to its preset, its variable and where the preset leads
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Secrets(SecretsVerb),
    /// Let the `.aiswitch.yaml` of a project say what runs there do: agents, preset, mode, limits
    ///
    /// It counts for runs in its folder and below, after the command line and before coordination.yaml, and only as it is
    /// now: once it was changed it is not heeded until it is trusted anew. Read it before.
    Trust(TrustArgs),
    /// Share what several agents or programs must not use at the same time
    ///
    /// A lock is a name that all agree on: `global`, `task:TEXT`, or any other TEXT, which is short for `resource:TEXT`.
    /// It is free again when its holder ends, however it ends.
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Locks(LocksVerb),
    /// See who did what that only the operator may do, and whether that record is whole
    ///
    /// The record is tamper-evident, not tamper-proof: each line holds the hash of the one before it, and what was changed,
    /// taken out, moved or cut off is found. Who may write the files may also write all of them anew: keep the hash that
    /// `verify` prints elsewhere, and give it back with `--kept`.
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Audit(AuditVerb),
    /// Check this machine: agents and their versions, the home folder, what is enforced
    Doctor {
        /// Close the files and folders of the home folder that others could change or read; no link is followed
        #[arg(long)]
        fix: bool,
    },
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
    #[command(flatten)]
    Python(PythonVerb),
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
    /// Have this lock while the run goes on; repeatable. See: aiswitch locks --help
    #[arg(long = "lock", value_name = "LOCK", help_heading = "The run")]
    pub(crate) locks: Vec<LockName>,
    /// How long to wait for the locks [default: 30s]
    #[arg(long, value_name = "TIME", requires = "locks", help_heading = "The run")]
    pub(crate) lock_timeout: Option<SpecDuration>,
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

/// One command under a preset.
#[derive(Debug, clap::Args)]
pub(crate) struct ApplyArgs {
    /// The preset
    pub(crate) preset: PresetName,
    /// As this agent is given it
    #[arg(short, long, value_name = "NAME")]
    pub(crate) agent: Option<AgentId>,
    /// Give it this variable of the caller too
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) keep: Vec<String>,
    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

/// A project file to be trusted.
#[derive(Debug, clap::Args)]
pub(crate) struct TrustArgs {
    /// The project's folder, or one below it [default: this one]
    #[arg(value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,
    /// List what is trusted, and whether it was changed since
    #[arg(long, conflicts_with_all = ["folder", "remove"])]
    pub(crate) list: bool,
    /// Trust it no more
    #[arg(long)]
    pub(crate) remove: bool,
}

/// Encrypted values.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsVerb {
    /// Make a key for secrets, and an identity that opens it
    Init {
        /// Let somebody else open the key too: `age1…`; a spare identity, a colleague
        #[arg(long = "recipient", value_name = "RECIPIENT")]
        recipients: Vec<String>,
        /// Protect the identity with a passphrase
        #[arg(long)]
        passphrase: bool,
    },
    /// Encrypt a value that is typed or piped in
    Set {
        /// The preset, which is made if it is not there
        preset: PresetName,
        /// The variable
        #[arg(value_name = "VARIABLE")]
        name: String,
        /// Only for this agent
        #[arg(short, long, value_name = "NAME")]
        agent: Option<AgentId>,
    },
    /// Check that a value opens
    Get {
        /// The preset
        preset: PresetName,
        /// The variable
        #[arg(value_name = "VARIABLE")]
        name: String,
        /// Print the value in clear
        #[arg(long)]
        reveal: bool,
    },
    /// Open the encrypted values of a preset in an editor ($VISUAL, else $EDITOR, else vi), and encrypt what was changed
    ///
    /// They stand in clear in a file of your own, in memory where the system has a folder for that, for as long as the editor
    /// is open; however it ends, the file is overwritten and removed.
    Edit {
        /// The preset
        preset: PresetName,
    },
    /// Encrypt all values with a new key
    Rotate,
    /// Wrap the key for those who stand in config/recipients.txt now
    Rekey,
    /// Protect the identity with a passphrase
    Lock {
        /// Take the passphrase away
        #[arg(long)]
        remove: bool,
    },
    /// Check identity, key, every encrypted value, and that no secret stands in clear
    Doctor,
}

/// Locks between agents and programs.
#[derive(Debug, Subcommand)]
pub(crate) enum LocksVerb {
    /// List all locks: who holds them, and how many wait
    List,
    /// Run a command while holding a lock, and exit with the command's own code
    ///
    /// No shell is in between: the command has this terminal, and signals are passed on to it. The lock is let go when the
    /// command ends; what it leaves running does not keep the lock.
    Run(LocksRunArgs),
    /// Remove the files of locks that nobody holds or waits for
    Clean {
        /// Leave those alone that were used within this time [default: none]
        #[arg(long, value_name = "TIME")]
        unused_for: Option<SpecDuration>,
    },
}

/// A command that runs while a lock is held.
#[derive(Debug, clap::Args)]
pub(crate) struct LocksRunArgs {
    /// The lock
    #[arg(value_name = "LOCK")]
    pub(crate) name: LockName,
    /// How long to wait for the lock [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) lock_timeout: Option<SpecDuration>,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// The audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditVerb {
    /// List the lines: who did what, and whether it was allowed
    Show {
        /// Only the last lines, this many
        #[arg(short = 'n', long, value_name = "N")]
        last: Option<usize>,
    },
    /// Check that no line was changed, taken out, moved or cut off; exits with 8 when one was
    Verify {
        /// Check also that the log has the line with this hash, which `verify` printed once
        #[arg(long, value_name = "HASH")]
        kept: Option<String>,
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
    /// .aiswitch.yaml of a project
    Project,
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
