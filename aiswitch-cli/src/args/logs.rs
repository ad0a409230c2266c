//! The command line of `logs`: which lines are shown.

use aiswitch_coordinator::{AgentId, Expression, LogLevel, LogPattern};

use crate::moment::Moment;

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
    pub(crate) grep: Option<LogPattern>,
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
