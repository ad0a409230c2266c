//! Usage in a database file that several processes share.

mod quota;
mod sums;

use std::path::PathBuf;

use aiswitch_lock::database::{LazyDatabase, Schema};
use aiswitch_lock::rusqlite::{self, Row, ToSql, Transaction, params, params_from_iter};
use jiff::Timestamp;

use crate::{
    Cost, CostSource, NanoUsd, Quota, QuotaScope, QuotaStatus, Repriced, ReservationId, ReserveRequest,
    Reserved, Tracked, Usage, UsageError, UsageKey, UsageQuery, UsageRecord, UsageStore, UsageSum,
};

/// How many records are written in one transaction.
const BATCH: usize = 5_000;

/// Usage in a database file that several processes share.
#[derive(Debug)]
pub struct SqliteUsageStore {
    database: LazyDatabase,
}

/// The tables, as they came to be; a version is only ever added.
static SCHEMA: Schema = Schema {
    // "aiUS"
    application_id: 0x6169_5553,
    migrations: &[
        "
        CREATE TABLE usage (
            source TEXT NOT NULL, message TEXT NOT NULL, at_ms INTEGER NOT NULL, agent TEXT NOT NULL,
            model TEXT, preset TEXT, task TEXT, run TEXT, session TEXT,
            input INTEGER, output INTEGER, cache_read INTEGER, cache_write INTEGER, reasoning INTEGER, total INTEGER,
            cost_nanos INTEGER, cost_source TEXT NOT NULL,
            PRIMARY KEY (source, message)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX usage_at ON usage (at_ms, source, message);
        CREATE INDEX usage_agent_at ON usage (agent, at_ms, source, message);
        ",
        // A record of a run stands for nobody knows how many requests, every other one for its own.
        "
        ALTER TABLE usage ADD COLUMN cache_write_1h INTEGER;
        ALTER TABLE usage ADD COLUMN web_searches INTEGER;
        ALTER TABLE usage ADD COLUMN tier TEXT;
        ALTER TABLE usage ADD COLUMN requests INTEGER;
        UPDATE usage SET requests = 1 WHERE run IS NULL;
        CREATE INDEX usage_preset_at ON usage (preset, at_ms, source, message) WHERE preset IS NOT NULL;
        CREATE INDEX usage_task_at ON usage (task, at_ms, source, message) WHERE task IS NOT NULL;
        CREATE INDEX usage_run_at ON usage (run, at_ms, source, message) WHERE run IS NOT NULL;
        ",
        "
        CREATE TABLE quota (
            scope TEXT NOT NULL CHECK (scope IN ('global', 'agent', 'preset')), name TEXT NOT NULL,
            tokens INTEGER, cost_nanos INTEGER, mode TEXT NOT NULL CHECK (mode IN ('hard', 'soft', 'off')), zone TEXT NOT NULL,
            PRIMARY KEY (scope, name)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE reservation (
            id INTEGER PRIMARY KEY AUTOINCREMENT, agent TEXT NOT NULL, preset TEXT, tokens INTEGER NOT NULL,
            cost_nanos INTEGER NOT NULL, owner TEXT NOT NULL, until_ms INTEGER NOT NULL
        ) STRICT;
        ",
        sums::TABLES,
        sums::PACKED,
    ],
};

/// The columns of a record.
const COLUMNS: &str =
    "source, message, at_ms, agent, model, preset, task, run, session, tier, requests, input, output,
    cache_read, cache_write, cache_write_1h, reasoning, web_searches, cost_nanos, cost_source";

/// Writes a record of a request that is not known.
const INSERT: &str = "
    INSERT INTO usage (
        source, message, at_ms, agent, model, preset, task, run, session, input, output, cache_read, cache_write,
        cache_write_1h, reasoning, web_searches, total, cost_nanos, cost_source, tier, requests
    ) VALUES (
        ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21
    ) ON CONFLICT DO NOTHING";

/// Writes a record of a request that is known, if it says more: [`UsageRecord::says_more_than`] in the database's words.
const GROW: &str = "
    UPDATE usage SET
        at_ms = ?3, agent = ?4, model = ?5, preset = ?6, task = ?7, run = ?8, session = ?9, input = ?10, output = ?11,
        cache_read = ?12, cache_write = ?13, cache_write_1h = ?14, reasoning = ?15, web_searches = ?16, total = ?17,
        cost_nanos = ?18, cost_source = ?19, tier = ?20, requests = ?21
    WHERE source = ?1 AND message = ?2
        AND (coalesce(?17, -1), CASE ?19 WHEN 'reported' THEN 3 WHEN 'computed' THEN 2 WHEN 'estimated' THEN 1 ELSE 0 END,
            coalesce(?18, -1))
        > (coalesce(total, -1),
            CASE cost_source WHEN 'reported' THEN 3 WHEN 'computed' THEN 2 WHEN 'estimated' THEN 1 ELSE 0 END,
            coalesce(cost_nanos, -1))";

/// Writes another cost of a record, unless one was reported meanwhile.
const REPRICE: &str = "
    UPDATE usage SET cost_nanos = ?3, cost_source = ?4
    WHERE source = ?1 AND message = ?2 AND cost_source <> 'reported'";

impl SqliteUsageStore {
    /// The store at a path, which is opened, and made if need be, when it is first used.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { database: LazyDatabase::new(path, &SCHEMA) }
    }

    /// The faults of the file; none when it is whole.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub fn check(&self) -> Result<Vec<String>, UsageError> {
        Ok(self.database.get()?.check()?)
    }
}

