//! `aiswitch result`: the answer of a run that is kept.

use aiswitch_coordinator::{Home, RunReport};

use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;

/// Prints the answer, or the whole report, of a run that ended.
///
/// # Errors
/// There is no such run, or it has no report.
pub(crate) fn result(run: &str, home: &Home, output: &Output) -> Result<Code, Error> {
    let report = kept_report(run, home)?;
    output.result(&report, || report.answer.as_ref().map(|answer| answer.text.clone()).unwrap_or_default());
    output.problems(&report);
    Ok(Code::Completed)
}

/// The report of a run that ended, by its id, the start of one, or `last`.
///
/// # Errors
/// There is no such run, or it has no report.
pub(super) fn kept_report(run: &str, home: &Home) -> Result<RunReport, Error> {
    let runs = home.runs();
    let run = runs.resolve(run)?;
    if !home.report_file(&run).exists() {
        return Err(Error::NoReport { run });
    }
    Ok(runs.read(&run)?)
}
