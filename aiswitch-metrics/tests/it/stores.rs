//! What every store of samples does: each test runs them all.

use std::ops::RangeInclusive;

use aiswitch_metrics::{
    AgentSample, AgentStatus, Level, MemoryMetricsStore, Metric, MetricsStore, Point, Sample, SampleQuery,
    Source, SqliteMetricsStore, Stored, Summary, SystemSample,
};
use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;

/// Runs a test with each store, which is new.
pub(crate) fn with_each_store(test: impl Fn(&dyn MetricsStore)) {
    test(&MemoryMetricsStore::new());
    let home = TempDir::new().expect("a folder");
    let store = SqliteMetricsStore::at(home.path().join("metrics.db"));
    test(&store);
    assert_eq!(store.check().expect("it can be read"), [""; 0]);
}

/// A moment at the start of an hour.
pub(crate) fn noon() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().expect("a time")
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    noon() + TimeDelta::seconds(seconds)
}

pub(crate) fn sample(agent: &str, seconds: i64, metric: &Metric, value: f64) -> Sample {
    let source = Source::Agent(agent.to_owned());
    Sample { source, at: at(seconds), figures: vec![(metric.clone(), value)] }
}

/// Keeps samples at the time of the newest.
pub(crate) fn keep(store: &dyn MetricsStore, samples: &[Sample]) -> Stored {
    let now = samples.iter().map(|sample| sample.at).max().expect("samples");
    store.store_metrics(samples, now).expect("it is kept")
}

/// A [`Point`](aiswitch_metrics::Point) of one's own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) source: Source,
    pub(crate) metric: Metric,
    pub(crate) at: DateTime<Utc>,
    pub(crate) summary: Summary,
}

pub(crate) fn points(store: &dyn MetricsStore, query: &SampleQuery) -> Vec<Told> {
    let mut points = Vec::new();
    let told = |point: &Point<'_>| Told {
        source: point.source.clone(),
        metric: point.metric.clone(),
        at: point.at,
        summary: point.summary.clone(),
    };
    store.points(query, &mut |point| points.push(told(point))).expect("it can be read");
    points
}

fn only(store: &dyn MetricsStore, level: Level) -> Summary {
    let mut points = points(store, &SampleQuery::of(level));
    assert_eq!(points.len(), 1, "{points:?}");
    points.remove(0).summary
}

fn figures(summary: &Summary) -> (u64, f64, f64, f64, f64) {
    (summary.n, summary.sum, summary.min, summary.max, summary.last)
}

#[test]
fn all_figures_of_a_sample_are_kept_and_what_is_not_known_is_not_there() {
    with_each_store(|store| {
        let agent = AgentSample {
            status: Some(AgentStatus::Busy),
            cpu_percent: Some(12.34),
            memory_bytes: Some(5_000_000_000),
            processes: Some(3),
            tokens_input: Some(0),
            tokens_output: Some(7),
            response_time_ms: Some(1_234.5),
            error_count: Some(1),
            task_count: Some(2),
            ..AgentSample::new("claude", noon())
        };
        let system = SystemSample {
            at: noon(),
            cpus: Some(2),
            cpu_percent: None,
            load: Some([0.25, 0.5, 0.75]),
            memory_total_bytes: Some(8_000_000_000),
            memory_available_bytes: Some(1_000_000_000),
            swap_used_bytes: Some(0),
            cpu_pressure_percent: Some(1.5),
            memory_pressure_percent: None,
            io_pressure_percent: Some(0.0),
        };
        let stored = keep(store, &[agent.into(), system.into(), AgentSample::new("idle", noon()).into()]);
        assert_eq!((stored.stored, stored.rejected.is_none()), (2, true));
        for level in [Level::Sample, Level::Minute, Level::Hour, Level::Ever] {
            let mut found = points(store, &SampleQuery::of(level));
            found.sort_by(|left, right| left.source.cmp(&right.source));
            let found: Vec<(String, String, f64)> = found
                .into_iter()
                .map(|point| (point.source.to_string(), point.metric.to_string(), point.summary.last))
                .collect();
            let told: Vec<String> =
                found.iter().map(|(source, metric, value)| format!("{source} {metric} {value}")).collect();
            let expected = "(system) load_1m 0.25\n(system) load_5m 0.5\n(system) load_15m 0.75\n\
                (system) memory_total_bytes 8000000000\n(system) memory_available_bytes 1000000000\n\
                (system) swap_used_bytes 0\n(system) cpu_pressure_percent 1.5\n(system) io_pressure_percent 0\n(system) cpus 2\n\
                claude status 3\nclaude cpu_percent 12.34\nclaude memory_bytes 5000000000\nclaude processes 3\n\
                claude tokens_input 0\nclaude tokens_output 7\nclaude response_time_ms 1234.5\nclaude error_count 1\n\
                claude task_count 2";
            assert_eq!(told.join("\n"), expected, "{level:?}");
        }
    });
}

