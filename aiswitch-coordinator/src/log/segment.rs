//! The files of one log: the one that is written, and those that were put away.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aiswitch_agent::AgentId;
use chrono::{DateTime, NaiveDateTime, Utc};

use super::line::{HEAD_BYTES, head, times};
use super::packed::{Frame, end_of, frames};
use super::record::{LOG_LINE_BYTES_MAX, TIME_BYTES};
use crate::{Home, HomeError};

/// How the time of its first line stands in the name of a file that was put away.
const STAMP: &str = "%Y%m%dT%H%M%S%.3fZ";

/// How long a stamp is.
const STAMP_BYTES: usize = 20;

/// How the frame begins that says up to when a packed file without a table reaches: its magic number and its length.
const FRAME_START: [u8; 8] = [0x5A, 0x2A, 0x4D, 0x18, 24, 0, 0, 0];

/// How often the files of a log are listed until none is put away meanwhile.
const LISTINGS_MAX: usize = 32;

/// What a log is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogSource {
    /// Runs as a whole.
    Coordinator,
    /// One agent, in all its runs.
    Agent(AgentId),
    /// Samples and alerts.
    Metrics,
}

impl LogSource {
    /// The name of its files, up to the stamp.
    pub(crate) fn stem(&self) -> &str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Agent(agent) => agent.as_ref(),
            Self::Metrics => "metrics",
        }
    }

    /// The folder of its files.
    pub(crate) fn folder(&self, home: &Home) -> PathBuf {
        match self {
            Self::Coordinator => home.logs_dir(),
            Self::Agent(_) => home.logs_dir().join("agents"),
            Self::Metrics => home.logs_dir().join("metrics"),
        }
    }

    /// The file that is written.
    pub fn path(&self, home: &Home) -> PathBuf {
        self.folder(home).join(format!("{}.log", self.stem()))
    }

    /// All logs that a home has.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn all(home: &Home) -> Result<Vec<Self>, HomeError> {
        let mut sources = vec![Self::Coordinator];
        for name in names(&home.logs_dir().join("agents"))? {
            let agent = split(&name).and_then(|(stem, ..)| stem.parse().ok());
            sources.extend(agent.map(Self::Agent));
        }
        sources.push(Self::Metrics);
        sources.sort();
        sources.dedup();
        Ok(sources)
    }

    /// Its files, the oldest first; the one that is written is the last.
    pub(crate) fn segments(&self, home: &Home) -> Result<Vec<Segment>, HomeError> {
        let folder = self.folder(home);
        let mut segments: Vec<Segment> = names(&folder)?
            .iter()
            .filter_map(|name| match split(name)? {
                (stem, first, form) if stem == self.stem() => {
                    let path = folder.join(name);
                    Some(Segment { first: first.or_else(|| first_time(&path)), path, form, written: None })
                }
                _ => None,
            })
            .collect();
        segments.sort_by(|a, b| {
            (a.form == Form::Written, a.first, a.form).cmp(&(b.form == Form::Written, b.first, b.form))
        });
        // Between its being complete and the removal of what it was made of, a file is there twice.
        segments.dedup_by(|later, kept| {
            later.first == kept.first && later.form == Form::Plain && kept.form == Form::Packed
        });
        Ok(segments)
    }

    /// Its files at one moment, the one that is written opened: what is put away then is no other file than that.
    pub(crate) fn settled(&self, home: &Home) -> Result<Vec<Segment>, HomeError> {
        let path = self.path(home);
        for _ in 0..LISTINGS_MAX {
            let file = match File::open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                file => Some(Arc::new(file.map_err(HomeError::io("open", &path))?)),
            };
            let mut segments = self.segments(home)?;
            let last = segments.last_mut().filter(|segment| segment.form == Form::Written);
            match (file, last) {
                (None, None) => return Ok(segments),
                (Some(file), Some(last)) if is_at(&file, &path) => {
                    let bytes = file.metadata().map_err(HomeError::io("look at", &path))?.len();
                    last.written = Some(Written { file, bytes });
                    return Ok(segments);
                }
                _ => {}
            }
        }
        let folder = self.folder(home);
        Err(HomeError::io("list the logs of", folder)(ErrorKind::ResourceBusy.into()))
    }

    /// Its files, and up to when each reaches.
    pub(crate) fn ended_segments(&self, home: &Home) -> Result<Vec<Ended>, HomeError> {
        Ok(Ended::all(self.segments(home)?, |_| true))
    }
}

/// One file of a log, and up to when it reaches.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) segment: Segment,
    /// The time of its last line; `None` while it is written, and where it is not known.
    pub(crate) last: Option<DateTime<Utc>>,
    /// The frames of a packed one; `None` for one that does not tell them.
    pub(crate) frames: Option<Vec<Frame>>,
}

impl Ended {
    /// Those of all files of a log that are wanted.
    pub(crate) fn all(segments: Vec<Segment>, is_wanted: impl Fn(&Segment) -> bool) -> Vec<Self> {
        let next: Vec<_> = segments.iter().skip(1).map(|next| next.first).chain([None]).collect();
        let segments = segments.into_iter().zip(next).filter(|(segment, _)| is_wanted(segment));
        segments.map(|(segment, next)| Self::of(segment, next)).collect()
    }

