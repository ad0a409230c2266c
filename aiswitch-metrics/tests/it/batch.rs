//! Samples that wait to be written.

use std::time::Instant;

use aiswitch_metrics::{BATCH_SAMPLES, BATCH_WAIT, Metric, SampleBatch, WAITING_SAMPLES_MAX};

use crate::stores::sample;

#[test]
fn samples_are_due_when_the_oldest_has_waited_or_many_are_there() {
    let start = Instant::now();
    let mut batch = SampleBatch::new();
    assert_eq!(batch.take_due(start + BATCH_WAIT), []);
    batch.add(sample("claude", 0, &Metric::TASK_COUNT, 1.0), start);
    batch.add(sample("claude", 1, &Metric::TASK_COUNT, 1.0), start + BATCH_WAIT / 2);
    assert_eq!(batch.take_due(start + BATCH_WAIT * 99 / 100), []);
    assert_eq!(batch.take_due(start + BATCH_WAIT).len(), 2);
    assert_eq!(batch.take_due(start + BATCH_WAIT * 9), []);
    for second in 0..BATCH_SAMPLES {
        assert_eq!(batch.take_due(start), []);
        batch.add(sample("claude", i64::try_from(second).expect("few"), &Metric::TASK_COUNT, 1.0), start);
    }
    assert_eq!(batch.take_due(start).len(), BATCH_SAMPLES);
}

#[test]
fn the_oldest_is_dropped_and_counted_when_too_many_wait() {
    let start = Instant::now();
    let mut batch = SampleBatch::new();
    for second in 0..WAITING_SAMPLES_MAX + 3 {
        batch.add(sample("claude", i64::try_from(second).expect("few"), &Metric::TASK_COUNT, 1.0), start);
    }
    let waiting = batch.take_all();
    assert_eq!((waiting.len(), batch.dropped()), (WAITING_SAMPLES_MAX, 3));
    assert_eq!(waiting.first(), Some(&sample("claude", 3, &Metric::TASK_COUNT, 1.0)));
}
