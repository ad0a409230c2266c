//! The command line. The doc comments of this file are the help.

use std::path::PathBuf;

use aiswitch_agent::SpecDuration;
use aiswitch_coordinator::{AgentId, PresetName};
use clap::{Parser, Subcommand, ValueEnum};

mod agents;
mod audit;
mod echo;
mod env;
mod locks;
mod logs;
mod mcp;
mod metrics;
mod presets;
mod python;
mod quota;
mod report;
mod run;
mod secrets;
mod shell;
mod tokens;
mod trust;

pub(crate) use agents::{AgentAdd, AgentsVerb};
pub(crate) use audit::AuditVerb;
pub(crate) use echo::{Crash, EchoArgs};
pub(crate) use env::{EnvSwitchArgs, EnvTarget, EnvVerb, TurnArgs};
pub(crate) use locks::{LocksRunArgs, LocksVerb};
pub(crate) use logs::{LogSearchArgs, LogsArgs};
pub(crate) use mcp::McpArgs;
pub(crate) use metrics::{MetricsArgs, MetricsFormat, MetricsSpan, MetricsVerb};
pub(crate) use presets::{PresetChange, PresetExport, PresetImport, PresetVerb, Tool};
pub(crate) use python::PythonVerb;
pub(crate) use quota::{QuotaSet, QuotaTarget, QuotaVerb};
pub(crate) use report::ReportArgs;
pub(crate) use run::{HowJoined, OutputFormat, RunArgs, as_judge};
pub(crate) use secrets::SecretsVerb;
pub(crate) use shell::{ShellName, ShellVerb};
pub(crate) use tokens::{SummaryArgs, Timeframe, TokensArgs, TokensBy, TokensVerb};
pub(crate) use trust::TrustArgs;

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

impl RunArgs {
    /// Those of a command line that says nothing.
    pub(crate) fn plain() -> Self {
        match Args::try_parse_from(["aiswitch", "run"]).map(|args| args.verb) {
            Ok(Verb::Run(run)) => *run,
            other => unreachable!("`run` needs no arguments: {other:?}"),
        }
    }
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
    /// Remove old runs and old logs, as `retention` in coordination.yaml says
    ///
    /// A run does this by itself once a day. A run that goes on stays, and so do what agents used, their samples and the audit log.
    Clean(CleanArgs),
    /// Print the answer of a run that is kept
    Result {
        /// A run's id, the start of one, or `last`
        #[arg(default_value = "last")]
        run: String,
    },
    /// List the agents that work now, in all runs of this home
    Ps,
    /// Stop a run that goes on in another process, and wait for its end
    ///
    /// Its agents are asked to stop, as Ctrl-C in its terminal does; its report says so.
    Cancel(RunWait),
    /// Wait for the end of a run, print its answer and exit as it did
    Wait(RunWait),
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
    /// Show what agents and the machine used over time: CPU, memory, response times, errors
    ///
    /// Each run measures its agents, with all that they start, every 10 seconds and at their end. Figures are kept as they are
    /// for 48 hours, by the minute for 14 days and by the hour for 400.
    Metrics(MetricsArgs),
    /// Sum up what agents did, used and cost, as text or as one page with plots
    ///
    /// What nobody knows is not shown as 0: a cost that is not known is said to be missing, and a line is broken where nothing
    /// was measured. The page has the beginnings of prompts in it; it is one file, runs no script and loads nothing.
    Report(ReportArgs),
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
    #[command(alias = "use")]
    Apply(ApplyArgs),
    /// Move an agent to another preset for all its runs, and back
    ///
    /// A run has an agent under the first of these that is there: NAME@PRESET, --preset, what `env switch` has bound it to, its
    /// preset in agents.yaml, that of the shell, that of the project. `aiswitch run --dry-run` says which it is.
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Env(EnvVerb),
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
    /// Check this machine: agents and their versions, the home folder and its records, what is enforced
    Doctor {
        /// Close the files and folders of the home folder that others could change or read, following no link, and mend its
        /// records: a damaged database is put aside, and the one of runs is made anew from their folders
        #[arg(long)]
        fix: bool,
    },
    /// Make the folder of configuration, with files that explain themselves
    ///
    /// What is there already stays as it is.
    Init,
    /// Show what is configured, and which files say so
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Config(ConfigVerb),
    /// Serve the Model Context Protocol on stdin and stdout: other programs' models ask agents as `run` does
    ///
    /// Its tools are `run`, `agents` and `result`. A client names agents, models and limits; presets are those that agents are
    /// bound to, and `yolo` is not to be had. When the client goes away, its runs are stopped. Claude Code, for one, has it
    /// with: claude mcp add aiswitch -- aiswitch mcp
    Mcp(McpArgs),
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

/// A run that goes on, and how long its end is waited for.
#[derive(Debug, clap::Args)]
pub(crate) struct RunWait {
    /// A run's id, the start of one, or `last`
    pub(crate) run: String,
    /// How long to wait for its end: 90s, 10m, 1h [default: no limit]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) timeout: Option<SpecDuration>,
}

/// What is configured.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Show the files that are read, and what runs do when their command line says nothing
    Show,
}

/// What is to be removed.
#[derive(Debug, clap::Args)]
pub(crate) struct CleanArgs {
    /// Remove runs and logs that are older than this: 12h, 30d
    #[arg(long, value_name = "TIME")]
    pub(crate) older_than: Option<SpecDuration>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
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
    /// config/prices.yaml
    Prices,
    /// config/alerts.yaml
    Alerts,
    /// config/coordination.yaml
    Coordination,
    /// .aiswitch.yaml of a project
    Project,
    /// What `env history --json` prints
    EnvHistory,
    /// What `report --json` prints: the report over a time
    PeriodReport,
    /// What `tokens --json` prints
    Tokens,
    /// What `metrics --json` and `metrics query --json` print
    Metrics,
}
