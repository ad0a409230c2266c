//! Whether what a home keeps of its runs agrees: the folders, the database, its views, and the processes that are there.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aiswitch_lock::database::DatabaseError;
use aiswitch_metrics::{MetricsError, SqliteMetricsStore};
use aiswitch_tokens::{SqliteUsageStore, UsageError};
use serde::Serialize;

use crate::error::HomeError;
use crate::run_store::{RunRecordSummary, RunState, RunStore, SqliteRunStore, prompt_start};
use crate::state::{State, are_views_behind, is_metrics_view_behind};
use crate::{Home, RunEventKind, RunId, clock};

/// Something in which what a home keeps does not agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StateProblem {
    /// A database does not hold what a database holds.
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        faults: Vec<String>,
    },
    /// A run stands as running, and its process is gone.
    Interrupted {
        /// The run.
        run: RunId,
    },
    /// The folder of a run is there, and the database of runs does not know it.
    Unknown {
        /// The run.
        run: RunId,
    },
    /// A view shows something else than the database holds.
    Behind {
        /// The view.
        path: PathBuf,
    },
}

impl fmt::Display for StateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { path, faults } => {
                write!(f, "database `{}` is damaged: {}", path.display(), faults.join("; "))
            }
            Self::Interrupted { run } => write!(f, "run {run} stands as running, and its process is gone"),
            Self::Unknown { run } => write!(f, "run {run} has a folder, and stands in no database"),
            Self::Behind { path } => write!(f, "`{}` is not what its database holds", path.display()),
        }
    }
}

impl Home {
    /// Finds in what this home's records do not agree; nothing is changed.
    ///
    /// # Errors
    /// Something cannot be read, for another reason than damage.
    pub fn state_problems(&self) -> Result<Vec<StateProblem>, HomeError> {
        self.check()?;
        let of_databases = [self.damaged_runs()?, self.damaged_usage()?, self.metrics_problem()?];
        let mut problems: Vec<StateProblem> = of_databases.into_iter().flatten().collect();
        let are_runs_damaged = problems.iter().any(|problem| match problem {
            StateProblem::Damaged { path, .. } => *path == self.runs_file(),
            _ => false,
        });
        if are_runs_damaged || !self.runs_file().exists() {
            let runs = self.runs().folders()?;
            problems.extend(runs.into_iter().map(|run| StateProblem::Unknown { run }));
            return Ok(problems);
        }
        let store = SqliteRunStore::at(self.runs_file());
        let known: Vec<RunId> = store.runs(usize::MAX)?.into_iter().map(|run| run.run_id).collect();
        let left = store.running()?.into_iter().filter(RunRecordSummary::is_left);
        problems.extend(left.map(|run| StateProblem::Interrupted { run: run.run_id }));
        let unknown = self
            .runs()
            .folders()?
            .into_iter()
            .filter(|run| known.binary_search_by(|other| run.cmp(other)).is_err());
        problems.extend(unknown.map(|run| StateProblem::Unknown { run }));
        problems
            .extend(are_views_behind(self, &store)?.into_iter().map(|path| StateProblem::Behind { path }));
        Ok(problems)
    }

    /// Mends what [`state_problems`](Self::state_problems) finds, and tells what it mended.
    ///
    /// A damaged database is put aside under a name with the time in it, never removed; the one of runs is made anew from
    /// their folders, that of metrics begins anew. What an interrupted run has left running is ended. A folder that does not tell of its run stays as it
    /// is, and is found again.
    ///
    /// # Errors
    /// Something cannot be read or written; what was mended before it stays so.
    ///
    /// # Cancel safety
    /// What was begun is done to its end; the rest is found again.
    pub async fn mend_state(&self) -> Result<Vec<StateProblem>, HomeError> {
        let problems = self.state_problems()?;
        let mut mended = Vec::new();
        let store = SqliteRunStore::at(self.runs_file());
        for problem in &problems {
            match problem {
                StateProblem::Damaged { path, .. } => put_aside(path)?,
                StateProblem::Unknown { run } => match self.recorded(*run) {
                    Some(record) => store.save(&record, &[])?,
                    None => continue,
                },
                StateProblem::Interrupted { .. } | StateProblem::Behind { .. } => {}
            }
            mended.push(problem.clone());
        }
        if mended.iter().any(|problem| self.is_of_metrics(problem)) {
            let metrics = Arc::new(SqliteMetricsStore::at(self.metrics_file()));
            State::of_home(self)?.show_metrics(metrics).await?;
        }
        if !mended.is_empty() && self.runs_file().exists() {
            let state = State::of_home(self)?;
            state.clone().reclaim().await?;
            state.show().await?;
        }
        Ok(mended)
    }

