//! The folder of one run: its events, its report and a place for each agent's raw output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use aiswitch_agent::AgentId;
use aiswitch_lock::replace_file;

use crate::error::HomeError;
use crate::home::{FILE_MODE, make_folder};
use crate::{Home, RunEvent, RunId, RunReport};

/// The most that `events.jsonl` of one run may take, in bytes; later events are not kept.
pub const EVENTS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The folder of one run.
#[derive(Debug)]
pub(crate) struct Journal {
    home: Home,
    run: RunId,
    events: Option<File>,
    left_bytes: u64,
}

/// Why events are not kept any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JournalError {
    #[error("later events are not kept in `{path}`: it has reached {EVENTS_BYTES_MAX} bytes")]
    Full { path: PathBuf },
    #[error("later events are not kept in `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Journal {
    /// Makes the folder and its journal.
    pub(crate) fn create(home: Home, run: RunId) -> Result<Self, HomeError> {
        make_folder(&home.run_dir(&run))?;
        let path = home.events_file(&run);
        let events = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(HomeError::io("create", path))?;
        Ok(Self { home, run, events: Some(events), left_bytes: EVENTS_BYTES_MAX })
    }

    /// The home that it is in.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Takes the folder back, for a run that does not start.
    pub(crate) fn remove(&self) {
        // The error that keeps the run from starting says more than one of tidying up after it.
        drop(std::fs::remove_dir_all(self.home.run_dir(&self.run)));
    }

    /// Adds an event; after the first error nothing is added any more.
    pub(crate) fn add(&mut self, event: &RunEvent) -> Result<(), JournalError> {
        let Some(file) = &mut self.events else { return Ok(()) };
        let mut line = serde_json::to_vec(event).expect("an event has string keys and UTF-8 paths");
        line.push(b'\n');
        let path = || self.home.events_file(&self.run);
        let added = match self.left_bytes.checked_sub(line.len() as u64) {
            Some(left) => {
                self.left_bytes = left;
                file.write_all(&line).map_err(|source| JournalError::Write { path: path(), source })
            }
            None => Err(JournalError::Full { path: path() }),
        };
        if added.is_err() {
            self.events = None;
        }
        added
    }

    /// Makes the place for an agent's raw output.
    pub(crate) fn agent_dir(&self, agent: &AgentId) -> Result<PathBuf, HomeError> {
        let path = self.home.agent_dir(&self.run, agent);
        make_folder(&path).map(|()| path)
    }

    /// Keeps the report.
    pub(crate) fn keep(&self, report: &RunReport) -> Result<(), HomeError> {
        let path = self.home.report_file(&self.run);
        let mut text = serde_json::to_vec_pretty(report).expect("a report has string keys and UTF-8 paths");
        text.push(b'\n');
        replace_file(&path, &text, FILE_MODE).map_err(|source| HomeError::Replace { path, source })
    }
}
