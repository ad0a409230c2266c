//! Where usage is kept: each test runs both stores.

use std::sync::Arc;

use aiswitch_tokens::{
    Cost, CostSource, GroupBy, Groups, MemoryUsageStore, NanoUsd, Period, SqliteUsageStore, TOKENS_MAX,
    Tracked, Usage, UsageError, UsageGroup, UsageKey, UsageQuery, UsageRecord, UsageStore,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

pub(crate) fn record(message: &str, at: &str, output: u64) -> UsageRecord {
    UsageRecord {
        key: UsageKey { source: "test".into(), message: message.into() },
        at: at.parse().unwrap(),
        agent: "claude".into(),
        model: Some("opus".into()),
        preset: None,
        task: None,
        run: None,
        session: Some("s".into()),
        tier: None,
        requests: Some(1),
        usage: Some(Usage { input_tokens: Some(10), output_tokens: Some(output), ..Usage::default() }),
        cost: Cost::default(),
    }
}

/// Each store, and what keeps it.
pub(crate) fn stores() -> Vec<(Arc<dyn UsageStore>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteUsageStore::at(folder.path().join("usage.db"));
    vec![(Arc::new(MemoryUsageStore::new()), None), (Arc::new(sqlite), Some(folder))]
}

fn all(store: &dyn UsageStore, query: &UsageQuery) -> Vec<UsageRecord> {
    let mut found = Vec::new();
    store.records(query, &mut |record| found.push(record)).unwrap();
    found
}

fn groups(store: &dyn UsageStore, by: GroupBy) -> Vec<UsageGroup> {
    let mut groups = Groups::new(by);
    store.records(&UsageQuery::default(), &mut |record| groups.add(&record)).unwrap();
    groups.finish()
}

#[test]
fn a_request_that_is_told_again_counts_once_with_what_says_the_most_in_any_order() {
    let [partial, whole] = [1, 5].map(|output| record("m", "2026-11-23T10:00:00Z", output));
    let priced = UsageRecord { cost: Cost::reported(Some(0.5)), ..whole.clone() };
    for (store, _folder) in stores() {
        let (partial, whole) = (partial.clone(), whole.clone());
        let track = |records: &[UsageRecord]| store.track_usage(records).unwrap();
        assert_eq!(track(std::slice::from_ref(&whole)), Tracked { new: 1, grown: 0, known: 0 });
        assert_eq!(track(&[partial, whole.clone()]), Tracked { new: 0, grown: 0, known: 2 });
        assert_eq!(track(&[priced.clone(), whole]), Tracked { new: 0, grown: 1, known: 1 });
        assert_eq!(all(&*store, &UsageQuery::default()), std::slice::from_ref(&priced));
    }
}

#[test]
fn eight_writers_that_each_tell_everything_three_times_count_it_once() {
    for (store, _folder) in stores() {
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..3 {
                        let records: Vec<_> = (0..50)
                            .map(|number| {
                                record(&number.to_string(), "2026-11-23T10:00:00Z", (writer + round) % 3 + 1)
                            })
                            .collect();
                        store.track_usage(&records).unwrap();
                    }
                });
            }
        });
        let kept = all(&*store, &UsageQuery::default());
        assert_eq!(kept.len(), 50);
        assert!(kept.iter().all(|record| record.usage.unwrap().output_tokens == Some(3)));
    }
}

#[test]
fn what_is_asked_for_comes_in_the_order_of_time() {
    for (store, _folder) in stores() {
        let mut records = vec![
            record("c", "2026-11-23T12:00:00Z", 1),
            record("a", "2026-11-23T10:00:00Z", 1),
            record("b", "2026-11-23T11:00:00Z", 1),
        ];
        records[2].agent = "codex".into();
        records[2].run = Some("r1".into());
        store.track_usage(&records).unwrap();
        let found = |query: UsageQuery| {
            all(&*store, &query).into_iter().map(|record| record.key.message).collect::<String>()
        };
        assert_eq!(found(UsageQuery::default()), "abc");
        assert_eq!(
            found(UsageQuery {
                since: Some("2026-11-23T11:00:00Z".parse().unwrap()),
                ..UsageQuery::default()
            }),
            "bc"
        );
        assert_eq!(
            found(UsageQuery {
                until: Some("2026-11-23T11:00:00Z".parse().unwrap()),
                ..UsageQuery::default()
            }),
            "a"
        );
        assert_eq!(found(UsageQuery { agent: Some("codex".into()), ..UsageQuery::default() }), "b");
        assert_eq!(found(UsageQuery { run: Some("r1".into()), ..UsageQuery::default() }), "b");
        assert_eq!(found(UsageQuery { preset: Some("none".into()), ..UsageQuery::default() }), "");
    }
}