impl UsageStore for SqliteUsageStore {
    fn track_usage(&self, records: &[UsageRecord]) -> Result<Tracked, UsageError> {
        records.iter().try_for_each(UsageRecord::check)?;
        let mut tracked = Tracked::default();
        for batch in records.chunks(BATCH) {
            tracked.add(&self.database.get()?.write(|change| track(change, batch))?);
        }
        Ok(tracked)
    }

    fn records(&self, query: &UsageQuery, each: &mut dyn FnMut(UsageRecord)) -> Result<(), UsageError> {
        let (condition, values) = condition(query);
        let sql = select(&condition);
        self.database.get()?.read(|view| {
            let mut statement = view.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                each(record(row)?);
            }
            Ok(())
        })?;
        Ok(())
    }

    fn sums(
        &self,
        query: &UsageQuery,
        each: &mut dyn FnMut(&UsageSum<'_>) -> bool,
    ) -> Result<(), UsageError> {
        let (start_ms, end_ms) = sums::whole(query);
        // A moment cannot be told in parts.
        let mut one = |record: UsageRecord| {
            each(&UsageSum::of(&record));
        };
        if start_ms >= end_ms {
            return self.records(query, &mut one);
        }
        // What is asked for may begin and end within an hour.
        if query.since.is_some() {
            let before = UsageQuery { until: Some(stamp(start_ms)), ..query.clone() };
            self.records(&before, &mut one)?;
        }
        self.sum_up()?;
        self.database.get()?.read(|view| sums::sums(view, query, (start_ms, end_ms), each))?;
        if query.until.is_some() {
            let after = UsageQuery { since: Some(stamp(end_ms)), ..query.clone() };
            self.records(&after, &mut |record| {
                each(&UsageSum::of(&record));
            })?;
        }
        Ok(())
    }

    fn sum_up(&self) -> Result<(), UsageError> {
        let database = self.database.get()?;
        if database.read(sums::is_stale)? {
            database.write(sums::refresh)?;
        }
        Ok(())
    }

    fn reprice(&self, price: &dyn Fn(&UsageRecord) -> Cost) -> Result<Repriced, UsageError> {
        let mut repriced = Repriced::default();
        let mut last = UsageKey { source: String::new(), message: String::new() };
        loop {
            // Computed outside of the turn to write, which others wait for.
            let batch = self.database.get()?.read(|view| unreported(view, &last))?;
            let Some(end) = batch.last() else {
                self.sum_up()?;
                return Ok(repriced);
            };
            last = end.key.clone();
            let costs = batch.iter().map(|record| (record, price(record)));
            let changed: Vec<_> = costs.filter(|(record, cost)| repriced.count(record, *cost)).collect();
            self.database.get()?.write(|change| {
                let mut update = change.prepare_cached(REPRICE)?;
                for (UsageRecord { key, .. }, cost) in &changed {
                    let nanos = number(cost.usd.map(|usd| usd.0));
                    update.execute(params![key.source, key.message, nanos, source_name(cost.source)])?;
                }
                Ok(())
            })?;
        }
    }

    fn quotas(&self) -> Result<Vec<Quota>, UsageError> {
        Ok(self.database.get()?.read(quota::quotas)?)
    }

    fn set_quota_limit(&self, limit: &Quota) -> Result<(), UsageError> {
        limit.check()?;
        Ok(self.database.get()?.write(|change| quota::set(change, limit))?)
    }

    fn remove_quota(&self, scope: &QuotaScope) -> Result<bool, UsageError> {
        Ok(self.database.get()?.write(|change| quota::remove(change, scope))?)
    }

    fn check_quota(
        &self,
        agent: &str,
        preset: Option<&str>,
        at: Timestamp,
    ) -> Result<Vec<QuotaStatus>, UsageError> {
        self.database.get()?.read(|view| quota::statuses(view, agent, preset, at))?
    }

    fn reserve(&self, request: &ReserveRequest, at: Timestamp) -> Result<Reserved, UsageError> {
        request.check()?;
        // Without any limit nobody has to wait for a turn to write.
        if !self.database.get()?.read(quota::is_limited)? {
            return Ok(Reserved::Unlimited);
        }
        self.database.get()?.write(|change| quota::reserve(change, request, at))?
    }

    fn settle(&self, reservations: &[ReservationId], records: &[UsageRecord]) -> Result<Tracked, UsageError> {
        records.iter().try_for_each(UsageRecord::check)?;
        Ok(self.database.get()?.write(|change| {
            quota::drop_all(change, reservations)?;
            track(change, records)
        })?)
    }
}

