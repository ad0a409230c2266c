//! What masks known secrets in any text or stream of bytes.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

use crate::Secret;
use crate::needles::Needles;

/// The text that stands where a secret stood.
pub const MASK: &str = "[REDACTED]";

/// The shortest secret that is masked, in bytes; a shorter one would mask half of any text.
pub const SECRET_BYTES_MIN: usize = 8;

/// How much is searched at once, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// What masks known secrets in any text or stream of bytes.
///
/// Each secret is known in its own form, in base64 (both alphabets, wherever it lies in the encoded text), in hexadecimal
/// (small or capital letters), escaped for URLs and escaped for JSON. Where occurrences overlap, all that they cover is masked as one. At the end of a text, a
/// cut occurrence of at least [`SECRET_BYTES_MIN`] bytes is masked too, for texts that were cut before they came here.
#[derive(Clone, Default)]
pub struct Redactor {
    needles: Arc<Needles>,
}

impl Redactor {
    /// A redactor of these secrets; those shorter than [`SECRET_BYTES_MIN`] are left out.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self { needles: Arc::new(Needles::new(secrets)) }
    }

    /// The text with every known secret masked.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let bytes = text.as_bytes();
        let is_clean = self.needles.find(bytes, 0).is_none()
            && self.needles.cut_at(bytes).is_none_or(|at| bytes.len() - at < SECRET_BYTES_MIN);
        if is_clean {
            return Cow::Borrowed(text);
        }
        let mut stream = self.stream();
        Cow::Owned(stream.push_text(text) + &stream.finish_text())
    }

    /// Masks a stream that comes in pieces; the result is the same however it is cut.
    pub fn stream(&self) -> RedactorStream {
        RedactorStream { needles: Arc::clone(&self.needles), held: Zeroizing::default(), masked: 0 }
    }

    /// The first places, at most `leaks_max`, where a known secret stands in what is read, in order.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn search(&self, mut from: impl Read, leaks_max: usize) -> io::Result<Vec<Leak>> {
        let mut leaks = Vec::new();
        let mut buffer = Zeroizing::new(Vec::with_capacity(READ_BYTES));
        let mut gone = 0;
        loop {
            let read = from.by_ref().take(READ_BYTES as u64).read_to_end(&mut buffer)?;
            // What could be the start of an occurrence waits for more.
            let end = if read == 0 { None } else { self.needles.cut_at(&buffer) };
            let end = end.unwrap_or(buffer.len());
            let mut from = 0;
            while let Some(found) = self.needles.find(&buffer, from).filter(|found| found.at < end) {
                let at = gone + found.at as u64;
                leaks.push(Leak { at, secret: found.needle.secret, form: found.needle.form });
                from = found.at + 1;
            }
            if read == 0 || leaks.len() >= leaks_max {
                leaks.truncate(leaks_max);
                return Ok(leaks);
            }
            gone += end as u64;
            buffer[..end].zeroize();
            buffer.drain(..end);
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor(…)")
    }
}

/// A place where a known secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leak {
    /// How many bytes stand before it.
    pub at: u64,
    /// Which secret it is: its place, from 0, among those that the redactor was made of.
    pub secret: usize,
    /// How it is written there.
    pub form: SecretForm,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretForm {
    /// As it is.
    Plain,
    /// Escaped as in a JSON string, up to three times.
    Json,
    /// Escaped as in a URL or a form.
    Url,
    /// In base64, by itself or within longer data.
    Base64,
    /// In hexadecimal, by itself or within longer data.
    Hex,
}

impl fmt::Display for SecretForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Json => "json",
            Self::Url => "url",
            Self::Base64 => "base64",
            Self::Hex => "hex",
        })
    }
}

/// A stream that is being masked.
///
/// What could be the start of a secret is held back until more comes; dropping the stream without finishing it loses
/// that.
pub struct RedactorStream {
    needles: Arc<Needles>,
    /// The end of what was pushed that could be the start of a secret.
    held: Zeroizing<Vec<u8>>,
    /// How many bytes at the start of `held` are covered by a mask that is out already.
    masked: usize,
}

impl RedactorStream {
    /// Takes the next piece, and appends to `out` what is certain by now.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut held = std::mem::take(&mut self.held);
        if held.is_empty() {
            self.advance(piece, out);
        } else {
            // A growing vector would leave copies of secrets behind.
            let mut whole = Zeroizing::new(Vec::with_capacity(held.len() + piece.len()));
            whole.append(&mut held);
            whole.extend_from_slice(piece);
            self.advance(&whole, out);
        }
    }

    /// Ends the stream, and appends the rest to `out`; the stream is as new then.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let held = std::mem::take(&mut self.held);
        // What is too short for a secret that was cut is the text's own.
        let cut = self.needles.cut_at(&held).filter(|at| held.len() - at >= SECRET_BYTES_MIN);
        self.mask(&held, cut.map(|at| at..held.len()), held.len(), out);
        self.masked = 0;
    }

    /// [`push`](Self::push) for text.
    pub fn push_text(&mut self, piece: &str) -> String {
        let mut out = Vec::with_capacity(piece.len());
        self.push(piece.as_bytes(), &mut out);
        text(out)
    }

    /// [`finish`](Self::finish) for text.
    pub fn finish_text(&mut self) -> String {
        let mut out = Vec::new();
        self.finish(&mut out);
        text(out)
    }

    /// Masks as far as is certain, and holds the rest back.
    fn advance(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let end = self.needles.cut_at(bytes).unwrap_or(bytes.len());
        self.mask(bytes, None, end, out);
        self.held = Zeroizing::new(bytes[end..].to_vec());
    }

    /// Writes what stands before `end`, masked. What begins there may reach further, which is kept in `masked`.
    fn mask(&mut self, bytes: &[u8], mut cut: Option<Range<usize>>, end: usize, out: &mut Vec<u8>) {
        let mut covered = self.masked;
        let mut cover = |place: Range<usize>| {
            if place.start >= covered {
                out.extend_from_slice(&bytes[covered..place.start]);
                out.extend_from_slice(MASK.as_bytes());
            }
            covered = covered.max(place.end);
        };
        let mut from = 0;
        while let Some(found) = self.needles.find(bytes, from).filter(|found| found.at < end) {
            if cut.as_ref().is_some_and(|cut| cut.start < found.at) {
                cut.take().into_iter().for_each(&mut cover);
            }
            cover(found.at..found.at + found.needle.bytes.len());
            from = found.at + 1;
        }
        cut.into_iter().for_each(cover);
        out.extend_from_slice(&bytes[covered.min(end)..end]);
        self.masked = covered.saturating_sub(end);
    }
}

/// Secrets begin and end where characters do, so what was text before a mask is text after it.
fn text(masked: Vec<u8>) -> String {
    String::from_utf8(masked).expect("text was pushed, and masked by whole characters")
}

impl fmt::Debug for RedactorStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedactorStream({} bytes held back)", self.held.len())
    }
}
