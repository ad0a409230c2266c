//! The codec cuts a byte stream into frames and frames messages into bytes, without any input or output.
//!
//! A frame is one message: a line, or a body that a `Content-Length` header announces. The decoder never holds
//! more than the frame limit plus one read, and after a bad frame it goes on with the next one.

use std::ops::Range;

use crate::error::FrameError;
use crate::seal::{append_seal, seal_bytes};

/// How messages are told apart on the byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// One message a line, ended by a line feed; a carriage return before it is dropped.
    #[default]
    Lines,
    /// A `Content-Length` header before each message, as the Language Server Protocol does it.
    ContentLength,
}

/// The most bytes of an over-long frame that are kept, so that its id can still be read.
pub const PREFIX_BYTES_MAX: usize = 4096;
/// The most bytes that the header block of one `Content-Length` frame may have.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

const SPACE_BYTES_MIN: usize = 8 * 1024;
const SPACE_BYTES_MAX: usize = 64 * 1024;
/// So much of the buffer is kept when it is empty.
const KEPT_BYTES_MAX: usize = 256 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What stands between the bytes seen so far and the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A line, or a header line, comes next.
    Line,
    /// A body of this many bytes comes next.
    Body(usize),
    /// A line that is too long is dropped up to its end.
    SkipLine,
    /// This many bytes of a body that is too long are dropped.
    SkipBody(u64),
    /// The framing is lost: nothing that follows can be trusted.
    Lost,
}

/// A decoder turns pushed bytes into frames.
///
/// ```
/// use aiswitch_rpc::codec::{Decoder, Framing};
///
/// let mut decoder = Decoder::new(Framing::Lines, 1024);
/// decoder.push(b"{\"id\":1}\n{\"id\"");
/// assert_eq!(decoder.next_frame().unwrap(), Some("{\"id\":1}"));
/// assert_eq!(decoder.next_frame().unwrap(), None);
/// decoder.push(b":2}\n");
/// assert_eq!(decoder.next_frame().unwrap(), Some("{\"id\":2}"));
/// assert_eq!(decoder.finish().unwrap(), None);
/// ```
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    frame_bytes_max: usize,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    scanned: usize,
    space_bytes: usize,
    stage: Stage,
    skipped_bytes: u64,
    prefix: Vec<u8>,
    content_length: Option<u64>,
    header_bytes: usize,
    in_header: bool,
    at_stream_start: bool,
}

impl Decoder {
    /// Makes a decoder that refuses frames of more than `frame_bytes_max` bytes.
    #[must_use]
    pub fn new(framing: Framing, frame_bytes_max: usize) -> Self {
        Self {
            framing,
            frame_bytes_max,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            scanned: 0,
            space_bytes: SPACE_BYTES_MIN,
            stage: Stage::Line,
            skipped_bytes: 0,
            prefix: Vec::new(),
            content_length: None,
            header_bytes: 0,
            in_header: false,
            at_stream_start: true,
        }
    }

