//! `aiswitch audit`: who did what that only some may do, and whether that record is whole.

use std::collections::VecDeque;

use aiswitch_coordinator::{AuditDecision, AuditLine, AuditVerdict, Home};

use serde::Serialize;

use crate::args::AuditVerb;
use crate::commands::runtime;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::table;
use crate::privileged::writer;

/// Shows or verifies the audit log.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn audit(verb: &AuditVerb, home: &Home, output: &Output) -> Result<Code, Error> {
    match verb {
        AuditVerb::Show { last } => show(*last, home, output),
        AuditVerb::Verify { kept } => verify(kept.as_deref(), home, output),
    }
}

fn show(last: Option<usize>, home: &Home, output: &Output) -> Result<Code, Error> {
    let last = last.unwrap_or(usize::MAX);
    let mut lines = VecDeque::new();
    for line in home.audit().lines()? {
        lines.push_back(line?);
        if lines.len() > last {
            lines.pop_front();
        }
    }
    output.result(&lines, || {
        if lines.is_empty() {
            return "the log is empty: nothing was done that only the operator may do".to_owned();
        }
        let head = ["LINE", "WHEN", "WHO", "WHAT", "DECISION", "OF", "DETAIL"].map(str::to_owned).to_vec();
        table(&std::iter::once(head).chain(lines.iter().map(row)).collect::<Vec<_>>())
    });
    Ok(Code::Completed)
}

fn row(line: &AuditLine) -> Vec<String> {
    let decision = match line.decision {
        AuditDecision::Allowed => "allowed",
        AuditDecision::Denied => "denied",
    };
    vec![
        line.seq.to_string(),
        line.at.format("%Y-%m-%d %H:%M:%S").to_string(),
        line.actor.clone(),
        line.action.clone(),
        decision.to_owned(),
        line.object.clone(),
        line.detail.clone().unwrap_or_default(),
    ]
}

fn verify(kept: Option<&str>, home: &Home, output: &Output) -> Result<Code, Error> {
    // Looking makes no folder, so a home without a log is not locked.
    let verdict = if home.audit_dir().is_dir() {
        runtime()?.block_on(writer(home)?.verify())?
    } else {
        home.audit().verify()?
    };
    let has_kept = match kept {
        Some(kept) if verdict.broken.is_none() => Some(has_line(kept, home)?),
        _ => None,
    };
    let view = VerdictView { verdict: &verdict, has_kept };
    output.result(&view, || view.text());
    let is_whole = verdict.broken.is_none() && has_kept != Some(false);
    Ok(if is_whole { Code::Completed } else { Code::VerifyFailed })
}

/// Whether the log has the line with this hash.
fn has_line(hash: &str, home: &Home) -> Result<bool, Error> {
    for line in home.audit().lines()? {
        if line?.hash == hash {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What there is to say about the log.
#[derive(Debug, Serialize)]
struct VerdictView<'a> {
    #[serde(flatten)]
    verdict: &'a AuditVerdict,
    /// Whether it has the line whose hash was kept; `null` if that was not asked, or the log is broken.
    has_kept: Option<bool>,
}

impl VerdictView<'_> {
    fn text(&self) -> String {
        let verdict = self.verdict;
        let end = verdict.hash.as_ref().map(|hash| format!("; the last one is {hash}")).unwrap_or_default();
        let lines = format!("{} good lines{end}", verdict.lines);
        match (&verdict.broken, self.has_kept) {
            (Some(broken), _) => {
                let path = broken.path.display();
                format!("broken at line {} of {path}: {}\n{lines}", broken.line, broken.fault)
            }
            (None, Some(false)) => {
                format!("no line has the hash that was kept: this is another log\n{lines}")
            }
            (None, _) => lines,
        }
    }
}
