//! From `tracing` to the logs: a layer that takes events, and one thread that writes them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::record::{LogLevel, LogRecord};
use super::segment::LogSource;
use super::writer::LogWriter;
use crate::chain;
use crate::clock;
use crate::error::HomeError;

/// How many lines may wait to be written; further ones are dropped and counted.
const LINES_WAITING_MAX: usize = 8192;

/// How many lines are written at once.
const LINES_PER_BATCH: usize = 512;

/// The targets whose events are kept: those of this project's crates.
const TARGETS: &str = "aiswitch";

/// Takes the events of this project's crates to their logs, without ever waiting.
#[derive(Debug)]
pub struct LogLayer {
    level: LogLevel,
    lines: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(LogSource, Box<LogRecord>),
    End,
}

/// Writes the lines of a [`LogLayer`]; ends when it is dropped, after all lines that were taken are written.
#[derive(Debug)]
pub struct LogGuard {
    lines: SyncSender<Message>,
    thread: Option<JoinHandle<Written>>,
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Written {
    lost: u64,
    problem: Option<String>,
}

/// A layer that keeps events of this level and graver ones, and what writes them.
///
/// Events reach the log of their field `agent` if it is an agent's name, `logs/metrics` if `aiswitch_metrics` tells them, and
/// `coordinator.log` else. The fields `run`, `agent`, `task` and `message` have places of their own in a line.
///
/// # Errors
/// The thread cannot be started.
pub fn log_layer(writer: LogWriter, level: LogLevel) -> std::io::Result<(LogLayer, LogGuard)> {
    let (lines, waiting) = sync_channel(LINES_WAITING_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = dropped.clone();
    let thread = std::thread::Builder::new()
        .name("aiswitch-log".to_owned())
        .spawn(move || write_all(writer, &waiting, &counted))?;
    let guard = LogGuard { lines: lines.clone(), thread: Some(thread) };
    Ok((LogLayer { level, lines, dropped }, guard))
}

impl LogGuard {
    /// Waits until all lines are written; tells what was lost, and why.
    pub fn finish(mut self) -> Option<String> {
        self.end()
    }

    fn end(&mut self) -> Option<String> {
        let thread = self.thread.take()?;
        // A thread that has ended already has nothing to be told.
        drop(self.lines.send(Message::End));
        let written = thread.join().unwrap_or_default();
        let problem = written.problem?;
        Some(format!("{} log lines were lost: {problem}", written.lost))
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with(TARGETS) && level_of(*metadata.level()) >= self.level
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut record = LogRecord {
            at: clock::now(),
            level: level_of(*metadata.level()),
            target: metadata.target().to_owned(),
            run: None,
            agent: None,
            task: None,
            msg: String::new(),
            fields: Map::new(),
        };
        event.record(&mut Fields(&mut record));
        let source = match record.agent.as_ref().and_then(|agent| agent.parse().ok()) {
            Some(agent) => LogSource::Agent(agent),
            None if record.target.starts_with("aiswitch_metrics") => LogSource::Metrics,
            None => LogSource::Coordinator,
        };
        if self.lines.try_send(Message::Line(source, Box::new(record))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn level_of(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// Puts the fields of an event into a line.
struct Fields<'a>(&'a mut LogRecord);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.0.msg = text,
            ("run", Value::String(text)) => self.0.run = Some(text),
            ("agent", Value::String(text)) => self.0.agent = Some(text),
            ("task", Value::String(text)) => self.0.task = Some(text),
            (name, value) => drop(self.0.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

fn write_all(mut writer: LogWriter, waiting: &Receiver<Message>, dropped: &AtomicU64) -> Written {
    let mut written = Written::default();
    note(&mut written, 0, writer.tidy());
    let mut batch: BTreeMap<LogSource, Vec<LogRecord>> = BTreeMap::new();
    let mut goes_on = true;
    while goes_on {
        let first = waiting.recv().unwrap_or(Message::End);
        for message in std::iter::once(first).chain(waiting.try_iter().take(LINES_PER_BATCH)) {
            match message {
                Message::Line(source, record) => batch.entry(source).or_default().push(*record),
                Message::End => goes_on = false,
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            batch.entry(LogSource::Coordinator).or_default().push(dropped_line(lost));
        }
        for (source, records) in std::mem::take(&mut batch) {
            let count = records.len() as u64;
            note(&mut written, count, writer.append(&source, &records));
        }
    }
    written
}

/// Counts lines that could not be written, and keeps the first reason.
fn note(written: &mut Written, lines: u64, result: Result<(), HomeError>) {
    if let Err(error) = result {
        written.lost += lines;
        written.problem.get_or_insert_with(|| chain(&error));
    }
}

/// What is written in the place of lines that came faster than they could be written.
fn dropped_line(lost: u64) -> LogRecord {
    LogRecord {
        at: clock::now(),
        level: LogLevel::Warn,
        target: module_path!().to_owned(),
        run: None,
        agent: None,
        task: None,
        msg: format!("{lost} lines came faster than they could be written, and were dropped"),
        fields: Map::from_iter([("lines_dropped".to_owned(), lost.into())]),
    }
}
