//! The chain of audit lines: each holds the hash of the one before it, and its own.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::AuditDecision;

/// How long a hash is as it is written: SHA-256 in lowercase hexadecimal digits.
const HASH_CHARS: usize = 64;

/// What stands before the hash at the end of a line.
const HASH_KEY: &[u8] = b",\"hash\":\"";

/// What stands behind it.
const HASH_END: &[u8] = b"\"}";

/// What stands before the hash of the line before.
const PREV_KEY: &[u8] = b",\"prev\":\"";

/// What a line begins with.
const SEQ_KEY: &[u8] = b"{\"seq\":";

/// A line of the audit log.
///
/// Its hash is the SHA-256 of the line's own bytes before `,"hash":`, to which `prev` belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditLine {
    /// Its number, from 1, without gaps over all files.
    pub seq: u64,
    /// When it was written.
    #[serde(rename = "ts")]
    pub at: DateTime<Utc>,
    /// Which start of the system it was written in; `None` where the system does not tell.
    pub boot_id: Option<String>,
    /// Who acted: `operator`, or `agent:NAME`.
    pub actor: String,
    /// What the actor was heard through: `command-line`, `caller` or `adapter`.
    pub channel: String,
    /// What was to be done, such as `secrets.set`, or the name of a protocol's method.
    pub action: String,
    /// What it was to be done to.
    pub object: String,
    /// Whether it was allowed.
    pub decision: AuditDecision,
    /// What else there is to know.
    pub detail: Option<String>,
    /// The hash of the line before it; 64 zeros for the first.
    pub prev: String,
    /// Its own hash.
    pub hash: String,
}

/// A place in the chain: the number and the hash of the last line before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) seq: u64,
    hash: [u8; HASH_CHARS],
}

/// Why a line, or the head, does not continue the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum AuditFault {
    /// It is not written as lines of this log are.
    Form,
    /// It is not as it was written: its hash is another.
    Changed,
    /// Lines before it are gone.
    Missing {
        /// How many.
        count: u64,
    },
    /// It stands behind lines that were written after it.
    Order {
        /// Its number.
        seq: u64,
    },
    /// It continues another log than this one.
    Foreign,
    /// The last lines are gone.
    Truncated {
        /// How many.
        count: u64,
    },
    /// It is half a line, which a writer that was killed left; the next writer takes it away.
    Torn,
    /// `audit.head`, which says how far the log reaches, is missing or not as it was written.
    Head,
}

impl fmt::Display for AuditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str("it is no line of an audit log"),
            Self::Changed => f.write_str("it was changed after it was written"),
            Self::Missing { count } => write!(f, "lines before it are gone: {count}"),
            Self::Order { seq } => write!(f, "it is line {seq} of the log, and stands behind later ones"),
            Self::Foreign => f.write_str("it continues another log"),
            Self::Truncated { count } => write!(f, "lines from here on are gone: {count}"),
            Self::Torn => f.write_str("it is half a line, which a writer that was killed left"),
            Self::Head => f.write_str("it is missing, or was changed after it was written"),
        }
    }
}

impl Link {
    /// Where a log begins.
    pub(crate) const START: Self = Self { seq: 0, hash: [b'0'; HASH_CHARS] };

    /// The link with this number and hash, as a head has them.
    pub(crate) fn from_head(seq: u64, hash: &str) -> Option<Self> {
        Some(Self { seq, hash: hash.as_bytes().try_into().ok()? })
    }

    /// The hash, as it is written.
    pub(crate) fn hash(&self) -> &str {
        std::str::from_utf8(&self.hash).expect("hexadecimal digits")
    }

    /// Whether this is the link behind a line, which comes without its line feed.
    pub(crate) fn is_behind(&self, line: &[u8]) -> bool {
        split_hash(line, HASH_KEY, HASH_END).is_some_and(|(hashed, hash)| {
            number(hashed) == Some(self.seq) && hash == self.hash && digest(hashed) == self.hash
        })
    }

    /// Writes the line that comes next, without its line feed; its `seq`, `prev` and `hash` are filled in.
    pub(crate) fn write(&self, mut line: AuditLine) -> (Vec<u8>, Self) {
        line.seq = self.seq + 1;
        self.hash().clone_into(&mut line.prev);
        line.hash.clear();
        let mut bytes = serde_json::to_vec(&line).expect("a line has string keys and texts");
        bytes.truncate(bytes.len() - HASH_END.len() - HASH_KEY.len());
        let next = Self { seq: line.seq, hash: digest(&bytes) };
        bytes.extend_from_slice(HASH_KEY);
        bytes.extend_from_slice(&next.hash);
        bytes.extend_from_slice(HASH_END);
        (bytes, next)
    }

    /// The link behind a line, which comes without its line feed, if the line continues the chain here.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) fn follow(&self, line: &[u8]) -> Result<Self, AuditFault> {
        let (hashed, hash) = split_hash(line, HASH_KEY, HASH_END).ok_or(AuditFault::Form)?;
        let next = Self { seq: number(hashed).ok_or(AuditFault::Form)?, hash: digest(hashed) };
        if hash != next.hash {
            return Err(AuditFault::Changed);
        }
        let (_, prev) = split_hash(hashed, PREV_KEY, b"\"").ok_or(AuditFault::Form)?;
        let expected = self.seq + 1;
        if next.seq > expected {
            Err(AuditFault::Missing { count: next.seq - expected })
        } else if next.seq < expected {
            Err(AuditFault::Order { seq: next.seq })
        } else if prev != self.hash {
            Err(AuditFault::Foreign)
        } else {
            Ok(next)
        }
    }
}

/// What stands before a key at the end of a line, and the hash that stands behind the key.
fn split_hash<'l>(line: &'l [u8], key: &[u8], end: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    let (rest, hash) = line.strip_suffix(end)?.split_last_chunk::<HASH_CHARS>()?;
    Some((rest.strip_suffix(key)?, hash))
}

/// The number that a line begins with.
fn number(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(SEQ_KEY)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

fn digest(bytes: &[u8]) -> [u8; HASH_CHARS] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash = [0; HASH_CHARS];
    for (pair, byte) in hash.chunks_exact_mut(2).zip(Sha256::digest(bytes)) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
    }
    hash
}
