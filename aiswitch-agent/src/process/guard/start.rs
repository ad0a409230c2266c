//! The start of the process that becomes the agent, by its guard or by the first process of its namespace.

use std::ffi::OsStr;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use super::enter::READY;
use super::order::{Entry, Failure, Step};
use super::{ENTER_VERB, OWN_PROGRAM};

/// The command that starts this program once more, to hear `verb`; the child tells its news into `says`.
#[expect(clippy::disallowed_methods, reason = "the one place where a guard starts a process for its agent")]
pub(super) fn command(verb: &str, says: &PipeWriter, entry: &str, program: &OsStr) -> Command {
    let mut command = Command::new(OWN_PROGRAM);
    // Others see the agent's name from the beginning.
    command.arg0(program).arg(verb).arg(getpid().as_raw_pid().to_string());
    command.arg(says.as_raw_fd().to_string()).arg(entry).arg(program);
    command
}

/// An entry as it is given to the process that enters.
pub(super) fn entry_text(entry: &Entry) -> Result<String, Failure> {
    serde_json::to_string(entry).map_err(|error| Failure::new(Step::Fork, &error.into()))
}

/// Starts the process that becomes the agent, and waits until it has, or could not; `prepare` gives it its arguments and
/// its environment.
pub(super) fn start(
    entry: &str,
    program: &OsStr,
    prepare: impl FnOnce(&mut Command),
) -> Result<Pid, Failure> {
    let (hears, says) = io::pipe().map_err(fork)?;
    let mut command = command(ENTER_VERB, &says, entry, program);
    prepare(&mut command);
    let agent = spawn(command.process_group(0), &hears, says)?;
    let mut news = Vec::new();
    let mut hears = hears;
    hears.read_to_end(&mut news).map_err(fork)?;
    match news.split_first() {
        Some((&READY, [])) => Ok(agent),
        Some((&READY, failure)) => Err(serde_json::from_slice(failure).unwrap_or_else(|_| lost())),
        // A failure to bind itself comes without the byte that says it did.
        _ => Err(serde_json::from_slice(&news).unwrap_or_else(|_| lost())),
    }
}

/// Starts a process, and waits for its first news or its end; it has its own writing end by then.
pub(super) fn spawn(command: &mut Command, hears: &PipeReader, says: PipeWriter) -> Result<Pid, Failure> {
    let child = command.spawn().map_err(fork)?;
    let process = Pid::from_child(&child);
    let lives = pidfd_open(process, PidfdFlags::empty()).map_err(io::Error::from).map_err(fork)?;
    wait_for_news(hears, &lives).map_err(fork)?;
    drop(says);
    Ok(process)
}

fn wait_for_news(hears: &PipeReader, process: &OwnedFd) -> io::Result<()> {
    let mut fds = [
        PollFd::from_borrowed_fd(hears.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN),
    ];
    poll(&mut fds, None)?;
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` gives it by value")]
pub(super) fn fork(error: io::Error) -> Failure {
    Failure::new(Step::Fork, &error)
}

/// The failure of a process that ended without a word.
pub(super) fn lost() -> Failure {
    Failure { step: Step::Bind, errno: Errno::CHILD.raw_os_error() }
}
