//! Writes COUNT log lines as WRITER, from number FIRST on, ten at a time, and prints the number of the last one that was written.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use aiswitch_coordinator::{Home, LogLevel, LogLimits, LogRecord, LogSource, LogWriter};
use chrono::{DateTime, TimeDelta, Utc};

/// How many lines are written at once.
const BATCH: usize = 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, writer, first, count, file_bytes_max] = arguments.as_slice() else {
        return Err("usage: write_logs HOME WRITER FIRST COUNT FILE_BYTES_MAX".into());
    };
    let limits = LogLimits { file_bytes_max: file_bytes_max.parse()?, ..LogLimits::default() };
    let mut log = LogWriter::new(Home::new(home), limits);
    let first: i64 = first.parse()?;
    let numbers: Vec<i64> = (first..first + count.parse::<i64>()?).collect();
    let begin: DateTime<Utc> = "2026-11-23T10:00:00Z".parse()?;
    for numbers in numbers.chunks(BATCH) {
        let records: Vec<LogRecord> = numbers
            .iter()
            .map(|number| record(writer, *number, begin + TimeDelta::milliseconds(*number)))
            .collect();
        log.append(&LogSource::Coordinator, &records)?;
        println!("{}", numbers.last().ok_or("a batch has a line")?);
    }
    Ok(())
}

fn record(writer: &str, number: i64, at: DateTime<Utc>) -> LogRecord {
    LogRecord {
        at,
        level: LogLevel::Info,
        target: "aiswitch::example".into(),
        run: None,
        agent: None,
        task: None,
        msg: "a line of a writer".into(),
        fields: [("writer".to_owned(), writer.into()), ("number".to_owned(), number.into())]
            .into_iter()
            .collect(),
    }
}
