//! The caller's side of a guard: the order that it is given, its reports, and the line on which its life hangs.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::process::{Pid, getpid};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::process::ChildStdin;
use tokio::task::JoinHandle;

use super::child::{Traces, hold};
use super::guard::order::{Entry, Failure, Order, Report, Step};
use super::{Exit, Launch, MARKER, Walls};
use crate::{AgentError, Guard, RunContext};

/// How long a guard may take to start its agent's program.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(20);

/// All that a guard may report, in bytes.
const REPORT_BYTES_MAX: u64 = 4 * 1024;

/// The reading end of a guard's reports: the line on which its life hangs. Dropping it has it end everything at once.
#[derive(Debug)]
pub(super) struct Lifeline {
    reports: BufReader<tokio::io::Take<pipe::Receiver>>,
    /// The writing end, until the guard has opened its own.
    spare: Option<pipe::Sender>,
}

impl Lifeline {
    pub(super) fn open() -> io::Result<Self> {
        let (sender, receiver) = pipe::pipe()?;
        Ok(Self { reports: BufReader::new(receiver.take(REPORT_BYTES_MAX)), spare: Some(sender) })
    }

    /// Gives the order, and waits until the agent's program runs; gives its process, which leads its group.
    ///
    /// # Errors
    /// The guard does not report, or reports that the program does not run.
    pub(super) async fn start(
        &mut self,
        (launch, walls): (&Launch, Option<Walls>),
        context: &RunContext,
        guard: &mut tokio::process::Child,
        stdin: &mut ChildStdin,
    ) -> Result<Pid, NotStarted> {
        let order = self.order(launch, context, walls).to_frame().map_err(NotStarted::Order)?;
        let asked = async {
            // An error means that the guard has refused, which is heard by the end of its reports.
            drop(stdin.write_all(&order).await);
            tokio::select! {
                // Nothing is lost when the guard's end comes first: what it has told stays in the buffer.
                _ = self.reports.fill_buf() => {}
                _ = guard.wait() => self.spare = None,
            }
            self.next().await
        };
        match tokio::time::timeout(START_TIMEOUT, asked).await {
            Ok(Ok(Some(Report::Started { pid }))) => Pid::from_raw(pid).ok_or(NotStarted::Refused),
            Ok(Ok(Some(Report::Failed(failure)))) => Err(NotStarted::Failed(failure)),
            Ok(Ok(_) | Err(_)) => Err(NotStarted::Refused),
            Err(_) => Err(NotStarted::Silent),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the agent's secrets pass through its guard")]
    fn order(&self, launch: &Launch, context: &RunContext, walls: Option<Walls>) -> Order {
        let environment = launch.environment.iter();
        let marker = (MARKER.to_owned(), context.marker.clone());
        let guard = context.guard.as_ref();
        let cgroup = guard.and_then(|guard| guard.cgroups()).map(|cgroups| cgroups.root().into());
        let resources = launch.resources;
        Order {
            caller: getpid().as_raw_pid(),
            report_fd: self.spare.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            program: launch.program.clone().into(),
            args: launch.args.clone(),
            environment: environment
                .map(|(name, variable)| (name.to_owned(), variable.value.expose().to_owned()))
                .chain([marker])
                .collect(),
            limits: resources,
            namespace: guard.is_some_and(Guard::has_namespace),
            cgroup,
            group_name: format!("aiswitch-{}", context.marker),
            entry: Entry {
                cwd: launch.cwd.clone().into(),
                cgroup: None,
                nice: resources.cpu_percent.is_some() && !hold(context).controllers.cpu,
                open_files: resources.open_files,
                walls,
            },
        }
    }

    async fn next(&mut self) -> io::Result<Option<Report>> {
        let mut line = String::new();
        self.reports.read_line(&mut line).await?;
        // The guard has its own by now, or is gone.
        self.spare = None;
        Ok(if line.is_empty() { None } else { Some(serde_json::from_str(&line)?) })
    }

    /// Hears the guard out; a guard that ends too early leaves its work to the sweep, at once, since what is left may
    /// hold the agent's streams.
    pub(super) fn watch(mut self, traces: Traces) -> Watch {
        Watch(tokio::spawn(async move {
            let exit = match self.next().await {
                Ok(Some(Report::Ended(exit))) => exit,
                Ok(Some(Report::Over(excess))) => Exit::Over(excess),
                _ => {
                    traces.sweep();
                    return None;
                }
            };
            // Until the guard has ended: without its line it would cut short what it gives the agent's last.
            drop(self.next().await);
            Some(exit)
        }))
    }
}

/// The task that hears a guard out. Dropping it cuts the guard's line, at the next turn of the runtime.
#[derive(Debug)]
pub(super) struct Watch(JoinHandle<Option<Exit>>);

impl Watch {
    /// How the agent ended; `None` when its guard did not live to tell.
    pub(super) async fn exit(mut self) -> Option<Exit> {
        (&mut self.0).await.ok().flatten()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why a guard has not started its agent's program.
#[derive(Debug)]
pub(super) enum NotStarted {
    /// The order cannot be given.
    Order(io::Error),
    /// It could not start the program.
    Failed(Failure),
    /// It ended without a report.
    Refused,
    /// It did not report in time.
    Silent,
}

impl NotStarted {
    /// The error of an agent; `said` is the last line of its guard's stderr.
    pub(super) fn into_error(self, launch: &Launch, context: &RunContext, said: &str) -> AgentError {
        let agent = launch.agent.clone();
        let spawn = |source| AgentError::Spawn {
            agent: launch.agent.clone(),
            program: launch.program.clone(),
            source,
        };
        let source = match self {
            Self::Order(source) => return spawn(source),
            Self::Failed(failure @ Failure { step: Step::Folder, .. }) => {
                return AgentError::Cwd { agent, cwd: launch.cwd.clone(), source: failure.source() };
            }
            Self::Failed(failure @ Failure { step: Step::Sandbox, .. }) => {
                return AgentError::Sandbox { agent, sandbox: launch.sandbox, source: failure.source() };
            }
            Self::Failed(failure @ Failure { step: Step::Fork | Step::Limits | Step::Program, .. }) => {
                return spawn(failure.source());
            }
            Self::Failed(failure @ Failure { step: Step::Bind, .. }) => failure.source(),
            Self::Failed(failure @ Failure { step: Step::Namespace | Step::Cgroup, .. }) => {
                return AgentError::Hold { agent, tier: hold(context).tier, source: failure.source() };
            }
            Self::Refused => {
                io::Error::other(said.lines().last().unwrap_or("it ended without a report").to_owned())
            }
            Self::Silent => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it did not report within {} s", START_TIMEOUT.as_secs()),
            ),
        };
        let program = context.guard.as_ref().map(|guard| guard.program().to_owned()).unwrap_or_default();
        AgentError::Guard { agent, program, source }
    }
}
