//! Sums over hours and their quarters, so that a report over months need not read every request.
//!
//! A row has the sums of one hour of UTC, packed: the labels that come in it, each as its length and its bytes, behind how many
//! there are; then sum by sum the places of its labels (one more than that among the labels, and 0 for none), its figures,
//! and how many bytes the figures of its quarters take, which follow: none if it has one alone. All
//! numbers are varints. Zones differ from UTC by whole quarters of an hour.

use std::collections::HashMap;

use aiswitch_lock::database::{damaged, put_varint, take_varint};
use aiswitch_lock::rusqlite::{self, OptionalExtension as _, Row, Transaction, params, params_from_iter};
use jiff::Timestamp;

use super::{condition, record, select, stamp};
use crate::{CostSummary, NanoUsd, Usage, UsageQuery, UsageSum, UsageSummary};

/// How long an hour is, in milliseconds.
const HOUR_MS: i64 = 3_600_000;

/// How many labels a sum has at most, and how many figures: those of usage, the cost, and what it says of requests.
const LABELS: usize = 6;
const FIGURES: usize = 11;

/// What is damaged where a row cannot be read.
const WHAT: &str = "sums of usage";

/// The sums by the hour, and the hours of which they are not true any more: those of records that were written since.
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

/// The sums of an hour in one row, in the place of a row each.
pub(super) const PACKED: &str = "
    DROP TABLE usage_hour;
    CREATE TABLE usage_hour (hour INTEGER PRIMARY KEY, sums BLOB NOT NULL) STRICT;
    INSERT OR IGNORE INTO usage_stale SELECT (at_ms + 720000000000000) / 3600000 - 200000000 FROM usage;
";

/// Whether there are hours that are to be summed up anew.
pub(super) fn is_stale(view: &Transaction<'_>) -> rusqlite::Result<bool> {
    let found = view.prepare_cached("SELECT 1 FROM usage_stale LIMIT 1")?.query_row([], |_| Ok(()));
    Ok(found.optional()?.is_some())
}

/// Sums up the hours anew in which records were written.
pub(super) fn refresh(change: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut stale = change.prepare_cached("DELETE FROM usage_stale RETURNING hour")?;
    let hours: Vec<i64> = stale.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut remove = change.prepare_cached("DELETE FROM usage_hour WHERE hour = ?1")?;
    let mut keep = change.prepare_cached("INSERT OR REPLACE INTO usage_hour VALUES (?1, ?2)")?;
    let mut find = change.prepare_cached(
        "SELECT agent, model, preset, task, run, session,
             min(at_ms), max(at_ms), count(*), count(*) - count(cost_nanos),
             sum(input), sum(output), sum(cache_read), sum(cache_write), sum(cache_write_1h), sum(reasoning), sum(web_searches),
             sum(cost_nanos), sum(requests), sum(requests) FILTER (WHERE total IS NOT NULL),
             sum(total) FILTER (WHERE requests IS NOT NULL)
         FROM usage WHERE at_ms >= ?1 AND at_ms < ?1 + 3600000
         GROUP BY agent, model, preset, task, run, session, (at_ms - ?1) / 900000
         ORDER BY agent, model, preset, task, run, session, min(at_ms)",
    )?;
    for hour in hours {
        let mut packed = Packed::default();
        let mut rows = find.query([hour * HOUR_MS])?;
        while let Some(row) = rows.next()? {
            packed.add(row, hour * HOUR_MS)?;
        }
        if packed.labels.is_empty() {
            remove.execute([hour])?;
        } else {
            keep.execute(params![hour, packed.finish(hour * HOUR_MS)])?;
        }
    }
    Ok(())
}

/// The sums of an hour on their way to its row.
#[derive(Default)]
struct Packed {
    labels: HashMap<String, u64>,
    named: Vec<u8>,
    sums: Vec<u8>,
    /// What is found of the same labels, quarter by quarter.
    open: Option<([u64; LABELS], Vec<Figures>)>,
}

impl Packed {
    /// Adds what was found of a quarter.
    fn add(&mut self, row: &Row<'_>, hour_ms: i64) -> rusqlite::Result<()> {
        let mut places = [0; LABELS];
        for (column, place) in places.iter_mut().enumerate() {
            *place = row.get_ref(column)?.as_str_or_null()?.map_or(0, |label| self.place(label));
        }
        let quarter = Figures::of(row, LABELS)?;
        match &mut self.open {
            Some((open, quarters)) if *open == places => quarters.push(quarter),
            _ => {
                self.close(hour_ms);
                self.open = Some((places, vec![quarter]));
            }
        }
        Ok(())
    }

