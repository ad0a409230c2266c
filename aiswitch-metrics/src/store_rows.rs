//! The rows of one level that a transaction looks at and changes.

use std::collections::{BTreeMap, HashMap, btree_map, hash_map};

use aiswitch_lock::database::damaged;
use aiswitch_lock::rusqlite::{self, Transaction, params};

use crate::SampleQuery;
use crate::chunk::{Started, join, split};
use crate::store::Level;

/// What is damaged where a row cannot be read.
pub(crate) const WHAT: &str = "figures of metrics";

/// The rows of one level that a transaction looks at and changes; they are read once, and written at the end.
pub(crate) struct Rows<'a> {
    change: &'a Transaction<'a>,
    level: Level,
    /// Those of all sources in the spans that were looked at, but for those in `spans`.
    read: HashMap<i64, HashMap<i64, Vec<Started>>>,
    /// By the start of the span, and source.
    spans: BTreeMap<(i64, i64), Span>,
}

/// The buckets of one source that may share a row.
struct Span {
    /// As they were read.
    rows: Vec<Started>,
    /// By their starts.
    buckets: Vec<Started>,
}

impl<'a> Rows<'a> {
    pub(crate) fn of(change: &'a Transaction<'a>, level: Level) -> Self {
        Self { change, level, read: HashMap::new(), spans: BTreeMap::new() }
    }

    /// The packed bucket that starts at a moment, to be changed; it is empty if there was none.
    pub(crate) fn bucket(&mut self, start_ms: i64, source: i64) -> rusqlite::Result<&mut Vec<u8>> {
        let span_ms = self.level.row_ms(start_ms);
        let span = match self.spans.entry((span_ms, source)) {
            btree_map::Entry::Occupied(span) => span.into_mut(),
            btree_map::Entry::Vacant(vacant) => {
                let all = match self.read.entry(span_ms) {
                    hash_map::Entry::Occupied(all) => all.into_mut(),
                    hash_map::Entry::Vacant(vacant) => vacant.insert(read(self.change, self.level, span_ms)?),
                };
                let rows = all.remove(&source).unwrap_or_default();
                let buckets = buckets(&rows).ok_or_else(|| damaged(WHAT))?;
                vacant.insert(Span { rows, buckets })
            }
        };
        let buckets = &mut span.buckets;
        let place =
            buckets.binary_search_by_key(&start_ms, |(start_ms, _)| *start_ms).unwrap_or_else(|place| {
                buckets.insert(place, (start_ms, Vec::new()));
                place
            });
        Ok(&mut buckets[place].1)
    }

    /// Writes what was changed.
    pub(crate) fn write(self) -> rusqlite::Result<()> {
        let table = self.level.table();
        let mut put =
            self.change.prepare_cached(&format!("INSERT OR REPLACE INTO {table} VALUES (?1, ?2, ?3)"))?;
        let mut delete = self
            .change
            .prepare_cached(&format!("DELETE FROM {table} WHERE start_ms = ?1 AND source = ?2"))?;
        for ((_, source), span) in &self.spans {
            let rows = join(&span.buckets);
            for (start_ms, _) in &span.rows {
                if rows.binary_search_by_key(start_ms, |(start_ms, _)| *start_ms).is_err() {
                    delete.execute([start_ms, source])?;
                }
            }
            for row in rows {
                if span.rows.binary_search(&row).is_err() {
                    put.execute(params![row.0, source, row.1])?;
                }
            }
        }
        Ok(())
    }
}

/// The rows of all sources in a span.
fn read(
    change: &Transaction<'_>,
    level: Level,
    span_ms: i64,
) -> rusqlite::Result<HashMap<i64, Vec<Started>>> {
    let table = level.table();
    let mut find = change.prepare_cached(&format!(
        "SELECT start_ms, source, figures FROM {table} WHERE start_ms >= ?1 AND start_ms < ?2 ORDER BY start_ms"
    ))?;
    let mut rows = find.query([span_ms, span_ms + level.row_span_ms()])?;
    let mut read: HashMap<i64, Vec<Started>> = HashMap::new();
    while let Some(row) = rows.next()? {
        read.entry(row.get(1)?).or_default().push((row.get(0)?, row.get(2)?));
    }
    Ok(read)
}

/// The buckets of rows that are in the order of time; `None` if they are damaged.
fn buckets(rows: &[Started]) -> Option<Vec<Started>> {
    let mut buckets = Vec::new();
    for (start_ms, row) in rows {
        split(row, *start_ms, |start_ms, bucket| buckets.push((start_ms, bucket.to_vec())))?;
    }
    buckets.is_sorted_by(|(before, _), (after, _)| before < after).then_some(buckets)
}

