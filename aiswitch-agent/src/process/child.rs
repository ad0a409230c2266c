//! One child process and all that it starts: begun, heard, ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use aiswitch_rpc::protocol::{ErrorKind, TaskError};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::process::ChildStdin;

use super::guarded::{Lifeline, Watch};
use super::output::{Lost, Stderr, Stdout, open_log};
use super::program::check_format;
use super::{Guard, Launch, MARKER, sweep};
use crate::resources::{Excess, Resource};
use crate::sandbox::walls;
use crate::{AgentError, AgentEvent, Cgroups, EventSender, Hold as HeldBy, Pace, RunContext, Sandbox};

/// How long the rest of stderr is waited for after the end of a child; a grandchild may hold the pipe for ever.
const STDERR_PATIENCE: Duration = Duration::from_millis(200);

/// How long a guard may take to end its agent's processes, before it is ended itself and they are sought by their mark.
const GUARD_PATIENCE: Duration = Duration::from_secs(2);

/// One agent's process in a process group of its own. Dropping it kills all that it has started, at once.
#[derive(Debug)]
pub(crate) struct Child {
    process: tokio::process::Child,
    hold: Hold,
    stderr: Option<Stderr>,
    traces: Traces,
    stop_grace: Duration,
    pace: Pace,
    events: EventSender,
    log_lost: Lost,
}

/// What the caller has a child's processes by.
#[derive(Debug)]
enum Hold {
    /// The child is the agent's process, and leads this group.
    Group(Pid),
    /// The child is a guard; the agent's process leads this group.
    Guard(Watch, Pid),
    /// It is gone, and its number may be another's.
    Gone,
}

/// The two ends of a child that its driver holds.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: Stdout,
}

/// What processes are found by that nobody holds any more.
#[derive(Debug)]
pub(super) struct Traces {
    marker: String,
    cgroups: Option<Cgroups>,
}

impl Traces {
    fn of(context: &RunContext) -> Self {
        let cgroups = context.guard.as_ref().and_then(|guard| guard.cgroups().cloned());
        Self { marker: context.marker.clone(), cgroups }
    }

    /// Ends all that is found.
    pub(super) fn sweep(&self) {
        sweep(&self.marker);
        if let Some(cgroups) = &self.cgroups {
            cgroups.reclaim(&self.marker);
        }
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    /// By itself, with a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// By its guard, since it was over a limit.
    Over(Excess),
    /// The system could not tell.
    Unknown,
}

/// A child that is gone.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// The last lines of its stderr, with secrets masked.
    pub(crate) stderr_tail: String,
}

impl Child {
    /// Starts a program, under a guard where the context has one, and tells so.
    pub(crate) async fn spawn(launch: &Launch, context: &RunContext) -> Result<(Self, Pipes), AgentError> {
        let redactor = context.environment.redactor();
        let log_lost = Lost::default();
        let open = |name| {
            open_log(context.output_dir.as_ref(), name, &redactor, &log_lost)
                .map_err(|(path, source)| AgentError::Log { agent: launch.agent.clone(), path, source })
        };
        let (stdout_log, stderr_log) = (open("stdout.log")?, open("stderr.log")?);
        let walls = walls(launch, &context.hidden)?;
        let (mut process, lifeline) = begin(launch, context)?;
        let mut stdin = process.stdin.take().expect("stdin is piped");
        let stdout = process.stdout.take().expect("stdout is piped");
        let stderr = process.stderr.take().expect("stderr is piped");
        let mut child = Self {
            process,
            hold: Hold::Gone,
            stderr: Some(Stderr::drain(stderr, stderr_log, &redactor)),
            traces: Traces::of(context),
            stop_grace: context.limits.stop_grace,
            pace: context.pace.clone(),
            events: context.events.clone(),
            log_lost,
        };
        let leader = match lifeline {
            None => {
                let pid = child.process.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
                let leader = pid.expect("a child that was not waited for has its number");
                child.hold = Hold::Group(leader);
                leader
            }
            Some(mut lifeline) => {
                match lifeline.start((launch, walls), context, &mut child.process, &mut stdin).await {
                    Ok(leader) => {
                        child.hold = Hold::Guard(lifeline.watch(Traces::of(context)), leader);
                        leader
                    }
                    Err(problem) => {
                        drop((lifeline, stdin));
                        child.end_guard().await;
                        let said = child.ended(Exit::Unknown).await.stderr_tail;
                        return Err(problem.into_error(launch, context, &said));
                    }
                }
            }
        };
        let output_bytes_max = launch.resources.output_bytes_max(&context.limits);
        let stdout = Stdout::new(stdout, stdout_log, output_bytes_max);
        context.events.send(AgentEvent::Started { pid: leader.as_raw_pid().unsigned_abs() }).await;
        Ok((child, Pipes { stdin, stdout }))
    }

    /// Waits for the end of a child that has no more to do, then ends it: the grace for itself, the grace after
    /// SIGTERM, then SIGKILL to its group and to all that carries its marker.
    pub(crate) async fn finish(mut self) -> Ended {
        self.pace.resume();
        match self.exit_within(self.stop_grace).await {
            Some(exit) => self.ended(exit).await,
            None => self.stop().await,
        }
    }

    /// Ends the child: SIGTERM to its group, the grace, then SIGKILL to all that it has started.
    pub(crate) async fn stop(mut self) -> Ended {
        self.pace.resume();
        self.signal(Signal::TERM);
        // A stopped process takes no signal until it goes on.
        self.signal(Signal::CONT);
        let exit = match self.exit_within(self.stop_grace).await {
            Some(exit) => exit,
            None => self.kill().await,
        };
        self.traces.sweep();
        self.ended(exit).await
    }

