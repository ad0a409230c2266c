//! Figures in equal steps.

use aiswitch_metrics::{Level, Metric, MetricsStore, Series, SeriesQuery, series};
use chrono::TimeDelta;

use crate::stores::{at, keep, noon, sample, with_each_store};

fn ask(store: &dyn MetricsStore, span: TimeDelta, step: TimeDelta, now_s: i64) -> Vec<Series> {
    let query = SeriesQuery { since: noon(), until: noon() + span, step, source: None, metric: None };
    series(store, &query, at(now_s)).expect("it can be read")
}

#[test]
fn a_step_without_a_figure_is_a_gap_and_not_0() {
    with_each_store(|store| {
        for (seconds, value) in [(0, 1.0), (5, 3.0), (20, 0.0), (40, 4.0)] {
            keep(
                store,
                &[
                    sample("claude", seconds, &Metric::CPU_PERCENT, value),
                    sample("claude", seconds + 1, &Metric::TASK_COUNT, value),
                ],
            );
        }
        let found = ask(store, TimeDelta::seconds(45), TimeDelta::seconds(10), 60);
        let told: Vec<(&str, Vec<Option<f64>>)> =
            found.iter().map(|series| (series.metric.name(), series.figures().collect())).collect();
        assert_eq!(
            told,
            [
                ("cpu_percent", vec![Some(2.0), None, Some(0.0), None, Some(4.0)]),
                ("task_count", vec![Some(4.0), None, Some(0.0), None, Some(4.0)]),
            ]
        );
        let total = found[0].total().expect("there are some");
        assert_eq!((total.n, total.min, total.max, total.last), (4, 0.0, 4.0, 4.0));
    });
}

#[test]
fn the_level_is_the_coarsest_that_tells_the_steps_apart_and_reaches_back() {
    let now = noon();
    for (back, step, level) in [
        (TimeDelta::hours(1), TimeDelta::seconds(10), Level::Sample),
        (TimeDelta::hours(49), TimeDelta::seconds(10), Level::Minute),
        (TimeDelta::hours(1), TimeDelta::minutes(5), Level::Minute),
        (TimeDelta::days(15), TimeDelta::minutes(5), Level::Hour),
        (TimeDelta::days(90), TimeDelta::days(1), Level::Hour),
    ] {
        assert_eq!(Level::fitting(now - back, step, now), level, "{back} {step}");
    }
}

#[test]
fn a_trend_is_that_of_most_figures_and_needs_three() {
    with_each_store(|store| {
        let value = |minute: i32| match minute {
            30 => 10_000.0,
            _ => 100.0 + f64::from(minute),
        };
        let samples: Vec<_> = (0..60)
            .filter(|minute| minute % 7 != 3)
            .map(|minute| sample("claude", i64::from(minute) * 60, &Metric::MEMORY_BYTES, value(minute)))
            .collect();
        keep(store, &samples[..2]);
        let query = || ask(store, TimeDelta::hours(1), TimeDelta::minutes(1), 3_600).remove(0);
        assert_eq!(query().trend(), None);
        keep(store, &samples);
        let trend = query().trend().expect("there are enough");
        assert!((trend.per_hour - 60.0).abs() < 0.5 && (trend.at_end - 159.0).abs() < 1.0, "{trend:?}");
        // From the first minute to that before the last, which has no figure.
        assert!(query().change().is_some_and(|change| (change - 58.0).abs() < 0.5), "{trend:?}");
    });
}

#[test]
fn a_span_without_steps_or_with_too_many_is_refused() {
    with_each_store(|store| {
        for (until, step) in [(0, 10), (-1, 10), (10, 0), (10, -1), (1_000_000, 1)] {
            let query = SeriesQuery {
                since: noon(),
                until: at(until),
                step: TimeDelta::seconds(step),
                source: None,
                metric: None,
            };
            let refused = series(store, &query, noon()).expect_err("it is none").to_string();
            assert!(refused.contains("1 to 10000 steps"), "{refused}");
        }
    });
}
