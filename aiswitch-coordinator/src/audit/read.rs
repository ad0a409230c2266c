//! Reading the audit log: its lines, and whether it is whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chain::{AuditFault, AuditLine, Link};
use crate::Home;
use crate::error::HomeError;

/// The longest line, in bytes: each of its texts at its longest, with every character escaped, and room for the rest.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// How much is read at once, in bytes.
const READ_BYTES: usize = 256 * 1024;

/// How far the log reaches, as `audit.head` keeps it apart from the lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Head {
    /// The number of the last line.
    pub(crate) seq: u64,
    /// Its hash.
    pub(crate) hash: String,
    /// The number of the first line of the file that it stands in.
    pub(crate) file: u64,
    /// Where it ends in that file, in bytes.
    pub(crate) bytes: u64,
}

impl Head {
    fn of(link: &Link, file: u64, bytes: u64) -> Self {
        Self { seq: link.seq, hash: link.hash().to_owned(), file, bytes }
    }

    /// The one way in which it is written.
    pub(crate) fn text(&self) -> String {
        let text = serde_json::to_string(self).expect("a head has string keys and texts");
        format!("{text}\n")
    }

    /// The head that a text is; `None` for one that is not as it was written.
    fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|head: &Self| head.text() == text)
    }
}

/// The end of a log, where the next line goes.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) head: Head,
    pub(crate) link: Link,
    /// How much stands behind the last whole line, in bytes.
    pub(crate) torn_bytes: u64,
}

impl Tail {
    pub(crate) fn of_new_log() -> Self {
        Self { head: Head::of(&Link::START, 1, 0), link: Link::START, torn_bytes: 0 }
    }

    /// The end of a home's log, which lines that were written after the last head belong to; `None` without a log.
    pub(crate) fn find(home: &Home) -> Result<Option<Self>, HomeError> {
        let log = AuditLog::new(home);
        let files = log.files()?;
        let head = match (log.head()?, files.as_slice()) {
            (HeadFile::Missing, []) => return Ok(None),
            (HeadFile::Missing | HeadFile::Damaged, _) => return Err(AuditBreak::of_head(home).into()),
            (HeadFile::Whole(head), _) => head,
        };
        let mut link = log.link_at(&head)?;
        let newer = files.into_iter().filter(|file| *file > head.file);
        let (mut tail, mut from) = (None, head.bytes);
        for file in std::iter::once(head.file).chain(newer) {
            let path = home.audit_file(file);
            let walked = walk(&path, from, link, |_, _| {})?;
            match walked.fault {
                None | Some((_, AuditFault::Torn)) => {}
                Some((line, fault)) => return Err(AuditBreak { path, line, fault }.into()),
            }
            let head = Head::of(&walked.link, file, walked.bytes);
            link = walked.link.clone();
            tail = Some(Self { head, link: walked.link, torn_bytes: walked.torn_bytes });
            from = 0;
        }
        Ok(tail)
    }
}

/// Where a log is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditBreak {
    /// The file.
    pub path: PathBuf,
    /// The first bad line, from 1; one behind the last where lines are gone.
    pub line: u64,
    /// What is wrong there.
    #[serde(flatten)]
    pub fault: AuditFault,
}

impl AuditBreak {
    fn of_head(home: &Home) -> Self {
        Self { path: home.audit_head_file(), line: 1, fault: AuditFault::Head }
    }
}

impl From<AuditBreak> for HomeError {
    fn from(AuditBreak { path, line, fault }: AuditBreak) -> Self {
        Self::AuditBroken { path, line, fault }
    }
}

/// Whether a log is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditVerdict {
    /// How many files it has.
    pub files: usize,
    /// How many lines are good, up to the first bad one.
    pub lines: u64,
    /// The hash of the last good line, to be kept elsewhere; `None` without a line.
    pub hash: Option<String>,
    /// The first thing that is wrong; `None` for a log that is whole.
    pub broken: Option<AuditBreak>,
}

