//! A namespace of process numbers around one agent: the kernel ends all that is in it when its first process ends.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, PidfdFlags, Signal, getgid, getuid, pidfd_open, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, clear_ambient_capability_set,
    configure_capability_in_ambient_set, set_capabilities,
};

use super::order::{Failure, Order, Report, Step};
use super::start::{command, entry_text, fork, lost, spawn, start};
use super::tend::{LINGER, REAP_EVERY, STEP, exit_of, is_ready, let_go, reap_adopted, tell};
use super::{GUARD_MARKER, INIT_VERB, REFUSED};
use crate::process::Exit;

/// The first process of an agent's namespace, as its guard sees it.
pub(super) struct Namespace {
    pub(super) first: Pid,
    pub(super) agent: Pid,
    news: BufReader<PipeReader>,
}

/// The most that a first process may tell, in bytes.
const NEWS_BYTES_MAX: u64 = 4 * 1024;

impl Namespace {
    /// Makes a namespace for the children of this process, and has its first one start the agent.
    pub(super) fn start(order: &Order) -> Result<Self, Failure> {
        leave_numbers().map_err(|error| Failure::new(Step::Namespace, &error))?;
        let (hears, says) = io::pipe().map_err(fork)?;
        let mut command = command(INIT_VERB, &says, &entry_text(&order.entry)?, &order.program);
        command.args(&order.args).envs(order.environment.iter().map(|(name, value)| (name, value)));
        let first = spawn(&mut command, &hears, says)?;
        let mut news = BufReader::new(hears);
        match read_report(&mut news) {
            Some(Report::Started { pid }) => {
                Ok(Self { first, agent: Pid::from_raw(pid).ok_or_else(lost)?, news })
            }
            Some(Report::Failed(failure)) => Err(failure),
            _ => Err(lost()),
        }
    }

    /// How the agent ended, once the first process has: the kernel has ended it if that one did not live to tell.
    pub(super) fn exit(&mut self) -> Exit {
        match read_report(&mut self.news) {
            Some(Report::Ended(exit)) => exit,
            _ => Exit::Signal(Signal::KILL.as_raw()),
        }
    }
}

fn read_report(news: &mut BufReader<PipeReader>) -> Option<Report> {
    let mut line = String::new();
    news.take(NEWS_BYTES_MAX).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// Has the children of this process be in a new namespace of numbers; a user without that right makes it within one of
/// users, in which nobody but he himself is.
#[expect(
    deprecated,
    reason = "neither flag shares or splits memory or open files, which is why it is called unsafe"
)]
fn leave_numbers() -> io::Result<()> {
    use rustix::thread::unshare;

    match unshare(UnshareFlags::NEWPID) {
        Err(Errno::PERM) => {}
        done => return Ok(done?),
    }
    let (user, group) = (getuid().as_raw(), getgid().as_raw());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWPID)?;
    // user_namespaces(7): a group can be mapped only by whoever can set none.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    // The first process has to mount, and gives that right away again.
    let mounts = CapabilitySet::SYS_ADMIN;
    set_capabilities(None, CapabilitySets { effective: mounts, permitted: mounts, inheritable: mounts })?;
    configure_capability_in_ambient_set(mounts, true)?;
    Ok(())
}

/// Is the first process of a namespace: starts the agent, and takes ended processes off the list until it has ended.
///
/// The arguments are those of [`enter`](super::enter::enter), of which only the guard's are its own.
pub(super) fn lead(mut args: impl Iterator<Item = OsString>) -> i32 {
    let mut number = || args.next()?.to_str()?.parse::<i32>().ok();
    let (Some(guard), Some(fd)) = (number(), number()) else { return REFUSED };
    let (Some(entry), Some(program)) = (args.next(), args.next()) else { return REFUSED };
    // By the numbers of the guard, which are gone for this process as soon as it has mounted its own.
    let Ok(mut news) = OpenOptions::new().write(true).open(format!("/proc/{guard}/fd/{fd}")) else {
        return REFUSED;
    };
    let started = prepare().map_err(|error| Failure::new(Step::Namespace, &error)).and_then(|outside| {
        let entry = entry.to_str().ok_or_else(lost)?;
        let agent = start(entry, &program, |command| {
            command.args(args).env_remove(GUARD_MARKER);
        })?;
        Ok((agent, number_outside(&outside).ok_or_else(lost)?))
    });
    match started {
        Ok((agent, pid)) => {
            tell(&mut news, &Report::Started { pid });
            wait_for(agent, &mut news)
        }
        Err(failure) => {
            tell(&mut news, &Report::Failed(failure));
            REFUSED
        }
    }
}

/// Binds this process to its guard, and mounts the list of the namespace's own processes; gives the one of outside.
fn prepare() -> io::Result<File> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let outside = open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    leave_mounts()?;
    // Nothing of this is seen outside.
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", flags, None)?;
    if clear_ambient_capability_set().is_ok() && !getuid().is_root() {
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    }
    Ok(outside.into())
}

#[expect(deprecated, reason = "the flag shares or splits neither memory nor open files")]
fn leave_mounts() -> io::Result<()> {
    Ok(rustix::thread::unshare(UnshareFlags::NEWNS)?)
}

/// The number outside of the namespace of this process's only child.
fn number_outside(outside: &File) -> Option<i32> {
    let list = format!("/proc/self/fd/{}/thread-self/children", outside.as_raw_fd());
    fs::read_to_string(list).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// Waits for the end of the agent, or of its guard, and tells it.
fn wait_for(agent: Pid, news: &mut File) -> i32 {
    let Ok(gone) = let_go().and_then(|()| Ok(pidfd_open(agent, PidfdFlags::empty())?)) else {
        return REFUSED;
    };
    while !is_ready(gone.as_fd()) && !is_alone(news) {
        reap_adopted(agent);
        let mut fds = [
            PollFd::from_borrowed_fd(gone.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(news.as_fd(), PollFlags::empty()),
        ];
        // Whatever ends the wait is looked at above.
        poll(&mut fds, Some(&REAP_EVERY)).ok();
    }
    let Some(exit) = exit_of(agent) else { return REFUSED };
    let patience = std::time::Instant::now() + LINGER;
    while !is_alone(news) && std::time::Instant::now() < patience && reap_adopted(agent) > 0 {
        poll(&mut [], Some(&STEP)).ok();
    }
    tell(news, &Report::Ended(exit));
    0
}

/// Whether nobody listens any more.
fn is_alone(news: &File) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(news.as_fd(), PollFlags::empty())];
    poll(&mut fds, Some(&Timespec::default())) != Ok(0)
}
