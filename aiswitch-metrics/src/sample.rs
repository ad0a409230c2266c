//! What one agent used at one moment.

use chrono::{DateTime, Utc};

/// What one agent used at one moment, its whole process tree together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSample {
    /// The agent's label.
    pub agent: String,
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// The resident memory of the whole tree, in bytes; shared pages count in each process.
    pub memory_bytes: u64,
    /// How many processes the tree had.
    pub processes: usize,
}
