//! The command line of `mcp`.

use std::path::PathBuf;

use aiswitch_coordinator::PermissionMode;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// What the clients of the server may have.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct McpArgs {
    /// The most that a client may let agents do
    #[arg(long, value_name = "MODE", default_value = "read-only", value_parser = modes())]
    pub(crate) mode: PermissionMode,
    /// The folder that the agents work in [default: this one]
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
}

fn modes() -> impl TypedValueParser<Value = PermissionMode> {
    PossibleValuesParser::new(["read-only", "write"]).try_map(|mode| mode.parse::<PermissionMode>())
}
