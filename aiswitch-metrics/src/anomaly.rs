//! The anomaly detector: how unlikely each sample of one series is, judged by the samples before it.

use chrono::{DateTime, Timelike, Utc};
use serde::{Deserialize, Serialize};

use crate::anomaly_view::{View, cells};

/// Samples that a new detector learns from before it judges one.
pub const WARM_UP_SAMPLES: u64 = 200;
/// Samples after a reported anomaly that count as the same event.
pub const EVENT_SAMPLES: u32 = 200;
/// The largest magnitude that is taken: the square of a difference of two such values is finite.
pub const VALUE_MAX: f64 = 1e150;

/// How unlikely a sample must be to be reported: 10 to the power of minus this.
const REPORT_DIGITS: f64 = 3.5;
/// Samples of the short mean.
const SHORT_SAMPLES: u32 = 20;
/// Slots of the day, half an hour each.
const SLOTS: usize = 48;
const SLOT_SECONDS: u32 = 1_800;
/// Samples that the mean of one slot of the day remembers.
const SLOT_MEMORY_SAMPLES: f64 = 30.0;
/// A step between two samples is a gap when it is longer than this many usual steps.
const GAP_STEPS: f64 = 10.0;
/// Steps that the usual step remembers.
const STEP_MEMORY_SAMPLES: f64 = 100.0;

/// What the detector says of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// The value is not finite or beyond [`VALUE_MAX`]: counted and passed over.
    Rejected,
    /// The detector has seen too few samples to judge.
    WarmingUp,
    /// Nothing to report; the score is between 0 and 1.
    Normal(f64),
    /// An anomaly begins; the score is between 0 and 1.
    Anomaly(f64),
    /// The sample belongs to the event that was reported last.
    SameEvent,
}

impl Verdict {
    /// The score in 0..1: 0 within a reported event, `None` where nothing was judged.
    #[must_use]
    pub fn score(self) -> Option<f64> {
        match self {
            Self::Rejected | Self::WarmingUp => None,
            Self::Normal(score) | Self::Anomaly(score) => Some(score),
            Self::SameEvent => Some(0.0),
        }
    }
}

/// A causal anomaly detector for one series: bounded memory, one fixed configuration, no clock.
///
/// Four views of the series are kept: the value, its difference to the one before, the mean of 20 samples, and what is left
/// after the mean of the same half hour of the day (UTC). Each view estimates how rare so large a deviation from
/// its own long mean is; the rarest counts. With `p` that rarity, the score is `1 - 1 / (1 - log10 p)`: 0.5 at 1 in 10,
/// 0.75 at 1 in 1,000. The first sample rarer than 1 in about 3,200 is reported as [`Verdict::Anomaly`].
///
/// The state is serialisable, so that a restart does not learn anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnomalyDetector {
    seen: u64,
    rejected: u64,
    gaps: u64,
    event_samples_left: u32,
    last_at: Option<DateTime<Utc>>,
    /// Seconds; `None` until two samples at different times were seen.
    usual_step: Option<f64>,
    /// Samples since the start or the last gap.
    unbroken: u32,
    /// The newest last.
    #[serde(with = "cells")]
    recent: [f64; SHORT_SAMPLES as usize],
    #[serde(with = "cells")]
    slot_means: [f64; SLOTS],
    #[serde(serialize_with = "cells::serialize", deserialize_with = "cells::amounts")]
    slot_weights: [f64; SLOTS],
    value: View,
    difference: View,
    short_mean: View,
    residual: View,
}

impl Default for AnomalyDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl AnomalyDetector {
    /// A detector that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            seen: 0,
            rejected: 0,
            gaps: 0,
            event_samples_left: 0,
            last_at: None,
            usual_step: None,
            unbroken: 0,
            recent: [0.0; SHORT_SAMPLES as usize],
            slot_means: [0.0; SLOTS],
            slot_weights: [0.0; SLOTS],
            value: View::new(),
            difference: View::new(),
            short_mean: View::new(),
            residual: View::new(),
        }
    }

    /// Samples that were taken in.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Samples that were passed over: not finite, or beyond [`VALUE_MAX`].
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Breaks in time: steps longer than 10 usual ones, and steps back. No difference or mean reaches over one.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Judges one sample by those before it, then learns from it.
    pub fn push(&mut self, at: DateTime<Utc>, value: f64) -> Verdict {
        if !value.is_finite() || value.abs() > VALUE_MAX {
            self.rejected += 1;
            return Verdict::Rejected;
        }
        self.step_to(at);
        let digits = self.digits(at, value);
        self.seen += 1;
        if self.seen <= WARM_UP_SAMPLES {
            return Verdict::WarmingUp;
        }
        if self.event_samples_left > 0 {
            self.event_samples_left -= 1;
            return Verdict::SameEvent;
        }
        let score = 1.0 - 1.0 / (1.0 + digits);
        if digits <= REPORT_DIGITS {
            return Verdict::Normal(score);
        }
        self.event_samples_left = EVENT_SAMPLES - 1;
        Verdict::Anomaly(score)
    }

    /// Moves to the time of the next sample and notes whether the series broke off before it.
    fn step_to(&mut self, at: DateTime<Utc>) {
        let Some(last) = self.last_at.replace(at) else { return };
        let step = (at - last).as_seconds_f64();
        let usual = self.usual_step.unwrap_or(step);
        if step < 0.0 || step > GAP_STEPS * usual {
            self.gaps += 1;
            self.unbroken = 0;
        }
        // A gap counts as well, so that a series which has become slower is whole again after a while.
        if step > 0.0 {
            self.usual_step = Some(usual + (step - usual) / STEP_MEMORY_SAMPLES);
        }
    }

    /// Minus the decimal logarithm of the smallest tail probability over all views.
    fn digits(&mut self, at: DateTime<Utc>, value: f64) -> f64 {
        let mut digits = self.value.learn(value);
        self.recent.rotate_left(1);
        let [.., before, newest] = &mut self.recent;
        *newest = value;
        if self.unbroken > 0 {
            digits = digits.max(self.difference.learn(value - *before));
        }
        self.unbroken = self.unbroken.saturating_add(1);
        if self.unbroken >= SHORT_SAMPLES {
            let mean = self.recent.iter().sum::<f64>() / f64::from(SHORT_SAMPLES);
            digits = digits.max(self.short_mean.learn(mean));
        }
        let slot = (at.num_seconds_from_midnight() / SLOT_SECONDS) as usize;
        let residual = value - self.slot_means[slot];
        if self.slot_weights[slot] > 0.0 {
            digits = digits.max(self.residual.learn(residual));
        }
        self.slot_weights[slot] = (self.slot_weights[slot] + 1.0).min(SLOT_MEMORY_SAMPLES);
        self.slot_means[slot] += residual / self.slot_weights[slot];
        digits
    }
}
