//! The lines that come while somebody looks on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memchr::memrchr;

use super::filter::{Filter, Judgement};
use super::query::LogQuery;
use super::record::LOG_LINE_BYTES_MAX;
use super::scan::open;
use super::search::{LogLine, LogSearch};
use super::segment::{Form, LogSource, Segment, Written, is_at};
use crate::Home;
use crate::error::HomeError;

/// How much of two files is compared at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// Follows the logs of a home: first what is there, then what comes.
#[derive(Debug)]
pub struct LogFollow {
    home: Home,
    query: LogQuery,
    logs: BTreeMap<LogSource, Followed>,
}

/// A log, read up to a place.
#[derive(Debug, Default)]
struct Followed {
    /// The file that was written when somebody looked last; `None` if there was none.
    file: Option<Arc<File>>,
    /// Up to where it was read.
    at: u64,
    /// What was read of a line whose end has not come yet.
    rest: Vec<u8>,
    /// The files that were put away before, by their names without what tells whether they are packed.
    put_away: BTreeSet<String>,
}

impl LogFollow {
    /// Hands out the lines that are there, and follows the logs from then on.
    ///
    /// # Errors
    /// A folder of logs cannot be read.
    pub fn start(
        home: &Home,
        query: LogQuery,
        each: impl FnMut(LogLine<'_>) -> ControlFlow<()>,
    ) -> Result<(Self, LogSearch), HomeError> {
        let (mut logs, mut searched) = (BTreeMap::new(), Vec::new());
        for source in query.sources(home)? {
            let mut segments = source.settled(home)?;
            let mut followed = Followed::default();
            followed.put_away.extend(segments.iter().filter_map(put_away_name));
            if let Some(written) = segments.last_mut().and_then(|segment| segment.written.as_mut()) {
                // A line that is half written comes as a whole later on.
                written.bytes = whole_lines(written).map_err(HomeError::io("read", source.path(home)))?;
                (followed.file, followed.at) = (Some(written.file.clone()), written.bytes);
            }
            logs.insert(source.clone(), followed);
            searched.push((source, query.choose(segments)));
        }
        let found = LogSearch::files(searched, &query, each);
        Ok((Self { home: home.clone(), query, logs }, found))
    }

    /// Hands out the lines that came since the last call, each log in its order, until `each` has enough.
    ///
    /// Each line comes once, also where a log was put away several times since then.
    ///
    /// # Errors
    /// A log cannot be read. A file that was put away since the last call and cannot be read is in the result.
    pub fn more(
        &mut self,
        mut each: impl FnMut(LogLine<'_>) -> ControlFlow<()>,
    ) -> Result<LogSearch, HomeError> {
        let (filter, mut result) = (Filter::new(&self.query), LogSearch::default());
        for source in self.query.sources(&self.home)? {
            let followed = self.logs.entry(source.clone()).or_default();
            let come = followed.come(&source, &self.home, &mut result)?;
            for line in come.split(|byte| *byte == b'\n') {
                match filter.judge(line) {
                    Judgement::Fits { text, .. } if each(LogLine { source: &source, text }).is_break() => {
                        return Ok(result);
                    }
                    Judgement::Fits { .. } | Judgement::Other => {}
                    Judgement::Damaged => result.damaged += 1,
                }
            }
        }
        Ok(result)
    }
}

impl Followed {
    /// The whole lines that came to a log.
    fn come(
        &mut self,
        source: &LogSource,
        home: &Home,
        result: &mut LogSearch,
    ) -> Result<Vec<u8>, HomeError> {
        let path = source.path(home);
        let unreadable = || HomeError::io("read", &path);
        let mut come = Vec::new();
        self.read_lines(&mut come).map_err(unreadable())?;
        if self.file.as_ref().map_or_else(|| !path.exists(), |file| is_at(file, &path)) {
            return Ok(come);
        }
        let segments = source.settled(home)?;
        // What was written between the read and the rename. Nobody will end half a line of it.
        self.read_lines(&mut come).map_err(unreadable())?;
        end_line(&mut come, &std::mem::take(&mut self.rest));
        for segment in &segments {
            let Some(name) = put_away_name(segment) else { continue };
            if !self.put_away.insert(name) {
                continue;
            }
            if let Err(error) = self.read_put_away(segment, &mut come) {
                result.unreadable.push(HomeError::io("read", &segment.path)(error));
            }
        }
        (self.file, self.at) = (segments.into_iter().find_map(|segment| Some(segment.written?.file)), 0);
        self.read_lines(&mut come).map_err(unreadable())?;
        Ok(come)
    }

    /// Adds the whole lines that were written since.
    fn read_lines(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        self.at += At { file, at: self.at }.read_to_end(&mut self.rest)? as u64;
        let whole = memrchr(b'\n', &self.rest).map_or(0, |end| end + 1);
        lines.extend(self.rest.drain(..whole));
        Ok(())
    }

    /// Adds what a file holds that was put away since, unless it is the one that was read while it was written.
    fn read_put_away(&mut self, segment: &Segment, lines: &mut Vec<u8>) -> io::Result<()> {
        if let Some(file) = &self.file
            && is_same(At { file, at: 0 }, open(segment)?)?
        {
            self.file = None;
            return Ok(());
        }
        let mut all = Vec::new();
        let read = open(segment)?.read_to_end(&mut all);
        end_line(lines, &all);
        read.map(drop)
    }
}

/// A file, read from a place on.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Whether a file that was put away holds what another one does, as far as it can be read.
fn is_same(mut file: impl Read, mut put_away: impl Read) -> io::Result<bool> {
    let (mut piece, mut other, mut same) = (Vec::new(), Vec::new(), 0);
    loop {
        (&mut file).take(PIECE_BYTES).read_to_end(&mut piece)?;
        let read = (&mut put_away).take(PIECE_BYTES).read_to_end(&mut other);
        if read.is_err() {
            return Ok(same + other.len() > 0 && piece.starts_with(&other));
        }
        if piece != other || piece.is_empty() {
            return Ok(piece == other);
        }
        same += piece.len();
        piece.clear();
        other.clear();
    }
}

/// Up to where whole lines go.
fn whole_lines(Written { file, bytes }: &Written) -> io::Result<u64> {
    let mut end = Vec::new();
    let start = bytes.saturating_sub(LOG_LINE_BYTES_MAX as u64);
    At { file, at: start }.take(bytes - start).read_to_end(&mut end)?;
    Ok(memrchr(b'\n', &end).map_or(start, |end| start + end as u64 + 1))
}

/// Adds lines of which the last may have no end.
fn end_line(lines: &mut Vec<u8>, more: &[u8]) {
    lines.extend(more);
    if lines.last().is_some_and(|last| *last != b'\n') {
        lines.push(b'\n');
    }
}

/// The name of a file that was put away, without what tells whether it is packed; `None` of the one that is written.
fn put_away_name(segment: &Segment) -> Option<String> {
    let name = segment.path.file_name()?.to_str()?;
    (segment.form != Form::Written).then(|| name.strip_suffix(".zst").unwrap_or(name).to_owned())
}
