//! The runs that a home keeps, for those who look back.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::error::HomeError;
use crate::home::FILE_MODE;
use crate::run_store::{RunState, RunStore, SqliteRunStore};
use crate::state::TASKS_KEPT_MAX;
use crate::{AgentRecord, Home, RunEvent, RunId, RunRecordSummary, RunReport};

/// The runs that a home keeps, for those who look back.
#[derive(Clone, Copy, Debug)]
pub struct Runs<'a> {
    home: &'a Home,
}

impl<'a> Runs<'a> {
    pub(crate) fn new(home: &'a Home) -> Self {
        Self { home }
    }

    /// The last runs, at most [`TASKS_KEPT_MAX`](crate::TASKS_KEPT_MAX), the latest first.
    ///
    /// A run whose process is gone without having ended it is [`Interrupted`](RunState::Interrupted).
    ///
    /// # Errors
    /// The database is damaged or cannot be read; a home without one has no runs.
    pub fn list(self) -> Result<Vec<RunRecordSummary>, HomeError> {
        let Some(store) = self.store()? else { return Ok(Vec::new()) };
        let mut runs = store.runs(TASKS_KEPT_MAX)?;
        for run in runs.iter_mut().filter(|run| run.is_left()) {
            run.status = RunState::Interrupted;
        }
        Ok(runs)
    }

    /// The agents that work now, in all runs of this home.
    ///
    /// # Errors
    /// The database is damaged or cannot be read; a home without one has no agents at work.
    pub fn agents_at_work(self) -> Result<Vec<AgentRecord>, HomeError> {
        let Some(store) = self.store()? else { return Ok(Vec::new()) };
        let mut agents = store.agents()?;
        agents.retain(|agent| agent.process.is_there());
        Ok(agents)
    }

    /// The store of this home; `None` before its first run.
    fn store(self) -> Result<Option<SqliteRunStore>, HomeError> {
        self.home.check()?;
        let path = self.home.runs_file();
        Ok(path.exists().then(|| SqliteRunStore::at(path)))
    }

    /// The run that is meant: `last`, a whole name, or the start of one that fits no other.
    ///
    /// # Errors
    /// No run is kept, none or several are meant, the folder of runs cannot be read, or others could change what the run has kept.
    pub fn resolve(self, wanted: &str) -> Result<RunId, HomeError> {
        let start = if wanted == "last" { String::new() } else { wanted.to_ascii_uppercase() };
        let mut found: Vec<RunId> = self.folders()?;
        found.retain(|run| run.to_string().starts_with(&start));
        found.sort_by_key(|run| std::cmp::Reverse(*run));
        let run = match found.as_slice() {
            [only] => *only,
            [last, ..] if wanted == "last" => *last,
            [first, second, ..] if !wanted.is_empty() => {
                return Err(HomeError::Ambiguous {
                    wanted: wanted.escape_default().to_string(),
                    count: found.len(),
                    first: *first,
                    second: *second,
                });
            }
            [] if wanted == "last" => return Err(HomeError::NoRuns),
            _ => return Err(HomeError::NoRun { wanted: wanted.escape_default().to_string() }),
        };
        self.home.check_run(&run).map(|()| run)
    }

    /// The report of a run that ended.
    ///
    /// # Errors
    /// It has none, since the run goes on or was interrupted; or it is damaged or cannot be read.
    pub fn read(self, run: &RunId) -> Result<RunReport, HomeError> {
        self.home.check_run(run)?;
        let path = self.home.report_file(run);
        let text = std::fs::read_to_string(&path).map_err(HomeError::io("read", &path))?;
        serde_json::from_str(&text).map_err(|source| HomeError::Damaged { path, line: source.line(), source })
    }

    /// Asks the process that does a run to cancel it.
    ///
    /// That process looks every second whether it was asked, by a file in the run's folder; the run's report then says that it
    /// was cancelled. A run that waits for locks ends once it has them. One that has ended stays as it is.
    ///
    /// # Errors
    /// The file cannot be written, or others could change what the run has kept.
    pub fn cancel(self, run: &RunId) -> Result<(), HomeError> {
        self.home.check_run(run)?;
        let path = self.home.cancel_file(run);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .map(drop)
            .map_err(HomeError::io("write", path))
    }

    /// The events of a run, in order.
    ///
    /// # Errors
    /// The journal cannot be opened.
    pub fn events(self, run: &RunId) -> Result<Events, HomeError> {
        self.home.check_run(run)?;
        let path = self.home.events_file(run);
        let file = File::open(&path).map_err(HomeError::io("open", &path))?;
        Ok(Events { path, lines: BufReader::new(file), line: 0 })
    }

    /// The runs that have a folder, in no order.
    pub(crate) fn folders(self) -> Result<Vec<RunId>, HomeError> {
        self.home.check()?;
        let path = self.home.runs_dir();
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(HomeError::io("read the folder", path)(error)),
        };
        entries
            .map(|entry| Ok(entry?.file_name().to_str().and_then(|name| name.parse().ok())))
            .filter_map(Result::transpose)
            .collect::<std::io::Result<_>>()
            .map_err(HomeError::io("read the folder", path))
    }
}

/// The events of a run, in order; half a line at the end, which a killed writer left, is no event.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    lines: BufReader<File>,
    line: usize,
}

impl Iterator for Events {
    type Item = Result<RunEvent, HomeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        if let Err(error) = self.lines.read_until(b'\n', &mut line) {
            return Some(Err(HomeError::io("read", &self.path)(error)));
        }
        self.line += 1;
        let whole = line.strip_suffix(b"\n")?;
        let damaged = |source| HomeError::Damaged { path: self.path.clone(), line: self.line, source };
        Some(serde_json::from_slice(whole).map_err(damaged))
    }
}
