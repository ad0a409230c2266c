//! Scores a series: CSV `timestamp,value` on stdin, one anomaly score in 0..1 a row on stdout.
//!
//! Timestamps are `YYYY-MM-DD HH:MM:SS`; a first line without one is a header. A value that is empty or NaN, and the
//! rows of the warm-up, have the score 0.

use std::error::Error;
use std::io::{BufRead, BufWriter, Write, stdin, stdout};

use aiswitch_metrics::AnomalyDetector;
use chrono::NaiveDateTime;

fn main() -> Result<(), Box<dyn Error>> {
    let mut detector = AnomalyDetector::new();
    let mut out = BufWriter::new(stdout().lock());
    for (index, line) in stdin().lock().lines().enumerate() {
        let line = line?;
        let (at, value) = line.trim_end().split_once(',').unwrap_or((line.trim_end(), ""));
        let at = match NaiveDateTime::parse_from_str(at.trim(), "%Y-%m-%d %H:%M:%S%.f") {
            Ok(at) => at.and_utc(),
            Err(_) if index == 0 || line.trim().is_empty() => continue,
            Err(error) => return Err(format!("line {}: timestamp `{at}`: {error}", index + 1).into()),
        };
        let value = match value.trim() {
            "" => f64::NAN,
            value => {
                value.parse().map_err(|error| format!("line {}: value `{value}`: {error}", index + 1))?
            }
        };
        writeln!(out, "{:.6}", detector.push(at, value).score().unwrap_or(0.0))?;
    }
    out.flush()?;
    Ok(())
}