    /// The place of a label, which is given one.
    fn place(&mut self, label: &str) -> u64 {
        let next = 1 + self.labels.len() as u64;
        *self.labels.entry(label.to_owned()).or_insert_with(|| {
            put_varint(&mut self.named, label.len() as u64);
            self.named.extend_from_slice(label.as_bytes());
            next
        })
    }

    /// Writes what is open.
    fn close(&mut self, hour_ms: i64) {
        let Some((places, quarters)) = self.open.take() else { return };
        for place in places {
            put_varint(&mut self.sums, place);
        }
        let all = quarters.iter().copied().reduce(Figures::plus);
        all.expect("it was opened with one").put(&mut self.sums, hour_ms);
        let mut parts = Vec::new();
        if quarters.len() > 1 {
            for quarter in &quarters {
                quarter.put(&mut parts, hour_ms);
            }
        }
        put_varint(&mut self.sums, parts.len() as u64);
        self.sums.extend(parts);
    }

    fn finish(mut self, hour_ms: i64) -> Vec<u8> {
        self.close(hour_ms);
        let mut bytes = Vec::with_capacity(2 + self.named.len() + self.sums.len());
        put_varint(&mut bytes, self.labels.len() as u64);
        bytes.extend(self.named);
        bytes.extend(self.sums);
        bytes
    }
}

/// The figures of several records: how many milliseconds after the start of the hour the first is and how many after that one
/// the last, how many they are, how many have no known cost, which figures are known, a bit each, and those.
#[derive(Clone, Copy)]
struct Figures {
    first_ms: i64,
    last_ms: i64,
    records: u64,
    unpriced: u64,
    known: [Option<u64>; FIGURES],
}

impl Figures {
    /// Those in the columns from this one on.
    fn of(row: &Row<'_>, column: usize) -> rusqlite::Result<Self> {
        let count = |place| row.get::<_, i64>(column + place).map(i64::unsigned_abs);
        let mut known = [None; FIGURES];
        for (place, figure) in known.iter_mut().enumerate() {
            *figure = row.get::<_, Option<i64>>(column + 4 + place)?.map(i64::unsigned_abs);
        }
        Ok(Self {
            first_ms: row.get(column)?,
            last_ms: row.get(column + 1)?,
            records: count(2)?,
            unpriced: count(3)?,
            known,
        })
    }

    fn plus(mut self, other: Self) -> Self {
        for (sum, part) in self.known.iter_mut().zip(other.known) {
            *sum = [*sum, part].into_iter().flatten().reduce(u64::saturating_add);
        }
        Self {
            first_ms: self.first_ms.min(other.first_ms),
            last_ms: self.last_ms.max(other.last_ms),
            records: self.records + other.records,
            unpriced: self.unpriced + other.unpriced,
            known: self.known,
        }
    }

    fn put(&self, bytes: &mut Vec<u8>, hour_ms: i64) {
        let spans = [self.first_ms - hour_ms, self.last_ms - self.first_ms].map(i64::unsigned_abs);
        let known = self.known.iter().rev().fold(0, |known, figure| known << 1 | u64::from(figure.is_some()));
        let counts = spans.into_iter().chain([self.records, self.unpriced, known]);
        counts.chain(self.known.into_iter().flatten()).for_each(|number| put_varint(bytes, number));
    }

    /// Those that stand next; `None` if they are damaged.
    fn take(rest: &mut &[u8], hour_ms: i64) -> Option<Self> {
        let first_ms = hour_ms.checked_add_unsigned(take_varint(rest)?)?;
        let last_ms = first_ms.checked_add_unsigned(take_varint(rest)?)?;
        let (records, unpriced, which) = (take_varint(rest)?, take_varint(rest)?, take_varint(rest)?);
        let mut known = [None; FIGURES];
        for (place, figure) in known.iter_mut().enumerate() {
            if which >> place & 1 == 1 {
                *figure = Some(take_varint(rest)?);
            }
        }
        Some(Self { first_ms, last_ms, records, unpriced, known })
    }

