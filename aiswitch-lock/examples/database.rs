//! What a database behind its gate costs, and what the gate is for, beside SQLite alone in the same run.
//!
//! ```sh
//! cargo run --release -p aiswitch-lock --features database --example database
//! ```
#![expect(clippy::print_stdout, reason = "it prints what it measures")]
#![expect(clippy::disallowed_methods, reason = "it measures several processes, which it starts")]

use std::error::Error;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aiswitch_lock::database::{Database, Schema};
use aiswitch_lock::rusqlite::{self, Connection, Transaction, TransactionBehavior, params};

const SCHEMA: Schema = Schema {
    application_id: 0x6169_4558,
    migrations: &["CREATE TABLE sample (agent TEXT NOT NULL, at_ms INTEGER NOT NULL, cpu REAL, memory INTEGER,
        threads INTEGER, input INTEGER, output INTEGER, state TEXT, PRIMARY KEY (agent, at_ms)) STRICT, WITHOUT ROWID"],
};

/// How many batches of how many rows are written by one process.
const BATCHES: usize = 100;
const BATCH_ROWS: usize = 1_000;

/// How many processes write how often how many rows at the same time.
const PROCESSES: usize = 8;
const COMMITS: usize = 60;
const COMMIT_ROWS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, kind, path, process] = arguments.as_slice() {
        return write_as(kind, Path::new(path), process.parse()?);
    }
    let folder = tempfile::tempdir()?;
    rows_per_second(folder.path())?;
    longest_wait(folder.path())
}

/// Writes batches by turns with and without the gate, so that both meet the same machine.
fn rows_per_second(folder: &Path) -> Result<(), Box<dyn Error>> {
    let database = Database::open(folder.join("gated.db"), &SCHEMA)?;
    let mut alone = open_alone(&folder.join("alone.db"))?;
    let (mut gated_time, mut alone_time) = (Duration::ZERO, Duration::ZERO);
    for batch in 0..BATCHES {
        let started = Instant::now();
        database.write(|change| insert(change, 0, batch, BATCH_ROWS))?;
        gated_time += started.elapsed();
        let started = Instant::now();
        let change = alone.transaction_with_behavior(TransactionBehavior::Immediate)?;
        insert(&change, 0, batch, BATCH_ROWS)?;
        change.commit()?;
        alone_time += started.elapsed();
    }
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let rate = |time: Duration| (BATCHES * BATCH_ROWS) as f64 / time.as_secs_f64();
    println!(
        "batches of {BATCH_ROWS} rows, rows a second: gated {:.0}, SQLite alone {:.0}",
        rate(gated_time),
        rate(alone_time)
    );
    println!("that is {:.0} % (at least 80 % are wanted)", 100.0 * rate(gated_time) / rate(alone_time));
    Ok(())
}

/// Has several processes write at the same time, and compares the longest waits.
fn longest_wait(folder: &Path) -> Result<(), Box<dyn Error>> {
    let gated = wait_of("gated", &folder.join("gated-many.db"))?;
    let alone = wait_of("alone", &folder.join("alone-many.db"))?;
    println!(
        "{PROCESSES} processes, {COMMITS} commits each of {COMMIT_ROWS} rows, longest wait: gated {} ms, SQLite alone {} ms",
        gated.as_millis(),
        alone.as_millis()
    );
    println!("that is {:.2} of it (at most 0.33 is wanted)", gated.as_secs_f64() / alone.as_secs_f64());
    Ok(())
}

/// The longest wait of all processes of a kind.
fn wait_of(kind: &str, path: &Path) -> Result<Duration, Box<dyn Error>> {
    // The tables are there before all begin.
    drop(Database::open(path, &SCHEMA)?);
    let own = std::env::current_exe()?;
    let start = |process: usize| {
        Command::new(&own).arg(kind).arg(path).arg(process.to_string()).stdout(Stdio::piped()).spawn()
    };
    let children = (0..PROCESSES).map(start).collect::<Result<Vec<_>, _>>()?;
    let mut longest = Duration::ZERO;
    for child in children {
        let ended = child.wait_with_output()?;
        let text = String::from_utf8(ended.stdout)?;
        longest = longest.max(Duration::from_micros(text.trim().parse()?));
    }
    Ok(longest)
}

/// Writes as one of several processes, and prints how long its longest commit took, in microseconds.
fn write_as(kind: &str, path: &Path, process: usize) -> Result<(), Box<dyn Error>> {
    let mut longest = Duration::ZERO;
    if kind == "gated" {
        let database = Database::open(path, &SCHEMA)?;
        for commit in 0..COMMITS {
            let started = Instant::now();
            database.write(|change| insert(change, process, commit, COMMIT_ROWS))?;
            longest = longest.max(started.elapsed());
        }
    } else {
        let mut alone = open_alone(path)?;
        for commit in 0..COMMITS {
            let started = Instant::now();
            let change = alone.transaction_with_behavior(TransactionBehavior::Immediate)?;
            insert(&change, process, commit, COMMIT_ROWS)?;
            change.commit()?;
            longest = longest.max(started.elapsed());
        }
    }
    println!("{}", longest.as_micros());
    Ok(())
}

/// SQLite as it is recommended to those who want no loss, without the gate.
fn open_alone(path: &Path) -> rusqlite::Result<Connection> {
    let alone = Connection::open(path)?;
    alone.busy_timeout(Duration::from_secs(30))?;
    alone.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    alone.pragma_update(None, "synchronous", "FULL")?;
    let is_new: bool = alone.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if is_new {
        alone.execute_batch(SCHEMA.migrations[0])?;
    }
    Ok(alone)
}

fn insert(change: &Transaction<'_>, process: usize, batch: usize, rows: usize) -> rusqlite::Result<()> {
    let mut statement =
        change.prepare_cached("INSERT INTO sample VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for row in 0..rows {
        let at = i64::try_from(batch * rows + row).unwrap_or(i64::MAX);
        let agent = format!("agent-{process}");
        statement.execute(params![agent, at, 12.5, 1_048_576 + at, 7, at, 2 * at, "busy"])?;
    }
    Ok(())
}
