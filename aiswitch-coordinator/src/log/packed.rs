//! A file of a log that was compressed: frames of whole lines, each unpacked alone, and at its end the times of their lines.
//!
//! It is a [Zstandard](https://www.rfc-editor.org/rfc/rfc8878) file in the
//! [seekable format](https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md):
//! behind the frames is a skippable one with the first and the last time of each, and behind that the seek table, a skippable
//! frame too. Programs that unpack files pass over both.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use memchr::memrchr;
use sha2::{Digest, Sha256};
use zstd::bulk::{Compressor, Decompressor};

use super::filter::Filter;
use super::line::time_of_line;

/// The level of compression; 3 gives the most for its time on lines like these.
const PACK_LEVEL: i32 = 3;

/// How much a frame holds, in bytes: small, because one in which a time begins is unpacked as a whole.
pub(crate) const FRAME_BYTES: usize = 256 * 1024;

/// How large a frame is at most that is unpacked by a table, packed or not.
const FRAME_BYTES_MAX: u32 = 8 * 1024 * 1024;

/// How much of the end of a file is read to find its table; the table of 16 MiB takes 1.6 KiB.
const END_BYTES: usize = 4 * 1024;

/// What the skippable frame with the times begins with, and the one with the seek table.
const TIMES_MAGIC: u32 = 0x184D_2A5A;
const TABLE_MAGIC: u32 = 0x184D_2A5E;

/// What a file with a seek table ends with.
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;

/// How long is what a skippable frame begins with: magic number and length.
const SKIPPABLE_BYTES: usize = 8;

/// How long is what a seek table ends with: number of frames, descriptor, magic number.
const FOOTER_BYTES: usize = 9;

/// How long an entry of the seek table is: packed and unpacked length.
const ENTRY_BYTES: usize = 8;

/// How long the times of a frame are.
const TIMES_BYTES: usize = 16;

/// How much of the SHA-256 of lengths and times stands behind the times, in bytes.
const SUM_BYTES: usize = 8;

/// A part of a packed file that is unpacked alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where it is in the file.
    at: u64,
    packed_bytes: u32,
    whole_bytes: u32,
    /// The times of its lines, in milliseconds since 1970; the first is behind the last if it has none.
    first: i64,
    last: i64,
}

impl Frame {
    fn of(at: u64, packed: &[u8], whole: &[u8]) -> io::Result<Self> {
        let bytes = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
        let times = || whole.split(|byte| *byte == b'\n').filter_map(time_of_line).map(milliseconds);
        Ok(Self {
            at,
            packed_bytes: bytes(packed)?,
            whole_bytes: bytes(whole)?,
            first: times().min().unwrap_or(i64::MAX),
            last: times().max().unwrap_or(i64::MIN),
        })
    }

    /// Whether it can have a line of the times that are asked for.
    pub(crate) fn can_fit(&self, filter: &Filter<'_>) -> bool {
        let (since, until) = filter.times();
        since.is_none_or(|since| self.last >= milliseconds(since))
            && until.is_none_or(|until| self.first <= milliseconds(until))
    }
}

/// The order of these is that of times, also within a leap second.
fn milliseconds(at: DateTime<Utc>) -> i64 {
    at.timestamp() * 1000 + i64::from(at.timestamp_subsec_millis().min(999))
}

/// The time of the last line of some frames; `None` if there is none.
pub(crate) fn end_of(frames: &[Frame]) -> Option<DateTime<Utc>> {
    let last = frames.iter().map(|frame| frame.last).filter(|last| *last > i64::MIN).max()?;
    DateTime::from_timestamp_millis(last)
}

/// Compresses lines.
pub(crate) fn pack(lines: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut compressor = Compressor::new(PACK_LEVEL)?;
    compressor.include_checksum(true)?;
    let (mut frames, mut at, mut bytes) = (Vec::new(), 0, Vec::new());
    loop {
        lines.take((FRAME_BYTES - bytes.len()) as u64).read_to_end(&mut bytes)?;
        let end = if bytes.len() == FRAME_BYTES { memrchr(b'\n', &bytes) } else { None };
        let whole = end.map_or(bytes.len(), |end| end + 1);
        if whole == 0 {
            break;
        }
        let packed = compressor.compress(&bytes[..whole])?;
        to.write_all(&packed)?;
        frames.push(Frame::of(at, &packed, &bytes[..whole])?);
        at += packed.len() as u64;
        bytes.drain(..whole);
    }
    to.write_all(&table(&frames)?)
}

/// What stands behind the frames.
fn table(frames: &[Frame]) -> io::Result<Vec<u8>> {
    let length = |bytes: usize| u32::try_from(bytes).map_err(io::Error::other);
    let count = frames.len();
    let times = times(frames);
    let times_bytes = length(TIMES_BYTES * count + SUM_BYTES)?;
    let table_bytes = length(ENTRY_BYTES * (count + 1) + FOOTER_BYTES)?;
    let entries = frames.iter().map(|frame| (frame.packed_bytes, frame.whole_bytes));
    let own = (length(SKIPPABLE_BYTES + TIMES_BYTES * count + SUM_BYTES)?, 0);
    let entries: Vec<u8> =
        entries.chain([own]).flat_map(|(packed, whole)| [packed, whole]).flat_map(u32::to_le_bytes).collect();
    Ok([
        &TIMES_MAGIC.to_le_bytes()[..],
        &times_bytes.to_le_bytes(),
        &times,
        &sum(frames),
        &TABLE_MAGIC.to_le_bytes(),
        &table_bytes.to_le_bytes(),
        &entries,
        &length(count + 1)?.to_le_bytes(),
        &[0],
        &SEEKABLE_MAGIC.to_le_bytes(),
    ]
    .concat())
}

