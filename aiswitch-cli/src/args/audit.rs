//! The command line of `audit`: the record of what only the operator may do.

use clap::Subcommand;

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
