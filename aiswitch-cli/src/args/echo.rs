//! The command line of the built-in echo agent: ways to make it behave like a worse one.

use std::num::NonZeroUsize;

use aiswitch_agent::{ErrorKind, SpecDuration};
use clap::ValueEnum;

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

fn error_kind(kind: &str) -> Result<ErrorKind, serde_json::Error> {
    serde_json::from_value(kind.into())
}
