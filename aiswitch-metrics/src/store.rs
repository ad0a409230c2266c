//! What a store of samples does, and what is asked of it.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use crate::sample::is_possible;
use crate::summary::{Bucket, RESPONSE_MS_MAX};
use crate::{Metric, MetricsError, Sample, Source, Summary};

/// How far ahead of the clock a sample may be; one that is further was stamped by a clock that is wrong.
pub const AHEAD_MAX: TimeDelta = TimeDelta::minutes(5);

/// The most sources that a store has.
pub const SOURCES_MAX: u32 = 1_000;

/// The most metrics that a store has beside those that are known beforehand.
pub const OTHER_METRICS_MAX: u32 = 1_000;

/// How finely time is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Each sample, for 48 hours.
    Sample,
    /// One summary a minute, for 14 days.
    Minute,
    /// One summary an hour, for 400 days.
    Hour,
    /// One summary of all time.
    Ever,
}

impl Level {
    pub(crate) const ALL: [Self; 4] = [Self::Sample, Self::Minute, Self::Hour, Self::Ever];

    /// How long a summary of this level is kept; `None` for ever.
    pub fn kept(self) -> Option<TimeDelta> {
        match self {
            Self::Sample => Some(TimeDelta::hours(48)),
            Self::Minute => Some(TimeDelta::days(14)),
            Self::Hour => Some(TimeDelta::days(400)),
            Self::Ever => None,
        }
    }

    /// The start of the span that a moment is in, in milliseconds since 1970.
    pub(crate) fn start_ms(self, at_ms: i64) -> i64 {
        match self {
            Self::Sample => at_ms,
            Self::Minute => at_ms - at_ms.rem_euclid(60_000),
            Self::Hour => at_ms - at_ms.rem_euclid(3_600_000),
            Self::Ever => 0,
        }
    }

    /// How long a span is whose buckets of one source may share a row of a database.
    ///
    /// A row is written whole whenever one of its buckets changes, so that it is short.
    pub(crate) fn row_span_ms(self) -> i64 {
        match self {
            Self::Sample => 60_000,
            Self::Minute => 5 * 60_000,
            Self::Hour => 2 * 3_600_000,
            Self::Ever => 1,
        }
    }

    /// The start of such a span.
    pub(crate) fn row_ms(self, at_ms: i64) -> i64 {
        at_ms.saturating_sub(at_ms.rem_euclid(self.row_span_ms()))
    }

    /// Its table in a database.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Sample => "samples",
            Self::Minute => "minutes",
            Self::Hour => "hours",
            Self::Ever => "ever",
        }
    }

    /// The coarsest level that tells steps of this length apart and reaches back to a moment.
    ///
    /// Where the level that would do for the steps does not reach so far, it is the next that does.
    pub fn fitting(since: DateTime<Utc>, step: TimeDelta, now: DateTime<Utc>) -> Self {
        let reaches = |level: Self| level.kept().is_none_or(|kept| now - since <= kept);
        match step {
            step if step < TimeDelta::minutes(1) && reaches(Self::Sample) => Self::Sample,
            step if step < TimeDelta::hours(1) && reaches(Self::Minute) => Self::Minute,
            _ => Self::Hour,
        }
    }
}

/// Which figures are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleQuery {
    /// How finely time is told.
    pub level: Level,
    /// Not before; a span that begins before is not told.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
    /// About whom.
    pub source: Option<Source>,
    /// Of what.
    pub metric: Option<Metric>,
}

impl SampleQuery {
    /// Asks for all that a level has.
    pub fn of(level: Level) -> Self {
        Self { level, since: None, until: None, source: None, metric: None }
    }

    pub(crate) fn span_ms(&self) -> (i64, i64) {
        let ms = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp_millis());
        (ms(self.since).unwrap_or(i64::MIN), ms(self.until).unwrap_or(i64::MAX))
    }
}

/// The figures of one metric of one source in one span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<'a> {
    /// About whom.
    pub source: &'a Source,
    /// Of what.
    pub metric: &'a Metric,
    /// When the span begins.
    pub at: DateTime<Utc>,
    /// The figures.
    pub summary: &'a Summary,
}

/// Why samples, or figures of them, were not taken. Nothing else of them is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Samples whose label is empty or too long.
    pub labels: u64,
    /// Samples that are more than [`AHEAD_MAX`] ahead of the clock, or older than samples are kept.
    pub times: u64,
    /// Figures that are not finite, negative where nothing can be, or too large.
    pub figures: u64,
    /// Figures of a source or metric beyond [`SOURCES_MAX`] or [`OTHER_METRICS_MAX`].
    pub crowd: u64,
}