#[test]
fn figures_and_labels_that_are_none_are_refused_and_nothing_of_them_is_kept() {
    let good = record("good", "2026-11-23T10:00:00Z", 1);
    let wrong = [
        record("", "2026-11-23T10:00:00Z", 1),
        record("huge", "2026-11-23T10:00:00Z", TOKENS_MAX + 1),
        record(&"x".repeat(600), "2026-11-23T10:00:00Z", 1),
    ];
    for (store, _folder) in stores() {
        for wrong in &wrong {
            let refused = store.track_usage(&[good.clone(), wrong.clone()]).unwrap_err();
            assert!(!matches!(refused, UsageError::Database(_)), "{refused}");
        }
        assert_eq!(all(&*store, &UsageQuery::default()), []);
        let hostile = UsageRecord { model: Some("'; DROP TABLE usage; --\n\"".into()), ..good.clone() };
        store.track_usage(std::slice::from_ref(&hostile)).unwrap();
        assert_eq!(all(&*store, &UsageQuery::default()), [hostile]);
    }
}

/// Twenty zones with half hours, skipped midnights and clocks that are set in either half of the year.
const ZONES: [&str; 20] = [
    "UTC",
    "America/Sao_Paulo",
    "America/New_York",
    "America/St_Johns",
    "Europe/Berlin",
    "Europe/London",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Tokyo",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "America/Havana",
    "Atlantic/Azores",
];

#[test]
fn the_sum_over_days_weeks_and_months_is_the_total_in_every_zone() {
    let store = MemoryUsageStore::new();
    let begin: Timestamp = "2015-06-01T00:00:00Z".parse().unwrap();
    let records: Vec<UsageRecord> = (0..9_000)
        .map(|number| {
            let at = begin + SignedDuration::from_mins(number * 61);
            let cost = Cost { usd: Some(NanoUsd(number.unsigned_abs())), source: CostSource::Computed };
            UsageRecord { at, cost, ..record(&number.to_string(), "2015-06-01T00:00:00Z", 1) }
        })
        .collect();
    store.track_usage(&records).unwrap();
    let total = groups(&store, GroupBy::Agent)[0].sum;
    assert_eq!(total.cost.usd, Some(NanoUsd((0..9_000).sum())));
    for zone in ZONES.map(|name| TimeZone::get(name).unwrap()) {
        for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
            let groups = groups(&store, GroupBy::Period(period, zone.clone()));
            let sum = groups
                .iter()
                .fold(aiswitch_tokens::UsageSummary::default(), |sum, group| sum.plus(group.sum));
            assert_eq!(sum, total, "{zone:?} {period:?}");
            for pair in groups.windows(2) {
                assert!(pair[0].until <= pair[1].since, "{zone:?} {period:?} {:?} {:?}", pair[0], pair[1]);
            }
            let of_period = |group: &UsageGroup| {
                let (first, last) = group.span.unwrap();
                group.since.unwrap() <= first && last < group.until.unwrap()
            };
            assert!(groups.iter().all(of_period), "{zone:?} {period:?}");
        }
    }
}

#[test]
fn a_day_is_that_of_the_zone_also_where_no_clock_shows_its_midnight() {
    let zone = TimeZone::get("America/Sao_Paulo").unwrap();
    let (since, until) = Period::Day.around("2015-10-18T12:00:00Z".parse().unwrap(), &zone);
    assert_eq!(since.to_string(), "2015-10-18T03:00:00Z");
    assert_eq!(since.to_zoned(zone).time().hour(), 1);
    assert_eq!(until.duration_since(since), SignedDuration::from_hours(23));
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let (since, until) = Period::Day.around("2026-10-25T12:00:00Z".parse().unwrap(), &berlin);
    assert_eq!(until.duration_since(since), SignedDuration::from_hours(25));
    let (since, _) = Period::Week.around("2026-11-22T22:59:59Z".parse().unwrap(), &berlin);
    assert_eq!(since.to_string(), "2026-11-15T23:00:00Z");
    let (since, until) = Period::Month.around("2026-11-30T23:30:00Z".parse().unwrap(), &berlin);
    assert_eq!(
        (since.to_string(), until.to_string()),
        ("2026-11-30T23:00:00Z".into(), "2026-12-31T23:00:00Z".into())
    );
}

