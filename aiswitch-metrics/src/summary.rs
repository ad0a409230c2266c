//! What is kept of the figures of one metric in a span of time.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use thin_vec::{ThinVec, thin_vec};

/// The longest response time of which quantiles are kept, in milliseconds: 11 days.
pub const RESPONSE_MS_MAX: f64 = 1e9;

/// Response times are counted in whole microseconds, with two significant digits: a quantile is within 1 % of the truth.
const MICROS_IN_MS: f64 = 1_000.0;
const DIGITS: u8 = 2;

/// An empty histogram, which knows what values it holds for one.
static SHAPE: LazyLock<Histogram<u64>> = LazyLock::new(histogram);

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, micros(RESPONSE_MS_MAX), DIGITS).expect("the bounds are in order")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a response time is from 0 to 10¹² µs, which was checked"
)]
fn micros(ms: f64) -> u64 {
    (ms * MICROS_IN_MS).round() as u64
}

/// What is kept of the figures of one metric in a span of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How many figures there were, at least 1.
    pub n: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The newest.
    pub last: f64,
    /// When the newest was measured, in milliseconds since 1970.
    pub(crate) last_ms: i64,
    /// How often each size of response time came, by the lowest microsecond that counts as it, in ascending order.
    pub(crate) sizes: ThinVec<(u64, u64)>,
}

impl Summary {
    pub(crate) fn of(value: f64, at_ms: i64) -> Self {
        Self { n: 1, sum: value, min: value, max: value, last: value, last_ms: at_ms, sizes: ThinVec::new() }
    }

    /// That of a response time, which must be from 0 to [`RESPONSE_MS_MAX`].
    pub(crate) fn of_response(ms: f64, at_ms: i64) -> Self {
        Self { sizes: thin_vec![(SHAPE.lowest_equivalent(micros(ms)), 1)], ..Self::of(ms, at_ms) }
    }

    /// The mean.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2⁵³ figures")]
    pub fn mean(&self) -> f64 {
        self.sum / self.n as f64
    }

    /// When the newest figure was measured.
    pub fn last_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.last_ms).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// The response time that this share (0 to 1) of all does not exceed, within 1 %.
    ///
    /// `None` for metrics of which no quantiles are kept.
    #[expect(clippy::cast_precision_loss, reason = "a response time is at most 10¹² µs")]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.sizes.is_empty() {
            return None;
        }
        let mut histogram = histogram();
        for (size, count) in &self.sizes {
            histogram.saturating_record_n(*size, *count);
        }
        let upper = histogram.value_at_quantile(share);
        let middle = histogram.median_equivalent(upper) as f64 / MICROS_IN_MS;
        // The ends are known exactly.
        Some(middle.clamp(self.min, self.max))
    }

    /// How many response times are up to each of some bounds in ascending order, and beyond the bound before it, within 1 %;
    /// and at the end how many are beyond the last.
    #[cfg(feature = "otlp")]
    pub(crate) fn counts(&self, bounds_ms: &[f64]) -> Vec<u64> {
        let mut counts = vec![0_u64; bounds_ms.len() + 1];
        for (size, count) in &self.sizes {
            #[expect(clippy::cast_precision_loss, reason = "a response time is at most 10¹² µs")]
            let ms = SHAPE.median_equivalent(*size) as f64 / MICROS_IN_MS;
            let place = bounds_ms.partition_point(|bound| *bound < ms);
            counts[place] = counts[place].saturating_add(*count);
        }
        counts
    }

    /// Adds the figures of another span.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.merge_loosely(other);
        if !other.sizes.is_empty() {
            self.tidy();
        }
    }

    /// The same, but for the order of the sizes, which [`tidy`](Self::tidy) makes good after many.
    pub(crate) fn merge_loosely(&mut self, other: &Self) {
        self.n = self.n.saturating_add(other.n);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.last_ms >= self.last_ms {
            (self.last, self.last_ms) = (other.last, other.last_ms);
        }
        self.sizes.extend_from_slice(&other.sizes);
    }

    /// Brings the sizes into their order, each once.
    pub(crate) fn tidy(&mut self) {
        // What is merged is in order already, so that runs are joined.
        self.sizes.sort_by_key(|(size, _)| *size);
        self.sizes.dedup_by(|(size, count), (kept, sum)| {
            let is_same = size == kept;
            if is_same {
                *sum = sum.saturating_add(*count);
            }
            is_same
        });
    }
}

/// The summaries of all metrics of one source in a span of time, by the number of the metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bucket(Vec<(u32, Summary)>);

impl Bucket {
    pub(crate) fn of(mut summaries: Vec<(u32, Summary)>) -> Self {
        summaries.sort_by_key(|(number, _)| *number);
        Self(summaries)
    }

    /// Of summaries that are in the order of their numbers.
    pub(crate) fn in_order(summaries: Vec<(u32, Summary)>) -> Self {
        Self(summaries)
    }

    /// Moves the figures of one sample to another moment.
    pub(crate) fn at(mut self, at_ms: i64) -> Self {
        self.0.iter_mut().for_each(|(_, summary)| summary.last_ms = at_ms);
        self
    }

    /// When the newest figure was measured; 0 without one.
    pub(crate) fn newest_ms(&self) -> i64 {
        self.0.iter().map(|(_, summary)| summary.last_ms).max().unwrap_or_default()
    }

    pub(crate) fn summaries(&self) -> &[(u32, Summary)] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn merge(&mut self, other: Self) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for (number, summary) in other.0 {
            match self.0.binary_search_by_key(&number, |(number, _)| *number) {
                Ok(place) => self.0[place].1.merge(&summary),
                Err(place) => self.0.insert(place, (number, summary)),
            }
        }
    }
}
