//! The exit codes that a script may rely on.

use std::process::ExitCode;

use aiswitch_agent::ErrorKind;
use aiswitch_coordinator::{AlertAction, AlertReport, RunReport, RunStatus};

/// An exit code that a script may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    Completed = 0,
    Failed = 1,
    Usage = 2,
    TimedOut = 3,
    Partial = 4,
    Denied = 5,
    LockBusy = 6,
    OverBudget = 7,
    VerifyFailed = 8,
    NoAgent = 20,
    NotRunnable = 126,
    NotFound = 127,
    Interrupted = 130,
    Terminated = 143,
}

impl Code {
    /// All codes, in their order.
    pub(crate) const ALL: [Self; 14] = [
        Self::Completed,
        Self::Failed,
        Self::Usage,
        Self::TimedOut,
        Self::Partial,
        Self::Denied,
        Self::LockBusy,
        Self::OverBudget,
        Self::VerifyFailed,
        Self::NoAgent,
        Self::NotRunnable,
        Self::NotFound,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// The number.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// What it means, in a line.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Completed => "all agents completed, or the command did what it was asked to",
            Self::Failed => "no agent completed, or the command failed",
            Self::Usage => "usage or configuration: nothing was started",
            Self::TimedOut => "no agent completed in time",
            Self::Partial => "some agents completed, some did not (1 with --strict)",
            Self::Denied => "no agent completed, because permission was denied",
            Self::LockBusy => "a lock was busy for too long",
            Self::OverBudget => "a quota or budget was used up",
            Self::VerifyFailed => "the verification failed",
            Self::NoAgent => "no agent is there that could be used",
            Self::NotRunnable => "the command of `locks run` cannot be run",
            Self::NotFound => "the command of `locks run` is not there",
            Self::Interrupted => "ended by SIGINT (Ctrl-C)",
            Self::Terminated => "ended by SIGTERM",
        }
    }

    /// The code of a run that was made to its end; `strict` makes no difference between some and none.
    pub(crate) fn of_report(report: &RunReport, strict: bool) -> Self {
        let cancels = |alert: &AlertReport| alert.action == Some(AlertAction::Cancel);
        let is_missing = |error: &aiswitch_agent::TaskError| error.kind == ErrorKind::NotInstalled;
        match report.status {
            RunStatus::Completed => Self::Completed,
            RunStatus::Partial if strict => Self::Failed,
            RunStatus::Partial => Self::Partial,
            RunStatus::Failed
                if report.agents.iter().all(|agent| agent.error.as_ref().is_some_and(is_missing)) =>
            {
                Self::NoAgent
            }
            RunStatus::TimedOut => Self::TimedOut,
            RunStatus::Denied => Self::Denied,
            RunStatus::OverBudget => Self::OverBudget,
            // Nobody sent a signal.
            RunStatus::Cancelled if report.alerts.iter().any(cancels) => Self::Failed,
            RunStatus::Cancelled => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}
