//! The process that becomes the agent: it binds its life to its guard, makes itself ready, and starts the program.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{
    Pid, Resource as RlimitResource, Rlimit, Signal, getppid, nice, set_parent_process_death_signal,
    setrlimit,
};

use rustix::thread::{CapabilitySet, capabilities, remove_capability_from_bounding_set};

use super::REFUSED;
use super::order::{Entry, Failure, Step};

/// How much sooner than others an agent is chosen when the kernel is out of memory, see `proc_pid_oom_score_adj(5)`.
const OOM_SCORE_ADJ: &str = "500";

/// How far an agent whose CPU time cannot be limited gives way to others, see `nice(2)`.
const NICE: i32 = 10;

/// What the process writes as soon as it can tell its guard why it does not start the program.
pub(super) const READY: u8 = b'r';

/// Becomes the agent; the arguments are the guard's process, its file descriptor for news, an [`Entry`] in JSON, the
/// program and its arguments. Gives the exit code where it cannot.
pub(super) fn enter(mut args: impl Iterator<Item = OsString>) -> i32 {
    let mut number = || args.next()?.to_str()?.parse::<i32>().ok();
    let (Some(guard), Some(fd)) = (number(), number()) else { return REFUSED };
    let entry = args.next().and_then(|entry| serde_json::from_str(entry.to_str()?).ok());
    let (Some(entry), Some(program)) = (entry, args.next()) else { return REFUSED };
    // The end of this file without a word tells the guard that the program has started: it closes by that.
    let Ok(mut news) = OpenOptions::new().write(true).open(format!("/proc/{guard}/fd/{fd}")) else {
        return REFUSED;
    };
    let Err(failure) = become_agent(guard, &entry, &program, args, &mut news);
    let told = serde_json::to_vec(&failure).map_err(io::Error::from).and_then(|text| news.write_all(&text));
    // What the guard does not hear it sees by the exit code.
    drop(told);
    if failure.errno == rustix::io::Errno::NOENT.raw_os_error() { 127 } else { 126 }
}

#[expect(clippy::disallowed_methods, reason = "the one place where a guarded agent's program starts")]
fn become_agent(
    guard: i32,
    entry: &Entry,
    program: &OsString,
    args: impl Iterator<Item = OsString>,
    news: &mut File,
) -> Result<Infallible, Failure> {
    let failed = |step| move |error: io::Error| Failure::new(step, &error);
    bind(guard).map_err(failed(Step::Bind))?;
    news.write_all(&[READY]).map_err(failed(Step::Bind))?;
    if let Some(group) = &entry.cgroup {
        // 0 is whoever writes it, see cgroups(7).
        fs::write(Path::new(group).join("cgroup.procs"), "0").map_err(failed(Step::Cgroup))?;
    }
    // A wish: where the kernel does not take it, it chooses by size alone.
    drop(fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ));
    if let Some(max) = entry.open_files {
        let limit = Rlimit { current: Some(max.get()), maximum: Some(max.get()) };
        setrlimit(RlimitResource::Nofile, limit).map_err(io::Error::from).map_err(failed(Step::Limits))?;
    }
    if entry.nice {
        nice(NICE).map_err(io::Error::from).map_err(failed(Step::Limits))?;
    }
    std::env::set_current_dir(&entry.cwd).map_err(failed(Step::Folder))?;
    if let Some(walls) = &entry.walls {
        give_up_powers().map_err(failed(Step::Sandbox))?;
        walls.put_up().map_err(failed(Step::Sandbox))?;
    }
    Err(Failure::new(Step::Program, &Command::new(program).args(args).exec()))
}

/// Gives up, for this process and all that it starts, what would let root look into processes outside of the walls: the
/// kernel shows another's environment to whoever has one of these, whatever Landlock says.
fn give_up_powers() -> io::Result<()> {
    if !capabilities(None)?.effective.contains(CapabilitySet::SETPCAP) {
        // Whoever cannot give them up has none to give, and is given none by any program from here on.
        return Ok(());
    }
    for power in [CapabilitySet::PERFMON, CapabilitySet::SYS_ADMIN, CapabilitySet::SYS_PTRACE] {
        remove_capability_from_bounding_set(power)?;
    }
    Ok(())
}

/// Has this process end with its guard, whatever ends that one.
fn bind(guard: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A guard that was gone before that could not be noticed any more.
    if getppid().map(Pid::as_raw_pid) != Some(guard) {
        return Err(rustix::io::Errno::SRCH.into());
    }
    Ok(())
}
