//! The one place that reads the clock.

use chrono::{DateTime, SubsecRound, Utc};
use tokio::time::Instant;

/// What time it is, for records, in whole milliseconds.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

/// Whole milliseconds since a moment.
pub(crate) fn ms_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}