/// The audit log of a home, for those who look back.
#[derive(Clone, Copy, Debug)]
pub struct AuditLog<'a> {
    home: &'a Home,
}

/// What `audit.head` is.
enum HeadFile {
    Missing,
    Damaged,
    Whole(Head),
}

impl<'a> AuditLog<'a> {
    pub(crate) fn new(home: &'a Home) -> Self {
        Self { home }
    }

    /// Checks every line against its hash, the line before it and the head.
    ///
    /// Any byte that was changed, and any line that was taken out, moved or cut off at the end is found. A log that was
    /// written anew from its first line on is whole: compare the hash of its end with one that was kept elsewhere.
    ///
    /// # Errors
    /// A file cannot be read; what is wrong with its lines is in the verdict.
    pub fn verify(self) -> Result<AuditVerdict, HomeError> {
        // The head first: what is written meanwhile lies beyond it.
        let head = self.head()?;
        let files = self.files()?;
        let head = match head {
            HeadFile::Whole(head) => Some(head),
            HeadFile::Missing if files.is_empty() => {
                return Ok(AuditVerdict { files: 0, lines: 0, hash: None, broken: None });
            }
            HeadFile::Missing | HeadFile::Damaged => None,
        };
        let verdict = |link: &Link, broken| AuditVerdict {
            files: files.len(),
            lines: link.seq,
            hash: (link.seq > 0).then(|| link.hash().to_owned()),
            broken,
        };
        let head_seq = head.as_ref().map_or(0, |head| head.seq);
        let mut link = Link::START;
        let mut at_head = Head::of(&link, 1, 0);
        let (mut path, mut lines) = (self.home.audit_file(1), 0);
        for file in &files {
            path = self.home.audit_file(*file);
            let walked = walk(&path, 0, link, |link, bytes| {
                if link.seq == head_seq {
                    at_head = Head::of(link, *file, bytes);
                }
            })?;
            if let Some((line, fault)) = walked.fault {
                return Ok(verdict(&walked.link, Some(AuditBreak { path, line, fault })));
            }
            (link, lines) = (walked.link, walked.lines);
        }
        let broken = match head {
            Some(head) if head.seq > link.seq => {
                let fault = AuditFault::Truncated { count: head.seq - link.seq };
                Some(AuditBreak { path, line: lines + 1, fault })
            }
            Some(head) if head == at_head => None,
            _ => Some(AuditBreak::of_head(self.home)),
        };
        Ok(verdict(&link, broken))
    }

    /// The lines, in order; whether they are as they were written says [`verify`](Self::verify).
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn lines(self) -> Result<impl Iterator<Item = Result<AuditLine, HomeError>>, HomeError> {
        let paths: Vec<PathBuf> = self.files()?.into_iter().map(|file| self.home.audit_file(file)).collect();
        Ok(paths.into_iter().flat_map(|path| typed_lines(&path).unwrap_or_else(|error| vec![Err(error)])))
    }

