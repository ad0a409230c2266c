//! Looks through one file of a log, a turn at a time; no more of it than a block is in memory.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use memchr::{memchr, memrchr};

use super::filter::{Filter, Judgement};
use super::packed::{FRAME_BYTES, Frame, FrameReader};
use super::segment::{Ended, Form, Segment, Written};
use super::stretch::Stretch;

/// How much is read at once; a line that does not fit is none that this program wrote.
const BLOCK_BYTES: usize = 256 * 1024;

/// How many frames of a packed file a thread looks through: 2 MiB.
const SCAN_FRAMES: usize = 8;

/// How much is looked through in one turn.
const TURN_BYTES: usize = 8 * 1024 * 1024;

/// How much is found in one turn, in bytes; it may be a line more.
pub(crate) const FOUND_BYTES: usize = 256 * 1024;

/// Lines that fit, in the order of their file.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The lines as they stand in the file, without their line feeds.
    texts: String,
    /// When each was, and where it ends.
    lines: Vec<(DateTime<Utc>, usize)>,
    /// How many were handed out, and where they end.
    passed: (usize, usize),
}

impl Found {
    fn push(&mut self, at: DateTime<Utc>, text: &str) {
        self.texts.push_str(text);
        self.lines.push((at, self.texts.len()));
    }

    /// Makes it as it was at first; what it took stays reserved.
    pub(crate) fn clear(&mut self) {
        self.texts.clear();
        self.lines.clear();
        self.passed = (0, 0);
    }

    /// How many bytes were not handed out.
    pub(crate) fn bytes_left(&self) -> usize {
        self.texts.len() - self.passed.1
    }

    /// The time of the next line; `None` if none is left.
    pub(crate) fn next_time(&self) -> Option<DateTime<Utc>> {
        self.lines.get(self.passed.0).map(|(at, _)| *at)
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Option<&str> {
        let (number, start) = self.passed;
        let (_, end) = *self.lines.get(number)?;
        self.passed = (number + 1, end);
        Some(&self.texts[start..end])
    }
}

/// What a turn came to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) found: Found,
    /// How many lines of those looked at are no lines of a log.
    pub(crate) damaged: u64,
    /// Whether nothing is left that could fit.
    pub(crate) is_end: bool,
}

/// What a file is read by.
enum Reader {
    /// It ends with what cannot be read.
    Stream(Box<dyn Read + Send>),
    /// It goes on behind what cannot be read.
    Frames(FrameReader),
}

/// A file that is looked through.
pub(crate) struct Scan {
    segment: Segment,
    /// What is read; `None` before the first turn.
    reader: Option<Reader>,
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
    /// The parts of a file that several threads can look through, in their order.
    pub(crate) fn all(Ended { segment, frames, .. }: &Ended, filter: &Filter<'_>) -> Vec<Self> {
        let new = |reader| Self { segment: segment.clone(), reader, block: Block::default(), needle: None };
        if let Some(frames) = frames {
            let fitting: Vec<Frame> = frames.iter().filter(|frame| frame.can_fit(filter)).copied().collect();
            let parts = fitting.chunks(SCAN_FRAMES);
            return parts
                .map(|part| new(Some(Reader::Frames(FrameReader::new(&segment.path, part)))))
                .collect();
        }
        let stretches = match segment.form {
            Form::Packed => None,
            Form::Plain | Form::Written => stretches(segment, filter).ok(),
        };
        match stretches {
            Some(stretches) => {
                stretches.into_iter().map(|stretch| new(Some(Reader::Stream(Box::new(stretch))))).collect()
            }
            // What is wrong with a file is told when it is looked through.
            None => vec![new(None)],
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.segment.path
    }

    /// What is read into; another scan may use it once this one has ended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.block.bytes
    }

    /// Looks through the next piece, and adds what it finds; that is handed out also if the file cannot be read on.
    pub(crate) fn turn(&mut self, filter: &Filter<'_>, found: Found) -> (Turn, io::Result<()>) {
        let (mut turn, mut bytes) = (Turn { found, ..Turn::default() }, 0);
        while !turn.is_end && bytes < TURN_BYTES && turn.found.bytes_left() < FOUND_BYTES {
            if self.block.start == self.block.whole {
                match self.read(filter, &mut turn) {
                    Ok(count) => bytes += count,
                    Err(error) => {
                        turn.is_end = !matches!(self.reader, Some(Reader::Frames(_)));
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
            none => none.insert(Reader::Stream(open(&self.segment)?)),
        };
        let count = match reader {
            Reader::Stream(reader) => self.block.fill(reader, turn)?,
            Reader::Frames(reader) => self.block.fill_frame(reader, turn)?,
        };
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
        while turn.found.bytes_left() < FOUND_BYTES {
            let Some((start, end)) = candidates.next(lines, at) else {
                at = lines.len();
                break;
            };
            at = lines.len().min(end + 1);
            match filter.judge(&lines[start..end]) {
                Judgement::Fits { at, text } => turn.found.push(at, text),
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
        self.bytes.resize(BLOCK_BYTES, 0);
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

    /// Unpacks the next frame, which has whole lines; how many bytes it has.
    fn fill_frame(&mut self, reader: &mut FrameReader, turn: &mut Turn) -> io::Result<usize> {
        (self.start, self.whole, self.filled) = (0, 0, 0);
        turn.is_end = !reader.next(&mut self.bytes)?;
        let first_end = memchr(b'\n', &self.bytes);
        if first_end.is_none() && self.bytes.len() >= FRAME_BYTES {
            // A line for which a frame is too small is none that this program wrote.
            turn.damaged += u64::from(!std::mem::replace(&mut self.is_within, true));
            return Ok(self.bytes.len());
        }
        (self.whole, self.filled) = (self.bytes.len(), self.bytes.len());
        if std::mem::take(&mut self.is_within) {
            self.start = first_end.map_or(self.whole, |end| end + 1);
        }
        Ok(self.filled)
    }
}

fn stretches(segment: &Segment, filter: &Filter<'_>) -> io::Result<Vec<Stretch>> {
    if let Some(Written { file, bytes }) = &segment.written {
        return Stretch::all(file, *bytes, filter);
    }
    let file = File::open(&segment.path)?;
    let length = file.metadata()?.len();
    Stretch::all(&Arc::new(file), length, filter)
}

/// All of a file that was put away.
pub(crate) fn open(segment: &Segment) -> io::Result<Box<dyn Read + Send>> {
    let unpacked = |path: &Path| Ok::<_, io::Error>(Box::new(zstd::stream::Decoder::new(File::open(path)?)?));
    match segment.form {
        Form::Packed => Ok(unpacked(&segment.path)?),
        Form::Plain | Form::Written => match File::open(&segment.path) {
            // It was compressed since the folder was read.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(unpacked(&segment.path.with_extension("log.zst"))?)
            }
            file => Ok(Box::new(file?)),
        },
    }
}