    async fn kill(&mut self) -> Exit {
        self.signal(Signal::KILL);
        if let Hold::Guard(..) = std::mem::replace(&mut self.hold, Hold::Gone) {
            self.end_guard().await;
            return Exit::Signal(Signal::KILL.as_raw());
        }
        let status = self.process.wait().await;
        status.map_or(Exit::Unknown, Exit::from)
    }

    /// Waits for the end of a guard whose line is cut; one that is stopped or broken itself is killed.
    async fn end_guard(&mut self) {
        if tokio::time::timeout(GUARD_PATIENCE, self.process.wait()).await.is_err() {
            // An error means that it has ended meanwhile.
            drop(self.process.kill().await);
            self.traces.sweep();
        }
    }

    async fn exit_within(&mut self, patience: Duration) -> Option<Exit> {
        let status = self.pace.within(patience, self.process.wait()).await?;
        let told = match std::mem::replace(&mut self.hold, Hold::Gone) {
            Hold::Guard(watch, _) => watch.exit().await,
            // The leader is reaped: its number may be another's from here on.
            Hold::Group(_) | Hold::Gone => None,
        };
        Some(told.unwrap_or_else(|| status.map_or(Exit::Unknown, Exit::from)))
    }

    async fn ended(mut self, exit: Exit) -> Ended {
        let stderr_tail = match self.stderr.take() {
            Some(stderr) => stderr.tail(STDERR_PATIENCE).await,
            None => String::new(),
        };
        if let Some(reason) = self.log_lost.get() {
            self.events.send(AgentEvent::LogLost { reason: reason.clone() }).await;
        }
        Ended { exit, stderr_tail }
    }

    fn signal(&self, signal: Signal) {
        if let Hold::Group(leader) | Hold::Guard(_, leader) = self.hold {
            // An error means that the group is gone, which is what is wanted.
            kill_process_group(leader, signal).ok();
        }
    }
}

/// The error of an agent that was over a limit.
pub(crate) fn over(excess: Excess) -> TaskError {
    let kind = if excess.resource == Resource::Memory { ErrorKind::Oom } else { ErrorKind::Limit };
    let hint = format!("raise `{}` under `limits` of its spec, or give it a smaller task", excess.resource);
    TaskError { hint: Some(hint), ..TaskError::new(kind, excess.to_string()) }
}

/// What the processes of a context's agent are held by.
pub(super) fn hold(context: &RunContext) -> HeldBy {
    context.guard.as_ref().map_or(HeldBy::GROUP, Guard::hold)
}

/// Starts the agent's process, or the guard that will start it.
fn begin(
    launch: &Launch,
    context: &RunContext,
) -> Result<(tokio::process::Child, Option<Lifeline>), AgentError> {
    let agent = || launch.agent.clone();
    let failed = |source| match &context.guard {
        None => AgentError::Spawn { agent: agent(), program: launch.program.clone(), source },
        Some(guard) => AgentError::Guard { agent: agent(), program: guard.program().to_owned(), source },
    };
    if let Some((resource, how_far)) = launch.resources.refused(hold(context)) {
        return Err(AgentError::Limit { agent: agent(), resource, how_far });
    }
    if launch.sandbox != Sandbox::None && context.guard.is_none() {
        let source = std::io::Error::other("only a guard can put it up");
        return Err(AgentError::Sandbox { agent: agent(), sandbox: launch.sandbox, source });
    }
    check_format(&launch.program).map_err(|source| AgentError::Spawn {
        agent: agent(),
        program: launch.program.clone(),
        source,
    })?;
    let lifeline = context.guard.as_ref().map(|_| Lifeline::open()).transpose().map_err(failed)?;
    let mut command = match &context.guard {
        Some(guard) => guard.command(&context.marker),
        None => unguarded(launch, context),
    };
    let process = command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A guard that is killed cannot end the agent's processes any more.
        .kill_on_drop(context.guard.is_none())
        .spawn()
        .map_err(failed)?;
    Ok((process, lifeline))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where an agent without a guard starts and is given its secrets"
)]
fn unguarded(launch: &Launch, context: &RunContext) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(&launch.program);
    command
        .args(&launch.args)
        .current_dir(&launch.cwd)
        .env_clear()
        .envs(launch.environment.iter().map(|(name, variable)| (name, variable.value.expose())))
        .env(MARKER, &context.marker);
    command
}

impl Drop for Child {
    fn drop(&mut self) {
        if !matches!(self.hold, Hold::Gone) {
            self.signal(Signal::KILL);
            self.hold = Hold::Gone;
            self.traces.sweep();
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, Some(signal)) => Self::Signal(signal),
            (None, None) => Self::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Over(excess) => excess.fmt(f),
            Self::Unknown => f.write_str("an unknown exit status"),
        }
    }
}

impl Ended {
    /// The error of an agent that ended before it had answered.
    pub(crate) fn without_answer(&self) -> TaskError {
        if let Exit::Over(excess) = self.exit {
            return over(excess);
        }
        let mut message = format!("it ended with {} before it answered", self.exit);
        if let Some(last) = self.stderr_tail.lines().last() {
            message.push_str(": ");
            message.push_str(last.trim());
        }
        TaskError::new(ErrorKind::Crash, message)
    }
}
