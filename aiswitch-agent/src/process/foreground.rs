//! A command that works in the caller's place.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::process::{Child, Command};
use tokio::signal::unix::SignalKind;

/// Runs a command in the caller's place, and says how it ended. No shell is in between.
///
/// It has the caller's own streams, folder, environment and process group, so that it may use the terminal. What
/// `next_signal` gives is passed on to it, but for what a terminal sends to the whole group anyway. No other process is
/// watched or ended: what the command leaves running goes on.
///
/// # Errors
/// The system refused to start it: [`NotFound`](io::ErrorKind::NotFound) where there is no such program.
///
/// # Panics
/// Outside of a Tokio runtime with I/O.
///
/// # Cancel safety
/// Dropping the future kills the command, but not what it had started.
#[expect(clippy::disallowed_methods, reason = "this folder is where processes start")]
pub async fn foreground(
    program: &OsStr,
    args: &[OsString],
    mut next_signal: impl AsyncFnMut() -> SignalKind,
) -> io::Result<ExitStatus> {
    let mut child = Command::new(program).args(args).kill_on_drop(true).spawn()?;
    loop {
        let signal = tokio::select! {
            biased;
            status = child.wait() => return status,
            signal = next_signal() => signal,
        };
        pass_on(&child, signal);
    }
}

fn pass_on(child: &Child, kind: SignalKind) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let signal = Signal::from_named_raw(kind.as_raw_value());
    let (Some(pid), Some(signal)) = (pid, signal) else { return };
    if matches!(signal, Signal::INT | Signal::QUIT) && is_foreground() {
        // The terminal's keys signal the command as well; twice would be once too often.
        return;
    }
    // An error means that the command is gone, which is noticed next.
    kill_process(pid, signal).ok();
}

/// Whether this process is in the group that the keys of its terminal signal.
fn is_foreground() -> bool {
    // Without a terminal there is no such file to open.
    File::open("/dev/tty").ok().and_then(|terminal| tcgetpgrp(terminal).ok()) == Some(getpgrp())
}
