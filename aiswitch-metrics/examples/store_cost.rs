//! What a store of samples takes: fills one with 90 days of 8 agents and the machine, and prints what is asked of it.
//!
//! `cargo run --release -p aiswitch-metrics --example store_cost` prints the rows a second that are written in batches of
//! 1,000, beside plain `rusqlite` in turn on the same disk, what a single look at all agents writes, the size of the file, how
//! long opening it takes, and the longest report over 90 days. It exits with 1 if a target is missed.

#![expect(clippy::print_stdout, reason = "an example that prints figures")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aiswitch_lock::rusqlite::{Connection, params};
use aiswitch_metrics::{
    AgentSample, AgentStatus, Metric, MetricsStore as _, Sample, SeriesQuery, Source, SqliteMetricsStore,
    SystemSample, series,
};
use chrono::{DateTime, TimeDelta, Utc};

const AGENTS: u32 = 8;
const DAYS: i64 = 90;
/// A sample every 10 seconds.
const TICKS: u32 = 90 * 24 * 360;
const BATCH_ROWS: u32 = 1_000;
const RATE_ROUNDS: u32 = 30;
/// Eight hours and twenty minutes, as samples come.
const LIVE_TICKS: u32 = 3_000;
/// All reports are asked for in turn as often, and the shortest time of each counts: as little as possible of what else the
/// machine does.
const REPORT_TRIES: usize = 30;

const RATE_SHARE_MIN: f64 = 0.8;
const FILE_BYTES_MAX: u64 = 50_000_000;
const OPEN_MAX: Duration = Duration::from_millis(10);
const REPORT_MAX: Duration = Duration::from_millis(20);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let start = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let share = rates(home.path(), start)?;
    println!("written in batches of {BATCH_ROWS}: {:.0} % of plain rusqlite's rows a second", share * 100.0);

    println!(
        "written at each look at {AGENTS} agents and the machine: {:.1} kB",
        written_live(home.path(), start)? / 1e3
    );

    let path = home.path().join("metrics.db");
    let end = fill(&path, start)?;
    let bytes = fs::metadata(&path)?.len();
    println!("{DAYS} days of {AGENTS} agents and the machine: {:.1} MB", bytes as f64 / 1e6);

    let opened = Instant::now();
    let store = SqliteMetricsStore::at(&path);
    store.notes("")?;
    let opening = opened.elapsed();
    println!("open: {:.2} ms", opening.as_secs_f64() * 1e3);

    let (longest, median, slowest) = longest_report(&store, end)?;
    println!(
        "longest report over {DAYS} days: {:.1} ms, half of all tries up to {:.1} ms ({slowest})",
        longest.as_secs_f64() * 1e3,
        median.as_secs_f64() * 1e3
    );
    let is_met =
        share >= RATE_SHARE_MIN && bytes <= FILE_BYTES_MAX && opening <= OPEN_MAX && longest <= REPORT_MAX;
    Ok(if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Of the report that takes longest: its shortest try, the median of all, and which it is.
fn longest_report(
    store: &SqliteMetricsStore,
    end: DateTime<Utc>,
) -> Result<(Duration, Duration, String), Box<dyn Error>> {
    let mut queries = Vec::new();
    for step in [TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::days(7)] {
        for metric in
            [None, Some(Metric::RESPONSE_TIME_MS), Some(Metric::CPU_PERCENT), Some(Metric::TOKENS_INPUT)]
        {
            for source in [None, Some(Source::Agent("agent-3".to_owned())), Some(Source::System)] {
                let metric = metric.clone();
                queries.push(SeriesQuery {
                    since: end - TimeDelta::days(DAYS),
                    until: end,
                    step,
                    source,
                    metric,
                });
            }
        }
    }
    let mut tries = vec![Vec::new(); queries.len()];
    for _ in 0..REPORT_TRIES {
        for (query, tries) in queries.iter().zip(&mut tries) {
            let asked = Instant::now();
            let found = series(store, query, end)?;
            tries.push((asked.elapsed(), found.len()));
        }
    }
    for tries in &mut tries {
        tries.sort();
    }
    let all = queries.iter().zip(&tries);
    let (query, tries) = all.max_by_key(|(_, tries)| tries[0]).ok_or("there are reports")?;
    let which = format!("{} series of {:?} by {}", tries[0].1, query.source, query.step);
    Ok((tries[0].0, tries[tries.len() / 2].0, which))
}

/// Figures as an agent that works has them: the CPU and the memory never stand still, a task ends every ten minutes.
fn agent(agent: u32, tick: u32, start: DateTime<Utc>) -> AgentSample {
    let noise = (tick * 9 + agent).wrapping_mul(2_654_435_761) >> 8;
    let has_ended = tick % 60 == agent;
    AgentSample {
        status: Some(if tick.is_multiple_of(3) { AgentStatus::Idle } else { AgentStatus::Busy }),
        cpu_percent: Some(f64::from(noise % 20_000) / 100.0),
        memory_bytes: Some(300_000_000 + u64::from(noise % 50_000) * 4_096),
        processes: Some(1 + u64::from(noise % 7)),
        tokens_input: Some(if has_ended { u64::from(noise % 90_000) } else { 0 }),
        tokens_output: Some(if has_ended { u64::from(noise % 4_000) } else { 0 }),
        response_time_ms: has_ended.then(|| 1_000.0 + f64::from(noise % 300_000)),
        error_count: Some(u64::from(has_ended && noise.is_multiple_of(20))),
        task_count: Some(u64::from(has_ended)),
        ..AgentSample::new(format!("agent-{agent}"), start + TimeDelta::seconds(i64::from(tick) * 10))
    }
}

fn system(tick: u32, start: DateTime<Utc>) -> SystemSample {
    let noise = tick.wrapping_mul(2_654_435_761) >> 8;
    let figure = |shift: u32| f64::from((noise >> shift) % 1_000) / 100.0;
    SystemSample {
        at: start + TimeDelta::seconds(i64::from(tick) * 10),
        cpus: Some(8),
        cpu_percent: Some(figure(0) * 80.0),
        load: Some([figure(1), figure(2), figure(3)]),
        memory_total_bytes: Some(16_000_000_000),
        memory_available_bytes: Some(4_000_000_000 + u64::from(noise % 1_000_000) * 4_096),
        swap_used_bytes: Some(0),
        cpu_pressure_percent: Some(figure(4)),
        memory_pressure_percent: Some(0.0),
        io_pressure_percent: Some(figure(5)),
    }
}

/// The median of our rate over the plain one's, batch by batch in turn.
fn rates(home: &Path, start: DateTime<Utc>) -> Result<f64, Box<dyn Error>> {
    let store = SqliteMetricsStore::at(home.join("ours.db"));
    store.notes("")?;
    let mut plain = Connection::open(home.join("plain.db"))?;
    plain.pragma_update(None, "journal_mode", "WAL")?;
    plain.pragma_update(None, "synchronous", "FULL")?;
    plain.execute_batch(
        "CREATE TABLE samples (agent TEXT, at_ms INTEGER, status TEXT, cpu_percent REAL, memory_bytes INTEGER, processes INTEGER,
         tokens_input INTEGER, tokens_output INTEGER, response_time_ms REAL, error_count INTEGER, task_count INTEGER,
         PRIMARY KEY (agent, at_ms)) STRICT, WITHOUT ROWID",
    )?;
    let mut shares = Vec::new();
    for round in 0..RATE_ROUNDS {
        let ticks = BATCH_ROWS / AGENTS;
        let rows = (0..BATCH_ROWS).map(|row| agent(row % AGENTS, round * ticks + row / AGENTS, start));
        let rows: Vec<AgentSample> = rows.collect();
        let now = rows[rows.len() - 1].at;
        let samples: Vec<Sample> = rows.iter().cloned().map(Sample::from).collect();
        let asked = Instant::now();
        let stored = store.store_metrics(&samples, now)?;
        let ours = asked.elapsed();
        assert_eq!(stored.stored, u64::from(BATCH_ROWS));
        let asked = Instant::now();
        write_plainly(&mut plain, &rows)?;
        shares.push(asked.elapsed().as_secs_f64() / ours.as_secs_f64());
    }
    shares.sort_by(f64::total_cmp);
    Ok(shares[shares.len() / 2])
}