    /// Appends bytes that were read from the stream.
    ///
    /// Drain the frames with [`Decoder::next_frame`] before the next push: the bytes pushed are kept until then.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.filled(count);
            bytes = &bytes[count..];
        }
    }

    /// Lends room to read into directly; tell with [`Decoder::filled`] how much of it was used.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.scanned = 0;
            if self.buffer.len() > KEPT_BYTES_MAX {
                self.buffer.truncate(KEPT_BYTES_MAX);
                self.buffer.shrink_to_fit();
            }
        }
        if self.buffer.len() - self.end < self.space_bytes {
            self.make_room();
        }
        &mut self.buffer[self.end..]
    }

    fn make_room(&mut self) {
        let live_bytes = self.end - self.start;
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.scanned -= self.start;
            self.start = 0;
            self.end = live_bytes;
        }
        let wanted = (live_bytes + self.space_bytes).next_power_of_two();
        if self.buffer.len() - live_bytes < self.space_bytes {
            self.buffer.resize(wanted, 0);
        }
    }

    /// Takes over the first `count` bytes of the room that [`Decoder::space`] lent.
    ///
    /// # Panics
    /// If `count` is more than the room lent.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "more bytes filled than there was space");
        if count == self.buffer.len() - self.end && self.space_bytes < SPACE_BYTES_MAX {
            self.space_bytes *= 2;
        }
        self.end += count;
    }

    /// Yields the next whole frame, or `None` when more bytes are needed.
    ///
    /// Blank lines are passed over. The text has no line feed at its end.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] and [`FrameError::InvalidUtf8`] concern one frame: call again for the next.
    /// [`FrameError::Header`] means that the framing is lost, [`FrameError::Noise`] that lines before a header
    /// were passed over.
    pub fn next_frame(&mut self) -> Result<Option<&str>, FrameError> {
        let range = self.next_range()?;
        range.map(|range| self.text(range)).transpose()
    }

    /// Finds the next frame in the buffer, without a look at its bytes.
    pub(crate) fn next_range(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        match self.framing {
            Framing::Lines => self.next_line(),
            Framing::ContentLength => self.next_body(),
        }
    }

    /// The text of a frame that was found.
    pub(crate) fn text(&self, range: Range<usize>) -> Result<&str, FrameError> {
        text(&self.buffer[range])
    }

    /// The beginning of the frame that was last refused as too long.
    ///
    /// It is at most [`PREFIX_BYTES_MAX`] bytes; a character that the cut went through is left off.
    pub fn refused_prefix(&self) -> &str {
        self.prefix.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }

    /// Ends the stream: yields a last line that is a whole JSON value though its line feed is missing.
    ///
    /// # Errors
    /// [`FrameError::HalfFrame`] when the stream ended inside a frame.
    pub fn finish(&mut self) -> Result<Option<&str>, FrameError> {
        let range = self.finish_range()?;
        range.map(|range| self.text(range)).transpose()
    }

    /// Finds the last frame, once the stream has ended.
    pub(crate) fn finish_range(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        let (from, to) = (self.start, self.end);
        let stage = std::mem::replace(&mut self.stage, Stage::Lost);
        self.start = self.end;
        let bytes = (to - from) as u64;
        match stage {
            Stage::Lost => Ok(None),
            Stage::SkipLine | Stage::SkipBody(_) => Err(FrameError::TooLong {
                bytes: self.skipped_bytes + bytes,
                bytes_max: self.frame_bytes_max,
            }),
            Stage::Line if self.framing == Framing::Lines => {
                let from = from + self.byte_order_mark_bytes(from, to);
                if to - from > self.frame_bytes_max {
                    self.keep_prefix(from, to);
                    return Err(FrameError::TooLong { bytes, bytes_max: self.frame_bytes_max });
                }
                let rest = text(&self.buffer[from..to])?;
                if rest.trim_ascii().is_empty() {
                    return Ok(None);
                }
                match serde_json::from_str::<serde::de::IgnoredAny>(rest) {
                    Ok(_) => Ok(Some(from..to)),
                    Err(_) => Err(FrameError::HalfFrame { bytes }),
                }
            }
            Stage::Line if bytes == 0 && !self.in_header => Ok(None),
            Stage::Line | Stage::Body(_) => Err(FrameError::HalfFrame { bytes }),
        }
    }

    /// How many bytes of a byte order mark stand at the beginning of the stream.
    fn byte_order_mark_bytes(&mut self, from: usize, to: usize) -> usize {
        let is_start = std::mem::take(&mut self.at_stream_start);
        if is_start && self.buffer[from..to].starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
    }

    fn next_line(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        loop {
            if self.stage == Stage::Lost {
                return Ok(None);
            }
            let Some(offset) = memchr::memchr(b'\n', &self.buffer[self.scanned..self.end]) else {
                self.line_goes_on();
                return Ok(None);
            };
            let line_end = self.scanned + offset;
            let mut from = self.start;
            self.start = line_end + 1;
            self.scanned = self.start;
            let bytes = (line_end - from) as u64;
            if self.stage == Stage::SkipLine {
                self.stage = Stage::Line;
                let bytes = self.skipped_bytes + bytes;
                return Err(FrameError::TooLong { bytes, bytes_max: self.frame_bytes_max });
            }
            let mut to = line_end;
            if to > from && self.buffer[to - 1] == b'\r' {
                to -= 1;
            }
            from += self.byte_order_mark_bytes(from, to);
            if to - from > self.frame_bytes_max {
                self.keep_prefix(from, to);
                return Err(FrameError::TooLong { bytes, bytes_max: self.frame_bytes_max });
            }
            if self.buffer[from..to].iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Ok(Some(from..to));
        }
    }

    /// No line end in sight: remembers how far was looked, and stops keeping a line that is too long.
    fn line_goes_on(&mut self) {
        self.scanned = self.end;
        if self.stage == Stage::SkipLine {
            self.skipped_bytes += (self.end - self.start) as u64;
            self.start = self.end;
        } else if self.end - self.start > self.frame_bytes_max + BYTE_ORDER_MARK.len() + 1 {
            // A line may still have a byte order mark before it and a carriage return behind it.
            self.keep_prefix(self.start, self.end);
            self.stage = Stage::SkipLine;
            self.at_stream_start = false;
            self.skipped_bytes = (self.end - self.start) as u64;
            self.start = self.end;
        }
    }

    fn keep_prefix(&mut self, from: usize, to: usize) {
        self.prefix.clear();
        self.keep_more_prefix(from, to);
    }

    fn keep_more_prefix(&mut self, from: usize, to: usize) {
        let room = PREFIX_BYTES_MAX.min(self.frame_bytes_max) - self.prefix.len();
        self.prefix.extend_from_slice(&self.buffer[from..to.min(from + room)]);
    }

    fn next_body(&mut self) -> Result<Option<Range<usize>>, FrameError> {
        loop {
            match self.stage {
                Stage::Lost | Stage::SkipLine => return Ok(None),
                Stage::Line => {
                    if !self.header_line()? {
                        return Ok(None);
                    }
                }
                Stage::Body(length) => {
                    if self.end - self.start < length {
                        return Ok(None);
                    }
                    let from = self.start;
                    self.start += length;
                    self.scanned = self.start;
                    self.stage = Stage::Line;
                    if length > 0 {
                        return Ok(Some(from..from + length));
                    }
                }
                Stage::SkipBody(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(self.end - self.start);
                    self.keep_more_prefix(self.start, self.start + here);
                    self.start += here;
                    self.scanned = self.start;
                    self.skipped_bytes += here as u64;
                    self.stage = Stage::SkipBody(left - here as u64);
                    if left > here as u64 {
                        return Ok(None);
                    }
                    self.stage = Stage::Line;
                    let bytes = self.skipped_bytes;
                    return Err(FrameError::TooLong { bytes, bytes_max: self.frame_bytes_max });
                }
            }
        }
    }

    /// Reads one line of a header block; `false` when its end is not there yet.
    fn header_line(&mut self) -> Result<bool, FrameError> {
        let Some(offset) = memchr::memchr(b'\n', &self.buffer[self.scanned..self.end]) else {
            self.scanned = self.end;
            if self.header_bytes + self.end - self.start > HEADER_BYTES_MAX {
                return Err(self.lost("a header block that is too long"));
            }
            return Ok(false);
        };
        let line_end = self.scanned + offset;
        let (from, next) = (self.start, line_end + 1);
        let line = self.buffer[from..line_end].trim_ascii();
        let fact = HeaderLine::read(line);
        let noise = matches!(fact, HeaderLine::Noise)
            .then(|| String::from_utf8_lossy(&line[..line.len().min(PREFIX_BYTES_MAX)]).into_owned());
        self.start = next;
        self.scanned = next;
        self.header_bytes += next - from;
        if self.header_bytes > HEADER_BYTES_MAX {
            return Err(self.lost("a header block that is too long"));
        }
        match fact {
            HeaderLine::Noise if !self.in_header => {
                self.header_bytes = 0;
                return Err(FrameError::Noise { line: noise.expect("set for a noise line") });
            }
            HeaderLine::Noise => return Err(self.lost("a line in the header block that is no header")),
            HeaderLine::BadLength => return Err(self.lost("a `Content-Length` that is no number")),
            HeaderLine::Length(length) => {
                if self.content_length.is_some_and(|earlier| earlier != length) {
                    return Err(self.lost("two different `Content-Length` headers"));
                }
                self.content_length = Some(length);
                self.in_header = true;
            }
            HeaderLine::Other => self.in_header = true,
            HeaderLine::End => self.end_of_header()?,
        }
        Ok(true)
    }

    fn end_of_header(&mut self) -> Result<(), FrameError> {
        if !std::mem::take(&mut self.in_header) {
            return Ok(());
        }
        self.header_bytes = 0;
        let Some(length) = self.content_length.take() else {
            return Err(self.lost("a header block without `Content-Length`"));
        };
        self.stage = match usize::try_from(length) {
            Ok(length) if length <= self.frame_bytes_max => Stage::Body(length),
            _ => {
                self.prefix.clear();
                self.skipped_bytes = 0;
                Stage::SkipBody(length)
            }
        };
        Ok(())
    }

    fn lost(&mut self, found: &'static str) -> FrameError {
        self.stage = Stage::Lost;
        FrameError::Header { found }
    }
}

