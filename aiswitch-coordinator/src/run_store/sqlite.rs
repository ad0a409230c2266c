//! Runs in a database file that several processes share.

use std::path::PathBuf;

use aiswitch_lock::database::{LazyDatabase, Schema};
use aiswitch_lock::rusqlite::types::Type;
use aiswitch_lock::rusqlite::{self, Row, Transaction, params};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{AgentRecord, RunRecordSummary, RunState, RunStore};
use crate::RunId;
use crate::error::HomeError;
use crate::process_mark::ProcessMark;

/// Runs in a database file that several processes share.
#[derive(Debug)]
pub struct SqliteRunStore {
    database: LazyDatabase,
}

/// The tables, as they came to be; a version is only ever added.
static SCHEMA: Schema = Schema {
    // "aiRN"
    application_id: 0x6169_524E,
    migrations: &["
        CREATE TABLE runs (
            run TEXT PRIMARY KEY, status TEXT NOT NULL, mode TEXT NOT NULL, agents TEXT NOT NULL,
            prompt_start TEXT NOT NULL, cwd TEXT NOT NULL, started_at_ms INTEGER NOT NULL, duration_ms INTEGER,
            process_pid INTEGER, process_started_ticks INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX runs_running ON runs (run) WHERE status = 'running';
        CREATE TABLE agents (
            run TEXT NOT NULL REFERENCES runs ON DELETE CASCADE, agent TEXT NOT NULL, driver TEXT NOT NULL,
            pid INTEGER, started_at_ms INTEGER NOT NULL, process_pid INTEGER NOT NULL, process_started_ticks INTEGER,
            PRIMARY KEY (run, agent)
        ) STRICT, WITHOUT ROWID;
    "],
};

impl SqliteRunStore {
    /// The store at a path, which is opened, and made if need be, when it is first used.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { database: LazyDatabase::new(path, &SCHEMA) }
    }

    /// The faults of the file; none when it is whole.
    ///
    /// # Errors
    /// It cannot be read at all.
    pub fn check(&self) -> Result<Vec<String>, HomeError> {
        Ok(self.database.get()?.check()?)
    }

    fn select<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        record: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, HomeError> {
        Ok(self
            .database
            .get()?
            .read(|view| view.prepare_cached(sql)?.query_map(values, record)?.collect())?)
    }
}

impl RunStore for SqliteRunStore {
    fn save(&self, run: &RunRecordSummary, agents: &[AgentRecord]) -> Result<(), HomeError> {
        Ok(self.database.get()?.write(|change| {
            save_run(change, run)?;
            change.prepare_cached("DELETE FROM agents WHERE run = ?1")?.execute([run.run_id.to_string()])?;
            agents.iter().try_for_each(|agent| save_agent(change, agent))
        })?)
    }

    fn interrupt(&self, runs: &[RunId]) -> Result<(), HomeError> {
        Ok(self.database.get()?.write(|change| {
            for run in runs.iter().map(RunId::to_string) {
                let left = "UPDATE runs SET status = 'interrupted' WHERE run = ?1 AND status = 'running'";
                if change.prepare_cached(left)?.execute([&run])? > 0 {
                    change.prepare_cached("DELETE FROM agents WHERE run = ?1")?.execute([&run])?;
                }
            }
            Ok(())
        })?)
    }

    fn forget(&self, runs: &[RunId]) -> Result<(), HomeError> {
        Ok(self.database.get()?.write(|change| {
            let mut delete = change.prepare_cached("DELETE FROM runs WHERE run = ?1")?;
            runs.iter().try_for_each(|run| delete.execute([run.to_string()]).map(drop))
        })?)
    }

    fn runs(&self, count_max: usize) -> Result<Vec<RunRecordSummary>, HomeError> {
        let count_max = i64::try_from(count_max).unwrap_or(i64::MAX);
        self.select("SELECT * FROM runs ORDER BY run DESC LIMIT ?1", [count_max], run)
    }

    fn running(&self) -> Result<Vec<RunRecordSummary>, HomeError> {
        self.select("SELECT * FROM runs WHERE status = 'running' ORDER BY run", [], run)
    }

    fn agents(&self) -> Result<Vec<AgentRecord>, HomeError> {
        self.select("SELECT * FROM agents ORDER BY run, agent", [], agent)
    }
}

fn save_run(change: &Transaction<'_>, run: &RunRecordSummary) -> rusqlite::Result<()> {
    let sql = "
        INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
        ON CONFLICT DO UPDATE SET status = ?2, mode = ?3, agents = ?4, prompt_start = ?5, cwd = ?6,
            started_at_ms = ?7, duration_ms = ?8, process_pid = ?9, process_started_ticks = ?10";
    let (pid, ticks) = columns(run.process);
    let agents = serde_json::to_string(&run.agents).expect("names can be written");
    change.prepare_cached(sql)?.execute(params![
        run.run_id.to_string(),
        word(&run.status),
        word(&run.mode),
        agents,
        run.prompt_start,
        run.cwd.to_str().expect("a run's folder has a UTF-8 name"),
        run.started_at.timestamp_millis(),
        run.duration_ms.map(figure),
        pid,
        ticks,
    ])?;
    Ok(())
}

fn save_agent(change: &Transaction<'_>, agent: &AgentRecord) -> rusqlite::Result<()> {
    let (pid, ticks) = columns(Some(agent.process));
    change.prepare_cached("INSERT INTO agents VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
        agent.run_id.to_string(),
        agent.agent.as_ref(),
        agent.driver,
        agent.pid,
        agent.started_at.timestamp_millis(),
        pid,
        ticks,
    ])?;
    Ok(())
}

fn run(row: &Row<'_>) -> rusqlite::Result<RunRecordSummary> {
    let agents: String = row.get("agents")?;
    Ok(RunRecordSummary {
        run_id: read(row, "run")?,
        status: read::<RunState>(row, "status")?,
        mode: read(row, "mode")?,
        agents: serde_json::from_str(&agents).map_err(unreadable)?,
        prompt_start: row.get("prompt_start")?,
        cwd: PathBuf::from(row.get::<_, String>("cwd")?),
        started_at: moment(row.get("started_at_ms")?),
        duration_ms: row.get::<_, Option<i64>>("duration_ms")?.map(i64::unsigned_abs),
        process: process(row)?,
    })
}

fn agent(row: &Row<'_>) -> rusqlite::Result<AgentRecord> {
    Ok(AgentRecord {
        agent: read(row, "agent")?,
        run_id: read(row, "run")?,
        driver: row.get("driver")?,
        pid: row.get("pid")?,
        started_at: moment(row.get("started_at_ms")?),
        process: process(row)?.expect("the column is NOT NULL"),
    })
}

fn process(row: &Row<'_>) -> rusqlite::Result<Option<ProcessMark>> {
    let Some(pid) = row.get("process_pid")? else { return Ok(None) };
    let ticks: Option<i64> = row.get("process_started_ticks")?;
    Ok(Some(ProcessMark { pid, started_ticks: ticks.map(i64::unsigned_abs) }))
}

fn columns(process: Option<ProcessMark>) -> (Option<u32>, Option<i64>) {
    (process.map(|process| process.pid), process.and_then(|process| process.started_ticks).map(figure))
}

/// A figure as SQLite keeps it; counts of milliseconds and ticks are far below its limit.
fn figure(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

fn moment(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The one word that a value is in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => panic!("a state or a mode is one word, not {other:?}"),
    }
}

/// A value that is one word in JSON.
fn read<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    serde_json::from_value(row.get::<_, String>(column)?.into()).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}