fn times(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| [frame.first, frame.last]).flat_map(i64::to_le_bytes).collect()
}

/// What a table is told by from one that was changed.
fn sum(frames: &[Frame]) -> [u8; SUM_BYTES] {
    let lengths = frames.iter().flat_map(|frame| [frame.packed_bytes, frame.whole_bytes]);
    let lengths: Vec<u8> = lengths.flat_map(u32::to_le_bytes).collect();
    let whole = Sha256::new().chain_update(&lengths).chain_update(times(frames)).finalize();
    *whole.first_chunk().expect("a SHA-256 has 32 bytes")
}

/// The frames of a file by its table; `None` if it has none, or one that cannot be true.
pub(crate) fn frames(file: &File) -> io::Result<Option<Vec<Frame>>> {
    let length = file.metadata()?.len();
    let mut end = end_of_file(file, length, END_BYTES)?;
    let Some(count) = count(&end) else { return Ok(None) };
    let table_bytes = count
        .saturating_mul(TIMES_BYTES + ENTRY_BYTES)
        .saturating_add(2 * SKIPPABLE_BYTES + SUM_BYTES + ENTRY_BYTES + FOOTER_BYTES);
    if table_bytes as u64 > length {
        return Ok(None);
    }
    if table_bytes > end.len() {
        end = end_of_file(file, length, table_bytes)?;
    }
    let end = &end[end.len() - table_bytes..];
    Ok(read_table(end, count).filter(|frames| {
        // The frames end where the table begins, and all of it is what would be written for them.
        let behind = frames.last().map_or(0, |frame| frame.at + u64::from(frame.packed_bytes));
        behind + table_bytes as u64 == length && table(frames).is_ok_and(|table| table == end)
    }))
}

/// The last bytes of a file, fewer if it has no more.
fn end_of_file(file: &File, length: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let mut end = vec![0; usize::try_from(length).map_or(bytes, |length| length.min(bytes))];
    let start = length - end.len() as u64;
    file.read_exact_at(&mut end, start)?;
    Ok(end)
}

/// How many frames a file with this end has, beside that of the times.
fn count(end: &[u8]) -> Option<usize> {
    let footer: &[u8; FOOTER_BYTES] = end.last_chunk()?;
    let [a, b, c, d, 0, magic @ ..] = *footer else { return None };
    let count = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
    if u32::from_le_bytes(magic) == SEEKABLE_MAGIC { count.checked_sub(1) } else { None }
}

/// What a table says of so many frames, each not larger than one may be.
fn read_table(mut table: &[u8], count: usize) -> Option<Vec<Frame>> {
    take::<SKIPPABLE_BYTES>(&mut table)?;
    let mut times = table.split_off(..count * TIMES_BYTES)?;
    take::<SUM_BYTES>(&mut table)?;
    take::<SKIPPABLE_BYTES>(&mut table)?;
    let (mut frames, mut at) = (Vec::with_capacity(count), 0);
    for _ in 0..count {
        let [packed_bytes, whole_bytes] = [take(&mut table)?, take(&mut table)?].map(u32::from_le_bytes);
        let [first, last] = [take(&mut times)?, take(&mut times)?].map(i64::from_le_bytes);
        if packed_bytes.max(whole_bytes) > FRAME_BYTES_MAX {
            return None;
        }
        frames.push(Frame { at, packed_bytes, whole_bytes, first, last });
        at += u64::from(packed_bytes);
    }
    Some(frames)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// Reads some frames of a file; behind one that cannot be unpacked it goes on with the next.
pub(crate) struct FrameReader {
    path: PathBuf,
    left: VecDeque<Frame>,
    /// What unpacks, with the file; made with the first frame.
    open: Option<(File, Decompressor<'static>)>,
    /// What is unpacked.
    packed: Vec<u8>,
}

impl FrameReader {
    pub(crate) fn new(path: &Path, frames: &[Frame]) -> Self {
        Self { path: path.to_owned(), left: frames.iter().copied().collect(), open: None, packed: Vec::new() }
    }

    /// Unpacks the next frame in place of what the bytes were; `false` behind the last one.
    pub(crate) fn next(&mut self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        bytes.clear();
        let Some(frame) = self.left.pop_front() else { return Ok(false) };
        if self.open.is_none() {
            // A file that is not there has no next frame.
            let left = std::mem::take(&mut self.left);
            self.open = Some((File::open(&self.path)?, Decompressor::new()?));
            self.left = left;
        }
        let (file, decompressor) = self.open.as_mut().expect("it was opened");
        self.packed.resize(frame.packed_bytes as usize, 0);
        file.read_exact_at(&mut self.packed, frame.at)?;
        bytes.reserve(frame.whole_bytes as usize);
        decompressor.decompress_to_buffer(&self.packed, bytes).map_err(|error| {
            bytes.clear();
            let text = format!("what is packed from byte {} on is damaged: {error}", frame.at);
            io::Error::new(ErrorKind::InvalidData, text)
        })?;
        Ok(true)
    }
}