/// What a query asks for, in the database's words; only what is asked for is in it, so that an index can serve it.
fn condition(query: &UsageQuery) -> (String, Vec<Box<dyn ToSql>>) {
    let UsageQuery { since, until, agent, model, preset, task, run } = query;
    let time = |time: &Option<Timestamp>| time.map(|time| Box::new(time.as_millisecond()) as Box<dyn ToSql>);
    let label = |label: &Option<String>| label.clone().map(|label| Box::new(label) as Box<dyn ToSql>);
    let asked = [
        ("at_ms >= ?", time(since)),
        ("at_ms < ?", time(until)),
        ("agent = ?", label(agent)),
        ("model = ?", label(model)),
        ("preset = ?", label(preset)),
        ("task = ?", label(task)),
        ("run = ?", label(run)),
    ];
    let (words, values): (Vec<&str>, Vec<_>) =
        asked.into_iter().filter_map(|(words, value)| Some((words, value?))).unzip();
    (if words.is_empty() { "true".to_owned() } else { words.join(" AND ") }, values)
}

fn select(condition: &str) -> String {
    format!("SELECT {COLUMNS} FROM usage WHERE {condition} ORDER BY at_ms, source, message")
}

/// The next records behind a key whose cost nobody reported.
fn unreported(view: &Transaction<'_>, last: &UsageKey) -> rusqlite::Result<Vec<UsageRecord>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM usage WHERE (source, message) > (?1, ?2) AND cost_source <> 'reported'
         ORDER BY source, message LIMIT {BATCH}"
    );
    let mut statement = view.prepare_cached(&sql)?;
    statement.query_map([&last.source, &last.message], record)?.collect()
}

fn track(change: &Transaction<'_>, records: &[UsageRecord]) -> rusqlite::Result<Tracked> {
    let mut tracked = Tracked::default();
    let mut insert = change.prepare_cached(INSERT)?;
    let mut grow = change.prepare_cached(GROW)?;
    for record in records {
        let usage = record.usage.unwrap_or_default();
        let values = params![
            record.key.source,
            record.key.message,
            record.at.as_millisecond(),
            record.agent,
            record.model,
            record.preset,
            record.task,
            record.run,
            record.session,
            number(usage.input_tokens),
            number(usage.output_tokens),
            number(usage.cache_read_tokens),
            number(usage.cache_write_tokens),
            number(usage.cache_write_1h_tokens),
            number(usage.reasoning_tokens),
            number(usage.web_searches),
            number(usage.total()),
            number(record.cost.usd.map(|usd| usd.0)),
            source_name(record.cost.source),
            record.tier,
            number(record.requests),
        ];
        if insert.execute(values)? > 0 {
            tracked.new += 1;
        } else if grow.execute(values)? > 0 {
            tracked.grown += 1;
        } else {
            tracked.known += 1;
        }
    }
    Ok(tracked)
}

/// A figure as SQLite keeps it; those of a record that was checked fit.
fn number(figure: Option<u64>) -> Option<i64> {
    figure.map(|figure| i64::try_from(figure).unwrap_or(i64::MAX))
}

