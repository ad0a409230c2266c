//! `aiswitch cancel` and `aiswitch wait`: runs that go on in another process.

use std::time::Duration;

use aiswitch_coordinator::{Home, RunId, RunReport, RunState};
use tokio::time::{Instant, sleep};

use crate::args::RunWait;
use crate::commands::runtime;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::privileged::privileged;

/// How often it is looked whether a run has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Stops a run that goes on in another process, and waits for its end.
///
/// # Errors
/// There is no such run, it has ended, or it does not end in time.
pub(crate) fn cancel(args: &RunWait, home: &Home, output: &Output) -> Result<Code, Error> {
    let run = home.runs().resolve(&args.run)?;
    if let Some(status) = ended(home, &run)? {
        return Err(Error::RunEnded { run, status });
    }
    privileged(home, "run.cancel", &run.to_string())?;
    home.runs().cancel(&run)?;
    let report = await_end(home, run, args)?;
    output.result(&report, || format!("run {run} {}", report.status));
    Ok(Code::Completed)
}

/// Waits for the end of a run, and ends as it did.
///
/// # Errors
/// There is no such run, its process is gone without a report, or it does not end in time.
pub(crate) fn wait(args: &RunWait, home: &Home, output: &Output) -> Result<Code, Error> {
    let run = home.runs().resolve(&args.run)?;
    let report = await_end(home, run, args)?;
    output.result(&report, || report.answer.as_ref().map(|answer| answer.text.clone()).unwrap_or_default());
    output.problems(&report);
    Ok(Code::of_report(&report, false))
}

/// How a run has ended; `None` while it goes on, or waits for its locks.
fn ended(home: &Home, run: &RunId) -> Result<Option<RunState>, Error> {
    let runs = home.runs().list()?;
    let state = runs.iter().find(|record| record.run_id == *run).map(|record| record.status);
    Ok(state.filter(|state| *state != RunState::Running))
}

/// The report of a run once it has one.
fn await_end(home: &Home, run: RunId, args: &RunWait) -> Result<RunReport, Error> {
    let report = async {
        let until = args.timeout.map(|time| (time.0, Instant::now() + time.0));
        loop {
            // Before the look for the report, so that a run which ends in between has one.
            let ended = ended(home, &run)?;
            if home.report_file(&run).exists() {
                return Ok(home.runs().read(&run)?);
            }
            if ended.is_some() {
                return Err(Error::NoReport { run });
            }
            if !home.run_dir(&run).exists() {
                return Err(Error::RunNeverBegan { run });
            }
            if let Some((time, _)) = until.filter(|(_, until)| Instant::now() >= *until) {
                return Err(Error::GoesOn { run, time });
            }
            sleep(LOOK_EVERY).await;
        }
    };
    runtime()?.block_on(report)
}
