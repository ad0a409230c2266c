//! Samples that wait to be written together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Sample;

/// How long a sample waits at most until it is due, unless writing takes longer.
pub const BATCH_WAIT: Duration = Duration::from_secs(1);

/// How many samples are due at once.
pub const BATCH_SAMPLES: usize = 500;

/// How many samples wait at most; beyond, the oldest is dropped and counted.
pub const WAITING_SAMPLES_MAX: usize = 10_000;

/// Samples that wait to be written together: a write waits for the disk, and one of many samples waits as long as of one.
///
/// It never waits and takes bounded memory: a store that cannot keep up, or cannot be written, costs the oldest samples.
#[derive(Debug, Default)]
pub struct SampleBatch {
    waiting: VecDeque<Sample>,
    /// When the oldest came.
    since: Option<Instant>,
    dropped: u64,
}

impl SampleBatch {
    /// A batch without samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sample that came now.
    pub fn add(&mut self, sample: Sample, now: Instant) {
        if self.waiting.len() == WAITING_SAMPLES_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(sample);
        self.since.get_or_insert(now);
    }

    /// The samples that are due: all, once there are [`BATCH_SAMPLES`] or one has waited for [`BATCH_WAIT`]; none before.
    pub fn take_due(&mut self, now: Instant) -> Vec<Sample> {
        let is_due = self.waiting.len() >= BATCH_SAMPLES
            || self.since.is_some_and(|since| now.saturating_duration_since(since) >= BATCH_WAIT);
        if is_due { self.take_all() } else { Vec::new() }
    }

    /// All samples, as at the end.
    pub fn take_all(&mut self) -> Vec<Sample> {
        self.since = None;
        Vec::from(std::mem::take(&mut self.waiting))
    }

    /// How many samples were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
