//! Figures over time in equal steps, as reports show them, and where they go.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Level, Metric, MetricKind, MetricsError, MetricsStore, SampleQuery, Source, Summary};

/// The most steps that a series has.
pub const STEPS_MAX: usize = 10_000;

/// The figures of one metric of one source in equal steps; a step in which none was measured is a gap, not 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// About whom.
    pub source: Source,
    /// Of what.
    pub metric: Metric,
    /// When the first step begins.
    pub since: DateTime<Utc>,
    /// How long a step is.
    pub step: TimeDelta,
    /// What was measured in each step.
    pub steps: Vec<Option<Summary>>,
}

/// Where a series goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// The change in an hour, by the line that fits best (Theil–Sen: the median of the slopes between all pairs).
    pub per_hour: f64,
    /// The figure of that line at the end.
    pub at_end: f64,
}

/// How many steps a trend looks at; of more, it takes as many at even distances.
const TREND_STEPS_MAX: usize = 200;

/// How many steps a trend needs.
const TREND_STEPS_MIN: usize = 3;

impl Series {
    /// All steps together; `None` if nothing was measured.
    pub fn total(&self) -> Option<Summary> {
        let mut steps = self.steps.iter().flatten();
        let mut total = steps.next()?.clone();
        steps.for_each(|step| total.merge_loosely(step));
        total.tidy();
        Some(total)
    }

    /// What a step tells in one figure: the sum of a count, the mean of a gauge; `None` in a gap.
    pub fn figures(&self) -> impl Iterator<Item = Option<f64>> {
        let figure = match self.metric.kind() {
            MetricKind::Count => |step: &Summary| step.sum,
            MetricKind::Gauge => Summary::mean,
        };
        self.steps.iter().map(move |step| step.as_ref().map(figure))
    }

    /// Where the figures go; a few that are far off do not bend it. `None` of fewer than 3 steps without gaps.
    #[expect(clippy::cast_precision_loss, reason = "there are at most `STEPS_MAX` steps")]
    pub fn trend(&self) -> Option<Trend> {
        let hours = self.step.as_seconds_f64() / 3_600.0;
        let all =
            self.figures().enumerate().filter_map(|(place, figure)| Some((place as f64 * hours, figure?)));
        let all: Vec<(f64, f64)> = all.collect();
        if all.len() < TREND_STEPS_MIN {
            return None;
        }
        let stride = all.len().div_ceil(TREND_STEPS_MAX);
        let seen: Vec<(f64, f64)> = all.into_iter().step_by(stride).collect();
        let slopes = seen.iter().enumerate().flat_map(|(place, (from, before))| {
            seen[place + 1..].iter().map(move |(to, after)| (after - before) / (to - from))
        });
        let per_hour = median(slopes.collect())?;
        let start = median(seen.iter().map(|(hour, figure)| figure - per_hour * hour).collect())?;
        let end = (self.steps.len() - 1) as f64 * hours;
        Some(Trend { per_hour, at_end: start + per_hour * end })
    }

    /// How much the trend changes the figure, from the first step that has one to the last.
    #[expect(clippy::cast_precision_loss, reason = "there are at most `STEPS_MAX` steps")]
    pub fn change(&self) -> Option<f64> {
        let first = self.steps.iter().position(Option::is_some)?;
        let last = self.steps.iter().rposition(Option::is_some)?;
        let hours = (last - first) as f64 * self.step.as_seconds_f64() / 3_600.0;
        self.trend().map(|trend| trend.per_hour * hours)
    }
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    let middle = figures.len().checked_sub(1)? / 2;
    Some(*figures.select_nth_unstable_by(middle, f64::total_cmp).1)
}

/// The series that a store has from `since` to `until` in steps of this length, source by source.
///
/// The level is the coarsest that tells the steps apart and reaches back so far; where none that is fine enough does, steps
/// between two of its spans are gaps.
///
/// # Errors
/// The span has no step or more than [`STEPS_MAX`], or the store cannot be read.
pub fn series(
    store: &dyn MetricsStore,
    query: &SeriesQuery,
    now: DateTime<Utc>,
) -> Result<Vec<Series>, MetricsError> {
    let steps = query.steps()?;
    let wanted = SampleQuery {
        level: Level::fitting(query.since, query.step, now),
        since: Some(query.since),
        until: Some(query.until),
        source: query.source.clone(),
        metric: query.metric.clone(),
    };
    let (since_ms, step_ms) = (query.since.timestamp_millis(), query.step.num_milliseconds());
    let mut found: Vec<(Source, Vec<Series>)> = Vec::new();
    // Where the point before belonged: the next is often of the same source and step, and the metric behind it.
    let (mut place, mut step, mut step_at, mut behind) = (0, 0, None, 0);
    let mut is_loose = false;
    store.points(&wanted, &mut |point| {
        if step_at.replace(point.at) != Some(point.at) {
            let number = (point.at.timestamp_millis() - since_ms) / step_ms;
            step = usize::try_from(number).unwrap_or(usize::MAX);
        }
        // No store tells what was not asked for.
        if step >= steps {
            return;
        }
        if found.get(place).is_none_or(|(source, _)| source != point.source) {
            place = found.iter().position(|(source, _)| source == point.source).unwrap_or_else(|| {
                found.push((point.source.clone(), Vec::new()));
                found.len() - 1
            });
        }
        let own = &mut found[place].1;
        let is_its = |series: &Series| series.metric == *point.metric;
        let guess = own.get(behind).is_some_and(is_its).then_some(behind);
        // A source has few metrics.
        let series = guess.or_else(|| own.iter().position(is_its)).unwrap_or_else(|| {
            own.push(Series {
                source: point.source.clone(),
                metric: point.metric.clone(),
                since: query.since,
                step: query.step,
                steps: Vec::with_capacity(steps),
            });
            own.len() - 1
        });
        behind = series + 1;
        let told = &mut own[series].steps;
        match told.get_mut(step) {
            Some(Some(step)) => {
                step.merge_loosely(point.summary);
                is_loose = true;
            }
            Some(gap) => *gap = Some(point.summary.clone()),
            None => {
                if told.len() < step {
                    told.resize(step, None);
                }
                told.push(Some(point.summary.clone()));
            }
        }
    })?;
    let mut series: Vec<Series> = found.into_iter().flat_map(|(_, own)| own).collect();
    for series in &mut series {
        series.steps.resize(steps, None);
        if is_loose {
            series.steps.iter_mut().flatten().for_each(Summary::tidy);
        }
    }
    series.sort_by(|left, right| (&left.source, &left.metric).cmp(&(&right.source, &right.metric)));
    Ok(series)
}

/// Which series are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesQuery {
    /// When the first step begins.
    pub since: DateTime<Utc>,
    /// When the last one ends.
    pub until: DateTime<Utc>,
    /// How long a step is; the last may be shorter.
    pub step: TimeDelta,
    /// About whom.
    pub source: Option<Source>,
    /// Of what.
    pub metric: Option<Metric>,
}

impl SeriesQuery {
    /// How many steps it has.
    fn steps(&self) -> Result<usize, MetricsError> {
        let (span_ms, step_ms) = ((self.until - self.since).num_milliseconds(), self.step.num_milliseconds());
        if step_ms <= 0 || span_ms <= 0 {
            return Err(MetricsError::Span { span_ms, step_ms });
        }
        let steps = span_ms / step_ms + i64::from(span_ms % step_ms > 0);
        usize::try_from(steps)
            .ok()
            .filter(|steps| *steps <= STEPS_MAX)
            .ok_or(MetricsError::Span { span_ms, step_ms })
    }
}
