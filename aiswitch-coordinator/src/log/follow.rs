//! The lines that come while somebody looks on.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use memchr::memrchr;

use super::filter::{Filter, Judgement};
use super::query::LogQuery;
use super::search::{LogLine, LogSearch};
use super::segment::{Form, LogSource};
use crate::Home;
use crate::error::HomeError;

/// Follows the logs of a home: first what is there, then what comes.
#[derive(Debug)]
pub struct LogFollow {
    home: Home,
    query: LogQuery,
    files: BTreeMap<LogSource, Followed>,
}

/// A file that is written, read up to a place.
#[derive(Debug)]
struct Followed {
    file: File,
    /// What was read of a line whose end has not come yet.
    rest: Vec<u8>,
}

impl LogFollow {
    /// Hands out the lines that are there, and follows the logs from then on.
    ///
    /// # Errors
    /// A folder of logs cannot be read.
    pub fn start(
        home: &Home,
        query: LogQuery,
        each: impl FnMut(LogLine) -> ControlFlow<()>,
    ) -> Result<(Self, LogSearch), HomeError> {
        let (mut files, mut searched) = (BTreeMap::new(), Vec::new());
        for source in query.sources(home)? {
            let mut segments = query.segments(home, &source)?;
            let last = segments.last_mut().map(|ended| &mut ended.segment);
            if let Some(written) = last.filter(|segment| segment.form == Form::Written) {
                let file =
                    Followed::open_at_end(&written.path).map_err(HomeError::io("read", &written.path))?;
                written.bytes_max = Some(file.length().map_err(HomeError::io("look at", &written.path))?);
                files.insert(source.clone(), file);
            }
            searched.push((source, segments));
        }
        let found = LogSearch::files(searched, &query, each);
        Ok((Self { home: home.clone(), query, files }, found))
    }

    /// The lines that came since the last call, each log in its order.
    ///
    /// # Errors
    /// A log cannot be read.
    pub fn more(&mut self) -> Result<Vec<LogLine>, HomeError> {
        let sources = self.query.sources(&self.home)?;
        let mut come = Vec::new();
        for source in sources {
            let path = source.path(&self.home);
            let bytes = self.come(&source).map_err(HomeError::io("read", path))?;
            come.push((source, bytes));
        }
        let filter = Filter::new(&self.query);
        let mut lines = Vec::new();
        for (source, come) in come {
            for line in come.split(|byte| *byte == b'\n') {
                if let Judgement::Fits { text, .. } = filter.judge(line) {
                    lines.push(LogLine { source: source.clone(), text: text.to_owned() });
                }
            }
        }
        Ok(lines)
    }

    /// The whole lines that came to one log.
    fn come(&mut self, source: &LogSource) -> io::Result<Vec<u8>> {
        let path = source.path(&self.home);
        let mut come = Vec::new();
        if let Some(followed) = self.files.get_mut(source) {
            followed.read_lines(&mut come)?;
            let there = match fs::metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(come),
                there => there?,
            };
            let open = followed.file.metadata()?;
            if (there.dev(), there.ino()) == (open.dev(), open.ino()) {
                return Ok(come);
            }
            // What was written between the read and the look at the path.
            followed.read_lines(&mut come)?;
        }
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            file => {
                let mut followed = Followed { file: file?, rest: Vec::new() };
                followed.read_lines(&mut come)?;
                self.files.insert(source.clone(), followed);
            }
        }
        Ok(come)
    }
}

impl Followed {
    fn open_at_end(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, rest: Vec::new() })
    }

    fn length(&self) -> io::Result<u64> {
        (&self.file).stream_position()
    }

    fn read_lines(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        self.file.read_to_end(&mut self.rest)?;
        let whole = memrchr(b'\n', &self.rest).map_or(0, |end| end + 1);
        lines.extend(self.rest.drain(..whole));
        Ok(())
    }
}
