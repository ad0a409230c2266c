//! The command line of `report`: of which time, and in what form.

use std::path::PathBuf;

use jiff::tz::TimeZone;

use super::tokens::zone;
use crate::moment::Moment;

/// What `report` shows.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// Print one page for a browser, with plots; it needs no other file and no network
    #[arg(long, conflicts_with = "json")]
    pub(crate) html: bool,
    /// Write the page into this file, all at once, instead of printing it
    #[arg(short, long, value_name = "FILE", requires = "html")]
    pub(crate) output: Option<PathBuf>,
    /// Not before this time: `10m`, `2h` or `3d` ago, a date such as 2026-11-23, or a time such as 2026-11-23T10:15
    /// [default: 7d before the end]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,
    /// Before this time [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<Moment>,
    /// Only this agent
    #[arg(short, long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// The zone of days and times, such as Europe/Berlin [default: that of the system]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub(crate) timezone: Option<TimeZone>,
}
