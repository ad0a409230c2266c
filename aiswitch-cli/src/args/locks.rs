//! The command line of `locks`: what several programs share.

use std::ffi::OsString;

use aiswitch_agent::SpecDuration;
use aiswitch_coordinator::{LockName, Priority};
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};

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
    /// How early it is served among those that wait
    #[arg(long, value_name = "LEVEL", default_value = "normal", value_parser = priorities())]
    pub(crate) priority: Priority,
    /// The command and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// The levels of priority; who waits gains one every 10 seconds.
pub(super) fn priorities() -> impl TypedValueParser<Value = Priority> {
    PossibleValuesParser::new(["low", "normal", "high", "urgent"]).map(|level| match level.as_str() {
        "low" => Priority::Low,
        "high" => Priority::High,
        "urgent" => Priority::Urgent,
        _ => Priority::Normal,
    })
}
