//! One line of a log: the schema, which is one for all logs.

use std::fmt;
use std::io::Write;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cut::cut;

/// The longest line of a log, in bytes; the texts of a longer one are cut.
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;

/// Where the time begins in a line: behind `{"ts":"`.
pub(crate) const TIME_AT: usize = 7;

/// How long a time is: `2026-11-23T10:15:00.123Z`.
pub(crate) const TIME_BYTES: usize = 24;

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happened.
    Info,
    /// What should not have happened, and did no harm.
    Warn,
    /// What failed.
    Error,
}

impl LogLevel {
    /// All levels, the least grave first.
    pub const ALL: [Self; 5] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// Its name, as lines have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|level| level.name() == text);
        found.ok_or_else(|| UnknownLevel { text: text.escape_default().to_string() })
    }
}

/// A text that is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not one of trace, debug, info, warn, error")]
pub struct UnknownLevel {
    text: String,
}

/// One line of a log.
///
/// Within a version of the schema, fields are added and none is changed; the order is always this one, without spaces,
/// so that a line can be judged by its first bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When, in whole milliseconds of UTC.
    #[serde(rename = "ts", serialize_with = "time")]
    pub at: DateTime<Utc>,
    /// How grave it is.
    pub level: LogLevel,
    /// Which part of the program says it.
    pub target: String,
    /// The run that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The agent that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The task that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What happened, in words.
    pub msg: String,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

fn time<S: serde::Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time_text(*at))
}

/// A time as lines have it, [`TIME_BYTES`] long.
pub(crate) fn time_text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl LogRecord {
    /// The line, with its line feed: at most [`LOG_LINE_BYTES_MAX`] bytes, by cutting its longest text as often as it takes.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = written(self);
        if line.len() <= LOG_LINE_BYTES_MAX {
            return line;
        }
        let mut record = self.clone();
        let mut longest = LOG_LINE_BYTES_MAX / 2;
        // What is cut by half each time fits in the end, unless there are more fields than bytes.
        while line.len() > LOG_LINE_BYTES_MAX && longest > 0 {
            record.cut_texts(longest);
            line = written(&record);
            longest /= 2;
        }
        if line.len() > LOG_LINE_BYTES_MAX {
            record.fields = Map::from_iter([("fields_dropped".to_owned(), record.fields.len().into())]);
            line = written(&record);
        }
        line
    }

    fn cut_texts(&mut self, bytes_max: usize) {
        let labels = [&mut self.run, &mut self.agent, &mut self.task].into_iter().flatten();
        for text in labels.chain([&mut self.msg, &mut self.target]) {
            *text = cut(text, bytes_max);
        }
        for value in self.fields.values_mut() {
            match value {
                Value::String(text) => *text = cut(text, bytes_max),
                Value::Array(_) | Value::Object(_) => *value = Value::Null,
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
    }
}

fn written(record: &LogRecord) -> Vec<u8> {
    let mut line = serde_json::to_vec(record).expect("a record has string keys");
    line.write_all(b"\n").expect("a vector takes all");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::line::head;

    fn record(msg: &str) -> LogRecord {
        LogRecord {
            at: "2026-11-23T10:15:00.123456Z".parse().unwrap(),
            level: LogLevel::Warn,
            target: "aiswitch::run".into(),
            run: Some("01K9X".into()),
            agent: None,
            task: None,
            msg: msg.into(),
            fields: Map::from_iter([("pid".to_owned(), 7.into())]),
        }
    }

    #[test]
    fn a_line_begins_with_the_time_and_the_level_at_fixed_places() {
        let line = record("a \u{1b}[31m\n").line();
        let text = r#"{"ts":"2026-11-23T10:15:00.123Z","level":"warn","target":"aiswitch::run","run":"01K9X","msg":"a \u001b[31m\n","fields":{"pid":7}}"#;
        assert_eq!(String::from_utf8(line.clone()).unwrap(), format!("{text}\n"));
        assert_eq!(head(&line), Some((&b"2026-11-23T10:15:00.123Z"[..], LogLevel::Warn)));
    }

    #[test]
    fn a_line_that_is_too_long_keeps_its_time_and_loses_text() {
        let mut long = record(&"ä".repeat(LOG_LINE_BYTES_MAX));
        long.fields.insert("list".into(), Value::Array(vec![1.into(); 9000]));
        long.fields.insert("text".into(), "\u{0}".repeat(9000).into());
        let line = long.line();
        assert!(line.len() <= LOG_LINE_BYTES_MAX && line.ends_with(b"\n"), "{}", line.len());
        let read: LogRecord = serde_json::from_slice(&line).unwrap();
        assert_eq!((read.level, read.fields["pid"].as_u64()), (LogLevel::Warn, Some(7)));
        assert!(read.msg.ends_with('…'));

        let mut many = record("x");
        many.fields = (0..9000).map(|n| (n.to_string(), n.into())).collect();
        let read: LogRecord = serde_json::from_slice(&many.line()).unwrap();
        assert_eq!(read.fields["fields_dropped"], 9000);
    }

    #[test]
    fn what_is_no_level_is_named() {
        assert_eq!("error".parse(), Ok(LogLevel::Error));
        assert_eq!(
            LogLevel::from_str("ERR\n").unwrap_err().to_string(),
            r"`ERR\n` is not one of trace, debug, info, warn, error"
        );
    }
}
