//! `aiswitch result`: the answer of a run that is kept.

use aiswitch_coordinator::Home;

use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;

/// Prints the answer, or the whole report, of a run that ended.
///
/// # Errors
/// There is no such run, or it has no report.
pub(crate) fn result(run: &str, home: &Home, output: &Output) -> Result<Code, Error> {
    let runs = home.runs();
    let run = runs.resolve(run)?;
    if !home.report_file(&run).exists() {
        return Err(Error::NoReport { run });
    }
    let report = runs.read(&run)?;
    output.result(&report, || report.answer.as_ref().map(|answer| answer.text.clone()).unwrap_or_default());
    output.problems(&report);
    Ok(Code::Completed)
}
