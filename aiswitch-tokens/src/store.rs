//! Where usage is kept: in memory, or in a database that several processes share.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use aiswitch_lock::database::{LazyDatabase, Schema};
use aiswitch_lock::rusqlite::{self, Row, Transaction, params};
use jiff::Timestamp;

use crate::{Cost, CostSource, NanoUsd, Usage, UsageError, UsageKey, UsageRecord};

/// How many records are written in one transaction.
const BATCH: usize = 5_000;

/// Which records are asked for; the default asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this model.
    pub model: Option<String>,
    /// Under this preset.
    pub preset: Option<String>,
    /// For this task.
    pub task: Option<String>,
    /// Of this run.
    pub run: Option<String>,
}

impl UsageQuery {
    fn fits(&self, record: &UsageRecord) -> bool {
        let same =
            |wanted: &Option<String>, found: Option<&String>| wanted.is_none() || wanted.as_ref() == found;
        self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at < until)
            && same(&self.agent, Some(&record.agent))
            && same(&self.model, record.model.as_ref())
            && same(&self.preset, record.preset.as_ref())
            && same(&self.task, record.task.as_ref())
            && same(&self.run, record.run.as_ref())
    }
}

/// What became of reports of usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// How many were of a request that was not known.
    pub new: u64,
    /// How many said more of a request that was known.
    pub grown: u64,
    /// How many said nothing new.
    pub known: u64,
}

impl Tracked {
    fn add(&mut self, other: &Self) {
        self.new += other.new;
        self.grown += other.grown;
        self.known += other.known;
    }
}

/// Where usage is kept.
///
/// A request that is reported more than once, also by several processes and out of order, counts once: with the report that
/// says the most. Methods wait for the disk; async code calls them on a thread of their own.
pub trait UsageStore: fmt::Debug + Send + Sync {
    /// Keeps what was used; when it returns, it outlives this process and the machine's power.
    ///
    /// # Errors
    /// A record is none ([`UsageRecord::check`]), and none of them is kept; or the store cannot be written, and what is kept
    /// already is counted once when the same records are given again.
    fn track_usage(&self, records: &[UsageRecord]) -> Result<Tracked, UsageError>;

    /// Hands out the records that are asked for, the earliest first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn records(&self, query: &UsageQuery, each: &mut dyn FnMut(UsageRecord)) -> Result<(), UsageError>;
}

/// Usage in memory, for as long as the program runs.
#[derive(Debug, Default)]
pub struct MemoryUsageStore {
    records: Mutex<BTreeMap<UsageKey, UsageRecord>>,
}

impl MemoryUsageStore {
    /// A store without records.
    pub fn new() -> Self {
        Self::default()
    }
}

impl UsageStore for MemoryUsageStore {
    fn track_usage(&self, records: &[UsageRecord]) -> Result<Tracked, UsageError> {
        records.iter().try_for_each(UsageRecord::check)?;
        let mut kept = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tracked = Tracked::default();
        for record in records {
            match kept.get_mut(&record.key) {
                None => {
                    kept.insert(record.key.clone(), record.clone());
                    tracked.new += 1;
                }
                Some(known) if record.says_more_than(known) => {
                    known.clone_from(record);
                    tracked.grown += 1;
                }
                Some(_) => tracked.known += 1,
            }
        }
        Ok(tracked)
    }

    fn records(&self, query: &UsageQuery, each: &mut dyn FnMut(UsageRecord)) -> Result<(), UsageError> {
        let kept = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<&UsageRecord> = kept.values().filter(|record| query.fits(record)).collect();
        found.sort_by_key(|record| (record.at, &record.key));
        found.into_iter().cloned().for_each(each);
        Ok(())
    }
}

/// Usage in a database file that several processes share.
#[derive(Debug)]
pub struct SqliteUsageStore {
    database: LazyDatabase,
}