/// A row of [`COLUMNS`], by their places: a look for each name takes longer than all else.
fn record(row: &Row<'_>) -> rusqlite::Result<UsageRecord> {
    let figure =
        |place: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(place)?.map(i64::unsigned_abs));
    let usage = Usage {
        input_tokens: figure(11)?,
        output_tokens: figure(12)?,
        cache_read_tokens: figure(13)?,
        cache_write_tokens: figure(14)?,
        cache_write_1h_tokens: figure(15)?,
        reasoning_tokens: figure(16)?,
        web_searches: figure(17)?,
    };
    Ok(UsageRecord {
        key: UsageKey { source: row.get(0)?, message: row.get(1)? },
        at: stamp(row.get(2)?),
        agent: row.get(3)?,
        model: row.get(4)?,
        preset: row.get(5)?,
        task: row.get(6)?,
        run: row.get(7)?,
        session: row.get(8)?,
        tier: row.get(9)?,
        requests: figure(10)?,
        usage: Some(usage).filter(|usage| *usage != Usage::default()),
        cost: cost(figure(18)?.map(NanoUsd), row.get_ref(19)?.as_str()?),
    })
}

/// A time as SQLite keeps it; one that is none is the first or the last of all.
fn stamp(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap_or(if at_ms < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn source_name(source: CostSource) -> &'static str {
    match source {
        CostSource::Reported => "reported",
        CostSource::Computed => "computed",
        CostSource::Estimated => "estimated",
        CostSource::Unknown => "unknown",
    }
}

fn cost(usd: Option<NanoUsd>, source: &str) -> Cost {
    let known = [CostSource::Reported, CostSource::Computed, CostSource::Estimated];
    let source = known.into_iter().find(|known| source_name(*known) == source).unwrap_or_default();
    Cost { usd, source }
}

#[cfg(test)]
mod tests {
    use aiswitch_lock::database::Database;

    use super::*;

    #[test]
    fn a_file_of_each_version_before_goes_on_with_its_records_and_true_sums() {
        for version in 1..SCHEMA.migrations.len() {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("usage.db");
            let schema = Schema { migrations: &SCHEMA.migrations[..version], ..SCHEMA };
            let before = Database::open(&path, &schema).unwrap();
            before
                .write(|change| {
                    change.execute_batch(
                        "INSERT INTO usage (source, message, at_ms, agent, input, output, total, cost_source)
                         VALUES ('a', 'm', 1700000000000, 'claude', 1, 2, 3, 'unknown');",
                    )?;
                    // Sums of an hour that were true, and none of what came after them.
                    if version == 4 {
                        change.execute_batch(
                            "DELETE FROM usage_stale;
                             INSERT INTO usage_hour (at_ms, agent, last_ms, records, unpriced)
                             VALUES (1700000000000, 'claude', 1700000000000, 1, 1);",
                        )?;
                    }
                    Ok(())
                })
                .unwrap();
            drop(before);
            let store = SqliteUsageStore::at(&path);
            let mut sums = Vec::new();
            let of = |sum: &UsageSum<'_>| {
                (sum.span.0.as_millisecond(), sum.records, sum.sum.usage.and_then(Usage::total))
            };
            store
                .sums(&UsageQuery::default(), &mut |sum| {
                    sums.push(of(sum));
                    true
                })
                .unwrap();
            assert_eq!(sums, [(1_700_000_000_000, 1, Some(3))], "version {version}");
        }
    }

    #[test]
    fn every_question_is_answered_from_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteUsageStore::at(folder.path().join("usage.db"));
        let label = || Some("x".to_owned());
        let time = Some(Timestamp::UNIX_EPOCH);
        for (query, index) in [
            (UsageQuery::default(), "usage_at"),
            (
                UsageQuery { since: time, until: time, ..UsageQuery::default() },
                "usage_at (at_ms>? AND at_ms<?)",
            ),
            (
                UsageQuery { agent: label(), since: time, ..UsageQuery::default() },
                "usage_agent_at (agent=? AND at_ms>?)",
            ),
            (
                UsageQuery { preset: label(), since: time, ..UsageQuery::default() },
                "usage_preset_at (preset=? AND at_ms>?)",
            ),
            (UsageQuery { task: label(), ..UsageQuery::default() }, "usage_task_at (task=?)"),
            (UsageQuery { run: label(), ..UsageQuery::default() }, "usage_run_at (run=?)"),
        ] {
            let (condition, values) = condition(&query);
            let sql = format!("EXPLAIN QUERY PLAN {}", select(&condition));
            let plan: Vec<String> = store
                .database
                .get()
                .unwrap()
                .read(|view| {
                    let mut statement = view.prepare(&sql)?;
                    statement.query_map(params_from_iter(values), |row| row.get("detail"))?.collect()
                })
                .unwrap();
            assert_eq!(plan.len(), 1, "no sorting beside it: {plan:?}");
            assert!(plan[0].contains(&format!("USING INDEX {index}")), "{plan:?}");
        }
    }
}
