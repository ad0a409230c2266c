//! Sums over hours, so that a report over months need not read every request.

use aiswitch_lock::rusqlite::{self, OptionalExtension as _, Row, ToSql, Transaction, params_from_iter};
use jiff::Timestamp;

use super::stamp;
use crate::{CostSummary, NanoUsd, Usage, UsageQuery, UsageSum, UsageSummary};

/// How long an hour is, in milliseconds.
const HOUR_MS: i64 = 3_600_000;

/// The sums, and the hours of which they are not true any more: those of records that were written since.
///
/// What is added to a time before it is divided makes it positive, so that it is rounded down.
pub(super) const TABLES: &str = "
    CREATE TABLE usage_hour (
        at_ms INTEGER NOT NULL, agent TEXT NOT NULL, model TEXT, preset TEXT, last_ms INTEGER NOT NULL,
        records INTEGER NOT NULL, unpriced INTEGER NOT NULL, input INTEGER, output INTEGER, cache_read INTEGER,
        cache_write INTEGER, cache_write_1h INTEGER, reasoning INTEGER, web_searches INTEGER, cost_nanos INTEGER
    ) STRICT;
    CREATE INDEX usage_hour_at ON usage_hour (at_ms);
    CREATE TABLE usage_stale (hour INTEGER PRIMARY KEY) STRICT;
    INSERT OR IGNORE INTO usage_stale SELECT (at_ms + 720000000000000) / 3600000 - 200000000 FROM usage;
    CREATE TRIGGER usage_added AFTER INSERT ON usage BEGIN
        INSERT OR IGNORE INTO usage_stale VALUES ((new.at_ms + 720000000000000) / 3600000 - 200000000);
    END;
    CREATE TRIGGER usage_changed AFTER UPDATE ON usage BEGIN
        INSERT OR IGNORE INTO usage_stale VALUES ((old.at_ms + 720000000000000) / 3600000 - 200000000);
        INSERT OR IGNORE INTO usage_stale VALUES ((new.at_ms + 720000000000000) / 3600000 - 200000000);
    END;
";

pub(super) fn is_stale(view: &Transaction<'_>) -> rusqlite::Result<bool> {
    let found = view.prepare_cached("SELECT 1 FROM usage_stale LIMIT 1")?.query_row([], |_| Ok(()));
    Ok(found.optional()?.is_some())
}

/// Sums up the hours anew in which records were written.
pub(super) fn refresh(change: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut stale = change.prepare_cached("DELETE FROM usage_stale RETURNING hour")?;
    let hours: Vec<i64> = stale.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut remove = change.prepare_cached("DELETE FROM usage_hour WHERE at_ms >= ?1 AND at_ms < ?2")?;
    let mut add = change.prepare_cached(
        "INSERT INTO usage_hour
         SELECT min(at_ms), agent, model, preset, max(at_ms), count(*), count(*) - count(cost_nanos), sum(input), sum(output),
             sum(cache_read), sum(cache_write), sum(cache_write_1h), sum(reasoning), sum(web_searches), sum(cost_nanos)
         FROM usage WHERE at_ms >= ?1 AND at_ms < ?2 GROUP BY agent, model, preset",
    )?;
    for hour in hours {
        let (start, end) = (hour * HOUR_MS, (hour + 1) * HOUR_MS);
        remove.execute([start, end])?;
        add.execute([start, end])?;
    }
    Ok(())
}

/// The whole hours of what is asked for.
pub(super) fn whole(query: &UsageQuery) -> (Timestamp, Timestamp) {
    let hour = |time: Timestamp| time.as_millisecond().div_euclid(HOUR_MS);
    let start = query.since.map_or(Timestamp::MIN, |since| {
        let is_whole = stamp(hour(since) * HOUR_MS) == since;
        stamp((hour(since) + i64::from(!is_whole)) * HOUR_MS)
    });
    (start, query.until.map_or(Timestamp::MAX, |until| stamp(hour(until) * HOUR_MS)))
}

/// Hands out the sums of whole hours; task and run stand in none of them.
pub(super) fn sums(
    view: &Transaction<'_>,
    condition: &str,
    values: Vec<Box<dyn ToSql>>,
    each: &mut dyn FnMut(&UsageSum<'_>),
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT at_ms, agent, model, preset, last_ms, records, unpriced, input, output, cache_read, cache_write,
             cache_write_1h, reasoning, web_searches, cost_nanos
         FROM usage_hour WHERE {condition} ORDER BY at_ms"
    );
    let mut statement = view.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let label = |place: usize| row.get_ref(place)?.as_str_or_null().map_err(rusqlite::Error::from);
        let usage = Usage {
            input_tokens: figure(row, 7)?,
            output_tokens: figure(row, 8)?,
            cache_read_tokens: figure(row, 9)?,
            cache_write_tokens: figure(row, 10)?,
            cache_write_1h_tokens: figure(row, 11)?,
            reasoning_tokens: figure(row, 12)?,
            web_searches: figure(row, 13)?,
        };
        each(&UsageSum {
            agent: label(1)?.unwrap_or_default(),
            model: label(2)?,
            preset: label(3)?,
            span: (stamp(row.get(0)?), stamp(row.get(4)?)),
            records: figure(row, 5)?.unwrap_or_default(),
            sum: UsageSummary {
                usage: Some(usage).filter(|usage| *usage != Usage::default()),
                cost: CostSummary {
                    usd: figure(row, 14)?.map(NanoUsd),
                    unpriced: figure(row, 6)?.unwrap_or_default(),
                },
            },
        });
    }
    Ok(())
}

fn figure(row: &Row<'_>, place: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(place)?.map(i64::unsigned_abs))
}
