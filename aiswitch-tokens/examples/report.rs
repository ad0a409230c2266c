//! How long reports over 90 days of 8 agents take, and what their records need on disk.
//!
//! ```sh
//! cargo run --release -p aiswitch-tokens --example report
//! ```
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use aiswitch_tokens::{
    Cost, GroupBy, Groups, Period, SqliteUsageStore, Usage, UsageKey, UsageQuery, UsageRecord, UsageStore,
};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

const DAYS: i64 = 90;
const AGENTS: i64 = 8;

/// How many requests an agent makes in each hour of the day and the night.
const REQUESTS_PER_HOUR: i64 = 8;

/// How often each is asked for; the shortest time counts.
const SUM_TRIES: u32 = 20;
const RECORD_TRIES: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("usage.db");
    let begin: Timestamp = "2026-08-25T00:00:00Z".parse()?;
    let records: Vec<UsageRecord> = (0..DAYS * 24 * REQUESTS_PER_HOUR)
        .flat_map(|request| (0..AGENTS).map(move |agent| record(begin, request, agent)))
        .collect();
    SqliteUsageStore::at(&path).track_usage(&records)?;
    println!(
        "{} records of {AGENTS} agents over {DAYS} days, {} MB",
        records.len(),
        fs::metadata(&path)?.len() / 1_000_000
    );

    let store = SqliteUsageStore::at(&path);
    let started = Instant::now();
    store.quotas()?;
    println!("opened in {:.1} ms", ms(started.elapsed()));
    let started = Instant::now();
    store.sum_up()?;
    println!("summed up, which an import does at its end: {:.0} ms", ms(started.elapsed()));

    let zone = TimeZone::get("Europe/Berlin")?;
    let period = |period| GroupBy::Period(period, zone.clone());
    for (name, by) in [
        ("daily", period(Period::Day)),
        ("India's", GroupBy::Period(Period::Day, TimeZone::get("Asia/Kolkata")?)),
        ("weekly", period(Period::Week)),
        ("monthly", period(Period::Month)),
        ("blocks", GroupBy::Block),
        ("models", GroupBy::Model),
        ("agents", GroupBy::Agent),
        ("presets", GroupBy::Preset),
        ("sessions", GroupBy::Session),
        ("runs", GroupBy::Run),
    ] {
        let (of_records, groups) = best(RECORD_TRIES, || {
            let mut groups = Groups::new(by.clone());
            store.records(&UsageQuery::default(), &mut |record| groups.add(&record))?;
            Ok(groups.finish())
        })?;
        let (of_sums, same) = best(SUM_TRIES, || {
            let mut groups = Groups::new(by.clone());
            store.sums(&UsageQuery::default(), &mut |sum| groups.add_sum(sum))?;
            Ok(groups.finish())
        })?;
        assert_eq!(groups, same);
        println!(
            "{name:<8} {:>4} rows: {:>6.1} ms (20 ms are wanted); read record by record {:>6.0} ms",
            groups.len(),
            ms(of_sums),
            ms(of_records)
        );
    }
    Ok(())
}

/// The shortest of some times, as little as possible of what else the machine does, and the last result.
fn best<T>(
    tries: u32,
    work: impl Fn() -> Result<T, Box<dyn Error>>,
) -> Result<(Duration, T), Box<dyn Error>> {
    let mut shortest = Duration::MAX;
    let mut last = None;
    for _ in 0..tries {
        let started = Instant::now();
        last = Some(work()?);
        shortest = shortest.min(started.elapsed());
    }
    Ok((shortest, last.ok_or("nothing was done")?))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn record(begin: Timestamp, request: i64, agent: i64) -> UsageRecord {
    let at = begin + SignedDuration::from_secs(request * 3_600 / REQUESTS_PER_HOUR + agent);
    UsageRecord {
        key: UsageKey { source: "anthropic".into(), message: format!("msg_{request:08}_{agent}") },
        at,
        agent: format!("agent-{agent}"),
        model: Some(if request % 5 == 0 { "claude-haiku-4-5" } else { "claude-sonnet-4-5" }.into()),
        preset: None,
        task: None,
        run: None,
        session: Some(format!("session-{agent}-{}", request / 40)),
        tier: None,
        requests: Some(1),
        usage: Some(Usage { input_tokens: Some(700), output_tokens: Some(50), ..Usage::default() }),
        cost: Cost::reported(Some(0.004)),
    }
}
