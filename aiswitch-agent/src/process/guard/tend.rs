//! The guard itself: it starts one agent, adopts all that the agent leaves behind, and ends all of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, getppid, kill_process, pidfd_open,
    set_child_subreaper, wait, waitid, waitpid,
};

use super::REFUSED;
use super::cgroup::Cgroup;
use super::namespace::Namespace;
use super::order::{Failure, Order, Report, Step};
use super::start::{entry_text, start};
use super::walls::PrivateFolder;
use super::watchdog::excess;
use crate::Resources;
use crate::process::Exit;
use crate::process::program::TEMP_VARIABLE;
use crate::resources::Excess;

/// How often ended processes that the agent left behind are taken off the system's list, in seconds.
pub(super) const REAP_EVERY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The same, for an agent with limits, which it is looked at for.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// How long what an agent has left behind may still take to end by itself, as the last of a pipeline does.
pub(super) const LINGER: Duration = Duration::from_millis(100);

/// How long to wait for something to happen to processes that were killed or are about to end.
pub(super) const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Why a guard cannot do its work; told on its stderr.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the order on stdin cannot be read: {0}")]
    Order(io::Error),
    #[error("the process that gave the order is not the guard's parent any more")]
    Orphan,
    #[error("the parent cannot be watched: {0}")]
    Watch(Errno),
    #[error("the parent cannot be told anything: {0}")]
    Report(io::Error),
    #[error("it cannot adopt processes: {0}")]
    Adopt(Errno),
    #[error("the system does not tell its children: {0}")]
    Children(io::Error),
    #[error("it cannot make a temporary folder for the agent: {0}")]
    Temp(io::Error),
    #[error("it cannot let go of the agent's streams: {0}")]
    Streams(io::Error),
}

/// Guards one agent to its end; gives the exit code: the agent's own, or 128 and the signal that ended it.
pub(super) fn tend() -> i32 {
    match guard() {
        Ok(code) => code,
        Err(refusal) => {
            // An error means that nobody listens; the exit code tells as much.
            drop(writeln!(io::stderr(), "the guard refused: {refusal}"));
            REFUSED
        }
    }
}

fn guard() -> Result<i32, Refusal> {
    let mut order = Order::read(Stdin).map_err(Refusal::Order)?;
    let caller = Pid::from_raw(order.caller).ok_or(Refusal::Orphan)?;
    let caller_gone = pidfd_open(caller, PidfdFlags::empty()).map_err(Refusal::Watch)?;
    // Only after it is watched: before that, its number could have become another's.
    if getppid() != Some(caller) {
        return Err(Refusal::Orphan);
    }
    let report = format!("/proc/{}/fd/{}", order.caller, order.report_fd);
    let mut report = OpenOptions::new().write(true).open(report).map_err(Refusal::Report)?;
    set_child_subreaper(Some(getpid())).map_err(Refusal::Adopt)?;
    children().map_err(Refusal::Children)?;
    // It goes when the guard does, after all that could use it.
    let temp = private_temp(&mut order).map_err(Refusal::Temp)?;
    let mut held = match Held::start(&mut order) {
        Ok(held) => held,
        Err(failure) => {
            tell(&mut report, &Report::Failed(failure));
            end_all();
            return Ok(if failure.errno == Errno::NOENT.raw_os_error() { 127 } else { 126 });
        }
    };
    let limits = order.limits;
    drop(order);
    let watched = let_go()
        .map_err(Refusal::Streams)
        .and_then(|()| pidfd_open(held.first, PidfdFlags::empty()).map_err(Refusal::Watch));
    let gone = match watched {
        Ok(gone) => gone,
        Err(refusal) => {
            held.end();
            return Err(refusal);
        }
    };
    tell(&mut report, &Report::Started { pid: held.agent.as_raw_pid() });
    let orders = Orders { caller_gone, report };
    let code = watch(&mut held, gone.as_fd(), orders, &limits);
    drop((held, temp));
    Ok(code)
}

/// What a guard holds: the agent, alone or with what else keeps its processes together.
struct Held {
    /// The guard's own child: the agent, or the first process of its namespace.
    first: Pid,
    agent: Pid,
    namespace: Option<Namespace>,
    group: Option<Cgroup>,
}

impl Held {
    fn start(order: &mut Order) -> Result<Self, Failure> {
        let in_group = |error: io::Error| Failure::new(Step::Cgroup, &error);
        let group = match &order.cgroup {
            Some(root) => {
                let name = format!("{}-{}", order.group_name, std::process::id());
                Some(Cgroup::create(Path::new(root).join(name), &order.limits).map_err(in_group)?)
            }
            None => None,
        };
        order.entry.cgroup = group.as_ref().map(|group| group.folder().into());
        if order.namespace {
            let namespace = Namespace::start(order)?;
            return Ok(Self {
                first: namespace.first,
                agent: namespace.agent,
                namespace: Some(namespace),
                group,
            });
        }
        let agent = start(&entry_text(&order.entry)?, &order.program, |command| {
            let environment = order.environment.iter().map(|(name, value)| (name, value));
            command.args(&order.args).env_clear().envs(environment);
        })?;
        Ok(Self { first: agent, agent, namespace: None, group })
    }

