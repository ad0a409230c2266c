//! The part of a file that is not compressed in which lines of a time are, cut for several threads.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::{Range, RangeInclusive};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use memchr::memchr;

use super::filter::Filter;
use super::line::times;
use super::record::LOG_LINE_BYTES_MAX;

/// How much a thread looks through, in bytes: the more, the more there is to look through.
const STRETCH_BYTES: RangeInclusive<u64> = 256 * 1024..=2 * 1024 * 1024;

/// How many parts are made of what is small.
const STRETCHES: u64 = 32;

/// How near to a time a search comes, in bytes.
const NEAR_BYTES: u64 = 256 * 1024;

/// Whole lines of a file.
#[derive(Debug)]
pub(crate) struct Stretch {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Stretch {
    /// The parts of a file of this length that can have a line that fits, in their order.
    pub(crate) fn all(file: &Arc<File>, length: u64, filter: &Filter<'_>) -> io::Result<Vec<Self>> {
        // One line whose time is wrong misleads neither search: it only makes the part larger.
        let start = match filter.start() {
            Some(start) => {
                let is_before = |latest: &[u8]| latest < start.as_bytes();
                halve(file, 0..length, |lines| times(lines).max().is_some_and(is_before))?.start
            }
            None => 0,
        };
        let end = match filter.end() {
            Some(end) => {
                let is_behind = |earliest: &[u8]| earliest >= end.as_bytes();
                let found = halve(file, start..length, |lines| !times(lines).min().is_some_and(is_behind))?;
                next_line(file, found.end)?.min(length)
            }
            None => length,
        };
        let mut stretches = Vec::new();
        let mut at = next_line(file, start)?;
        let bytes = (end.saturating_sub(at) / STRETCHES).clamp(*STRETCH_BYTES.start(), *STRETCH_BYTES.end());
        while at < end {
            let stop = if end - at > bytes { next_line(file, at + bytes)?.min(end) } else { end };
            stretches.push(Self { file: file.clone(), at, end: stop });
            at = stop;
        }
        Ok(stretches)
    }
}

impl Read for Stretch {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(bytes.len());
        let count = self.file.read_at(&mut bytes[..left], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Halves a part of a file until it is small: lines before it are before what is looked for, those behind it are not.
fn halve(file: &File, mut part: Range<u64>, is_before: impl Fn(&[u8]) -> bool) -> io::Result<Range<u64>> {
    while part.end - part.start > NEAR_BYTES {
        let middle = part.start + (part.end - part.start) / 2;
        if is_before(&some_lines(file, middle)?) {
            part.start = middle;
        } else {
            part.end = middle;
        }
    }
    Ok(part)
}

/// Where the first line begins from a place on; the end of the file if there is none.
fn next_line(file: &File, place: u64) -> io::Result<u64> {
    let Some(mut at) = place.checked_sub(1) else { return Ok(0) };
    loop {
        let bytes = some_lines(file, at)?;
        if let Some(end) = memchr(b'\n', &bytes) {
            return Ok(at + end as u64 + 1);
        }
        if bytes.is_empty() {
            return Ok(at);
        }
        at += bytes.len() as u64;
    }
}

/// Enough of a file from a place on for one whole line; less at its end.
fn some_lines(file: &File, from: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 2 * LOG_LINE_BYTES_MAX];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
