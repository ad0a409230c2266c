//! Why an agent was not moved to another preset, as the command tells it.

use std::iter::successors;

use aiswitch_agent::ErrorKind;
use aiswitch_coordinator::{SwitchError, SwitchProblem};

use super::{Error, chain, env_hint, lock_code};
use crate::exit::Code;

/// One of several reasons, each with a line of its own.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Because {
    reason: String,
    #[source]
    next: Option<Box<Self>>,
}

impl Because {
    /// All of these reasons; `None` for none.
    fn all(reasons: Vec<String>) -> Option<Self> {
        let chained = |next: Option<Self>, reason| Some(Self { reason, next: next.map(Box::new) });
        reasons.into_iter().rev().fold(None, chained)
    }
}

impl From<SwitchError> for Error {
    fn from(error: SwitchError) -> Self {
        let what = error.to_string();
        let (code, reasons, hint) = match error {
            SwitchError::Home(error) => return error.into(),
            SwitchError::Lock(error) => return error.into(),
            SwitchError::Unaudited { action, source } => {
                return Self::Unaudited { action: action.to_owned(), source };
            }
            SwitchError::OperatorOnly { action, actor } => {
                return Self::OperatorOnly { action: action.to_owned(), actor: actor.to_string() };
            }
            SwitchError::UnknownAgent { nearest, .. } => {
                (Code::Usage, Vec::new(), Some(meant(nearest.as_deref())))
            }
            SwitchError::Invalid(found) => {
                let reasons = found.problems.iter().map(|problem| chain(problem)).collect();
                (Code::Usage, reasons, found.problems.iter().find_map(problem_hint))
            }
            SwitchError::RolledBack { problem, .. } => {
                let code = if problem.kind == ErrorKind::Timeout { Code::TimedOut } else { Code::Failed };
                (code, vec![problem.message], problem.hint)
            }
            SwitchError::Busy { source, .. } => (lock_code(&source), vec![chain(&source)], None),
            SwitchError::NoSnapshot { agent, .. } => (
                Code::Usage,
                Vec::new(),
                Some(format!("aiswitch env history {agent} lists those that are kept")),
            ),
            SwitchError::Unusable { source, .. } => (Code::Usage, vec![chain(&source)], env_hint(&source)),
            other => {
                let causes = successors(std::error::Error::source(&other), |cause| cause.source());
                (Code::Usage, causes.map(ToString::to_string).collect(), None)
            }
        };
        Self::NotMoved { what, code, hint, why: Because::all(reasons) }
    }
}

fn problem_hint(problem: &SwitchProblem) -> Option<String> {
    match problem {
        SwitchProblem::UnknownAgent { nearest, .. } => Some(meant(nearest.as_deref())),
        SwitchProblem::UnknownPreset { nearest: Some(near), .. } => Some(format!("did you mean `{near}`?")),
        SwitchProblem::UnknownPreset { .. } => Some("aiswitch preset list shows those that are there".into()),
        SwitchProblem::Variable(error) => env_hint(error),
        _ => None,
    }
}

fn meant(nearest: Option<&str>) -> String {
    match nearest {
        Some(near) => format!("did you mean `{near}`?"),
        None => "aiswitch agents list shows those that are known".to_owned(),
    }
}