    /// How the agent ended, once the guard's own child has; `None` while that goes on.
    fn exit(&mut self) -> Option<Exit> {
        let exit = exit_of(self.first)?;
        Some(self.namespace.as_mut().map_or(exit, Namespace::exit))
    }

    /// The limit that the agent is over, or was ended for by the kernel.
    fn excess(&self, limits: &Resources) -> Option<Excess> {
        let Some(group) = &self.group else { return excess(limits) };
        group.excess(limits).or_else(|| excess(&group.left_of(limits)))
    }

    /// Ends all of it.
    fn end(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
        end_all();
    }
}

/// Gives an agent with a sandbox a temporary folder that no other one can enter.
fn private_temp(order: &mut Order) -> io::Result<Option<PrivateFolder>> {
    let Some(walls) = &mut order.entry.walls else { return Ok(None) };
    let folder = PrivateFolder::create(Path::new(&walls.temp))?;
    walls.temp = folder.path().into();
    order.environment.retain(|(name, _)| name != TEMP_VARIABLE);
    let value = folder.path().to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    order.environment.push((TEMP_VARIABLE.to_owned(), value.to_owned()));
    Ok(Some(folder))
}

/// Waits for the end of the agent or the order to end it, then ends all of it.
fn watch(held: &mut Held, gone: BorrowedFd<'_>, mut orders: Orders, limits: &Resources) -> i32 {
    let look_every = if limits.looked_after() { LOOK_EVERY } else { REAP_EVERY };
    while !orders.is_over() {
        if is_ready(gone) {
            break;
        }
        reap_adopted(held.first);
        if let Some(excess) = held.excess(limits) {
            tell(&mut orders.report, &Report::Over(excess));
            held.end();
            return 128 + Signal::KILL.as_raw();
        }
        orders.wait(Some(gone), &look_every);
    }
    let Some(exit) = held.exit() else {
        held.end();
        return 128 + Signal::KILL.as_raw();
    };
    let killed = held.group.as_ref().and_then(|group| group.excess(limits));
    tell(&mut orders.report, &killed.map_or(Report::Ended(exit), Report::Over));
    let patience = Instant::now() + LINGER;
    // The agent itself stays on the system's list meanwhile, so that nobody else is given its number.
    while !orders.is_over() && Instant::now() < patience && reap_adopted(held.first) > 0 {
        orders.wait(None, &STEP);
    }
    held.end();
    match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
        Exit::Over(_) | Exit::Unknown => REFUSED,
    }
}

/// The two ways in which the caller has everything ended: it closes the reading end of the reports, or is gone.
struct Orders {
    caller_gone: OwnedFd,
    report: File,
}

impl Orders {
    fn is_over(&self) -> bool {
        let mut fds = [
            PollFd::from_borrowed_fd(self.caller_gone.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.report.as_fd(), PollFlags::empty()),
        ];
        // On an error all is over: what cannot be watched must not be left alone.
        poll(&mut fds, Some(&Timespec::default())) != Ok(0)
    }

    /// Waits for an order, for a process, or for the time to pass.
    fn wait(&self, process: Option<BorrowedFd<'_>>, time: &Timespec) {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.caller_gone.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.report.as_fd(), PollFlags::empty()),
        ];
        fds.extend(process.map(|process| PollFd::from_borrowed_fd(process, PollFlags::IN)));
        // Whatever ends the wait is looked at by who waited.
        poll(&mut fds, Some(time)).ok();
    }
}

pub(super) fn is_ready(process: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(process, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())) != Ok(0)
}

/// Closes this process's copies of the agent's streams, so that their end is seen when the agent closes them.
pub(super) fn let_go() -> io::Result<()> {
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

pub(super) fn tell(report: &mut File, what: &Report) {
    let mut line = serde_json::to_vec(what).expect("a report has string keys");
    line.push(b'\n');
    // An error means that the caller does not listen any more, which is an order of its own.
    drop(report.write_all(&line));
}

/// How a child ended; `None` while it has not. It stays on the system's list.
pub(super) fn exit_of(child: Pid) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match waitid(WaitId::Pid(child), options) {
        Ok(None) => None,
        Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        }),
        Err(_) => Some(Exit::Unknown),
    }
}

/// Takes ended processes but the agent off the system's list, and says how many go on.
pub(super) fn reap_adopted(agent: Pid) -> usize {
    let adopted = children().unwrap_or_default().into_iter().filter(|child| *child != agent);
    adopted.filter(|child| matches!(waitpid(Some(*child), WaitOptions::NOHANG), Ok(None))).count()
}

/// Kills every child, and what thereby becomes one, until the system says that there is none.
fn end_all() {
    loop {
        for child in children().unwrap_or_default() {
            // A child that was not waited for keeps its number, so that nobody else can be hit.
            kill_process(child, Signal::KILL).ok();
        }
        let mut reaped = 0;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => reaped += 1,
                Ok(None) => break,
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
        if reaped == 0 {
            poll(&mut [], Some(&STEP)).ok();
        }
    }
}

/// The children of this process, which has one thread, see `proc_pid_task(5)`.
fn children() -> io::Result<Vec<Pid>> {
    let list = fs::read_to_string("/proc/thread-self/children")?;
    Ok(list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect())
}

/// Stdin without the buffer of [`io::Stdin`], which would take what is the agent's.
struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}
