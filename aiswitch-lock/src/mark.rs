//! The mark of a process, kept in a file or a table to ask later whether that process still lives.

use std::fmt;

use crate::HolderProcess;
use crate::identity::Identity;

/// The mark of a process, as text: kept somewhere, it tells others later whether that process still lives.
///
/// ```
/// use aiswitch_lock::{HolderProcess, ProcessMark};
///
/// let kept = ProcessMark::own().to_string();
/// assert_eq!(ProcessMark::of(kept).process(), HolderProcess::Alive);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessMark(String);

impl ProcessMark {
    /// The mark of the calling process.
    pub fn own() -> Self {
        let Identity { pid, start, boot, namespace, host, program: _ } = Identity::of_this_process();
        Self(format!("{pid} {start} {boot} {namespace} {host}"))
    }

    /// A mark that was kept.
    pub fn of(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What became of the process; of a text that is no mark, and of another machine or namespace, nothing is known.
    pub fn process(&self) -> HolderProcess {
        self.identity().map_or(HolderProcess::Unknown, |other| Identity::of_this_process().fate_of(&other))
    }

    fn identity(&self) -> Option<Identity> {
        let mut fields = self.0.splitn(5, ' ');
        let mut number = || fields.next()?.parse().ok();
        let (pid, start, boot, namespace) = (number()?, number()?, number()?, number()?);
        let host = fields.next()?.to_owned();
        Some(Identity { pid: u32::try_from(pid).ok()?, start, boot, namespace, host, program: String::new() })
    }
}

impl fmt::Display for ProcessMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
