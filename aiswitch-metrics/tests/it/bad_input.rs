//! What cannot be is counted, or refused with a clear error, and nothing else is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use aiswitch_metrics::{
    LABEL_BYTES_MAX, Level, Metric, MetricsStore as _, OTHER_METRICS_MAX, Rejected, SOURCES_MAX, Sample,
    SampleQuery, Source, SqliteMetricsStore,
};
use chrono::TimeDelta;
use tempfile::TempDir;

use crate::stores::{at, keep, noon, points, sample, with_each_store};

#[test]
fn figures_that_cannot_be_are_counted_and_the_rest_of_their_sample_is_kept() {
    with_each_store(|store| {
        let delta = Metric::named("drift_ms").expect("a name");
        let mut bad = sample("claude", 0, &Metric::CPU_PERCENT, f64::NAN);
        bad.figures.extend([
            (Metric::MEMORY_BYTES, -1.0),
            (Metric::PROCESSES, f64::INFINITY),
            (Metric::TASK_COUNT, 1e151),
            (Metric::RESPONSE_TIME_MS, 1e10),
            (Metric::ERROR_COUNT, 1.0),
            (delta, -5.0),
        ]);
        let stored = keep(store, &[bad]);
        assert_eq!((stored.stored, stored.rejected), (1, Rejected { figures: 5, ..Rejected::default() }));
        let kept: Vec<_> = points(store, &SampleQuery::of(Level::Ever))
            .iter()
            .map(|point| (point.metric.to_string(), point.summary.sum))
            .collect();
        assert_eq!(kept, [("error_count".to_owned(), 1.0), ("drift_ms".to_owned(), -5.0)]);
    });
}

#[test]
fn samples_of_a_clock_that_is_wrong_are_counted_and_a_clock_that_goes_back_a_little_is_not() {
    with_each_store(|store| {
        let of = |at| Sample { at, ..sample("claude", 0, &Metric::TASK_COUNT, 1.0) };
        let given = [
            of(noon()),
            of(noon() - TimeDelta::hours(1)),
            of(noon() + TimeDelta::minutes(6)),
            of(noon() - TimeDelta::hours(49)),
            of(chrono::DateTime::<chrono::Utc>::MAX_UTC),
            of(chrono::DateTime::<chrono::Utc>::MIN_UTC),
        ];
        let stored = store.store_metrics(&given, noon()).expect("it is kept");
        assert_eq!((stored.stored, stored.rejected), (2, Rejected { times: 4, ..Rejected::default() }));
    });
}

#[test]
fn hostile_labels_are_kept_as_they_are_or_counted() {
    with_each_store(|store| {
        let hostile =
            ["a\"b\\c\n{}", "'; DROP TABLE hours; --", "\u{202e}\u{0}", &"x".repeat(LABEL_BYTES_MAX)];
        let refused = ["", &"x".repeat(1024 * 1024)];
        let samples: Vec<Sample> =
            hostile.iter().chain(&refused).map(|agent| sample(agent, 0, &Metric::TASK_COUNT, 1.0)).collect();
        let stored = keep(store, &samples);
        assert_eq!((stored.stored, stored.rejected), (4, Rejected { labels: 2, ..Rejected::default() }));
        let mut found: Vec<_> =
            points(store, &SampleQuery::of(Level::Ever)).into_iter().map(|point| point.source).collect();
        let mut expected = hostile.map(|agent| Source::Agent(agent.to_owned()));
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    });
}

#[test]
fn names_that_no_metric_can_have_are_refused_with_their_start() {
    for (name, start) in [
        ("", "``"),
        ("Queue", "`Queue`"),
        ("a-b", "`a-b`"),
        ("1st", "`1st`"),
        ("a\n{x=\"y\"}", "`a\\n{x=\\\"y\\\"}`"),
        (&"x".repeat(1024 * 1024), &format!("`{}`", "x".repeat(64))),
    ] {
        let refused = Metric::named(name).expect_err("it is none").to_string();
        assert!(refused.starts_with(start), "{refused}");
        assert!(refused.contains(&format!("({} bytes)", name.len())) && refused.len() < 300, "{refused}");
    }
}

