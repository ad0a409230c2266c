//! One view of a series: a long mean and deviation, and how often each size of deviation was seen.

use serde::{Deserialize, Serialize};

/// Samples that the long mean remembers; the counts of deviations are halved when they reach it.
const MEMORY_SAMPLES: f64 = 8_000.0;
/// Samples before a deviation can be told.
const DEVIATION_SAMPLES_MIN: f64 = 10.0;
/// Deviations before a tail can be told.
const TAIL_SAMPLES_MIN: f64 = 20.0;
/// The share of the largest deviations that makes up the tail, and the fewest that do.
const TAIL_SHARE: f64 = 0.01;
const TAIL_COUNT_MIN: f64 = 5.0;
/// The mean excess of the tail is at least this share of where the tail starts.
const EXCESS_SHARE_MIN: f64 = 0.05;

/// Bins of a doubling, and all bins: deviations from 1/16 to 256 standard deviations.
const BINS_PER_DOUBLING: f64 = 8.0;
const BINS: usize = 96;
const DEVIATION_MIN: f64 = 0.0625;
const DEVIATION_MAX: f64 = 256.0;

/// One view: figures in, tail probabilities out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct View {
    #[serde(deserialize_with = "cells::amount")]
    weight: f64,
    mean: f64,
    #[serde(deserialize_with = "cells::amount")]
    variance: f64,
    #[serde(deserialize_with = "cells::amount")]
    deviations: f64,
    #[serde(serialize_with = "cells::serialize", deserialize_with = "cells::amounts")]
    counts: [f64; BINS],
    #[serde(serialize_with = "cells::serialize", deserialize_with = "cells::amounts")]
    sums: [f64; BINS],
}

impl View {
    pub(crate) fn new() -> Self {
        Self {
            weight: 0.0,
            mean: 0.0,
            variance: 0.0,
            deviations: 0.0,
            counts: [0.0; BINS],
            sums: [0.0; BINS],
        }
    }

    /// Minus the decimal logarithm of how likely so large a deviation was before, 0 where it is common; then learns it.
    pub(crate) fn learn(&mut self, figure: f64) -> f64 {
        let deviation = self.deviation(figure);
        let digits = self.tail_digits(deviation);
        self.weight = (self.weight + 1.0).min(MEMORY_SAMPLES);
        let (share, off) = (1.0 / self.weight, figure - self.mean);
        self.mean += share * off;
        self.variance = (1.0 - share) * (self.variance + share * off * off);
        self.count(deviation);
        digits
    }

    /// The distance from the long mean in standard deviations.
    fn deviation(&self, figure: f64) -> f64 {
        let off = (figure - self.mean).abs();
        if self.weight < DEVIATION_SAMPLES_MIN || off == 0.0 {
            return 0.0;
        }
        // The small term keeps a flat series from dividing by zero.
        let deviation = off / (self.variance.sqrt() + 1e-9 * (1.0 + self.mean.abs()));
        deviation.min(DEVIATION_MAX)
    }

    /// The tail above the start of its lowest bin is taken as exponential with the mean excess that was seen.
    #[expect(clippy::cast_precision_loss, reason = "the number of a bin is small")]
    fn tail_digits(&self, deviation: f64) -> f64 {
        if self.deviations < TAIL_SAMPLES_MIN {
            return 0.0;
        }
        let wanted = (self.deviations * TAIL_SHARE).max(TAIL_COUNT_MIN);
        let (mut lowest, mut count, mut sum) = (BINS, 0.0, 0.0);
        while lowest > 0 && count < wanted {
            lowest -= 1;
            count += self.counts[lowest];
            sum += self.sums[lowest];
        }
        if bin(deviation) <= lowest {
            return 0.0;
        }
        let start = DEVIATION_MIN * (lowest as f64 / BINS_PER_DOUBLING).exp2();
        let excess = (sum / count - start).max(EXCESS_SHARE_MIN * start);
        // Both terms are at least 0: the tail holds no more than all, and the deviation lies above its start.
        (self.deviations / count).log10() + (deviation - start) / excess / std::f64::consts::LN_10
    }

    fn count(&mut self, deviation: f64) {
        let bin = bin(deviation);
        self.counts[bin] += 1.0;
        self.sums[bin] += deviation;
        self.deviations += 1.0;
        if self.deviations > MEMORY_SAMPLES {
            self.counts.iter_mut().chain(&mut self.sums).for_each(|cell| *cell *= 0.5);
            self.deviations *= 0.5;
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at least 0, and a deviation is at most `DEVIATION_MAX`"
)]
fn bin(deviation: f64) -> usize {
    let place = (deviation.max(DEVIATION_MIN) / DEVIATION_MIN).log2() * BINS_PER_DOUBLING;
    (place as usize).min(BINS - 1)
}

/// Arrays of a fixed number of figures as sequences, since serde knows arrays of up to 32 only.
pub(crate) mod cells {
    use serde::de::{Error, Unexpected};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        cells: &[f64; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        cells.as_slice().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[f64; N], D::Error> {
        let cells = Vec::<f64>::deserialize(deserializer)?;
        let expected = format!("{N} figures");
        cells.try_into().map_err(|cells: Vec<f64>| D::Error::invalid_length(cells.len(), &expected.as_str()))
    }

    pub(crate) fn amounts<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[f64; N], D::Error> {
        let amounts = deserialize(deserializer)?;
        amounts.iter().try_for_each(|amount| check(*amount)).map(|()| amounts)
    }

    pub(crate) fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let amount = f64::deserialize(deserializer)?;
        check(amount).map(|()| amount)
    }

    fn check<E: Error>(amount: f64) -> Result<(), E> {
        if amount >= 0.0 {
            return Ok(());
        }
        Err(E::invalid_value(Unexpected::Float(amount), &"a figure of at least 0"))
    }
}
