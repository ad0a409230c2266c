//! The command line of `tokens`: what is shown, and of which time.

use std::path::PathBuf;

use aiswitch_coordinator::{AgentId, PresetName};
use clap::{Subcommand, ValueEnum};
use jiff::tz::TimeZone;

use super::QuotaVerb;
use crate::moment::Moment;

/// What `tokens` shows.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
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
    /// Each request counts once, however often it is imported and in however many files it stands. What runs of this home
    /// did in a session is passed over: it counts already. What has no reported cost is priced: by config/prices.yaml first,
    /// then by the list of the genai-prices package, as of the time of the request.
    Import {
        /// Read Claude Code's transcripts below this folder [default: ~/.claude/projects]
        #[arg(long, value_name = "DIR")]
        claude: Option<PathBuf>,
        /// Read Codex's transcripts below this folder [default: ~/.codex/sessions]
        #[arg(long, value_name = "DIR")]
        codex: Option<PathBuf>,
    },
    /// Sum up what was used within a time, in a few figures
    Summary(SummaryArgs),
    /// Limit what agents may use in a day
    #[command(subcommand, subcommand_value_name = "VERB", subcommand_help_heading = "Verbs")]
    Quota(QuotaVerb),
    /// Say what today's limits leave for an agent; exits with 7 when a hard one is used up
    Check {
        /// The agent
        agent: AgentId,
        /// The preset that it would run under
        #[arg(long, value_name = "PRESET")]
        preset: Option<PresetName>,
    },
    /// Compute the costs that nobody reported anew, with the prices as they are now
    ///
    /// Needed after a change of config/prices.yaml or an update of this program. A model's price is that of the time of the
    /// request. A cost that an agent reported stays as it is.
    Reprice,
}

/// Of what a summary is.
#[derive(Debug, clap::Args)]
pub(crate) struct SummaryArgs {
    /// The time around now, by the calendar of the zone
    #[arg(value_enum, default_value_t = Timeframe::Day)]
    pub(crate) timeframe: Timeframe,
    /// Not before this time, instead of the time around now
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
    /// Only under this preset
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// Only this run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// The zone of hours, days, weeks and months [default: that of the system]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub(crate) timezone: Option<TimeZone>,
}

/// A time around now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Timeframe {
    /// This hour
    Hour,
    /// Today
    Day,
    /// This week, from Monday on
    Week,
    /// This month
    Month,
    /// All that is known
    All,
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

pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name)
        .ok()
        .ok_or_else(|| "expected a zone of the IANA list, such as Europe/Berlin or UTC".to_owned())
}
