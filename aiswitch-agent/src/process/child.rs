//! One child process and all that it starts: begun, heard, ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use aiswitch_rpc::protocol::{ErrorKind, TaskError};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::ChildStdin;

use super::output::{Lost, Stderr, Stdout, open_log};
use super::{Launch, MARKER, sweep};
use crate::{AgentError, AgentEvent, EventSender, RunContext};

/// How long the rest of stderr is waited for after the end of a child; a grandchild may hold the pipe for ever.
const STDERR_PATIENCE: Duration = Duration::from_millis(200);

/// One child process in a process group of its own. Dropping it kills the group at once.
#[derive(Debug)]
pub(crate) struct Child {
    process: tokio::process::Child,
    group: Option<Pid>,
    stderr: Option<Stderr>,
    marker: String,
    stop_grace: Duration,
    events: EventSender,
    log_lost: Lost,
}

/// The two ends of a child that its driver holds.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: Stdout,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// By itself, with a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
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
    /// Starts a program, and tells so.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where a process starts and is given its secrets"
    )]
    pub(crate) async fn spawn(launch: &Launch, context: &RunContext) -> Result<(Self, Pipes), AgentError> {
        let redactor = context.environment.redactor();
        let log_lost = Lost::default();
        let open = |name| {
            open_log(context.output_dir.as_ref(), name, &redactor, &log_lost)
                .map_err(|(path, source)| AgentError::Log { agent: launch.agent.clone(), path, source })
        };
        let (stdout_log, stderr_log) = (open("stdout.log")?, open("stderr.log")?);
        let mut process = tokio::process::Command::new(&launch.program)
            .args(&launch.args)
            .current_dir(&launch.cwd)
            .env_clear()
            .envs(launch.environment.iter().map(|(name, variable)| (name, variable.value.expose())))
            .env(MARKER, &context.marker)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| AgentError::Spawn {
                agent: launch.agent.clone(),
                program: launch.program.clone(),
                source,
            })?;
        let pid = process.id().expect("a child that was not waited for has its pid");
        let stdin = process.stdin.take().expect("stdin is piped");
        let stdout = process.stdout.take().expect("stdout is piped");
        let stderr = process.stderr.take().expect("stderr is piped");
        let child = Self {
            process,
            group: i32::try_from(pid).ok().and_then(Pid::from_raw),
            stderr: Some(Stderr::drain(stderr, stderr_log, &redactor)),
            marker: context.marker.clone(),
            stop_grace: context.limits.stop_grace,
            events: context.events.clone(),
            log_lost,
        };
        let stdout = Stdout::new(stdout, stdout_log, context.limits.output_bytes_max);
        context.events.send(AgentEvent::Started { pid }).await;
        Ok((child, Pipes { stdin, stdout }))
    }

    /// Waits for the end of a child that has no more to do, then ends it: the grace for itself, the grace after
    /// SIGTERM, then SIGKILL to its group and to all that carries its marker.
    pub(crate) async fn finish(mut self) -> Ended {
        match self.exit_within(self.stop_grace).await {
            Some(exit) => self.ended(exit).await,
            None => self.stop().await,
        }
    }

    /// Ends the child: SIGTERM to its group, the grace, then SIGKILL to the group and to all that carries its marker.
    pub(crate) async fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        // A stopped process takes no signal until it goes on.
        self.signal(Signal::CONT);
        let exit = match self.exit_within(self.stop_grace).await {
            Some(exit) => exit,
            None => self.kill().await,
        };
        sweep(&self.marker);
        self.ended(exit).await
    }

    async fn kill(&mut self) -> Exit {
        self.signal(Signal::KILL);
        let status = self.process.wait().await;
        self.group = None;
        status.map_or(Exit::Unknown, Exit::from)
    }

    async fn exit_within(&mut self, patience: Duration) -> Option<Exit> {
        let status = tokio::time::timeout(patience, self.process.wait()).await.ok()?;
        // The leader is reaped: its number may be another's from here on.
        self.group = None;
        Some(status.map_or(Exit::Unknown, Exit::from))
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
        if let Some(group) = self.group {
            // An error means that the group is gone, which is what is wanted.
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.group.is_some() {
            self.signal(Signal::KILL);
            sweep(&self.marker);
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
            Self::Unknown => f.write_str("an unknown exit status"),
        }
    }
}

impl Ended {
    /// The error of an agent that ended before it had answered.
    pub(crate) fn without_answer(&self) -> TaskError {
        let mut message = format!("it ended with {} before it answered", self.exit);
        if let Some(last) = self.stderr_tail.lines().last() {
            message.push_str(": ");
            message.push_str(last.trim());
        }
        TaskError { kind: ErrorKind::Crash, message, hint: None, reset_at: None }
    }
}
