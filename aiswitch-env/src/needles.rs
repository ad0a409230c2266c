//! What is looked for: the secrets in all their written forms, and a search for many strings at once.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::Secret;
use crate::redact::{SECRET_BYTES_MIN, SecretForm};

/// How many bytes decide whether a place is looked at more closely.
const BLOCK_BYTES: usize = 3;

/// The longest stretch that is looked at in one step, in bytes; more would fill the table of shifts.
const WINDOW_BYTES_MAX: usize = 16;

/// The table of shifts has two to this power of entries; it stays in a first-level cache.
const SHIFTS_BITS: u32 = 15;

/// One string that is looked for.
pub(crate) struct Needle {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// Which secret it is, by its place among those given.
    pub(crate) secret: usize,
    pub(crate) form: SecretForm,
}

/// A needle found.
pub(crate) struct Found<'a> {
    pub(crate) at: usize,
    pub(crate) needle: &'a Needle,
}

/// All needles, and the tables of a search for all of them at once.
///
/// The search is that of Wu and Manber ("A Fast Algorithm for Multi-Pattern Searching", TR-94-17, 1994): the last block
/// of a window tells how far the window may move without missing a needle.
pub(crate) struct Needles {
    /// By their bytes; no two are equal.
    sorted: Vec<Needle>,
    /// The length of the shortest needle, at most [`WINDOW_BYTES_MAX`].
    window: usize,
    /// Hash of a block → how far the window may move when it ends with that block.
    shifts: Vec<u8>,
    /// Which bytes a needle starts with.
    starts: [bool; 256],
    longest: usize,
}

impl Default for Needles {
    fn default() -> Self {
        Self { sorted: Vec::new(), window: 0, shifts: Vec::new(), starts: [false; 256], longest: 0 }
    }
}

impl Needles {
    /// The needles of these secrets.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut sorted = Vec::new();
        for (secret, value) in secrets.into_iter().enumerate() {
            let value = value.text();
            if value.len() >= SECRET_BYTES_MIN {
                let forms = forms(value).into_iter();
                sorted.extend(forms.map(|(form, bytes)| Needle { bytes, secret, form }));
            }
        }
        sorted.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(a.form.cmp(&b.form)));
        sorted.dedup_by(|a, b| a.bytes == b.bytes);
        let Some(shortest) = sorted.iter().map(|needle| needle.bytes.len()).min() else {
            return Self::default();
        };
        let window = shortest.min(WINDOW_BYTES_MAX);
        let furthest = shift(window - BLOCK_BYTES + 1);
        let mut needles = Self {
            window,
            shifts: vec![furthest; 1 << SHIFTS_BITS],
            starts: [false; 256],
            longest: sorted.iter().map(|needle| needle.bytes.len()).max().unwrap_or_default(),
            sorted: Vec::new(),
        };
        for needle in &sorted {
            needles.starts[usize::from(needle.bytes[0])] = true;
            for (at, block) in needle.bytes[..window].windows(BLOCK_BYTES).enumerate() {
                let entry = &mut needles.shifts[hash(block)];
                *entry = shift(window - BLOCK_BYTES - at).min(*entry);
            }
        }
        Self { sorted, ..needles }
    }

    /// The first needle at or behind `from`; of several at one place, the longest.
    pub(crate) fn find(&self, text: &[u8], from: usize) -> Option<Found<'_>> {
        if self.sorted.is_empty() {
            return None;
        }
        let mut at = from;
        while let Some(block) = text.get(at + self.window - BLOCK_BYTES..at + self.window) {
            let shift = self.shifts[hash(block)];
            if shift == 0 {
                if let Some(needle) = self.longest_at(&text[at..]) {
                    return Some(Found { at, needle });
                }
                at += 1;
            }
            at += usize::from(shift);
        }
        None
    }

    /// The longest needle that this text starts with.
    fn longest_at(&self, text: &[u8]) -> Option<&Needle> {
        let window = &text[..self.window];
        let first = self.sorted.partition_point(|needle| &needle.bytes[..self.window] < window);
        let alike = self.sorted[first..].iter().take_while(|needle| needle.bytes.starts_with(window));
        // They are in order, so of those that fit the last is the longest.
        alike.filter(|needle| text.starts_with(&needle.bytes)).last()
    }

    /// The first place from which on the text is the start of a needle that the text's end cuts.
    pub(crate) fn cut_at(&self, text: &[u8]) -> Option<usize> {
        let from = text.len().saturating_sub(self.longest.saturating_sub(1));
        (from..text.len()).find(|at| self.starts[usize::from(text[*at])] && self.is_start(&text[*at..]))
    }

    /// Whether a needle starts with this and goes on.
    fn is_start(&self, text: &[u8]) -> bool {
        let behind = self.sorted.partition_point(|needle| needle.bytes.as_slice() <= text);
        self.sorted.get(behind).is_some_and(|needle| needle.bytes.starts_with(text))
    }
}