    /// The sum that has these figures and labels.
    fn sum<'a>(self, agent: &'a str, labels: [Option<&'a str>; LABELS - 1]) -> UsageSum<'a> {
        let [model, preset, task, run, session] = labels;
        let [
            input,
            output,
            cache_read,
            cache_write,
            cache_write_1h,
            reasoning,
            web_searches,
            nanos,
            counts @ ..,
        ] = self.known;
        let usage = Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_tokens: cache_read,
            cache_write_tokens: cache_write,
            cache_write_1h_tokens: cache_write_1h,
            reasoning_tokens: reasoning,
            web_searches,
        };
        let [requests, counted_requests, counted_tokens] = counts;
        UsageSum {
            agent,
            model,
            preset,
            task,
            run,
            session,
            span: (stamp(self.first_ms), stamp(self.last_ms)),
            records: self.records,
            requests,
            counted: (counted_requests.unwrap_or_default(), counted_tokens.unwrap_or_default()),
            sum: UsageSummary {
                usage: Some(usage).filter(|usage| *usage != Usage::default()),
                cost: CostSummary { usd: nanos.map(NanoUsd), unpriced: self.unpriced },
            },
        }
    }
}

/// The whole hours of what is asked for, in milliseconds since 1970.
pub(super) fn whole(query: &UsageQuery) -> (i64, i64) {
    let hour = |time: Timestamp| time.as_millisecond().div_euclid(HOUR_MS);
    let start = query.since.map_or(i64::MIN, |since| {
        let is_whole = since.as_millisecond() == hour(since) * HOUR_MS;
        (hour(since) + i64::from(!is_whole)) * HOUR_MS
    });
    (start, query.until.map_or(i64::MAX, |until| hour(until) * HOUR_MS))
}

/// Hands out the sums of the hours of a span.
pub(super) fn sums(
    view: &Transaction<'_>,
    query: &UsageQuery,
    (start_ms, end_ms): (i64, i64),
    each: &mut dyn FnMut(&UsageSum<'_>) -> bool,
) -> rusqlite::Result<()> {
    let mut find = view
        .prepare_cached("SELECT hour, sums FROM usage_hour WHERE hour >= ?1 AND hour < ?2 ORDER BY hour")?;
    let mut rows = find.query([start_ms, end_ms].map(|ms| ms.div_euclid(HOUR_MS)))?;
    while let Some(row) = rows.next()? {
        let hour_ms = row.get::<_, i64>(0)?.checked_mul(HOUR_MS).ok_or_else(|| damaged(WHAT))?;
        let mut rest = row.get_ref(1)?.as_blob()?;
        let names = names(&mut rest).ok_or_else(|| damaged(WHAT))?;
        while !rest.is_empty() {
            let (sum, parts) = next(&mut rest, hour_ms, &names).ok_or_else(|| damaged(WHAT))?;
            if is_asked(query, &sum) && !each(&sum) {
                hand_out_parts(view, &sum, (parts, hour_ms), each)?;
            }
        }
    }
    Ok(())
}

/// Hands out the quarters of an hour, and the records of those that are not taken.
fn hand_out_parts(
    view: &Transaction<'_>,
    hour: &UsageSum<'_>,
    (mut parts, hour_ms): (&[u8], i64),
    each: &mut dyn FnMut(&UsageSum<'_>) -> bool,
) -> rusqlite::Result<()> {
    let UsageSum { agent, model, preset, task, run, session, span, .. } = *hour;
    let mut spans = Vec::new();
    if parts.is_empty() {
        spans.push(span);
    }
    while !parts.is_empty() {
        let figures = Figures::take(&mut parts, hour_ms).ok_or_else(|| damaged(WHAT))?;
        let quarter = figures.sum(agent, [model, preset, task, run, session]);
        if !each(&quarter) {
            spans.push(quarter.span);
        }
    }
    for (first, last) in spans {
        let (since, until) = (Some(first), Some(stamp(last.as_millisecond() + 1)));
        let (condition, values) = condition(&UsageQuery { since, until, ..UsageQuery::default() });
        let mut find = view.prepare_cached(&select(&condition))?;
        let mut rows = find.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let record = record(row)?;
            let one = UsageSum::of(&record);
            if one.labels() == hour.labels() {
                // A moment cannot be told in parts.
                each(&one);
            }
        }
    }
    Ok(())
}

fn is_asked(query: &UsageQuery, sum: &UsageSum<'_>) -> bool {
    let UsageQuery { since: _, until: _, agent, model, preset, task, run } = query;
    let same = |asked: &Option<String>, found| asked.is_none() || asked.as_deref() == found;
    same(agent, Some(sum.agent))
        && same(model, sum.model)
        && same(preset, sum.preset)
        && same(task, sum.task)
        && same(run, sum.run)
}

fn names<'a>(rest: &mut &'a [u8]) -> Option<Vec<&'a str>> {
    let count = take_varint(rest)?;
    let mut names = Vec::new();
    for _ in 0..count {
        let bytes = usize::try_from(take_varint(rest)?).ok()?;
        let (name, after) = rest.split_at_checked(bytes)?;
        *rest = after;
        names.push(std::str::from_utf8(name).ok()?);
    }
    Some(names)
}

