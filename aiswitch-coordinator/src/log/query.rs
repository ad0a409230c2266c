//! What is asked of the logs, and the lines of all logs that fit, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, sync_channel};

use chrono::{DateTime, Utc};
use regex::Regex;

use super::expression::Expression;
use super::record::{LogLevel, LogRecord};
use super::scan::{DISORDER_MAX, Search};
use super::segment::{LogSource, Segment};
use crate::error::HomeError;
use crate::{AgentId, Home};

/// How many lines of a log wait to be merged.
const LINES_WAITING_MAX: usize = 1024;

/// What is asked of the logs; the default asks for all.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Not before.
    pub since: Option<DateTime<Utc>>,
    /// Before.
    pub until: Option<DateTime<Utc>>,
    /// At least as grave.
    pub level: Option<LogLevel>,
    /// About a run: its id, or the start of it.
    pub run: Option<String>,
    /// About one of these agents; none asks for all logs.
    pub agents: Vec<AgentId>,
    /// What the message or a text among the fields has.
    pub grep: Option<Regex>,
    /// What else must hold.
    pub condition: Option<Expression>,
}

impl LogQuery {
    /// Whether a line fits.
    pub fn fits(&self, record: &LogRecord) -> bool {
        let texts = || {
            std::iter::once(record.msg.as_str())
                .chain(record.fields.values().filter_map(|value| value.as_str()))
        };
        self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at < until)
            && self.level.is_none_or(|level| record.level >= level)
            && self.run.as_ref().is_none_or(|run| record.run.as_ref().is_some_and(|of| of.starts_with(run)))
            && self.grep.as_ref().is_none_or(|grep| texts().any(|text| grep.is_match(text)))
            && self.condition.as_ref().is_none_or(|condition| condition.fits(record))
    }

    /// Texts that each fitting line has as they are.
    pub(crate) fn needles(&self) -> Vec<String> {
        let run = self.run.as_ref().map(|run| format!("\"run\":\"{}", run.escape_default()));
        let level = self
            .level
            .filter(|level| *level == LogLevel::Error)
            .map(|level| format!("\"level\":\"{level}\""));
        let mut needles: Vec<String> = run.into_iter().chain(level).collect();
        needles.extend(self.condition.iter().flat_map(Expression::needles));
        needles.extend(self.grep.as_ref().and_then(literal));
        needles
    }

    /// The logs that can have a fitting line.
    pub(crate) fn sources(&self, home: &Home) -> Result<Vec<LogSource>, HomeError> {
        let mut sources = LogSource::all(home)?;
        if !self.agents.is_empty() {
            sources.retain(|source| matches!(source, LogSource::Agent(agent) if self.agents.contains(agent)));
        }
        Ok(sources)
    }

    /// The files that can have a fitting line.
    pub(crate) fn segments(&self, home: &Home, source: &LogSource) -> Result<Vec<Segment>, HomeError> {
        let segments = source.segments(home)?;
        let ends: Vec<_> = segments.iter().skip(1).map(|next| next.first).chain([None]).collect();
        let can_fit = |(segment, end): &(Segment, Option<DateTime<Utc>>)| {
            let is_before = end.zip(self.since).is_some_and(|(end, since)| end + DISORDER_MAX < since);
            let is_after =
                segment.first.zip(self.until).is_some_and(|(first, until)| first - DISORDER_MAX > until);
            !is_before && !is_after
        };
        Ok(segments.into_iter().zip(ends).filter(can_fit).map(|(segment, _)| segment).collect())
    }
}

/// The text that an expression stands for, if it stands for one text that a line has as it is.
fn literal(grep: &Regex) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " _-:/,@%=".contains(c);
    Some(grep.as_str()).filter(|text| !text.is_empty() && text.chars().all(is_plain)).map(str::to_owned)
}

/// A line that fits, and the log that it is in.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// The log.
    pub source: LogSource,
    /// The line.
    pub record: LogRecord,
}

/// What a search came to, beside the lines.
#[derive(Debug, Default)]
pub struct LogSearch {
    /// How many lines of those looked at are no lines of a log, such as half ones of a killed writer.
    pub damaged: u64,
    /// The files that could not be read to their end.
    pub unreadable: Vec<HomeError>,
}

impl LogSearch {
    /// Hands out all lines of a home that fit, merged by time, until `each` has enough.
    ///
    /// # Errors
    /// A folder of logs cannot be read. A file that cannot be read is in the result, and the others are read.
    pub fn run(
        home: &Home,
        query: &LogQuery,
        each: impl FnMut(LogLine) -> ControlFlow<()>,
    ) -> Result<Self, HomeError> {
        let mut searched = Vec::new();
        for source in query.sources(home)? {
            let segments = query.segments(home, &source)?;
            searched.push((source, segments));
        }
        Ok(Self::files(&searched, query, each))
    }

    /// Hands out the lines of these files that fit.
    pub(crate) fn files(
        searched: &[(LogSource, Vec<Segment>)],
        query: &LogQuery,
        mut each: impl FnMut(LogLine) -> ControlFlow<()>,
    ) -> Self {
        std::thread::scope(|scope| {
            let mut lines = Vec::new();
            let mut threads = Vec::new();
            for (_, segments) in searched {
                let (found, waiting) = sync_channel(LINES_WAITING_MAX);
                lines.push(waiting);
                threads.push(scope.spawn(move || {
                    search(query, segments, |record| match found.send(record) {
                        Ok(()) => ControlFlow::Continue(()),
                        Err(_) => ControlFlow::Break(()),
                    })
                }));
            }
            let sources: Vec<&LogSource> = searched.iter().map(|(source, _)| source).collect();
            merge(&sources, lines, &mut each);
            let mut all = Self::default();
            for part in threads.into_iter().filter_map(|thread| thread.join().ok()) {
                all.damaged += part.damaged;
                all.unreadable.extend(part.unreadable);
            }
            all
        })
    }
}

/// Looks through the files of one log.
fn search(
    query: &LogQuery,
    segments: &[Segment],
    mut found: impl FnMut(LogRecord) -> ControlFlow<()>,
) -> LogSearch {
    let mut search = Search::new(query);
    let mut unreadable = Vec::new();
    for segment in segments {
        match search.file(segment, &mut found) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) => unreadable.push(HomeError::io("read", &segment.path)(error)),
        }
    }
    LogSearch { damaged: search.damaged, unreadable }
}

/// Hands out the lines of several logs, the earliest first.
fn merge(
    sources: &[&LogSource],
    lines: Vec<Receiver<LogRecord>>,
    each: &mut impl FnMut(LogLine) -> ControlFlow<()>,
) {
    let mut next: Vec<Option<LogRecord>> = lines.iter().map(|lines| lines.recv().ok()).collect();
    let mut order: BinaryHeap<_> = next
        .iter()
        .enumerate()
        .filter_map(|(index, record)| Some(Reverse((record.as_ref()?.at, index))))
        .collect();
    while let Some(Reverse((_, index))) = order.pop() {
        let Some(record) = next[index].take() else { continue };
        if each(LogLine { source: sources[index].clone(), record }).is_break() {
            break;
        }
        next[index] = lines[index].recv().ok();
        order.extend(next[index].as_ref().map(|record| Reverse((record.at, index))));
    }
    // Those who search end when nobody waits for what they find.
    drop(lines);
}
