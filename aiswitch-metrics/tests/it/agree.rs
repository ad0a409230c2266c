//! All stores tell the same of the same samples, in whatever order they come.

use aiswitch_metrics::{
    Level, MemoryMetricsStore, Metric, MetricsStore, Sample, SampleQuery, Source, SqliteMetricsStore,
};
use chrono::TimeDelta;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::stores::{Told, noon, points};

/// What a store is told to do.
#[derive(Clone, Debug)]
enum Step {
    Keep(Vec<Sample>),
    /// Forgets what is too old at a time so many milliseconds after noon.
    Forget(i64),
}

/// Times that are often the same, often in the same minute, and at times hours away.
fn times() -> impl Strategy<Value = i64> {
    prop_oneof![0..4_i64, 59_996..60_004_i64, (0..40_i64).prop_map(|tick| tick * 5_000), 0..30_000_000_i64]
}

fn samples() -> impl Strategy<Value = Sample> {
    let figures = vec((0..4_usize, 0..3_u32), 0..5);
    (0..3_u32, times(), figures).prop_map(|(source, ms, figures)| Sample {
        source: if source == 0 { Source::System } else { Source::Agent(format!("agent-{source}")) },
        at: noon() + TimeDelta::milliseconds(ms),
        figures: figures
            .into_iter()
            .map(|(metric, value)| {
                let own = Metric::named("queue_wait_ms").expect("a name");
                let metrics = [Metric::CPU_PERCENT, Metric::RESPONSE_TIME_MS, Metric::TASK_COUNT, own];
                // Sums of quarters are exact, in whatever order.
                (metrics[metric].clone(), f64::from(value) / 4.0)
            })
            .collect(),
    })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(samples(), 1..60).prop_map(Step::Keep),
        1 => (0..2_i64, times()).prop_map(|(far, ms)| Step::Forget(ms + [172_800_000, 1_209_600_000][usize::from(far > 0)])),
    ]
}

/// What a store tells; each figure must not come before an earlier one.
fn told(store: &dyn MetricsStore, query: &SampleQuery) -> Vec<Told> {
    let mut told = points(store, query);
    assert!(told.is_sorted_by_key(|told| told.at), "{told:?}");
    told.sort_by(|left, right| {
        (left.at, &left.source, &left.metric).cmp(&(right.at, &right.source, &right.metric))
    });
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn all_stores_tell_the_same_of_the_same_samples(
        steps in vec(steps(), 1..6), since in times(), until in times(), source in 0..4_u32,
    ) {
        let home = TempDir::new().expect("a folder");
        let (memory, file) = (MemoryMetricsStore::new(), SqliteMetricsStore::at(home.path().join("metrics.db")));
        let now = noon() + TimeDelta::hours(9);
        for step in steps {
            match step {
                Step::Keep(samples) => {
                    let [left, right] = [&memory as &dyn MetricsStore, &file].map(|store| store.store_metrics(&samples, now));
                    prop_assert_eq!(left.expect("it is kept"), right.expect("it is kept"));
                }
                Step::Forget(ms) => {
                    let at = noon() + TimeDelta::milliseconds(ms);
                    let [left, right] = [&memory as &dyn MetricsStore, &file].map(|store| store.forget(at));
                    prop_assert_eq!(left.expect("it is written"), right.expect("it is written"));
                }
            }
        }
        for level in [Level::Sample, Level::Minute, Level::Hour, Level::Ever] {
            let all = SampleQuery::of(level);
            let some = SampleQuery {
                since: Some(noon() + TimeDelta::milliseconds(since)),
                until: Some(noon() + TimeDelta::milliseconds(until)),
                source: (source > 0).then(|| Source::Agent(format!("agent-{source}"))),
                ..all.clone()
            };
            for query in [all, some] {
                prop_assert_eq!(told(&memory, &query), told(&file, &query));
            }
        }
        prop_assert_eq!(file.check().expect("it can be read"), [""; 0]);
    }
}