#[test]
fn more_sources_and_metrics_than_are_kept_are_counted() {
    with_each_store(|store| {
        let agents: Vec<Sample> = (0..SOURCES_MAX + 3)
            .map(|agent| sample(&format!("a{agent}"), 0, &Metric::TASK_COUNT, 1.0))
            .collect();
        let stored = keep(store, &agents);
        assert_eq!((stored.stored, stored.rejected.crowd), (u64::from(SOURCES_MAX), 3));
    });
    with_each_store(|store| {
        let mut named = sample("claude", 0, &Metric::TASK_COUNT, 1.0);
        let names =
            (0..OTHER_METRICS_MAX + 3).map(|number| Metric::named(&format!("m{number}")).expect("a name"));
        named.figures.extend(names.map(|metric| (metric, 1.0)));
        let stored = keep(store, &[named]);
        assert_eq!((stored.stored, stored.rejected.crowd), (1, 3));
        assert_eq!(points(store, &SampleQuery::of(Level::Ever)).len(), 1 + OTHER_METRICS_MAX as usize);
    });
}

#[test]
fn a_file_that_is_no_metrics_database_is_refused_and_left_as_it_is() {
    let home = TempDir::new().expect("a folder");
    let path = home.path().join("metrics.db");
    fs::write(&path, "no database ".repeat(1_000)).expect("it is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let store = SqliteMetricsStore::at(&path);
    let refused =
        store.store_metrics(&[sample("claude", 0, &Metric::TASK_COUNT, 1.0)], at(0)).expect_err("it is none");
    assert!(
        refused.to_string().contains("metrics.db") && refused.to_string().contains("damaged"),
        "{refused}"
    );
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "no database ".repeat(1_000));
}

#[test]
fn figures_that_were_damaged_in_the_file_are_an_error_and_no_panic() {
    use aiswitch_lock::rusqlite::Connection;

    let home = TempDir::new().expect("a folder");
    let path = home.path().join("metrics.db");
    keep(&SqliteMetricsStore::at(&path), &[sample("claude", 0, &Metric::TASK_COUNT, 1.0)]);
    let other = Connection::open(&path).expect("it is a database");
    other.execute("UPDATE hours SET figures = x'ffffffffffffffffffffff'", []).expect("it is written");
    drop(other);
    let store = SqliteMetricsStore::at(&path);
    let read =
        store.points(&SampleQuery::of(Level::Hour), &mut |_| {}).expect_err("it is damaged").to_string();
    assert!(read.contains("metrics.db` is damaged"), "{read}");
    let written =
        store.store_metrics(&[sample("claude", 1, &Metric::TASK_COUNT, 1.0)], at(1)).expect_err("damaged");
    assert_eq!(written.to_string(), read);
}

/// Sees to it that a store tells an error, and what it says.
fn refused(path: &std::path::Path) -> String {
    let store = SqliteMetricsStore::at(path);
    let kept = store.store_metrics(&[sample("claude", 1, &Metric::TASK_COUNT, 1.0)], at(1));
    kept.expect_err("it cannot be written").to_string()
}

#[test]
fn a_database_of_a_newer_version_or_of_none_is_refused_and_left_as_it_is() {
    use aiswitch_lock::rusqlite::Connection;

    let home = TempDir::new().expect("a folder");
    let path = home.path().join("metrics.db");
    keep(&SqliteMetricsStore::at(&path), &[sample("claude", 0, &Metric::TASK_COUNT, 1.0)]);
    for (version, says) in [(99, "knows up to"), (-1, "which none has")] {
        let other = Connection::open(&path).expect("it is a database");
        other.pragma_update(None, "user_version", version).expect("it is written");
        drop(other);
        let before = fs::read(&path).expect("it is there");
        let told = refused(&path);
        assert!(told.contains("metrics.db` has version") && told.contains(says), "{told}");
        assert_eq!(fs::read(&path).expect("it is there"), before);
    }
}

#[test]
fn a_page_that_was_damaged_is_an_error_or_found_by_the_check_and_no_panic() {
    use std::os::unix::fs::FileExt as _;

    let home = TempDir::new().expect("a folder");
    let path = home.path().join("metrics.db");
    let samples: Vec<Sample> =
        (0..600).map(|second| sample("claude", second, &Metric::TASK_COUNT, 1.0)).collect();
    let store = SqliteMetricsStore::at(&path);
    store.store_metrics(&samples, at(600)).expect("they are kept");
    drop(store);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("it is there");
    let pages = file.metadata().expect("it is there").len() / 4_096;
    assert!(pages > 8, "{pages}");
    for page in 1..pages {
        file.write_all_at(&[0xA5; 4_096], page * 4_096).expect("it is written");
    }
    drop(file);
    let store = SqliteMetricsStore::at(&path);
    let read = store.points(&SampleQuery::of(Level::Sample), &mut |_| {}).expect_err("it is damaged");
    assert!(read.to_string().contains("metrics.db` is damaged"), "{read}");
    assert!(store.check().is_ok_and(|faults| !faults.is_empty()) || store.check().is_err());
    assert!(refused(&path).contains("metrics.db` is damaged"));
}
