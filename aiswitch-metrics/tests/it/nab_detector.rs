//! What the anomaly detector promises of any series.

use aiswitch_metrics::{AnomalyDetector, EVENT_SAMPLES, VALUE_MAX, Verdict, WARM_UP_SAMPLES};
use chrono::{DateTime, TimeDelta, Utc};

/// The time and value of a noisy series with a step each 10 s; the noise repeats only after 101 samples.
fn sample(index: u32) -> (DateTime<Utc>, f64) {
    let at = DateTime::UNIX_EPOCH + TimeDelta::seconds(10 * i64::from(index));
    (at, 50.0 + f64::from(index * 37 % 101) / 10.0)
}

fn taught(samples: u32) -> AnomalyDetector {
    let mut detector = AnomalyDetector::new();
    for (at, value) in (0..samples).map(sample) {
        detector.push(at, value);
    }
    detector
}

#[test]
fn a_spike_is_reported_once_and_an_ordinary_sample_is_not() {
    let mut detector = taught(1_000);
    assert!(
        matches!(detector.clone().push(sample(1_000).0, sample(1_000).1), Verdict::Normal(score) if score < 0.75)
    );
    assert!(matches!(detector.push(sample(1_000).0, 500.0), Verdict::Anomaly(score) if score > 0.77));
    for index in 1_001..1_000 + EVENT_SAMPLES {
        assert_eq!(detector.push(sample(index).0, 500.0), Verdict::SameEvent, "{index}");
    }
    let after = sample(1_000 + EVENT_SAMPLES);
    assert_ne!(detector.push(after.0, after.1), Verdict::SameEvent);
}

#[test]
fn nothing_is_judged_during_the_warm_up() {
    let mut detector = AnomalyDetector::new();
    let mut unjudged = 0;
    while detector.push(sample(unjudged).0, if unjudged == 150 { 1e9 } else { 1.0 }).score().is_none() {
        unjudged += 1;
    }
    assert_eq!(u64::from(unjudged), WARM_UP_SAMPLES);
}

#[test]
fn values_that_are_no_figures_are_counted_and_change_nothing_else() {
    let mut detector = taught(500);
    let (mut plain, at) = (detector.clone(), sample(500).0);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, VALUE_MAX * 2.0, -VALUE_MAX * 2.0] {
        assert_eq!(detector.push(at, value), Verdict::Rejected);
    }
    assert_eq!((detector.rejected(), detector.seen()), (5, 500));
    assert_eq!(detector.push(at, 53.0), plain.push(at, 53.0));
}

#[test]
fn the_largest_values_give_scores_and_not_nan() {
    let mut detector = AnomalyDetector::new();
    for index in 0..2_000 {
        let value = if index % 2 == 0 { VALUE_MAX } else { -VALUE_MAX };
        let score = detector.push(sample(index).0, value).score();
        assert!(score.is_none_or(|score| (0.0..=1.0).contains(&score)), "{index}: {score:?}");
    }
}

#[test]
fn a_break_in_time_is_counted_and_no_difference_reaches_over_it() {
    let mut detector = taught(1_000);
    let hour = TimeDelta::hours(1);
    let state = |detector: &AnomalyDetector| serde_json::to_value(detector).expect("a state");
    assert_eq!(detector.gaps(), 0);
    let before = state(&detector);
    detector.push(sample(1_000).0 + hour, sample(1_000).1);
    assert_eq!(detector.gaps(), 1, "a step of an hour where 10 s are usual");
    let after = state(&detector);
    assert_eq!((&after["difference"], &after["short_mean"]), (&before["difference"], &before["short_mean"]));
    assert_ne!(after["value"], before["value"], "the value itself is learned");
    detector.push(sample(1_001).0, sample(1_001).1);
    assert_eq!(detector.gaps(), 2, "a step back");
    detector.push(sample(1_002).0, sample(1_002).1);
    assert_eq!((detector.gaps(), detector.seen()), (2, 1_003));
}

#[test]
fn a_detector_read_back_from_its_state_goes_on_as_the_one_that_stayed() {
    let mut stayed = taught(700);
    let state = serde_json::to_string(&stayed).expect("a state");
    assert!(state.len() < 32 * 1024, "{} bytes", state.len());
    let mut back: AnomalyDetector = serde_json::from_str(&state).expect("the state of before");
    for index in 700..1_500 {
        let (at, value) = sample(index);
        let value = if index == 1_100 { 90.0 } else { value };
        let (left, right) = (stayed.push(at, value), back.push(at, value));
        let (left, right) = (left.score().expect("judged"), right.score().expect("judged"));
        assert!((left - right).abs() < 1e-9, "{index}: {left} beside {right}");
    }
}

#[test]
fn a_damaged_state_is_refused() {
    let state = serde_json::to_value(taught(300)).expect("a state");
    let mut short = state.clone();
    short["recent"] = serde_json::json!([1.0, 2.0]);
    let error = serde_json::from_value::<AnomalyDetector>(short).expect_err("too few figures").to_string();
    assert!(error.contains("invalid length 2, expected 20 figures"), "{error}");
    for place in ["/value/variance", "/residual/counts/3", "/slot_weights/0"] {
        let mut negative = state.clone();
        *negative.pointer_mut(place).expect("a part of the state") = serde_json::json!(-1.0);
        let error = serde_json::from_value::<AnomalyDetector>(negative).expect_err(place).to_string();
        assert!(error.contains("expected a figure of at least 0"), "{place}: {error}");
    }
}