fn shift(bytes: usize) -> u8 {
    u8::try_from(bytes).expect("a window is shorter than 256 bytes")
}

fn hash(block: &[u8]) -> usize {
    let block = u32::from_le_bytes([block[0], block[1], block[2], 0]);
    // Fibonacci hashing: the upper bits of a product with 2^32 divided by the golden ratio.
    (block.wrapping_mul(0x9E37_79B1) >> (u32::BITS - SHIFTS_BITS)) as usize
}

/// All written forms of a secret; most are equal for most secrets.
fn forms(secret: &str) -> Vec<(SecretForm, Zeroizing<Vec<u8>>)> {
    let mut forms = vec![(SecretForm::Plain, secret.to_owned())];
    // As a shell prints a variable without quotes: its words.
    let words = secret.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    if words.len() >= SECRET_BYTES_MIN {
        forms.push((SecretForm::Plain, words));
    }
    // What encoders escape beyond what they must: nothing; all but ASCII; what HTML could mistake; slashes as well.
    let more: [fn(char) -> bool; 4] = [
        |_| false,
        |c| !c.is_ascii(),
        |c| matches!(c, '<' | '>' | '&' | '\'' | '\u{2028}' | '\u{2029}'),
        |c| c == '/' || !c.is_ascii(),
    ];
    for (is_more, is_upper) in more.into_iter().flat_map(|more| [(more, false), (more, true)]) {
        let once = json(secret, is_more, is_upper);
        // JSON within JSON, as protocols carry what tools print, and that once more.
        let twice = json(&once, |_| false, false);
        forms.push((SecretForm::Json, json(&twice, |_| false, false)));
        forms.push((SecretForm::Json, twice));
        forms.push((SecretForm::Json, once));
    }
    // RFC 3986's unreserved ones; with paths; encodeURIComponent; encodeURI; forms.
    for kept in ["-._~", "-._~/", "-._~!*'()", "-._~!*'();,/?:@&=+$#", "-._* "] {
        forms.extend([true, false].map(|is_upper| (SecretForm::Url, percent(secret, kept, is_upper))));
    }
    forms.extend([false, true].map(|is_upper| (SecretForm::Hex, hex(secret, is_upper))));
    for offset in 0..BLOCK_BYTES {
        let mut data = vec![0; offset];
        data.extend_from_slice(secret.as_bytes());
        // Characters that also depend on the bytes before or behind the secret are left out.
        let own = [0, 2, 3][offset]..data.len() * 8 / 6;
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push((SecretForm::Base64, engine.encode(&data)[own.clone()].to_owned()));
        }
    }
    forms.into_iter().map(|(form, text)| (form, Zeroizing::new(text.into_bytes()))).collect()
}

/// Text in hexadecimal.
fn hex(text: &str, is_upper: bool) -> String {
    let halves = text.bytes().flat_map(|byte| [byte >> 4, byte & 15]).map(u32::from);
    let digits = halves.map(|half| char::from_digit(half, 16).expect("half a byte is below 16"));
    digits.map(|digit| if is_upper { digit.to_ascii_uppercase() } else { digit }).collect()
}

/// Text as it stands between the quotes of a JSON string.
fn json(text: &str, is_more: fn(char) -> bool, is_upper: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '/' if is_more(c) => escaped.push_str("\\/"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{8}' => escaped.push_str("\\b"),
            '\u{c}' => escaped.push_str("\\f"),
            c if c < ' ' || is_more(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let escape = if is_upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
                    escaped.push_str(&escape);
                }
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text as it stands in a URL or a form, where a kept space is written `+`.
fn percent(text: &str, kept: &str, is_upper: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        let escape = |byte| if is_upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
        match char::from(byte) {
            ' ' if kept.contains(' ') => escaped.push('+'),
            c if c.is_ascii_alphanumeric() || (byte.is_ascii() && kept.contains(c)) => escaped.push(c),
            _ => escaped.push_str(&escape(byte)),
        }
    }
    escaped
}
