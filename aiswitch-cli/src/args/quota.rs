//! The command line of `tokens quota`.

use aiswitch_coordinator::{AgentId, PresetName};
use aiswitch_tokens::{NanoUsd, QuotaMode};
use clap::{Subcommand, ValueEnum};
use jiff::tz::TimeZone;

use super::tokens::zone;

/// Limits of what may be used in a day.
#[derive(Debug, Subcommand)]
pub(crate) enum QuotaVerb {
    /// Set a limit, in the place of the one for the same
    ///
    /// Before an agent starts, a run sets aside what its last runs used on average; what would go beyond a hard limit is not
    /// started, also when several runs begin at once. A run whose agents were all kept from starting exits with 7.
    Set(QuotaSet),
    /// Show all limits, and what is used of them today
    Show,
    /// Take a limit away
    Remove(QuotaTarget),
}

/// Whose use a limit is for.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct QuotaTarget {
    /// One agent
    #[arg(short, long, value_name = "NAME")]
    pub(crate) agent: Option<AgentId>,
    /// All agents under one preset
    #[arg(long, value_name = "PRESET")]
    pub(crate) preset: Option<PresetName>,
    /// All agents together
    #[arg(long)]
    pub(crate) global: bool,
}

/// A limit.
#[derive(Debug, clap::Args)]
pub(crate) struct QuotaSet {
    /// Whose use it is for.
    #[command(flatten)]
    pub(crate) target: QuotaTarget,
    /// How many tokens a day: of prompts, caches and answers together
    #[arg(long, value_name = "N")]
    pub(crate) tokens: Option<u64>,
    /// How many dollars a day
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    pub(crate) usd: Option<NanoUsd>,
    /// What it does
    #[arg(long, value_enum, default_value_t = QuotaModeName::Hard)]
    pub(crate) mode: QuotaModeName,
    /// The zone of its days, such as Europe/Berlin [default: that of the system]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub(crate) timezone: Option<TimeZone>,
}

/// What a limit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum QuotaModeName {
    /// Nothing is started that would go beyond it
    Hard,
    /// Runs tell when four fifths of it are used
    Soft,
    /// Nothing; it is only remembered
    Off,
}

impl From<QuotaModeName> for QuotaMode {
    fn from(name: QuotaModeName) -> Self {
        match name {
            QuotaModeName::Hard => Self::Hard,
            QuotaModeName::Soft => Self::Soft,
            QuotaModeName::Off => Self::Off,
        }
    }
}

/// Reads an amount of dollars.
pub(crate) fn dollars(text: &str) -> Result<NanoUsd, String> {
    let amount = text.strip_prefix('$').unwrap_or(text).parse().ok().and_then(NanoUsd::from_usd);
    amount.ok_or_else(|| "expected dollars, such as 0.50".to_owned())
}