/// Lets go of the buckets of a level that start before a moment, and says how many they were.
pub(crate) fn forget(change: &Transaction<'_>, level: Level, before_ms: i64) -> rusqlite::Result<u64> {
    let table = level.table();
    let mut find = change
        .prepare_cached(&format!("SELECT start_ms, source, figures FROM {table} WHERE start_ms < ?1"))?;
    let (mut forgotten, mut kept) = (0, Vec::new());
    let mut rows = find.query([before_ms])?;
    while let Some(row) = rows.next()? {
        let (source, mut newer): (i64, _) = (row.get(1)?, Vec::new());
        let whole = split(row.get_ref(2)?.as_blob()?, row.get(0)?, |start_ms, bucket| {
            if start_ms < before_ms {
                forgotten += 1;
            } else {
                newer.push((start_ms, bucket.to_vec()));
            }
        });
        // What is damaged goes with the rest of its row.
        forgotten += u64::from(whole.is_none());
        kept.extend(join(&newer).into_iter().map(|(start_ms, row)| (start_ms, source, row)));
    }
    change.execute(&format!("DELETE FROM {table} WHERE start_ms < ?1"), [before_ms])?;
    let mut put = change.prepare_cached(&format!("INSERT INTO {table} VALUES (?1, ?2, ?3)"))?;
    for (start_ms, source, row) in kept {
        put.execute(params![start_ms, source, row])?;
    }
    Ok(forgotten)
}