impl Rejected {
    /// Whether all were taken.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    fn add(&mut self, other: Self) {
        self.labels += other.labels;
        self.times += other.times;
        self.figures += other.figures;
        self.crowd += other.crowd;
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { labels, times, figures, crowd } = self;
        write!(
            f,
            "{labels} samples with a label that cannot be, {times} at a time that cannot be, {figures} figures that cannot be, {crowd} of more sources or metrics than are kept"
        )
    }
}

/// What became of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Samples that are kept now.
    pub stored: u64,
    /// Samples that were there already.
    pub known: u64,
    /// What was not taken.
    pub rejected: Rejected,
}

impl Stored {
    pub(crate) fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.known += other.known;
        self.rejected.add(other.rejected);
    }
}

/// Where samples are kept, with what becomes of them over time, and what alerts know.
///
/// A sample goes into its minute, its hour and the sum of all time in the same transaction in which it is kept, so that no
/// level is behind another whenever a process ends. A sample that comes twice counts once; another of the same source at the
/// same millisecond is kept at the next. Methods wait for the disk;
/// async code calls them on a thread of their own.
pub trait MetricsStore: fmt::Debug + Send + Sync {
    /// Keeps samples; when it returns, they outlive this process and the machine's power.
    ///
    /// What cannot be is counted and passed over.
    ///
    /// # Errors
    /// The store cannot be written; none of the samples is kept then.
    fn store_metrics(&self, samples: &[Sample], now: DateTime<Utc>) -> Result<Stored, MetricsError>;

    /// Hands out the figures that are asked for, the earliest first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn points(&self, query: &SampleQuery, each: &mut dyn FnMut(&Point<'_>)) -> Result<(), MetricsError>;

    /// Lets go of what is older than its level is kept, and says how many summaries that were.
    ///
    /// # Errors
    /// The store cannot be written.
    fn forget(&self, now: DateTime<Utc>) -> Result<u64, MetricsError>;

    /// Changes notes that all processes share, one after the other and alone among them; `None` is a note that is not there.
    ///
    /// `change` is given a note's name and what it says.
    ///
    /// # Errors
    /// The store cannot be written; all notes are as they were then.
    fn change_notes(
        &self,
        names: &[&str],
        change: &mut dyn FnMut(&str, Option<&str>) -> Option<String>,
    ) -> Result<(), MetricsError>;

    /// The notes whose names begin like this, in the order of their names.
    ///
    /// # Errors
    /// The store cannot be read.
    fn notes(&self, beginning: &str) -> Result<Vec<(String, String)>, MetricsError>;
}

/// A sample that was checked, with its metrics by number.
pub(crate) struct Checked {
    pub(crate) at_ms: i64,
    pub(crate) bucket: Bucket,
}

/// Checks a sample; `number` gives a metric's number, if there is room for it.
///
/// A metric that stands twice in it counts once, with its first figure.
pub(crate) fn check<E>(
    sample: &Sample,
    now: DateTime<Utc>,
    rejected: &mut Rejected,
    mut number: impl FnMut(&Metric) -> Result<Option<u32>, E>,
) -> Result<Option<Checked>, E> {
    if sample.source.check().is_err() {
        rejected.labels += 1;
        return Ok(None);
    }
    let kept = Level::Sample.kept().expect("samples are not kept for ever");
    if sample.at > now + AHEAD_MAX || sample.at < now - kept {
        rejected.times += 1;
        return Ok(None);
    }
    let at_ms = sample.at.timestamp_millis();
    let mut summaries: Vec<(u32, Summary)> = Vec::with_capacity(sample.figures.len());
    for (metric, value) in &sample.figures {
        let is_response = *metric == Metric::RESPONSE_TIME_MS;
        if !is_possible(metric, *value) || (is_response && *value > RESPONSE_MS_MAX) {
            rejected.figures += 1;
            continue;
        }
        let Some(number) = number(metric)? else {
            rejected.crowd += 1;
            continue;
        };
        let summary =
            if is_response { Summary::of_response(*value, at_ms) } else { Summary::of(*value, at_ms) };
        if summaries.iter().all(|(other, _)| *other != number) {
            summaries.push((number, summary));
        }
    }
    let bucket = Bucket::of(summaries);
    Ok((!bucket.is_empty()).then_some(Checked { at_ms, bucket }))
}
