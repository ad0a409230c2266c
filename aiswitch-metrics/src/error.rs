//! Why samples cannot be kept or looked up.

use aiswitch_lock::database::DatabaseError;

use crate::metric::METRIC_BYTES_MAX;
use crate::sample::LABEL_BYTES_MAX;
use crate::series::STEPS_MAX;

/// Why samples cannot be kept or looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// A metric's name cannot be one.
    #[error(
        "`{}` ({bytes} bytes) cannot be a metric's name, which begins with a lowercase letter, goes on with those, digits and `_`, and has at most {METRIC_BYTES_MAX}",
        start.escape_debug()
    )]
    Metric {
        /// The start of the name.
        start: String,
        /// How long it is.
        bytes: usize,
    },
    /// An agent's label is empty or too long.
    #[error("the label of an agent has {bytes} bytes, and it has 1 to {LABEL_BYTES_MAX}")]
    Label {
        /// How long it is.
        bytes: usize,
    },
    /// A span of time has no steps, or too many.
    #[error("{span_ms} ms in steps of {step_ms} ms are no series: it has 1 to {STEPS_MAX} steps")]
    Span {
        /// How long the span is, in milliseconds.
        span_ms: i64,
        /// How long a step is, in milliseconds.
        step_ms: i64,
    },
    /// The database refuses.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}