#[test]
fn each_level_sums_up_what_lies_in_its_span() {
    with_each_store(|store| {
        let given = [(0, 5.0), (10, 1.0), (59, 3.0), (60, 9.0), (3_599, 2.0), (3_600, 4.0)];
        let samples = given.map(|(seconds, value)| sample("claude", seconds, &Metric::CPU_PERCENT, value));
        keep(store, &samples);
        let told = |level| -> Vec<_> {
            let points = points(store, &SampleQuery::of(level));
            points.iter().map(|point| ((point.at - noon()).num_seconds(), figures(&point.summary))).collect()
        };
        assert_eq!(told(Level::Sample).len(), 6);
        assert_eq!(
            told(Level::Minute),
            [
                (0, (3, 9.0, 1.0, 5.0, 3.0)),
                (60, (1, 9.0, 9.0, 9.0, 9.0)),
                (3_540, (1, 2.0, 2.0, 2.0, 2.0)),
                (3_600, (1, 4.0, 4.0, 4.0, 4.0)),
            ]
        );
        assert_eq!(told(Level::Hour), [(0, (5, 20.0, 1.0, 9.0, 2.0)), (3_600, (1, 4.0, 4.0, 4.0, 4.0))]);
        assert_eq!(figures(&only(store, Level::Ever)), (6, 24.0, 1.0, 9.0, 4.0));
    });
}

#[test]
fn samples_that_come_twice_late_or_out_of_order_count_once_in_their_own_span() {
    with_each_store(|store| {
        let late =
            [sample("claude", 20, &Metric::TASK_COUNT, 1.0), sample("claude", 70, &Metric::TASK_COUNT, 2.0)];
        keep(store, &late);
        let early = [sample("claude", 10, &Metric::TASK_COUNT, 4.0), late[0].clone(), late[0].clone()];
        let stored = keep(store, &early);
        assert_eq!((stored.stored, stored.known), (1, 2));
        let minutes: Vec<_> = points(store, &SampleQuery::of(Level::Minute))
            .iter()
            .map(|point| figures(&point.summary))
            .collect();
        // The newest is what was measured last, not what came last.
        assert_eq!(minutes, [(2, 5.0, 1.0, 4.0, 1.0), (1, 2.0, 2.0, 2.0, 2.0)]);
        assert_eq!(only(store, Level::Ever).last_at(), at(70));
    });
}

#[test]
fn samples_of_one_source_at_one_moment_are_all_kept_if_they_differ() {
    with_each_store(|store| {
        let both = [1.0, 2.0].map(|count| sample("claude", 0, &Metric::TASK_COUNT, count));
        assert_eq!((keep(store, &both).stored, keep(store, &both).known), (2, 2));
        let kept: Vec<_> = points(store, &SampleQuery::of(Level::Sample))
            .iter()
            .map(|point| (point.at, point.summary.sum))
            .collect();
        assert_eq!(kept, [(noon(), 1.0), (noon() + TimeDelta::milliseconds(1), 2.0)]);
        assert_eq!(figures(&only(store, Level::Ever)), (2, 3.0, 1.0, 2.0, 2.0));
    });
}

#[test]
fn quantiles_of_merged_spans_are_within_1_percent() {
    with_each_store(|store| {
        // Spread over three powers of ten, in an order that is none, over five hours.
        let response = |index: u32| 10_f64.powf(1.0 + f64::from(index * 7_919 % 5_000) / 1_666.0);
        let samples: Vec<Sample> = (0..5_000)
            .map(|index| sample("claude", i64::from(index) * 3, &Metric::RESPONSE_TIME_MS, response(index)))
            .collect();
        for batch in samples.chunks(700) {
            keep(store, batch);
        }
        let mut truth: Vec<f64> = (0..5_000).map(response).collect();
        truth.sort_by(f64::total_cmp);
        let ever = only(store, Level::Ever);
        for (share, place) in [(0.5, 2_499), (0.95, 4_749), (0.99, 4_949), (0.0, 0), (1.0, 4_999)] {
            let (told, truth) = (ever.quantile(share).expect("it is kept"), truth[place]);
            assert!((told / truth - 1.0).abs() <= 0.01, "{share}: {told} beside {truth}");
        }
        let mut query = SampleQuery::of(Level::Hour);
        query.metric = Some(Metric::RESPONSE_TIME_MS);
        assert_eq!(points(store, &query).iter().map(|point| point.summary.n).sum::<u64>(), 5_000);
    });
}