fn text(bytes: &[u8]) -> Result<&str, FrameError> {
    simdutf8::basic::from_utf8(bytes).map_err(|_without_place| FrameError::InvalidUtf8 {
        valid_up_to: bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len()),
    })
}

/// What one line of a header block says.
enum HeaderLine {
    End,
    Length(u64),
    BadLength,
    Other,
    Noise,
}

impl HeaderLine {
    fn read(line: &[u8]) -> Self {
        if line.is_empty() {
            return Self::End;
        }
        let Some(colon) = memchr::memchr(b':', line) else { return Self::Noise };
        let name = line[..colon].trim_ascii_end();
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        if name.is_empty() || !name.iter().all(is_token) {
            return Self::Noise;
        }
        if !name.eq_ignore_ascii_case(b"content-length") {
            return Self::Other;
        }
        let value = line[colon + 1..].trim_ascii();
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let length = digits.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten();
        length.map_or(Self::BadLength, Self::Length)
    }
}

/// Appends one message, given in parts of JSON text, as a frame.
///
/// Line feeds in the text, which JSON allows between tokens only, become spaces.
///
/// ```
/// use aiswitch_rpc::codec::{Framing, encode_frame};
///
/// let mut out = Vec::new();
/// encode_frame(Framing::ContentLength, &[b"{}"], &mut out);
/// assert_eq!(out, b"Content-Length: 2\r\n\r\n{}");
/// ```
#[inline]
pub fn encode_frame(framing: Framing, parts: &[&[u8]], out: &mut Vec<u8>) {
    encode(framing, parts, None, out);
}

/// Like [`encode_frame`]; with a number, the message, which must be an object, is sealed with it.
#[inline]
pub(crate) fn encode(framing: Framing, parts: &[&[u8]], seal: Option<u64>, out: &mut Vec<u8>) {
    let parts_bytes: usize = parts.iter().map(|part| part.len()).sum();
    let body_bytes = parts_bytes + seal.map_or(0, seal_bytes);
    if framing == Framing::ContentLength {
        out.extend_from_slice(b"Content-Length: ");
        out.extend_from_slice(itoa::Buffer::new().format(body_bytes).as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }
    let from = out.len();
    out.reserve(body_bytes + 1);
    for part in parts {
        out.extend_from_slice(part);
    }
    let mut flat_to = from;
    while let Some(offset) = memchr::memchr(b'\n', &out[flat_to..]) {
        flat_to += offset;
        out[flat_to] = b' ';
    }
    if let Some(number) = seal {
        append_seal(out, from, number);
    }
    if framing == Framing::Lines {
        out.push(b'\n');
    }
}
