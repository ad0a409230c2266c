//! The command line of `trust`: a project file that is to be heeded.

use std::path::PathBuf;

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
