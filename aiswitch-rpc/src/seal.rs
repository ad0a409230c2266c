//! The seal: a running number and a CRC-32C at the end of every message, so that loss, reordering, replay and
//! tampering are noticed.
//!
//! It is agreed upon with the request `rpc.integrity` (names that begin with `rpc.` are reserved for extensions by
//! JSON-RPC 2.0, section 8); a peer that does not know it answers −32601 and nothing changes. From the message after
//! the answer on, each side appends `,"rpc.seal":[N,"XXXXXXXX"]` as the last member: N counts that side's messages
//! from 1, and the sum (CRC-32C as in RFC 3720, section B.4) is taken over all bytes of the message before its own
//! digits. An array has no members, so a sealed connection carries no batches.

use std::fmt;

use crc32c::crc32c;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The request by which a seal is agreed upon.
pub(crate) const METHOD: &str = "rpc.integrity";
/// The params of that request, and the answer that accepts it or declines.
pub(crate) const OFFER: &str = r#"{"v":1,"alg":["crc32c"]}"#;
pub(crate) const ACCEPT: &str = r#"{"v":1,"alg":"crc32c"}"#;
pub(crate) const DECLINE: &str = r#"{"v":1,"alg":null}"#;

const VERSION: u64 = 1;
const ALGORITHM: &str = "crc32c";
const NUMBER_START: &str = r#","rpc.seal":["#;
/// `XXXXXXXX"]}`
const SUM_BYTES: usize = 11;

/// How a sealed message is not as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IntegrityFault {
    /// The message carries no seal.
    Missing,
    /// The bytes of the message are not those that were sent.
    Checksum,
    /// A message was lost, repeated or moved.
    Gap {
        /// The number that was due.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// The peer does not seal its messages although that is required here.
    Declined,
}

impl fmt::Display for IntegrityFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("a message carries no seal"),
            Self::Checksum => formatter.write_str("the checksum of a message is wrong"),
            Self::Gap { expected, found } => {
                write!(formatter, "message number {found} came where number {expected} was due")
            }
            Self::Declined => formatter.write_str("the peer declines to seal its messages"),
        }
    }
}

impl std::error::Error for IntegrityFault {}

/// Whether an offer names what this side can do.
pub(crate) fn is_acceptable(params: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Offer {
        v: u64,
        alg: Vec<String>,
    }
    let offer = params.and_then(|params| serde_json::from_str::<Offer>(params.get()).ok());
    offer.is_some_and(|offer| offer.v == VERSION && offer.alg.iter().any(|name| name == ALGORITHM))
}

/// Whether the answer to an offer accepts it.
pub(crate) fn is_accepted(result: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        v: u64,
        alg: Option<String>,
    }
    let answer = serde_json::from_str::<Answer>(result.get()).ok();
    answer.is_some_and(|answer| answer.v == VERSION && answer.alg.as_deref() == Some(ALGORITHM))
}

/// How many bytes a seal adds to a message.
pub(crate) fn seal_bytes(number: u64) -> usize {
    let digits = itoa::Buffer::new().format(number).len();
    NUMBER_START.len() + digits + 2 + SUM_BYTES - 1
}

/// Seals the message that stands in `out` from `from` on and ends with a brace.
pub(crate) fn append_seal(out: &mut Vec<u8>, from: usize, number: u64) {
    out.pop();
    out.extend_from_slice(NUMBER_START.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b",\"");
    let sum = crc32c(&out[from..]);
    let mut end = *b"XXXXXXXX\"]}";
    for (digit, shift) in end.iter_mut().zip((0..32).step_by(4).rev()) {
        *digit = b"0123456789abcdef"[(sum >> shift) as usize & 15];
    }
    out.extend_from_slice(&end);
}

/// Checks the seal of a message; gives the message up to its seal, without the closing brace.
pub(crate) fn check_seal(frame: &str, expected: u64) -> Result<&str, IntegrityFault> {
    let frame = frame.trim_ascii_end();
    let (signed, sum) = frame
        .len()
        .checked_sub(SUM_BYTES)
        .and_then(|at| frame.split_at_checked(at))
        .ok_or(IntegrityFault::Missing)?;
    let sum = sum.strip_suffix("\"]}");
    let sum = sum.filter(|digits| digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    let sum = sum.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or(IntegrityFault::Missing)?;
    let (message, number) = signed
        .strip_suffix(",\"")
        .and_then(|rest| rest.rsplit_once('['))
        .and_then(|(rest, number)| Some((rest.strip_suffix(r#","rpc.seal":"#)?, number)))
        .ok_or(IntegrityFault::Missing)?;
    if crc32c(signed.as_bytes()) != sum {
        return Err(IntegrityFault::Checksum);
    }
    let found: u64 = number.parse().map_err(|_no_number| IntegrityFault::Missing)?;
    if found != expected {
        return Err(IntegrityFault::Gap { expected, found });
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn a_seal_holds_only_on_its_own_message_at_its_own_place() {
        let mut out = br#"{"id":1}"#.to_vec();
        append_seal(&mut out, 0, 7);
        let sealed = String::from_utf8(out).unwrap();
        assert_eq!(sealed.len(), r#"{"id":1}"#.len() + seal_bytes(7));
        assert_eq!(check_seal(&sealed, 7), Ok(r#"{"id":1"#));
        assert_eq!(check_seal(&sealed, 8), Err(IntegrityFault::Gap { expected: 8, found: 7 }));
        assert_eq!(check_seal(&sealed.replace("id\":1", "id\":2"), 7), Err(IntegrityFault::Checksum));
        assert_eq!(check_seal(r#"{"id":1}"#, 7), Err(IntegrityFault::Missing));
        for cut in 0..sealed.len() {
            assert!(check_seal(&sealed[..cut], 7).is_err());
        }
    }
}
