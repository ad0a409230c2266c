//! `aiswitch runs`: the runs that are kept.

use aiswitch_coordinator::{Home, RunRecordSummary};

use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::{duration, excerpt, table_within};

/// How much of a prompt a row shows, in characters.
const PROMPT_CHARS_MAX: usize = 50;

/// Lists the runs that are kept, the latest first.
///
/// # Errors
/// The state cannot be read.
pub(crate) fn runs(home: &Home, output: &Output) -> Result<Code, Error> {
    let runs = home.runs().list()?;
    output.result(&runs, || {
        if runs.is_empty() {
            return "no run is kept; aiswitch run \"what to do\" makes one".to_owned();
        }
        let head = ["RUN", "STARTED", "STATUS", "TOOK", "AGENTS", "PROMPT"].map(str::to_owned).to_vec();
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(runs.iter().map(row)).collect();
        table_within(&rows, output.columns())
    });
    Ok(Code::Completed)
}

fn row(run: &RunRecordSummary) -> Vec<String> {
    let agents: Vec<&str> = run.agents.iter().map(AsRef::as_ref).collect();
    vec![
        run.run_id.to_string(),
        run.started_at.format("%Y-%m-%d %H:%M:%S").to_string(),
        run.status.to_string(),
        run.duration_ms.map(duration).unwrap_or_default(),
        excerpt(&agents.join(","), PROMPT_CHARS_MAX),
        excerpt(&run.prompt_start, PROMPT_CHARS_MAX),
    ]
}
