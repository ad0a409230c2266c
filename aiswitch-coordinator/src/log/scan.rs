//! Looks through one file of a log: only lines whose bytes can fit are parsed.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use chrono::{DateTime, TimeDelta, Utc};
use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use super::query::LogQuery;
use super::record::{LEVEL_AT, LOG_LINE_BYTES_MAX, LogLevel, LogRecord, TIME_AT, TIME_BYTES, time_text};
use super::segment::{Form, Segment};

/// How much is read at once.
const BLOCK_BYTES: usize = 1024 * 1024;

/// How far lines of several processes may be out of order in one file.
pub(crate) const DISORDER_MAX: TimeDelta = TimeDelta::seconds(60);

/// A search made ready for the bytes of lines.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    query: &'a LogQuery,
    /// The longest text that each fitting line has; what else it must have is in `others`.
    first: Option<Finder<'static>>,
    others: Vec<Finder<'static>>,
    since: Option<String>,
    until: Option<String>,
    /// No line from this time on fits, and none after it does.
    end: Option<String>,
    pub(crate) damaged: u64,
}

impl<'a> Search<'a> {
    pub(crate) fn new(query: &'a LogQuery) -> Self {
        let mut needles = query.needles();
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        let mut finders = needles.iter().map(|needle| Finder::new(needle).into_owned());
        Self {
            query,
            first: finders.next(),
            others: finders.collect(),
            since: query.since.map(time_text),
            until: query.until.map(time_text),
            end: query.until.map(|until| time_text(until + DISORDER_MAX)),
            damaged: 0,
        }
    }

    /// Looks through a file and hands out the lines that fit, in their order.
    pub(crate) fn file(
        &mut self,
        segment: &Segment,
        found: &mut dyn FnMut(LogRecord) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        match segment.form {
            Form::Packed => self.stream(zstd::stream::Decoder::new(File::open(&segment.path)?)?, found),
            Form::Plain | Form::Written => match File::open(&segment.path) {
                // It was compressed since the folder was read.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let packed = segment.path.with_extension("log.zst");
                    self.stream(zstd::stream::Decoder::new(File::open(packed)?)?, found)
                }
                file => {
                    let mut file = file?;
                    if let Some(since) = self.query.since {
                        seek(&mut file, since - DISORDER_MAX)?;
                    }
                    let place = file.stream_position()?;
                    let left = segment.bytes_max.map_or(u64::MAX, |bytes| bytes.saturating_sub(place));
                    self.stream(file.take(left), found)
                }
            },
        }
    }

    fn stream(
        &mut self,
        mut source: impl Read,
        found: &mut dyn FnMut(LogRecord) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let mut block = vec![0; BLOCK_BYTES];
        let mut filled = 0;
        loop {
            if filled == block.len() {
                // No line that this program wrote is as long as a block.
                self.damaged += 1;
                filled = 0;
            }
            let count = match source.read(&mut block[filled..]) {
                Ok(0) => return Ok(ControlFlow::Continue(())),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            filled += count;
            // Half a line at the end is not written to its end yet, or never will be.
            let Some(whole) = memrchr(b'\n', &block[..filled]).map(|at| at + 1) else { continue };
            if self.lines(&block[..whole], found).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            block.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }

    /// Looks through whole lines.
    pub(crate) fn lines(
        &mut self,
        mut lines: &[u8],
        found: &mut dyn FnMut(LogRecord) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while !lines.is_empty() {
            let start = match &self.first {
                Some(needle) => match needle.find(lines) {
                    Some(at) => memrchr(b'\n', &lines[..at]).map_or(0, |end| end + 1),
                    None => return ControlFlow::Continue(()),
                },
                None => 0,
            };
            let end = memchr(b'\n', &lines[start..]).map_or(lines.len(), |end| start + end);
            self.line(&lines[start..end], found)?;
            lines = lines.get(end + 1..).unwrap_or_default();
        }
        ControlFlow::Continue(())
    }

    fn line(&mut self, line: &[u8], found: &mut dyn FnMut(LogRecord) -> ControlFlow<()>) -> ControlFlow<()> {
        if let Some(time) = line.get(TIME_AT..TIME_AT + TIME_BYTES) {
            let is_before =
                |limit: &Option<String>| limit.as_ref().is_some_and(|limit| time < limit.as_bytes());
            let is_after =
                |limit: &Option<String>| limit.as_ref().is_some_and(|limit| time >= limit.as_bytes());
            if is_after(&self.end) {
                return ControlFlow::Break(());
            }
            if is_before(&self.since) || is_after(&self.until) {
                return ControlFlow::Continue(());
            }
        }
        let level = line.get(LEVEL_AT..).and_then(level);
        if level.is_some_and(|level| self.query.level.is_some_and(|least| level < least)) {
            return ControlFlow::Continue(());
        }
        if self.others.iter().any(|needle| needle.find(line).is_none()) {
            return ControlFlow::Continue(());
        }
        if line.is_empty() {
            return ControlFlow::Continue(());
        }
        match serde_json::from_slice::<LogRecord>(line) {
            Ok(record) if self.query.fits(&record) => found(record),
            Ok(_) => ControlFlow::Continue(()),
            Err(_) => {
                self.damaged += 1;
                ControlFlow::Continue(())
            }
        }
    }
}

/// The level at the start of some bytes.
fn level(bytes: &[u8]) -> Option<LogLevel> {
    LogLevel::ALL.into_iter().find(|level| bytes.starts_with(level.name().as_bytes()))
}

/// Goes to a line before which all lines are older than a time, by halving.
fn seek(file: &mut File, time: DateTime<Utc>) -> io::Result<()> {
    let wanted = time_text(time);
    let (mut low, mut high) = (0, file.metadata()?.len());
    while high - low > BLOCK_BYTES as u64 {
        let middle = low + (high - low) / 2;
        let bytes = some_lines(file, middle)?;
        // From the middle on, the first whole line; a stretch without one is looked through from `low`.
        let line = memchr(b'\n', &bytes).map(|end| &bytes[end + 1..]);
        match line.and_then(|line| line.get(TIME_AT..TIME_AT + TIME_BYTES)) {
            Some(found) if found < wanted.as_bytes() => low = middle,
            Some(_) => high = middle,
            None => break,
        }
    }
    if low > 0 {
        // Half a line, whose other half is before `low`.
        low += memchr(b'\n', &some_lines(file, low)?).map_or(0, |end| end as u64 + 1);
    }
    file.seek(SeekFrom::Start(low)).map(drop)
}

/// Enough of a file from a place on for one whole line.
fn some_lines(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::with_capacity(2 * LOG_LINE_BYTES_MAX);
    file.take(2 * LOG_LINE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