/// The tables, as they came to be; a version is only ever added.
static SCHEMA: Schema = Schema {
    // "aiUS"
    application_id: 0x6169_5553,
    migrations: &["
        CREATE TABLE usage (
            source TEXT NOT NULL, message TEXT NOT NULL, at_ms INTEGER NOT NULL, agent TEXT NOT NULL,
            model TEXT, preset TEXT, task TEXT, run TEXT, session TEXT,
            input INTEGER, output INTEGER, cache_read INTEGER, cache_write INTEGER, reasoning INTEGER, total INTEGER,
            cost_nanos INTEGER, cost_source TEXT NOT NULL,
            PRIMARY KEY (source, message)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX usage_at ON usage (at_ms, source, message);
        CREATE INDEX usage_agent_at ON usage (agent, at_ms, source, message);
    "],
};

/// The columns of a record, in their order.
const COLUMNS: &str =
    "source, message, at_ms, agent, model, preset, task, run, session, input, output, cache_read,
    cache_write, reasoning, total, cost_nanos, cost_source";

/// Writes a record of a request that is not known.
const INSERT: &str = "
    INSERT INTO usage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
    ON CONFLICT DO NOTHING";

/// Writes a record of a request that is known, if it says more.
const GROW: &str = "
    UPDATE usage SET
        at_ms = ?3, agent = ?4, model = ?5, preset = ?6, task = ?7, run = ?8, session = ?9, input = ?10, output = ?11,
        cache_read = ?12, cache_write = ?13, reasoning = ?14, total = ?15, cost_nanos = ?16, cost_source = ?17
    WHERE source = ?1 AND message = ?2 AND (coalesce(?15, -1), coalesce(?16, -1)) > (coalesce(total, -1), coalesce(cost_nanos, -1))";

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
        let sql = format!(
            "SELECT {COLUMNS} FROM usage WHERE (?1 IS NULL OR at_ms >= ?1) AND (?2 IS NULL OR at_ms < ?2)
             AND (?3 IS NULL OR agent = ?3) AND (?4 IS NULL OR model = ?4) AND (?5 IS NULL OR preset = ?5)
             AND (?6 IS NULL OR task = ?6) AND (?7 IS NULL OR run = ?7) ORDER BY at_ms, source, message"
        );
        let (since, until) =
            (query.since.map(Timestamp::as_millisecond), query.until.map(Timestamp::as_millisecond));
        let wanted = params![since, until, query.agent, query.model, query.preset, query.task, query.run];
        self.database.get()?.read(|view| {
            let mut statement = view.prepare_cached(&sql)?;
            let mut rows = statement.query(wanted)?;
            while let Some(row) = rows.next()? {
                each(record(row)?);
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn track(change: &Transaction<'_>, records: &[UsageRecord]) -> rusqlite::Result<Tracked> {
    let mut tracked = Tracked::default();
    let mut insert = change.prepare_cached(INSERT)?;
    let mut grow = change.prepare_cached(GROW)?;
    for record in records {
        let [input, output, cache_read, cache_write, reasoning] =
            record.usage.map_or([None; 5], Usage::figures);
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
            number(input),
            number(output),
            number(cache_read),
            number(cache_write),
            number(reasoning),
            number(record.usage.and_then(Usage::total)),
            number(record.cost.usd.map(|usd| usd.0)),
            source_name(record.cost.source),
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

fn record(row: &Row<'_>) -> rusqlite::Result<UsageRecord> {
    let figure =
        |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(i64::unsigned_abs));
    let usage = Usage {
        input_tokens: figure("input")?,
        output_tokens: figure("output")?,
        cache_read_tokens: figure("cache_read")?,
        cache_write_tokens: figure("cache_write")?,
        reasoning_tokens: figure("reasoning")?,
    };
    let at_ms: i64 = row.get("at_ms")?;
    Ok(UsageRecord {
        key: UsageKey { source: row.get("source")?, message: row.get("message")? },
        at: Timestamp::from_millisecond(at_ms).unwrap_or(if at_ms < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        }),
        agent: row.get("agent")?,
        model: row.get("model")?,
        preset: row.get("preset")?,
        task: row.get("task")?,
        run: row.get("run")?,
        session: row.get("session")?,
        usage: Some(usage).filter(|usage| *usage != Usage::default()),
        cost: cost(figure("cost_nanos")?.map(NanoUsd), &row.get::<_, String>("cost_source")?),
    })
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