    /// The files, each by the number of its first line, in order.
    fn files(self) -> Result<Vec<u64>, HomeError> {
        let path = self.home.audit_dir();
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(HomeError::io("read the folder", path)(error)),
        };
        let mut files = entries
            .map(|entry| Ok(entry?.file_name().to_str().and_then(Home::audit_file_number)))
            .filter_map(Result::transpose)
            .collect::<io::Result<Vec<u64>>>()
            .map_err(HomeError::io("read the folder", path))?;
        files.sort_unstable();
        Ok(files)
    }

    fn head(self) -> Result<HeadFile, HomeError> {
        let path = self.home.audit_head_file();
        match std::fs::read(&path) {
            Ok(bytes) => {
                let head = std::str::from_utf8(&bytes).ok().and_then(Head::read);
                Ok(head.map_or(HeadFile::Damaged, HeadFile::Whole))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HeadFile::Missing),
            Err(error) => Err(HomeError::io("read", path)(error)),
        }
    }

    /// The link behind the line that a head names, which must stand where the head says.
    fn link_at(self, head: &Head) -> Result<Link, HomeError> {
        let path = self.home.audit_file(head.file);
        let line = head.seq.saturating_sub(head.file) + 1;
        let broken = |fault| HomeError::from(AuditBreak { path: path.clone(), line, fault });
        let link = Link::from_head(head.seq, &head.hash).ok_or(AuditBreak::of_head(self.home))?;
        if head.bytes == 0 {
            return if link == Link::START { Ok(link) } else { Err(AuditBreak::of_head(self.home).into()) };
        }
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&path)?;
            let from = head.bytes.saturating_sub(LINE_BYTES_MAX);
            file.seek(SeekFrom::Start(from))?;
            let mut end = Vec::new();
            file.take(head.bytes - from).read_to_end(&mut end)?;
            Ok(end)
        };
        let end = match read() {
            Ok(end) => end,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(HomeError::io("read", &path)(error)),
        };
        if (end.len() as u64) < head.bytes.min(LINE_BYTES_MAX) {
            return Err(broken(AuditFault::Truncated { count: 1 }));
        }
        let line = end.strip_suffix(b"\n").and_then(|end| end.rsplit(|byte| *byte == b'\n').next());
        match line {
            Some(line) if link.is_behind(line) => Ok(link),
            _ => Err(broken(AuditFault::Changed)),
        }
    }
}

/// The lines of one file; half a line at the end, which a writer has not ended or was killed in, is none.
fn typed_lines(path: &Path) -> Result<Vec<Result<AuditLine, HomeError>>, HomeError> {
    let bytes = std::fs::read(path).map_err(HomeError::io("read", path))?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"));
    let damaged = |at, source| HomeError::Damaged { path: path.to_owned(), line: at + 1, source };
    Ok(lines
        .enumerate()
        .map(|(at, line)| serde_json::from_slice(line).map_err(|source| damaged(at, source)))
        .collect())
}

/// How far a file continues the chain.
struct Walked {
    link: Link,
    /// How many lines were good.
    lines: u64,
    /// Where the last good line ends, in bytes from the start of the file.
    bytes: u64,
    /// How much half a line at the end takes, in bytes.
    torn_bytes: u64,
    /// The first bad line, from 1 where the walk began, and what is wrong with it.
    fault: Option<(u64, AuditFault)>,
}

/// Follows the chain through a file from some byte on; `seen` is given each good line's link and where it ends.
fn walk(path: &Path, from: u64, link: Link, mut seen: impl FnMut(&Link, u64)) -> Result<Walked, HomeError> {
    let unreadable = || HomeError::io("read", path);
    let mut walked = Walked { link, lines: 0, bytes: from, torn_bytes: 0, fault: None };
    let mut file = match File::open(path) {
        Ok(file) => file,
        // The first file of a log, or the next one, whose writer was killed before it made it.
        Err(error) if error.kind() == io::ErrorKind::NotFound && from == 0 => return Ok(walked),
        Err(error) => return Err(unreadable()(error)),
    };
    file.seek(SeekFrom::Start(from)).map_err(unreadable())?;
    let mut reader = BufReader::with_capacity(READ_BYTES, file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(unreadable())?;
        let followed = match line.strip_suffix(b"\n") {
            _ if read == 0 => return Ok(walked),
            Some(line) => walked.link.follow(line),
            None if (read as u64) < LINE_BYTES_MAX => {
                walked.torn_bytes = read as u64;
                Err(AuditFault::Torn)
            }
            None => Err(AuditFault::Form),
        };
        match followed {
            Ok(link) => {
                walked.link = link;
                walked.lines += 1;
                walked.bytes += read as u64;
                seen(&walked.link, walked.bytes);
            }
            Err(fault) => {
                walked.fault = Some((walked.lines + 1, fault));
                return Ok(walked);
            }
        }
    }
}
