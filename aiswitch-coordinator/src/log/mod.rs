//! Logs: what happened over all runs, a JSON document a line, for those who look for a cause.
//!
//! | file | of |
//! |---|---|
//! | `logs/coordinator.log` | runs as a whole |
//! | `logs/agents/AGENT.log` | one agent, in all its runs |
//! | `logs/metrics/metrics.log` | samples and alerts |
//!
//! A file that has become too large or too old is renamed after the time of its first line and compressed:
//! `coordinator-20261123T101500.123Z.log.zst`. `zstdcat` and `rg -z` read them.

mod events;
mod expression;
mod filter;
mod follow;
mod layer;
mod line;
mod needle;
mod own;
mod packed;
mod pattern;
mod query;
mod record;
mod scan;
mod search;
mod segment;
mod stretch;
mod writer;

pub(crate) use events::{tell, tell_stderr};
pub use expression::{Expression, ExpressionError};
pub use follow::LogFollow;
pub use layer::{LogGuard, LogLayer, log_layer};
pub use pattern::LogPattern;
pub use query::LogQuery;
pub use record::{LOG_LINE_BYTES_MAX, LogLevel, LogRecord};
pub use search::{LogLine, LogSearch};
pub use segment::LogSource;
pub(crate) use segment::{Ended, Form, Segment};
pub use writer::{LogLimits, LogWriter};