fn write_plainly(plain: &mut Connection, rows: &[AgentSample]) -> Result<(), Box<dyn Error>> {
    let change = plain.transaction()?;
    let mut insert =
        change.prepare_cached("INSERT INTO samples VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
    let number = |figure: Option<u64>| figure.and_then(|figure| i64::try_from(figure).ok());
    for row in rows {
        insert.execute(params![
            row.agent,
            row.at.timestamp_millis(),
            row.status.map(|status| status.to_string()),
            row.cpu_percent,
            number(row.memory_bytes),
            number(row.processes),
            number(row.tokens_input),
            number(row.tokens_output),
            row.response_time_ms,
            number(row.error_count),
            number(row.task_count),
        ])?;
    }
    drop(insert);
    change.commit()?;
    Ok(())
}

/// How many bytes a process gives the kernel when it keeps one look: the mean of the second half of some.
fn written_live(home: &Path, start: DateTime<Utc>) -> Result<f64, Box<dyn Error>> {
    let store = SqliteMetricsStore::at(home.join("live.db"));
    let written = || -> Result<u64, Box<dyn Error>> {
        let told = fs::read_to_string("/proc/self/io")?;
        let bytes =
            told.lines().find_map(|line| line.strip_prefix("wchar: ")).ok_or("the kernel tells it")?;
        Ok(bytes.parse()?)
    };
    let mut before = 0;
    for tick in 0..LIVE_TICKS {
        if tick == LIVE_TICKS / 2 {
            before = written()?;
        }
        let mut look: Vec<Sample> = (0..AGENTS).map(|number| agent(number, tick, start).into()).collect();
        look.push(system(tick, start).into());
        store.store_metrics(&look, start + TimeDelta::seconds(i64::from(tick) * 10))?;
    }
    Ok((written()? - before) as f64 / f64::from(LIVE_TICKS / 2))
}

/// Writes 90 days as they would come, forgetting what is old every hour; tells when the last sample was.
fn fill(path: &Path, start: DateTime<Utc>) -> Result<DateTime<Utc>, Box<dyn Error>> {
    let store = SqliteMetricsStore::at(path);
    let mut now = start;
    let mut batch: Vec<Sample> = Vec::new();
    for tick in 0..TICKS {
        now = start + TimeDelta::seconds(i64::from(tick) * 10);
        batch.extend((0..AGENTS).map(|number| agent(number, tick, start).into()));
        batch.push(system(tick, start).into());
        // An hour at once: this is about what is there in the end.
        if (tick + 1).is_multiple_of(360) {
            store.store_metrics(&batch, now)?;
            batch.clear();
            store.forget(now)?;
        }
    }
    Ok(now)
}