/// The next sum and its quarters; `None` if it is damaged.
fn next<'a>(rest: &mut &'a [u8], hour_ms: i64, names: &[&'a str]) -> Option<(UsageSum<'a>, &'a [u8])> {
    let mut labels = [None; LABELS];
    for label in &mut labels {
        if let Some(place) = take_varint(rest)?.checked_sub(1) {
            *label = Some(*names.get(usize::try_from(place).ok()?)?);
        }
    }
    let [agent, others @ ..] = labels;
    let sum = Figures::take(rest, hour_ms)?.sum(agent?, others);
    let bytes = usize::try_from(take_varint(rest)?).ok()?;
    let (parts, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some((sum, parts))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::is_stale;
    use crate::{
        Cost, CostSource, Import, NanoUsd, PriceList, SqliteUsageStore, TranscriptKind, UsageKey, UsageQuery,
        UsageRecord, UsageStore, UsageSum,
    };

    #[test]
    fn no_report_waits_for_the_sums_of_an_import_or_of_other_prices() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteUsageStore::at(folder.path().join("usage.db"));
        let is_left = || store.database.get().unwrap().read(is_stale).unwrap();
        let (prices, path) = (PriceList::default(), folder.path().join("session.jsonl"));
        let line = |id: &str, at: &str| {
            format!(
                r#"{{"type":"assistant","sessionId":"s","timestamp":"2026-11-{at}","message":{{"id":"{id}","role":"assistant","type":"message","model":"m","content":[],"usage":{{"input_tokens":7,"output_tokens":1}}}}}}"#
            )
        };
        let hours = [("a", "23T10:00:00Z"), ("b", "23T10:59:59Z"), ("c", "24T11:00:00Z")];
        let import = |text: &str| {
            fs::write(&path, text).unwrap();
            let mut import = Import::new(&store, &prices);
            import.read(&path, TranscriptKind::Claude, |_| true).unwrap();
            import.finish().unwrap()
        };
        let spent = || {
            let mut found = (0, 0, 0);
            let each = &mut |sum: &UsageSum<'_>| {
                found.0 += sum.records;
                found.1 += sum.sum.usage.and_then(|usage| usage.input_tokens).unwrap_or_default();
                found.2 += sum.sum.cost.usd.map_or(0, |usd| usd.0);
                true
            };
            store.sums(&UsageQuery::default(), each).unwrap();
            found
        };
        let first: Vec<String> = hours[..2].iter().map(|(id, at)| line(id, at)).collect();
        assert_eq!(import(&first.join("\n")).new, 2);
        assert!(!is_left());
        assert_eq!(spent(), (2, 14, 0));
        let all: Vec<String> = hours.iter().map(|(id, at)| line(id, at)).collect();
        assert_eq!(import(&all.join("\n")).new, 1);
        assert!(!is_left());
        let cost = Cost { usd: Some(NanoUsd(5)), source: CostSource::Computed };
        store.reprice(&|_: &UsageRecord| cost).unwrap();
        assert!(!is_left());
        assert_eq!(spent(), (3, 21, 15));
        // Who is killed before the end of an import leaves it to who asks.
        let record = UsageRecord { cost: Cost::default(), ..some_record(&store) };
        let key = UsageKey { message: "d".to_owned(), ..record.key.clone() };
        store.track_usage(&[UsageRecord { key, ..record }]).unwrap();
        assert!(is_left());
        assert_eq!(spent(), (4, 28, 15));
        assert!(!is_left());
    }

    fn some_record(store: &SqliteUsageStore) -> UsageRecord {
        let mut found = None;
        store.records(&UsageQuery::default(), &mut |record| found = Some(record)).unwrap();
        found.unwrap()
    }
}
