//! `aiswitch locks`: what agents and programs share.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use aiswitch_agent::foreground;
use aiswitch_coordinator::{Home, LockHolder, take_locks};
use aiswitch_lock::{
    BlockingLockManager, CleanupReport, FileLockManager, LockInfo, LockMode, LockOptions, LockState,
    PURPOSE_BYTES_MAX, WaiterInfo,
};
use serde::Serialize;
use tokio::signal::unix::SignalKind;

use crate::args::{LocksRunArgs, LocksVerb};
use crate::caller;
use crate::commands::runtime;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::table;
use crate::signals::{Signals, code_of};

/// Added to the number of the signal that ended a command, as shells do.
const SIGNAL_CODE_BASE: i32 = 128;

/// Lists or cleans up locks, or runs a command under one.
///
/// # Errors
/// The locks cannot be used, one was busy for too long, or the command cannot be started.
pub(crate) fn locks(verb: &LocksVerb, home: &Home, output: &Output) -> Result<ExitCode, Error> {
    match verb {
        LocksVerb::List => list(home, output).map(ExitCode::from),
        LocksVerb::Run(args) => run(args, home, output),
        LocksVerb::Clean { unused_for } => {
            clean(unused_for.map_or(Duration::ZERO, |time| time.0), home, output).map(ExitCode::from)
        }
    }
}

fn list(home: &Home, output: &Output) -> Result<Code, Error> {
    let locks = existing(home)?.map(|locks| locks.list()).transpose()?.unwrap_or_default();
    let views: Vec<LockView> = locks.iter().map(LockView::of).collect();
    output.result(&views, || {
        let head = ["LOCK", "STATE", "WAITING", "HOLDER"].map(str::to_owned).to_vec();
        table(&std::iter::once(head).chain(views.iter().map(LockView::row)).collect::<Vec<_>>())
    });
    Ok(Code::Completed)
}

fn clean(unused_for: Duration, home: &Home, output: &Output) -> Result<Code, Error> {
    let report = match existing(home)? {
        Some(locks) => locks.cleanup_stale_locks(unused_for)?,
        None => CleanupReport::default(),
    };
    let CleanupReport { locks_removed, tickets_removed, waits_removed, locks_kept, .. } = report;
    let view = CleanView { locks_removed, tickets_removed, waits_removed, locks_kept };
    output.result(&view, || {
        let left = tickets_removed + waits_removed;
        format!("removed: {locks_removed} locks, {left} traces of ended waiters; kept: {locks_kept} locks")
    });
    Ok(Code::Completed)
}

/// The locks of a home, where there are any: looking makes no folder.
fn existing(home: &Home) -> Result<Option<FileLockManager>, Error> {
    let folder = home.locks_dir();
    let is_there = folder.symlink_metadata().map(|_| true).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(false),
        _ => Err(Error::Unreadable { path: folder.clone(), source: error }),
    })?;
    Ok(if is_there { Some(FileLockManager::open(folder)?) } else { None })
}

fn run(args: &LocksRunArgs, home: &Home, output: &Output) -> Result<ExitCode, Error> {
    let locks = FileLockManager::open(home.locks_dir())?;
    let mut options = LockOptions::new().with_purpose(purpose(&args.command)).with_priority(args.priority);
    if let Some(time) = args.lock_timeout {
        options = options.with_timeout(time.0);
    }
    runtime()?.block_on(async {
        let mut signals = Signals::listen(passed_on())?;
        let names = [args.name.clone()];
        let on_wait = |wait: aiswitch_coordinator::LockWait| output.note(&wait.to_string());
        let guards = tokio::select! {
            guards = take_locks(&locks, &names, &options, on_wait) => guards?,
            signal = signals.next() => return Ok(code_of(signal).into()),
        };
        let (program, rest) =
            args.command.split_first().expect("the command line asks for one word at least");
        let ended = foreground(program, rest, async || signals.next().await).await;
        drop(guards);
        let cannot_start =
            |source| Error::Command { program: program.to_string_lossy().into_owned(), source };
        ended.map(code).map_err(cannot_start)
    })
}

/// What would end this command but is meant for the one that it runs; what the caller ignores, both ignore.
fn passed_on() -> impl Iterator<Item = SignalKind> {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    kinds.into_iter().filter(|kind| !caller::ignores(*kind))
}

/// The command line as the holder's purpose, as far as a lock can hold it.
fn purpose(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    let mut purpose = words.join(" ").replace(char::is_control, " ");
    purpose.truncate(purpose.floor_char_boundary(PURPOSE_BYTES_MAX));
    purpose
}

/// The exit code of a command that ended, as a shell gives it.
fn code(status: ExitStatus) -> ExitCode {
    let number = status.code().or(status.signal().map(|signal| SIGNAL_CODE_BASE + signal));
    number.and_then(|number| u8::try_from(number).ok()).map_or(Code::Failed.into(), ExitCode::from)
}

/// A lock as it is printed.
#[derive(Debug, Serialize)]
struct LockView {
    lock: String,
    held: bool,
    holder: Option<LockHolder>,
    waiters: Vec<WaiterView>,
}

/// One who waits for a lock.
#[derive(Debug, Serialize)]
struct WaiterView {
    pid: u32,
    owner: Option<String>,
    shared: bool,
    waited_ms: u64,
}

/// What was removed, and what was left.
#[derive(Debug, Serialize)]
struct CleanView {
    locks_removed: usize,
    tickets_removed: usize,
    waits_removed: usize,
    locks_kept: usize,
}

impl LockView {
    fn of(info: &LockInfo) -> Self {
        let (held, holder) = match &info.state {
            LockState::Held { holder } => (true, holder.as_deref().map(LockHolder::from)),
            _ => (false, None),
        };
        let waiters = info.waiters.iter().map(WaiterView::of).collect();
        Self { lock: info.name.to_string(), held, holder, waiters }
    }

    fn row(&self) -> Vec<String> {
        let holder = self.holder.as_ref().map(|holder| holder.text.clone()).unwrap_or_default();
        let state = if self.held { "held" } else { "free" };
        vec![self.lock.clone(), state.to_owned(), self.waiters.len().to_string(), holder]
    }
}

impl WaiterView {
    fn of(info: &WaiterInfo) -> Self {
        Self {
            pid: info.pid,
            owner: info.owner.clone(),
            shared: info.mode == LockMode::Shared,
            waited_ms: u64::try_from(info.waited.as_millis()).unwrap_or(u64::MAX),
        }
    }
}