    fn of(segment: Segment, next: Option<DateTime<Utc>>) -> Self {
        let (last, frames) = match segment.form {
            Form::Written => (None, None),
            // One that does not say its end reaches up to the next one, unless the clock was set back.
            Form::Packed => {
                let frames = File::open(&segment.path).and_then(|file| frames(&file)).ok().flatten();
                let last = frames.as_deref().map_or_else(|| packed_end(&segment.path), end_of);
                (last.or(next), frames)
            }
            Form::Plain => (last_time(&segment.path).or(next), None),
        };
        Self { segment, last, frames }
    }
}

/// One file of a log.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// The time of its first line; `None` while it has none.
    pub(crate) first: Option<DateTime<Utc>>,
    pub(crate) form: Form,
    /// How the one that is written was at the moment of a search.
    pub(crate) written: Option<Written>,
}

/// The file that is written, up to a place.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) file: Arc<File>,
    pub(crate) bytes: u64,
}

/// How a file of a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// Put away and compressed.
    Packed,
    /// Put away, and not compressed yet.
    Plain,
    /// The one that is written.
    Written,
}

/// The name of a file that is put away.
pub(crate) fn stamped(stem: &str, first: DateTime<Utc>) -> String {
    format!("{stem}-{}.log", first.format(STAMP))
}

/// The parts of the name of a log's file: stem, time of the first line, form; `None` for other files.
fn split(name: &str) -> Option<(&str, Option<DateTime<Utc>>, Form)> {
    let (rest, form) = match name.strip_suffix(".log.zst") {
        Some(rest) => (rest, Form::Packed),
        None => (name.strip_suffix(".log")?, Form::Plain),
    };
    let stamp = rest.len().checked_sub(STAMP_BYTES).filter(|at| rest.is_char_boundary(*at));
    let first = stamp
        .and_then(|at| NaiveDateTime::parse_from_str(&rest[at..], STAMP).ok())
        .map(|time| time.and_utc());
    match (first, form) {
        (Some(first), form) => Some((rest[..rest.len() - STAMP_BYTES].strip_suffix('-')?, Some(first), form)),
        (None, Form::Plain) if !rest.starts_with('.') => Some((rest, None, Form::Written)),
        (None, _) => None,
    }
}

/// The time of the first line of a file; `None` if it has none.
pub(crate) fn first_time(path: &Path) -> Option<DateTime<Utc>> {
    let mut start = [0; HEAD_BYTES];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).ok()?;
    time_of(head(&start)?.0)
}

/// The time of the last lines of a file; `None` if it has none.
fn last_time(path: &Path) -> Option<DateTime<Utc>> {
    let file = File::open(path).ok()?;
    latest_before(&file, file.metadata().ok()?.len()).ok()?
}

/// The latest time of the last lines before a place of a file; `None` if there is none.
pub(crate) fn latest_before(file: &File, place: u64) -> io::Result<Option<DateTime<Utc>>> {
    // Two of the longest lines: one of them is whole.
    let start = place.saturating_sub(2 * LOG_LINE_BYTES_MAX as u64);
    let mut end = vec![0; usize::try_from(place - start).expect("it is small")];
    file.read_exact_at(&mut end, start)?;
    Ok(times(&end).max().and_then(time_of))
}

fn time_of(text: &[u8]) -> Option<DateTime<Utc>> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The time of the last line of a packed file without a table, as such files had it in a skippable frame at their end.
fn packed_end(path: &Path) -> Option<DateTime<Utc>> {
    let file = File::open(path).ok()?;
    let mut end = [0; FRAME_START.len() + TIME_BYTES];
    let place = file.metadata().ok()?.len().checked_sub(end.len() as u64)?;
    file.read_exact_at(&mut end, place).ok()?;
    time_of(end.strip_prefix(&FRAME_START)?)
}

/// Whether a path leads to this file.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(there)) => identity(open) == identity(there),
        _ => false,
    }
}

/// The names in a folder; one that is not there has none.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, HomeError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(HomeError::io("read the folder", folder))?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().into_string().ok()))
        .filter_map(Result::transpose)
        .collect::<io::Result<_>>()
        .map_err(HomeError::io("read the folder", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_tells_its_log_its_first_line_and_its_form() {
        let first: DateTime<Utc> = "2026-11-23T10:15:00.123Z".parse().unwrap();
        let name = stamped("gpt-5", first);
        assert_eq!(name, "gpt-5-20261123T101500.123Z.log");
        assert_eq!(split(&name), Some(("gpt-5", Some(first), Form::Plain)));
        assert_eq!(split(&format!("{name}.zst")), Some(("gpt-5", Some(first), Form::Packed)));
        assert_eq!(split("gpt-5.log"), Some(("gpt-5", None, Form::Written)));
        for other in [".gpt-5.log", "gpt-5.log.zst", "gpt-5.txt", "ä.zst", &format!(".{name}.zst.tmp")] {
            assert_eq!(split(other), None, "{other}");
        }
    }
}
