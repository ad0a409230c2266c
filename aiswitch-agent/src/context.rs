//! What one run gives an agent beside its task.

use std::path::PathBuf;
use std::time::Duration;

use aiswitch_env::Environment;
use tokio_util::sync::CancellationToken;

use crate::event::EventSender;
use crate::{Guard, Pace};

/// What one run gives an agent beside its task.
#[derive(Clone, Debug)]
pub struct RunContext {
    /// All that the agent's process may know.
    pub environment: Environment,
    /// Where the agent's events go.
    pub events: EventSender,
    /// Asks the agent to stop.
    pub cancel: CancellationToken,
    /// How much the agent may print, and how long it may take to stop.
    pub limits: Limits,
    /// The folder for `stdout.log` and `stderr.log`; `None` keeps no raw output.
    pub output_dir: Option<PathBuf>,
    /// The value of [`MARKER`](crate::MARKER) in the agent's environment: `RUN:AGENT`.
    pub marker: String,
    /// Whether the agent is paused; its time-outs heed it.
    pub pace: Pace,
    /// What guards the agent's processes; `None` holds them by their process group and their mark alone.
    pub guard: Option<Guard>,
    /// Folders that no sandbox opens, beside those that usually hold keys.
    pub hidden: Vec<PathBuf>,
}

/// How much an agent may print, and how long it may take to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest line of a protocol, in bytes.
    pub frame_bytes_max: usize,
    /// All that an agent may print on stdout, in bytes.
    pub output_bytes_max: u64,
    /// How long an agent that has answered, or was asked to stop, may take before it is killed.
    pub stop_grace: Duration,
    /// How long an agent may take to answer the first question of its protocol.
    pub start_timeout: Duration,
    /// How long an agent that speaks the aiswitch protocol may say nothing before it is asked whether it is there.
    pub ping_after: Duration,
    /// How long it may take to answer that, before it is asked again.
    pub ping_timeout: Duration,
    /// How many such questions it may leave unanswered; then it is hung, and ended.
    pub pings_missed_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 16 * 1024 * 1024,
            output_bytes_max: 256 * 1024 * 1024,
            stop_grace: Duration::from_secs(5),
            start_timeout: Duration::from_secs(30),
            ping_after: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(5),
            pings_missed_max: 3,
        }
    }
}
