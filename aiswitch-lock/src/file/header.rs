//! What a lock file holds: whether others wait, the fencing token, and who has the lock.
//!
//! | bytes | content | written by |
//! |---|---|---|
//! | 0..8 | `aislock1` | the holder |
//! | 8..16 | fencing token | the holder |
//! | 16..24 | the same with all bits turned, so that a torn or foreign value is noticed | the holder |
//! | 24..28 | length of the record | the holder |
//! | 28..36 | checksum of the record | the holder |
//! | 36.. | the record | the holder |
//! | 512 | a byte that is there while somebody waits in the queue | waiters; the holder, when the queue is empty |
//!
//! Numbers are little-endian. The file is written in place: it is not a store, and whatever it says about the holder is
//! to be shown, never to be acted on. Only the kernel's lock decides who has the lock; the record of a holder stays when
//! it lets go and nobody was seen to wait, for taking it away would make every release dearer by a fifth. Whether
//! somebody waits is told by the length of the file, for the check of the file's identity reports that as well, and to
//! ask for it alone costs less than to read a byte.

use std::io;
use std::time::Duration;

use crate::identity::{IDENTITY_TEXT_BYTES_MAX, Identity};
use crate::options::{OWNER_BYTES_MAX, PURPOSE_BYTES_MAX};
use crate::{HolderInfo, HolderProcess, LockFile, LockMode, LockOptions, clock};

const MAGIC: &[u8; 8] = b"aislock1";
/// Where the part that every acquire reads ends.
const HEAD_BYTES: usize = 24;
const RECORD_AT: usize = 36;
/// Six numbers, the mode, four texts and their lengths.
const RECORD_BYTES_MAX: usize =
    4 + 5 * 8 + 1 + 4 + 2 * IDENTITY_TEXT_BYTES_MAX + OWNER_BYTES_MAX + PURPOSE_BYTES_MAX;

/// Where the byte is that tells of waiters; the rest is shorter.
const WAITERS_AT: u64 = 512;
const _: () = assert!((RECORD_AT + RECORD_BYTES_MAX) as u64 <= WAITERS_AT, "a record ends before the mark");

/// The token of the last exclusive holder; `None` in a new file, and in one that something else has written to.
#[inline]
pub(crate) fn read_token(file: &LockFile) -> io::Result<Option<u64>> {
    let mut bytes = [0; HEAD_BYTES];
    file.read_at(&mut bytes, 0)?;
    let token = number(&bytes[8..16]);
    Ok((&bytes[..8] == MAGIC && number(&bytes[16..24]) == !token).then_some(token))
}

/// Whether a lock file of this length says that somebody waits.
#[inline]
pub(crate) fn tells_of_waiters(bytes: u64) -> bool {
    bytes > WAITERS_AT
}

/// Notes in a lock file whether somebody waits.
pub(crate) fn write_waiters(file: &LockFile, any: bool) -> io::Result<()> {
    if any { file.write_at(b"w", WAITERS_AT) } else { file.truncate(WAITERS_AT) }
}

/// Notes token and holder, and since when by the wall clock and since the machine was started.
#[inline]
pub(crate) fn write_holder(
    file: &LockFile,
    token: u64,
    (wall_ns, boot_ns): (u64, u64),
    identity: &Identity,
    options: &LockOptions,
) -> io::Result<()> {
    let mut bytes = [0; RECORD_AT + RECORD_BYTES_MAX];
    let mut record = Writer { bytes: &mut bytes, at: RECORD_AT };
    record.put(&identity.pid.to_le_bytes());
    for value in [identity.start, identity.boot, identity.namespace, wall_ns, boot_ns] {
        record.put(&value.to_le_bytes());
    }
    record.put(&[u8::from(options.mode == LockMode::Shared)]);
    for text in
        [Some(&identity.host), Some(&identity.program), options.owner.as_ref(), options.purpose.as_ref()]
    {
        let text = text.map_or("", String::as_str);
        record.put(&[u8::try_from(text.len()).expect("every text has at most 128 bytes")]);
        record.put(text.as_bytes());
    }
    let end = record.at;
    let length = u32::try_from(end - RECORD_AT).expect("a record has a few hundred bytes");
    let checksum = checksum(&bytes[RECORD_AT..end]);
    let mut head = Writer { bytes: &mut bytes, at: 0 };
    head.put(MAGIC);
    head.put(&token.to_le_bytes());
    head.put(&(!token).to_le_bytes());
    head.put(&length.to_le_bytes());
    head.put(&checksum.to_le_bytes());
    file.write_at(&bytes[..end], 0)
}

/// Takes the record away, so that nobody is misled while the next holder has not yet written its own.
pub(crate) fn clear_holder(file: &LockFile) -> io::Result<()> {
    file.write_at(&[0; 4], HEAD_BYTES as u64)
}

/// The last holder's record, and which process wrote it; `None` if there is none or it is being written.
///
/// What became of the process is not looked up.
pub(crate) fn read_holder(file: &LockFile, here: &Identity) -> io::Result<Option<(HolderInfo, Identity)>> {
    let mut bytes = [0; RECORD_AT + RECORD_BYTES_MAX];
    let filled = file.read_at(&mut bytes, 0)?;
    Ok(decode(&bytes[..filled], here))
}

fn decode(bytes: &[u8], here: &Identity) -> Option<(HolderInfo, Identity)> {
    let head = bytes.get(..RECORD_AT)?;
    let length = usize::try_from(u32::from_le_bytes(head[24..28].try_into().ok()?)).ok()?;
    let record = bytes.get(RECORD_AT..RECORD_AT.checked_add(length)?)?;
    if length == 0 || &head[..8] != MAGIC || number(&head[28..36]) != checksum(record) {
        return None;
    }
    let mut record = Reader(record);
    let pid = u32::from_le_bytes(record.take(4)?.try_into().ok()?);
    let [start, boot, namespace, wall_ns, boot_ns] =
        [record.number()?, record.number()?, record.number()?, record.number()?, record.number()?];
    let mode = if record.take(1)?[0] == 0 { LockMode::Exclusive } else { LockMode::Shared };
    let [host, program, owner, purpose] = [record.text()?, record.text()?, record.text()?, record.text()?];
    let writer = Identity {
        pid,
        start,
        boot,
        namespace,
        host: host.clone().unwrap_or_default(),
        program: program.clone().unwrap_or_default(),
    };
    let same_boot = here.boot == boot && here.host == writer.host;
    let held_for = same_boot.then(|| Duration::from_nanos(clock::boot_ns().saturating_sub(boot_ns)));
    let info = HolderInfo {
        pid,
        program,
        host,
        owner,
        purpose,
        mode,
        since: clock::wall_time(wall_ns),
        held_for,
        fencing_token: number(&head[8..16]),
        process: HolderProcess::Unknown,
    };
    Some((info, writer))
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes are passed"))
}

/// Tells a torn record from a whole one; it is no protection against forgery.
#[inline]
fn checksum(bytes: &[u8]) -> u64 {
    let add = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(bytes.len() as u64 + 1, |sum, word| add(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| add(sum, u64::from(*byte)))
}

struct Writer<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, part: &[u8]) {
        self.bytes[self.at..self.at + part.len()].copy_from_slice(part);
        self.at += part.len();
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(part)
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8).map(number)
    }

    /// A text; the inner `None` stands for an empty one.
    #[expect(clippy::option_option, reason = "the outer one says whether there is enough to read")]
    fn text(&mut self) -> Option<Option<String>> {
        let length = usize::from(self.take(1)?[0]);
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        Some((!text.is_empty()).then(|| text.to_owned()))
    }
}
