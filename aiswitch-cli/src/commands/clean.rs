//! `aiswitch clean`: what is beyond the home's retention, removed.

use std::path::PathBuf;
use std::thread::JoinHandle;

use aiswitch_coordinator::{Expired, Home, Retention, RunId};
use serde::Serialize;

use super::runtime;
use crate::args::CleanArgs;
use crate::caller::now;
use crate::config::Config;
use crate::error::{Error, chain};
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::short;

/// What was removed, or would be.
#[derive(Debug, Serialize)]
struct CleanView<'a> {
    dry_run: bool,
    runs: &'a [RunId],
    logs: &'a [PathBuf],
    bytes: u64,
}

/// Removes what is beyond the retention of the home.
///
/// # Errors
/// The configuration or the home cannot be read, or something cannot be removed.
pub(crate) fn clean(args: &CleanArgs, home: &Home, output: &Output) -> Result<Code, Error> {
    let mut retention = Config::read(home)?.coordination.retention.retention();
    if let Some(age) = args.older_than {
        (retention.run_age_max, retention.log_age_max) = (age.0, age.0);
    }
    let expired = Expired::find(home, &retention, now())?;
    if !args.dry_run {
        runtime()?.block_on(expired.remove(home))?;
    }
    let view =
        CleanView { dry_run: args.dry_run, runs: &expired.runs, logs: &expired.logs, bytes: expired.bytes };
    output.result(&view, || view.text());
    Ok(Code::Completed)
}

impl CleanView<'_> {
    fn text(&self) -> String {
        let verb = if self.dry_run { "would remove" } else { "removed" };
        let (runs, logs) = (self.runs.len(), self.logs.len());
        format!("{verb} {runs} runs and {logs} files of logs, {}B\n", short(self.bytes))
    }
}

/// What removes the too old and the too much while a run goes on.
#[derive(Debug)]
pub(crate) struct Cleaning(JoinHandle<Result<(), String>>);

impl Cleaning {
    /// Begins, if the last time is a day ago.
    pub(crate) fn begin_if_due(home: &Home, retention: Retention) -> Option<Self> {
        let now = now();
        if !Expired::is_due(home, now) {
            return None;
        }
        let home = home.clone();
        let clean = move || -> Result<(), Error> {
            let expired = Expired::find(&home, &retention, now)?;
            Ok(runtime()?.block_on(expired.remove(&home))?)
        };
        Some(Self(std::thread::spawn(move || clean().map_err(|error| chain(&error)))))
    }

    /// Waits for its end; what went wrong is no matter to the run, and is told.
    pub(crate) fn finish(self) -> Option<String> {
        let done = self.0.join().unwrap_or_else(|_| Err("it panicked".to_owned()));
        done.err().map(|problem| format!("what is too old is not removed: {problem}"))
    }
}