#[test]
fn a_block_begins_with_the_hour_of_its_first_request_and_lasts_five() {
    let store = MemoryUsageStore::new();
    let times =
        ["2026-11-23T10:20:00Z", "2026-11-23T14:59:59Z", "2026-11-23T15:00:00Z", "2026-11-24T03:30:00Z"];
    let records: Vec<_> = times.iter().map(|at| record(at, at, 1)).collect();
    store.track_usage(&records).unwrap();
    let blocks = groups(&store, GroupBy::Block);
    let shown: Vec<_> =
        blocks.iter().map(|block| (block.since.unwrap().to_string(), block.requests)).collect();
    let at = |at: &str, requests: u64| (at.to_owned(), requests);
    assert_eq!(
        shown,
        [at("2026-11-23T10:00:00Z", 2), at("2026-11-23T15:00:00Z", 1), at("2026-11-24T03:00:00Z", 1)]
    );
}

#[test]
fn sums_tell_what_the_records_tell_in_zones_of_half_and_quarter_hours_too() {
    let begin: Timestamp = "2026-03-01T00:10:00Z".parse().unwrap();
    let make = |number: i64| {
        let at = begin + SignedDuration::from_mins(number * 17);
        let cost = if number % 3 == 0 { Cost::default() } else { Cost::reported(Some(0.5)) };
        UsageRecord {
            at,
            cost,
            agent: format!("agent-{}", number % 2),
            model: (number % 5 != 0).then(|| "m".to_owned()),
            ..record(&number.to_string(), "2026-01-01T00:00:00Z", 7)
        }
    };
    let by = || {
        let zone = |name| TimeZone::get(name).unwrap();
        [
            GroupBy::Period(Period::Day, zone("Europe/Berlin")),
            GroupBy::Period(Period::Hour, zone("UTC")),
            GroupBy::Period(Period::Day, zone("Asia/Kolkata")),
            GroupBy::Period(Period::Hour, zone("Asia/Kathmandu")),
            GroupBy::Block,
            GroupBy::Agent,
            GroupBy::Model,
            GroupBy::Preset,
        ]
    };
    let same = |store: &dyn UsageStore| {
        let within = |since: Option<&str>, until: Option<&str>| UsageQuery {
            since: since.map(|time| time.parse().unwrap()),
            until: until.map(|time| time.parse().unwrap()),
            ..UsageQuery::default()
        };
        let (early, late) = (Some("2026-03-01T05:30:00Z"), Some("2026-03-02T20:45:00Z"));
        let one = UsageQuery { agent: Some("agent-1".into()), ..UsageQuery::default() };
        let short = within(early, Some("2026-03-01T05:40:00Z"));
        for query in
            [within(None, None), within(early, late), within(early, None), within(None, late), one, short]
        {
            for by in by() {
                let (mut of_records, mut of_sums) = (Groups::new(by.clone()), Groups::new(by));
                store.records(&query, &mut |record| of_records.add(&record)).unwrap();
                store.sums(&query, &mut |sum| of_sums.add_sum(sum)).unwrap();
                let (of_records, of_sums) = (of_records.finish(), of_sums.finish());
                assert_eq!(of_records, of_sums, "{query:?}");
                let total = UsageGroup::total(&of_records).map_or(0, |total| total.requests);
                assert_eq!(total, all(store, &query).len() as u64, "{query:?}");
            }
        }
    };
    for (store, _folder) in stores() {
        same(&*store);
        store.track_usage(&(0..300).map(make).collect::<Vec<_>>()).unwrap();
        same(&*store);
        // A report that says more, of another time, and one of an hour that is summed up already.
        let moved = UsageRecord { at: begin, ..record("7", "2026-01-01T00:00:00Z", 1_000) };
        store.track_usage(&[moved, make(1_000), UsageRecord { at: begin, ..make(1_001) }]).unwrap();
        same(&*store);
        store.reprice(&|_| Cost { usd: Some(NanoUsd(3)), source: CostSource::Computed }).unwrap();
        same(&*store);
    }
}