/// Hands out the buckets that are asked for, the earliest first, each with its start and its source.
pub(crate) fn each_bucket(
    view: &Transaction<'_>,
    query: &SampleQuery,
    source: Option<i64>,
    mut each: impl FnMut(i64, i64, &[u8]) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let (level, (since, until)) = (query.level, query.span_ms());
    let mut find = view.prepare_cached(&format!(
        "SELECT start_ms, source, figures FROM {}
         WHERE start_ms >= ?1 AND start_ms < ?2 AND (?3 IS NULL OR source = ?3) ORDER BY start_ms, source",
        level.table()
    ))?;
    let mut rows = find.query(params![level.row_ms(since), until, source])?;
    // Those of one span at once: rows of several sources lie side by side in it.
    let (mut span_ms, mut buckets, mut bytes) = (None, Vec::new(), Vec::new());
    loop {
        let row = rows.next()?;
        let row_start = row.map(|row| row.get(0)).transpose()?;
        let row_span = row_start.map(|start_ms| level.row_ms(start_ms));
        if row_span != span_ms {
            buckets.sort_unstable_by_key(|(start_ms, source, _)| (*start_ms, *source));
            for (start_ms, source, place) in buckets.drain(..) {
                each(start_ms, source, &bytes[place])?;
            }
            bytes.clear();
            span_ms = row_span;
        }
        let Some((row, row_start)) = row.zip(row_start) else { return Ok(()) };
        let source = row.get(1)?;
        split(row.get_ref(2)?.as_blob()?, row_start, |start_ms, bucket| {
            if (since..until).contains(&start_ms) {
                let from = bytes.len();
                bytes.extend_from_slice(bucket);
                buckets.push((start_ms, source, from..bytes.len()));
            }
        })
        .ok_or_else(|| damaged(WHAT))?;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use aiswitch_lock::rusqlite::Connection;
    use chrono::{DateTime, TimeDelta, Utc};

    use crate::store_sqlite::SCHEMA;
    use crate::{Metric, MetricsStore as _, Sample, Source, SqliteMetricsStore, Stored, Summary};

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn samples(seconds: impl Iterator<Item = i64>) -> Vec<Sample> {
        let of = |second: i64, agent: u8| Sample {
            source: Source::Agent(agent.to_string()),
            at: at(second),
            figures: vec![(Metric::TASK_COUNT, 1.0), (Metric::RESPONSE_TIME_MS, f64::from(agent) + 0.5)],
        };
        seconds.flat_map(|second| (0..3).map(move |agent| of(second, agent))).collect()
    }

    fn told(store: &SqliteMetricsStore) -> Vec<(Level, DateTime<Utc>, Source, Metric, Summary)> {
        let mut told = Vec::new();
        for level in Level::ALL {
            let query = SampleQuery::of(level);
            let found = store.points(&query, &mut |point| {
                told.push((
                    level,
                    point.at,
                    point.source.clone(),
                    point.metric.clone(),
                    point.summary.clone(),
                ));
            });
            found.unwrap();
        }
        told
    }

    /// Writes what a database has as version 1 did: each bucket in a row of its own.
    fn as_version_1(from: &std::path::Path, to: &std::path::Path) {
        drop(std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).unwrap());
        let (from, to) = (Connection::open(from).unwrap(), Connection::open(to).unwrap());
        to.execute_batch(SCHEMA.migrations[0]).unwrap();
        to.pragma_update(None, "application_id", SCHEMA.application_id).unwrap();
        to.pragma_update(None, "user_version", 1).unwrap();
        let mut find = from.prepare("SELECT number, agent FROM sources").unwrap();
        let mut rows = find.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (number, agent): (i64, String) = (row.get(0).unwrap(), row.get(1).unwrap());
            to.execute("INSERT INTO sources VALUES (?1, ?2)", params![number, agent]).unwrap();
        }
        for table in Level::ALL.map(Level::table) {
            let mut find = from.prepare(&format!("SELECT start_ms, source, figures FROM {table}")).unwrap();
            let mut rows = find.query([]).unwrap();
            let mut put = to.prepare(&format!("INSERT INTO {table} VALUES (?1, ?2, ?3)")).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let (start_ms, source): (i64, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
                let figures: Vec<u8> = row.get(2).unwrap();
                let each = |start_ms, bucket: &[u8]| {
                    assert_eq!(put.execute(params![start_ms, source, bucket]).unwrap(), 1);
                };
                split(&figures, start_ms, each).unwrap();
            }
        }
    }

    fn count(path: &std::path::Path, table: &str) -> i64 {
        let database = Connection::open(path).unwrap();
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_database_of_version_1_reads_the_same_and_takes_new_samples_as_a_newer_one() {
        let home = tempfile::tempdir().unwrap();
        let [new_path, old_path] = ["new.db", "old.db"].map(|name| home.path().join(name));
        let new = SqliteMetricsStore::at(&new_path);
        new.store_metrics(&samples((0..9_000).step_by(10)), at(9_000)).unwrap();
        as_version_1(&new_path, &old_path);
        assert_eq!((count(&old_path, "samples"), count(&old_path, "hours")), (2_700, 9));
        assert_eq!((count(&new_path, "samples"), count(&new_path, "hours")), (450, 6));
        let old = SqliteMetricsStore::at(&old_path);
        assert_eq!(told(&old), told(&new));
        // Some are there already, others between and behind those, and some at the same moment as others.
        let mut more = samples((5_000..9_300).step_by(5));
        for (number, sample) in more.iter_mut().enumerate().filter(|(number, _)| number % 7 == 0) {
            sample.figures[0].1 = f64::from(u32::try_from(number).unwrap());
        }
        let kept = [&old, &new].map(|store| store.store_metrics(&more, at(9_300)).unwrap());
        assert_eq!(kept[0], kept[1]);
        assert!(matches!(kept[0], Stored { stored: 1.., known: 1.., .. }), "{kept:?}");
        assert_eq!(told(&old), told(&new));
        let later = at(9_000) + TimeDelta::hours(47);
        let forgotten = [&old, &new].map(|store| store.forget(later).unwrap());
        assert!(forgotten[0] == forgotten[1] && forgotten[0] > 0, "{forgotten:?}");
        assert_eq!(told(&old), told(&new));
        assert_eq!([&old, &new].map(|store| store.check().unwrap()), [[""; 0]; 2]);
    }

    #[test]
    fn a_row_as_version_1_wrote_it_is_told() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("metrics.db");
        let store = SqliteMetricsStore::at(&path);
        store.store_metrics(&samples([1].into_iter())[..1], at(1)).unwrap();
        let database = Connection::open(&path).unwrap();
        // Of metric 8 one figure, which is the newest, smallest, and largest: at the start of the bucket, 1,000 thousandths.
        database.execute("UPDATE samples SET figures = x'080500A01F'", []).unwrap();
        drop(database);
        let told = told(&store);
        assert_eq!((told[0].1, &told[0].3, told[0].4.sum), (at(1), &Metric::TASK_COUNT, 1.0));
    }

    #[test]
    fn a_damaged_row_that_is_old_is_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("metrics.db");
        let store = SqliteMetricsStore::at(&path);
        store.store_metrics(&samples([1].into_iter()), at(1)).unwrap();
        let database = Connection::open(&path).unwrap();
        database.execute("UPDATE samples SET figures = x'0000FFFF' WHERE source = 2", []).unwrap();
        drop(database);
        assert_eq!(store.forget(at(1) + TimeDelta::hours(49)).unwrap(), 3);
        assert_eq!(count(&path, "samples"), 0);
    }
}
