//! Samples in a database file that several processes share.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::OnceLock;

use aiswitch_lock::database::{Database, Schema, damaged};
use aiswitch_lock::rusqlite::{self, OptionalExtension as _, Transaction, params};
use chrono::{DateTime, Utc};

use crate::metric::OTHER_NUMBER_MIN;
use crate::packed::{pack, unpack, unpack_each};
use crate::store::{Checked, Level, OTHER_METRICS_MAX, SOURCES_MAX, check};
use crate::store_rows::{Rows, WHAT, each_bucket, forget};
use crate::summary::Bucket;
use crate::{Metric, MetricsError, MetricsStore, Point, Sample, SampleQuery, Source, Stored, Summary};

/// How many samples are written in one transaction.
const BATCH: usize = 5_000;

/// The tables, as they came to be; a version is only ever added.
///
/// A source without an agent is the system. `figures` is what [`pack`] makes of one source's figures in a span of time, or from
/// version 2 on what [`join`](crate::chunk::join) makes of several such; a program that knows version 1 alone is refused. Time
/// comes first in the keys: samples come in its order, so the newest rows lie side by side and pages are full.
pub(crate) const SCHEMA: Schema = Schema {
    // "aiME"
    application_id: 0x6169_4D45,
    migrations: &["
        CREATE TABLE sources (number INTEGER PRIMARY KEY, agent TEXT UNIQUE) STRICT;
        CREATE TABLE metrics (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
        CREATE TABLE samples (
            start_ms INTEGER NOT NULL, source INTEGER NOT NULL, figures BLOB NOT NULL, PRIMARY KEY (start_ms, source)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE minutes (
            start_ms INTEGER NOT NULL, source INTEGER NOT NULL, figures BLOB NOT NULL, PRIMARY KEY (start_ms, source)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE hours (
            start_ms INTEGER NOT NULL, source INTEGER NOT NULL, figures BLOB NOT NULL, PRIMARY KEY (start_ms, source)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE ever (
            start_ms INTEGER NOT NULL, source INTEGER NOT NULL, figures BLOB NOT NULL, PRIMARY KEY (start_ms, source)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE notes (name TEXT PRIMARY KEY, note TEXT NOT NULL) STRICT, WITHOUT ROWID;
    ", "-- From here on a row may hold several buckets."],
};

/// Samples in a database file that several processes share.
#[derive(Debug)]
pub struct SqliteMetricsStore {
    path: PathBuf,
    /// Opened when it is first needed.
    database: OnceLock<Database>,
}

impl SqliteMetricsStore {
    /// The store at a path, which is opened, and made if need be, when it is first used.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), database: OnceLock::new() }
    }

    fn database(&self) -> Result<&Database, MetricsError> {
        if let Some(database) = self.database.get() {
            return Ok(database);
        }
        // Two threads at once may both open it; the one that comes second is let go.
        let opened = Database::open(&self.path, &SCHEMA)?;
        Ok(self.database.get_or_init(|| opened))
    }

    /// The faults of the file; none when it is whole.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub fn check(&self) -> Result<Vec<String>, MetricsError> {
        Ok(self.database()?.check()?)
    }
}

impl MetricsStore for SqliteMetricsStore {
    fn store_metrics(&self, samples: &[Sample], now: DateTime<Utc>) -> Result<Stored, MetricsError> {
        let mut stored = Stored::default();
        for batch in samples.chunks(BATCH) {
            stored.add(self.database()?.write(|change| store(change, batch, now))?);
        }
        Ok(stored)
    }

    fn points(&self, query: &SampleQuery, each: &mut dyn FnMut(&Point<'_>)) -> Result<(), MetricsError> {
        Ok(self.database()?.read(|view| points(view, query, each))?)
    }

    fn forget(&self, now: DateTime<Utc>) -> Result<u64, MetricsError> {
        Ok(self.database()?.write(|change| {
            let mut forgotten = 0;
            for level in Level::ALL {
                let Some(kept) = level.kept() else { continue };
                forgotten += forget(change, level, (now - kept).timestamp_millis())?;
            }
            Ok(forgotten)
        })?)
    }

    fn change_notes(
        &self,
        names: &[&str],
        change: &mut dyn FnMut(&str, Option<&str>) -> Option<String>,
    ) -> Result<(), MetricsError> {
        self.database()?.write(|transaction| {
            let mut find = transaction.prepare_cached("SELECT note FROM notes WHERE name = ?1")?;
            let mut keep = transaction.prepare_cached("INSERT OR REPLACE INTO notes VALUES (?1, ?2)")?;
            let mut remove = transaction.prepare_cached("DELETE FROM notes WHERE name = ?1")?;
            for name in names {
                let before: Option<String> = find.query_row([name], |row| row.get(0)).optional()?;
                match change(name, before.as_deref()) {
                    Some(note) => keep.execute([*name, &note])?,
                    None => remove.execute([name])?,
                };
            }
            Ok(())
        })?;
        Ok(())
    }

    fn notes(&self, beginning: &str) -> Result<Vec<(String, String)>, MetricsError> {
        Ok(self.database()?.read(|view| {
            let mut notes = view.prepare_cached(
                "SELECT name, note FROM notes WHERE substr(name, 1, length(?1)) = ?1 ORDER BY name",
            )?;
            let found = notes.query_map([beginning], |row| Ok((row.get(0)?, row.get(1)?)))?;
            found.collect()
        })?)
    }
}

/// The numbers of sources and metrics that one transaction has looked up or given.
struct Numbers<'a> {
    change: &'a Transaction<'a>,
    sources: HashMap<Source, Option<i64>>,
    metrics: HashMap<Metric, Option<u32>>,
}

impl Numbers<'_> {
    /// The number of a source, which is given one if there is room.
    fn source(&mut self, source: &Source) -> rusqlite::Result<Option<i64>> {
        if let Some(number) = self.sources.get(source) {
            return Ok(*number);
        }
        let found = self
            .change
            .prepare_cached("SELECT number FROM sources WHERE agent IS ?1")?
            .query_row([source.agent()], |row| row.get(0))
            .optional()?;
        let number = if found.is_some() {
            found
        } else {
            let insert = "INSERT INTO sources (agent) SELECT ?1 WHERE (SELECT count(*) FROM sources) < ?2";
            let added = self.change.execute(insert, params![source.agent(), SOURCES_MAX])?;
            (added > 0).then(|| self.change.last_insert_rowid())
        };
        self.sources.insert(source.clone(), number);
        Ok(number)
    }

    /// The number of a metric, which is given one if there is room.
    fn metric(&mut self, metric: &Metric) -> rusqlite::Result<Option<u32>> {
        if let Some(number) = metric.number() {
            return Ok(Some(number));
        }
        if let Some(number) = self.metrics.get(metric) {
            return Ok(*number);
        }
        let find = "SELECT number FROM metrics WHERE name = ?1";
        let mut found = self.change.query_row(find, [metric.name()], |row| row.get(0)).optional()?;
        if found.is_none() {
            let insert = "
                INSERT INTO metrics SELECT coalesce(max(number) + 1, ?2), ?1 FROM metrics HAVING count(*) < ?3";
            let values = params![metric.name(), OTHER_NUMBER_MIN, OTHER_METRICS_MAX];
            if self.change.execute(insert, values)? > 0 {
                found = Some(self.change.query_row(find, [metric.name()], |row| row.get(0))?);
            }
        }
        self.metrics.insert(metric.clone(), found);
        Ok(found)
    }
}

fn store(change: &Transaction<'_>, samples: &[Sample], now: DateTime<Utc>) -> rusqlite::Result<Stored> {
    let mut numbers = Numbers { change, sources: HashMap::new(), metrics: HashMap::new() };
    let mut stored = Stored::default();
    let mut kept = Rows::of(change, Level::Sample);
    // What the samples add to their minutes, which are written once.
    let mut minutes: BTreeMap<(i64, i64), Bucket> = BTreeMap::new();
    for sample in samples {
        let checked = check(sample, now, &mut stored.rejected, |metric| numbers.metric(metric))?;
        let Some(checked) = checked else { continue };
        let Some(source) = numbers.source(&sample.source)? else {
            stored.rejected.crowd += checked.bucket.summaries().len() as u64;
            continue;
        };
        let Some(bucket) = place(&mut kept, source, checked)? else {
            stored.known += 1;
            continue;
        };
        minutes.entry((Level::Minute.start_ms(bucket.newest_ms()), source)).or_default().merge(bucket);
        stored.stored += 1;
    }
    kept.write()?;
    let hours = roll_up(change, Level::Minute, minutes, Level::Hour)?;
    let ever = roll_up(change, Level::Hour, hours, Level::Ever)?;
    roll_up(change, Level::Ever, ever, Level::Ever)?;
    Ok(stored)
}

/// Keeps a sample at its moment, or at the next that is free if another of its source is there; `None` if it is there itself.
fn place(kept: &mut Rows<'_>, source: i64, checked: Checked) -> rusqlite::Result<Option<Bucket>> {
    let figures = pack(&checked.bucket, checked.at_ms);
    for at_ms in checked.at_ms.. {
        let there = kept.bucket(at_ms, source)?;
        if there.is_empty() {
            *there = figures;
            return Ok(Some(checked.bucket.at(at_ms)));
        }
        if *there == figures {
            break;
        }
    }
    Ok(None)
}

/// Adds new figures to those that a level has, and gives what they add to the next.
fn roll_up(
    change: &Transaction<'_>,
    level: Level,
    added: BTreeMap<(i64, i64), Bucket>,
    next: Level,
) -> rusqlite::Result<BTreeMap<(i64, i64), Bucket>> {
    let mut rows = Rows::of(change, level);
    let mut above: BTreeMap<(i64, i64), Bucket> = BTreeMap::new();
    for ((start_ms, source), bucket) in added {
        let packed = rows.bucket(start_ms, source)?;
        *packed = if packed.is_empty() {
            pack(&bucket, start_ms)
        } else {
            let mut merged = unpack(packed, start_ms).ok_or_else(|| damaged(WHAT))?;
            merged.merge(bucket.clone());
            pack(&merged, start_ms)
        };
        above.entry((next.start_ms(start_ms), source)).or_default().merge(bucket);
    }
    rows.write()?;
    Ok(above)
}

fn points(
    view: &Transaction<'_>,
    query: &SampleQuery,
    each: &mut dyn FnMut(&Point<'_>),
) -> rusqlite::Result<()> {
    let (others, sources) = (others(view)?, sources(view)?);
    let number = |metric: &Metric| {
        let other = || others.iter().find(|(_, other)| *other == metric).map(|(number, _)| *number);
        metric.number().or_else(other)
    };
    let source =
        |wanted: &Source| sources.iter().find(|(_, source)| source == wanted).map(|(number, _)| *number);
    let (metric_asked, source_asked) = (query.metric.as_ref().map(number), query.source.as_ref().map(source));
    if metric_asked == Some(None) || source_asked == Some(None) {
        // Nobody has told it yet.
        return Ok(());
    }
    each_bucket(view, query, source_asked.flatten(), |start_ms, source, bucket| {
        let place = sources.binary_search_by_key(&source, |(number, _)| *number);
        let source = place.ok().map(|place| &sources[place].1).ok_or_else(|| damaged(WHAT))?;
        let at = DateTime::from_timestamp_millis(start_ms).ok_or_else(|| damaged(WHAT))?;
        let mut is_known = true;
        let hand_out = |number, summary: &Summary| match Metric::of_number(number)
            .as_ref()
            .or_else(|| others.get(&number))
        {
            Some(metric) => each(&Point { source, metric, at, summary }),
            None => is_known = false,
        };
        let whole = unpack_each(bucket, start_ms, metric_asked.flatten(), hand_out);
        whole.filter(|()| is_known).ok_or_else(|| damaged(WHAT))
    })
}

/// The metrics that are not known beforehand, by their numbers.
fn others(view: &Transaction<'_>) -> rusqlite::Result<HashMap<u32, Metric>> {
    let mut find = view.prepare_cached("SELECT number, name FROM metrics")?;
    let mut rows = find.query([])?;
    let mut others = HashMap::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        others.insert(row.get(0)?, Metric::named(&name).ok().ok_or_else(|| damaged(WHAT))?);
    }
    Ok(others)
}

/// All sources in the order of their numbers.
fn sources(view: &Transaction<'_>) -> rusqlite::Result<Vec<(i64, Source)>> {
    let mut find = view.prepare_cached("SELECT number, agent FROM sources ORDER BY number")?;
    let found = find.query_map([], |row| {
        let agent: Option<String> = row.get(1)?;
        Ok((row.get(0)?, agent.map_or(Source::System, Source::Agent)))
    })?;
    found.collect()
}
