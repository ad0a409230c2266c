//! Looks through one file of a log, a turn at a time; no more of it than a block is in memory.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use chrono::{DateTime, Utc};
use memchr::{memchr, memrchr};

use super::filter::{Filter, Judgement};
use super::line::latest;
use super::record::LOG_LINE_BYTES_MAX;
use super::segment::{Form, Segment};

/// How much is read at once; a line that does not fit is none that this program wrote.
const BLOCK_BYTES: usize = 256 * 1024;

/// How much is looked through in one turn.
const TURN_BYTES: usize = 8 * 1024 * 1024;

/// How many lines are found in one turn.
pub(crate) const TURN_LINES: usize = 2048;

/// A line that fits.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) at: DateTime<Utc>,
    /// The line as it stands in the file, without its line feed.
    pub(crate) text: String,
}

/// What a turn came to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) found: Vec<Found>,
    /// How many lines of those looked at are no lines of a log.
    pub(crate) damaged: u64,
    /// Whether nothing is left that could fit.
    pub(crate) is_end: bool,
}

/// A file that is looked through.
pub(crate) struct Scan {
    segment: Segment,
    /// What is read; `None` before the first turn.
    reader: Option<Box<dyn Read + Send>>,
    block: Block,
    /// The rarest of the needles in the first block.
    needle: Option<usize>,
}

/// A part of a file.
#[derive(Debug, Default)]
struct Block {
    bytes: Vec<u8>,
    /// Whole lines that were not looked at begin here,
    start: usize,
    /// and end here;
    whole: usize,
    /// behind them is half a line, up to here.
    filled: usize,
    /// Whether what is read first is the rest of a line that was too long.
    is_within: bool,
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("segment", &self.segment).finish_non_exhaustive()
    }
}

impl Scan {
    pub(crate) fn new(segment: Segment) -> Self {
        Self { segment, reader: None, block: Block::default(), needle: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.segment.path
    }

    /// Looks through the next piece; what was found is handed out also if the file cannot be read on.
    pub(crate) fn turn(&mut self, filter: &Filter<'_>) -> (Turn, io::Result<()>) {
        let (mut turn, mut bytes) = (Turn::default(), 0);
        while !turn.is_end && bytes < TURN_BYTES && turn.found.len() < TURN_LINES {
            if self.block.start == self.block.whole {
                match self.read(filter, &mut turn) {
                    Ok(count) => bytes += count,
                    Err(error) => {
                        turn.is_end = true;
                        return (turn, Err(error));
                    }
                }
            }
            self.look(filter, &mut turn);
        }
        (turn, Ok(()))
    }

    /// Reads the next lines; how many bytes were read.
    fn read(&mut self, filter: &Filter<'_>, turn: &mut Turn) -> io::Result<usize> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                self.block.bytes = vec![0; BLOCK_BYTES];
                none.insert(open(&self.segment, filter)?)
            }
        };
        let count = self.block.fill(reader, turn)?;
        if turn.is_end && self.segment.form != Form::Written && !self.block.is_within {
            // What is put away is not written on: half a line stays half, and the last one may have no line feed.
            self.block.whole = self.block.filled;
        }
        let lines = self.block.lines();
        if filter.is_beyond(lines) {
            turn.is_end = true;
            self.block.start = self.block.whole;
        } else if self.needle.is_none() {
            self.needle = filter.rarest(lines);
        }
        Ok(count)
    }

    /// Looks through the lines that were read, until enough are found.
    fn look(&mut self, filter: &Filter<'_>, turn: &mut Turn) {
        let lines = self.block.lines();
        let mut candidates = filter.candidates(self.needle);
        let mut at = 0;
        while turn.found.len() < TURN_LINES {
            let Some((start, end)) = candidates.next(lines, at) else {
                at = lines.len();
                break;
            };
            at = lines.len().min(end + 1);
            match filter.judge(&lines[start..end]) {
                Judgement::Fits { at, text } => turn.found.push(Found { at, text: text.to_owned() }),
                Judgement::Other => {}
                Judgement::Damaged => turn.damaged += 1,
            }
        }
        self.block.start += at;
        // The end of the file is not the end of what was read of it.
        turn.is_end &= self.block.start == self.block.whole;
    }
}

impl Block {
    fn lines(&self) -> &[u8] {
        &self.bytes[self.start..self.whole]
    }

    /// Reads until there is a whole line, or the file has ended; how many bytes were read.
    fn fill(&mut self, reader: &mut impl Read, turn: &mut Turn) -> io::Result<usize> {
        self.bytes.copy_within(self.whole..self.filled, 0);
        self.filled -= self.whole;
        (self.start, self.whole) = (0, 0);
        let mut bytes = 0;
        while self.whole == 0 {
            if self.filled == self.bytes.len() {
                turn.damaged += u64::from(!self.is_within);
                (self.filled, self.is_within) = (0, true);
            }
            let come = match reader.read(&mut self.bytes[self.filled..]) {
                Ok(0) => {
                    turn.is_end = true;
                    return Ok(bytes);
                }
                Ok(count) => self.filled..self.filled + count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            bytes += come.len();
            self.filled = come.end;
            self.whole = memrchr(b'\n', &self.bytes[come.clone()]).map_or(0, |at| come.start + at + 1);
        }
        if std::mem::take(&mut self.is_within) {
            self.start = memchr(b'\n', &self.bytes[..self.whole]).map_or(self.whole, |end| end + 1);
        }
        Ok(bytes)
    }
}

fn open(segment: &Segment, filter: &Filter<'_>) -> io::Result<Box<dyn Read + Send>> {
    let unpacked = |path: &Path| Ok::<_, io::Error>(Box::new(zstd::stream::Decoder::new(File::open(path)?)?));
    match segment.form {
        Form::Packed => Ok(unpacked(&segment.path)?),
        Form::Plain | Form::Written => match File::open(&segment.path) {
            // It was compressed since the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(unpacked(&segment.path.with_extension("log.zst"))?)
            }
            file => {
                let mut file = file?;
                let place = match filter.start() {
                    Some(start) => seek(&mut file, start.as_bytes())?,
                    None => 0,
                };
                let left = segment.bytes_max.map_or(u64::MAX, |bytes| bytes.saturating_sub(place));
                Ok(Box::new(file.take(left)))
            }
        },
    }
}

/// Goes to a line before which all lines are older than a time, by halving; the place of that line.
fn seek(file: &mut File, time: &[u8]) -> io::Result<u64> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    while high - low > BLOCK_BYTES as u64 {
        let middle = low + (high - low) / 2;
        // A stretch without a line is looked through from `low`.
        match latest(&some_lines(file, middle)?) {
            Some(latest) if latest < time => low = middle,
            Some(_) => high = middle,
            None => break,
        }
    }
    if low > 0 {
        // Half a line, whose other half is before `low`.
        low += memchr(b'\n', &some_lines(file, low)?).map_or(0, |end| end as u64 + 1);
    }
    file.seek(SeekFrom::Start(low))
}

/// Enough of a file from a place on for one whole line.
fn some_lines(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::with_capacity(2 * LOG_LINE_BYTES_MAX);
    file.take(2 * LOG_LINE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
