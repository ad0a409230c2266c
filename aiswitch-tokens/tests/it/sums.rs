//! The sums that a store keeps beside its records.

use aiswitch_lock::rusqlite::Connection;
use aiswitch_tokens::{
    Cost, CostSource, GroupBy, Groups, MemoryUsageStore, NanoUsd, Period, SqliteUsageStore, Usage,
    UsageQuery, UsageRecord, UsageStore, UsageSum, get_usage_summary,
};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::store::record;

/// The start of what is written: a day on which clocks are set in Berlin.
const BEGIN: &str = "2026-10-25T00:00:00Z";

fn begin() -> Timestamp {
    BEGIN.parse().unwrap()
}

fn labels() -> impl Strategy<Value = Option<String>> {
    prop_oneof![Just(None), Just(Some("\"; DROP TABLE usage; --\n".to_owned())), Just(Some("b".to_owned()))]
}

/// A record of one of a few requests, so that some are told of again, at another time too.
fn records() -> impl Strategy<Value = UsageRecord> {
    let figures =
        (0..40_u32, 0..48 * 60_i64, any::<Option<u16>>(), any::<Option<u16>>(), any::<Option<u32>>());
    (figures, [labels(), labels(), labels(), labels(), labels()], any::<bool>()).prop_map(
        |((number, minute, input, output, nanos), [model, preset, task, run, session], is_one)| UsageRecord {
            at: begin() + SignedDuration::from_mins(minute) + SignedDuration::from_millis(number.into()),
            agent: format!("agent-{}", number % 3),
            model,
            preset,
            task,
            run,
            session,
            requests: is_one.then_some(1),
            usage: Some(Usage {
                input_tokens: input.map(u64::from),
                output_tokens: output.map(u64::from),
                ..Usage::default()
            })
            .filter(|usage| *usage != Usage::default()),
            cost: Cost {
                usd: nanos.map(|nanos| NanoUsd(nanos.into())),
                source: if nanos.is_some() { CostSource::Computed } else { CostSource::Unknown },
            },
            ..record(&number.to_string(), BEGIN, 1)
        },
    )
}

fn queries() -> impl Strategy<Value = UsageQuery> {
    let time = || {
        proptest::option::of(
            (0..50 * 60_000_i64).prop_map(|second| begin() + SignedDuration::from_secs(second * 3)),
        )
    };
    (time(), time(), 0..7_usize).prop_map(|(since, until, of)| {
        let label = |place| (of == place).then(|| "b".to_owned());
        UsageQuery {
            since,
            until,
            agent: (of == 1).then(|| "agent-1".to_owned()),
            model: label(2),
            preset: label(3),
            task: label(4),
            run: label(5),
        }
    })
}

fn all_ways() -> Vec<GroupBy> {
    let zones = ["Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu"].map(|zone| TimeZone::get(zone).unwrap());
    // As old zones were, of which a quarter of an hour is in two hours.
    let odd = TimeZone::fixed(Offset::from_seconds(7 * 60 + 30).unwrap());
    let periods = [Period::Hour, Period::Day, Period::Week, Period::Month];
    let of_zone = |zone: TimeZone| periods.map(|period| GroupBy::Period(period, zone.clone()));
    let labels =
        [GroupBy::Agent, GroupBy::Model, GroupBy::Preset, GroupBy::Task, GroupBy::Run, GroupBy::Session];
    zones.into_iter().chain([odd]).flat_map(of_zone).chain(labels).chain([GroupBy::Block]).collect()
}

fn check(
    store: &SqliteUsageStore,
    memory: &MemoryUsageStore,
    query: &UsageQuery,
) -> Result<(), TestCaseError> {
    for by in all_ways() {
        let (mut of_records, mut of_sums) = (Groups::new(by.clone()), Groups::new(by));
        memory.records(query, &mut |record| of_records.add(&record)).unwrap();
        store.sums(query, &mut |sum| of_sums.add_sum(sum)).unwrap();
        prop_assert_eq!(of_records.finish(), of_sums.finish());
    }
    let zone = TimeZone::get("Asia/Kolkata").unwrap();
    prop_assert_eq!(
        get_usage_summary(store, query, begin(), &zone).unwrap(),
        get_usage_summary(memory, query, begin(), &zone).unwrap()
    );
    Ok(())
}

proptest! {
    // Each case makes a database.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sums_are_those_of_the_records_after_late_reports_and_new_prices(
        batches in prop::collection::vec((prop::collection::vec(records(), 0..30), queries(), any::<bool>()), 1..5)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteUsageStore::at(folder.path().join("usage.db"));
        let memory = MemoryUsageStore::new();
        for (batch, query, is_repriced) in batches {
            prop_assert_eq!(store.track_usage(&batch).unwrap(), memory.track_usage(&batch).unwrap());
            if is_repriced {
                let price = |record: &UsageRecord| Cost {
                    usd: record.usage.and_then(Usage::total).map(NanoUsd),
                    source: CostSource::Computed,
                };
                prop_assert_eq!(store.reprice(&price).unwrap(), memory.reprice(&price).unwrap());
            }
            check(&store, &memory, &query)?;
            check(&store, &memory, &UsageQuery::default())?;
        }
    }
}

#[test]
fn sums_that_were_damaged_in_the_file_are_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.db");
    let store = SqliteUsageStore::at(&path);
    store.track_usage(&[record("m", BEGIN, 1)]).unwrap();
    let sums = || {
        let mut records = 0;
        let count = &mut |sum: &UsageSum<'_>| {
            records += sum.records;
            true
        };
        SqliteUsageStore::at(&path).sums(&UsageQuery::default(), count).map(|()| records)
    };
    assert_eq!(sums().unwrap(), 1);
    let other = Connection::open(&path).unwrap();
    let whole: Vec<u8> = other.query_row("SELECT sums FROM usage_hour", [], |row| row.get(0)).unwrap();
    // A byte is missing, another is there, or a byte is wrong: the number of labels, the quarter and its first label.
    let labels = whole.len() - whole.iter().rev().position(|byte| *byte == b's').unwrap();
    let with = |place: usize| [&whole[..place], &[0xFF], &whole[place + 1..]].concat();
    let cut = whole[..whole.len() - 1].to_vec();
    for damaged in [Vec::new(), cut, [&whole[..], &[0]].concat(), with(0), with(labels), with(labels + 1)] {
        other.execute("UPDATE usage_hour SET sums = ?1", [&damaged]).unwrap();
        let told = sums().unwrap_err().to_string();
        assert!(told.contains("usage.db` is damaged"), "{damaged:?}: {told}");
    }
    other.execute("UPDATE usage_hour SET sums = ?1", [&whole]).unwrap();
    assert_eq!(sums().unwrap(), 1);
}

#[test]
fn a_usage_database_of_a_newer_version_or_of_none_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.db");
    SqliteUsageStore::at(&path).track_usage(&[record("m", BEGIN, 1)]).unwrap();
    for (version, says) in [(99, "knows up to"), (-1, "which none has")] {
        Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused =
            SqliteUsageStore::at(&path).track_usage(&[record("n", BEGIN, 1)]).unwrap_err().to_string();
        assert!(refused.contains("usage.db` has version") && refused.contains(says), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