#[test]
fn a_query_hands_out_what_it_asks_for_and_no_more() {
    with_each_store(|store| {
        let queue = Metric::named("queue_wait_ms").expect("a name");
        let seconds: RangeInclusive<i64> = 0..=9;
        for second in seconds {
            let both =
                [sample("claude", second, &queue, 1.0), sample("codex", second, &Metric::PROCESSES, 2.0)];
            keep(store, &both);
        }
        let mut query = SampleQuery::of(Level::Sample);
        assert_eq!(points(store, &query).len(), 20);
        query.since = Some(at(3));
        query.until = Some(at(5));
        assert_eq!(points(store, &query).len(), 4);
        query.source = Some(Source::Agent("claude".to_owned()));
        let found = points(store, &query);
        assert_eq!(
            found.iter().map(|point| (point.at, point.metric.name())).collect::<Vec<_>>(),
            [(at(3), "queue_wait_ms"), (at(4), "queue_wait_ms")]
        );
        query.metric = Some(Metric::PROCESSES);
        assert_eq!(points(store, &query), []);
        query.metric = Some(Metric::named("never_told").expect("a name"));
        assert_eq!(points(store, &query), []);
        query.source = Some(Source::System);
        assert_eq!(points(store, &query), []);
    });
}

#[test]
fn what_is_older_than_its_level_is_kept_is_forgotten_and_its_sum_stays() {
    with_each_store(|store| {
        keep(store, &[sample("claude", 0, &Metric::TOKENS_INPUT, 5.0)]);
        let counts = || {
            [Level::Sample, Level::Minute, Level::Hour, Level::Ever]
                .map(|level| points(store, &SampleQuery::of(level)).len())
        };
        for (after, expected) in [
            (TimeDelta::hours(48), [1, 1, 1, 1]),
            (TimeDelta::hours(49), [0, 1, 1, 1]),
            (TimeDelta::days(15), [0, 0, 1, 1]),
            (TimeDelta::days(401), [0, 0, 0, 1]),
        ] {
            let before: usize = counts().iter().sum();
            let forgotten = store.forget(noon() + after).expect("it is written");
            assert_eq!(
                (counts(), usize::try_from(forgotten)),
                (expected, Ok(before - expected.iter().sum::<usize>()))
            );
        }
    });
}

#[test]
fn a_note_is_changed_by_one_at_a_time_and_found_by_the_start_of_its_name() {
    with_each_store(|store| {
        let change = |name: &str, to: Option<&str>| {
            let mut before = None;
            store
                .change_notes(&[name], &mut |_, note| {
                    before = note.map(str::to_owned);
                    to.map(str::to_owned)
                })
                .expect("it is written");
            before
        };
        assert_eq!(change("alert:a%", Some("1")), None);
        assert_eq!(change("alert:a%", Some("2")), Some("1".to_owned()));
        assert_eq!(change("alert:b", Some("3")), None);
        assert_eq!(change("detector:a", Some("4")), None);
        assert_eq!(change("alert:b", None), Some("3".to_owned()));
        let mut seen = Vec::new();
        store
            .change_notes(&["detector:b", "alert:a%"], &mut |name, note| {
                seen.push((name.to_owned(), note.map(str::to_owned)));
                note.map(str::to_owned)
            })
            .expect("it is written");
        assert_eq!(seen, [("detector:b".to_owned(), None), ("alert:a%".to_owned(), Some("2".to_owned()))]);
        let found = store.notes("alert:").expect("it is read");
        assert_eq!(found, [("alert:a%".to_owned(), "2".to_owned())]);
    });
}

#[test]
fn two_stores_of_one_file_see_what_the_other_keeps() {
    let home = TempDir::new().expect("a folder");
    let [one, two] = [(); 2].map(|()| SqliteMetricsStore::at(home.path().join("metrics.db")));
    let (odd, even) = (Metric::named("odd_ms").expect("a name"), Metric::named("even_ms").expect("a name"));
    keep(&one, &[sample("claude", 0, &odd, 1.0)]);
    keep(&two, &[sample("codex", 0, &even, 2.0), sample("claude", 1, &odd, 3.0)]);
    keep(&one, &[sample("codex", 1, &even, 4.0)]);
    for store in [&one, &two] {
        let ever: Vec<_> = points(store, &SampleQuery::of(Level::Ever))
            .iter()
            .map(|point| {
                (point.source.to_string(), point.metric.to_string(), point.summary.n, point.summary.sum)
            })
            .collect();
        assert_eq!(
            ever,
            [
                ("claude".to_owned(), "odd_ms".to_owned(), 2, 4.0),
                ("codex".to_owned(), "even_ms".to_owned(), 2, 6.0),
            ]
        );
    }
}
