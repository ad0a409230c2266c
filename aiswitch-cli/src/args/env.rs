//! The command line of `env`: which preset an agent runs under.

use std::path::PathBuf;

use aiswitch_agent::{SpecDuration, Turn};
use aiswitch_coordinator::{AgentId, PresetName, SnapshotId, SwitchProbe};
use clap::{Subcommand, ValueEnum};

/// Which preset an agent runs under.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvVerb {
    /// Move an agent to a preset; what does not prove itself is taken back
    ///
    /// Every problem is listed before anything is touched. Then what was before is kept as a snapshot, the agent's turn is
    /// waited for, and it has to get ready under the preset; only that makes the switch count. Broken off at any step, the agent
    /// is under the old preset or the new one, and the next command says which.
    Switch(EnvSwitchArgs),
    /// List all that speaks against moving an agent to a preset; exits with 2 when something does
    Validate(EnvTarget),
    /// Keep what an agent runs under now: references and encrypted values, and no secret in clear
    Snapshot {
        /// The agent, as `aiswitch agents list` names it
        agent: AgentId,
    },
    /// Move an agent back to what a snapshot says, also where the preset was changed since
    Rollback {
        /// The agent
        agent: AgentId,
        /// The snapshot, as `aiswitch env history` names it [default: what was before the last switch that counts]
        snapshot: Option<SnapshotId>,
        /// What becomes of the agent's turn.
        #[command(flatten)]
        turn: TurnArgs,
    },
    /// List what agents are bound to, their switches and their snapshots
    History {
        /// Only this agent
        agent: Option<AgentId>,
    },
}

/// An agent, and the preset that it is to run under.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EnvTarget {
    /// The agent, as `aiswitch agents list` names it
    pub(crate) agent: AgentId,
    /// The preset
    pub(crate) preset: PresetName,
    /// A session of the agent that has to go on under the preset
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// The folder that it works in [default: this one]
    #[arg(short = 'C', long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
}

/// A switch of an agent.
#[derive(Debug, clap::Args)]
pub(crate) struct EnvSwitchArgs {
    /// Who is moved, and where to.
    #[command(flatten)]
    pub(crate) target: EnvTarget,
    /// List what speaks against it and what would become of each variable, and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// What the agent has to do under the preset before that counts
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = ProbeArg::Start)]
    pub(crate) probe: ProbeArg,
    /// What becomes of the agent's turn.
    #[command(flatten)]
    pub(crate) turn: TurnArgs,
}

/// What becomes of the turns that an agent is in.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct TurnArgs {
    /// Wait until the agent is in no run any more, as NAME or NAME-1, NAME-2 … (the default)
    #[arg(long, conflicts_with = "cancel")]
    wait: bool,
    /// Have the runs that it is in end as by Ctrl-C, and wait for that
    #[arg(long)]
    cancel: bool,
    /// How long to wait for that [default: 10m]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<SpecDuration>,
}

impl TurnArgs {
    /// What becomes of them.
    pub(crate) fn turn(self) -> Turn {
        if self.cancel && !self.wait { Turn::Cancel } else { Turn::Finish }
    }
}

/// What an agent has to do under a preset before that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProbeArg {
    /// Nothing
    Nothing,
    /// Get ready for a task; makes no request to its provider
    Start,
    /// Answer a short prompt too, which alone shows that the provider takes the key; costs the tokens of one answer
    Answer,
}

impl From<ProbeArg> for SwitchProbe {
    fn from(probe: ProbeArg) -> Self {
        match probe {
            ProbeArg::Nothing => Self::Nothing,
            ProbeArg::Start => Self::Start,
            ProbeArg::Answer => Self::Answer,
        }
    }
}