    fn damaged_runs(&self) -> Result<Option<StateProblem>, HomeError> {
        let path = self.runs_file();
        if !path.exists() {
            return Ok(None);
        }
        match SqliteRunStore::at(&path).check() {
            Ok(faults) => Ok(damage(path, faults)),
            Err(HomeError::Database(error)) => damage_or_error(path, *error),
            Err(error) => Err(error),
        }
    }

    fn damaged_usage(&self) -> Result<Option<StateProblem>, HomeError> {
        let path = self.usage_file();
        if !path.exists() {
            return Ok(None);
        }
        match SqliteUsageStore::at(&path).check() {
            Ok(faults) => Ok(damage(path, faults)),
            Err(UsageError::Database(error)) => damage_or_error(path, error),
            Err(error) => Err(HomeError::Usage(Box::new(error))),
        }
    }

    fn is_of_metrics(&self, problem: &StateProblem) -> bool {
        match problem {
            StateProblem::Damaged { path, .. } => *path == self.metrics_file(),
            StateProblem::Behind { path } => *path == self.metrics_view_file(),
            StateProblem::Interrupted { .. } | StateProblem::Unknown { .. } => false,
        }
    }

    /// What is wrong with the database of metrics, or with its view.
    fn metrics_problem(&self) -> Result<Option<StateProblem>, HomeError> {
        let path = self.metrics_file();
        if !path.exists() {
            return Ok(None);
        }
        let store = SqliteMetricsStore::at(&path);
        let look = || match store.check()? {
            faults if faults.is_empty() => {
                Ok(is_metrics_view_behind(self, &store)?.map(|path| StateProblem::Behind { path }))
            }
            faults => Ok(damage(path.clone(), faults)),
        };
        match look() {
            Err(MetricsError::Database(error)) => damage_or_error(path, error),
            looked => looked.map_err(|error| HomeError::Metrics(Box::new(error))),
        }
    }

    /// What the folder of a run tells of it; `None` if that is nothing.
    fn recorded(&self, run: RunId) -> Option<RunRecordSummary> {
        if let Ok(report) = self.runs().read(&run) {
            return Some(RunRecordSummary {
                run_id: run,
                status: RunState::Ended(report.status),
                mode: report.mode,
                agents: report.agents.iter().map(|agent| agent.id.clone()).collect(),
                prompt_start: prompt_start(&report.task.prompt),
                cwd: report.task.cwd,
                started_at: report.started_at,
                duration_ms: Some(report.duration_ms),
                process: None,
            });
        }
        let first = self.runs().events(&run).ok()?.next()?.ok()?;
        let RunEventKind::RunStarted { mode, agents } = first.kind else { return None };
        Some(RunRecordSummary {
            run_id: run,
            status: RunState::Interrupted,
            mode,
            agents,
            prompt_start: String::new(),
            cwd: PathBuf::new(),
            started_at: first.at,
            duration_ms: None,
            process: None,
        })
    }
}

fn damage(path: PathBuf, faults: Vec<String>) -> Option<StateProblem> {
    (!faults.is_empty()).then_some(StateProblem::Damaged { path, faults })
}

fn damage_or_error(path: PathBuf, error: DatabaseError) -> Result<Option<StateProblem>, HomeError> {
    match error {
        DatabaseError::Damaged { source, .. } => Ok(damage(path, vec![source.to_string()])),
        error => Err(error.into()),
    }
}

/// Gives a database and what SQLite keeps beside it a name with the time in it.
fn put_aside(path: &Path) -> Result<(), HomeError> {
    let stamp = clock::now().format("%Y%m%dT%H%M%S%.3fZ");
    for suffix in ["", "-wal", "-shm"] {
        let mut from = path.as_os_str().to_owned();
        from.push(suffix);
        let mut to = path.as_os_str().to_owned();
        to.push(format!(".damaged-{stamp}{suffix}"));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            renamed => renamed.map_err(HomeError::io("rename", PathBuf::from(from)))?,
        }
    }
    Ok(())
}
