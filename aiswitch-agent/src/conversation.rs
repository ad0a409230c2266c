//! The talk with a program that speaks its vendor's own JSON-RPC.

use std::future::Future;
use std::pin::{Pin, pin};

use aiswitch_rpc::protocol::{ErrorKind, TaskError, TaskResult, TaskSpec, TaskStatus};
use aiswitch_rpc::{CallError, CancelStyle, ErrorObject, OnMalformed, Options, Peer, Router};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::backlog::{Backlog, Hear};
use crate::dialect::is_older;
use crate::event::start_of;
use crate::process::{Ended, Launch, sweep};
use crate::rpc_child::{RpcChild, Trouble};
use crate::sessions::Vendor;
use crate::{AgentError, AgentEvent, Profile, RunContext};

/// How a request of the program is answered.
pub(crate) type Reply = Result<Value, ErrorObject>;

/// What a vendor's program says while it works on a task: messages in, facts out. No I/O, no clock.
pub(crate) trait Dialect: Send {
    /// Takes in a notification.
    fn hear(&mut self, method: &str, params: &Value) -> Vec<AgentEvent>;

    /// Answers a request.
    fn answer(&mut self, method: &str, params: &Value) -> (Reply, Vec<AgentEvent>);

    /// Takes in the reply to the prompt.
    fn replied(&mut self, reply: Reply) -> Vec<AgentEvent>;

    /// Asks the program to end the task early; `None` when it does not yet know the task.
    fn interrupt(&mut self) -> Option<Interrupt>;

    /// Whether nothing more will be said about the task.
    fn is_over(&self) -> bool;

    /// The session and the model.
    fn session(&self) -> AgentEvent;

    /// The params of the method that gives the prompt; what the program says from now on counts.
    fn prompt(&mut self, prompt: &str) -> Value;

    /// What the prompt came to.
    fn into_result(self, outcome: Result<(), Stop>, ended: &Ended) -> TaskResult
    where
        Self: Sized;
}

/// The vendor's own way to end a task early.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Interrupt {
    /// A request.
    Call { method: &'static str, params: Value },
    /// A notification.
    Notify { method: &'static str, params: Value },
}

/// How a program says that a task ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// By itself.
    Completed,
    /// Early.
    Interrupted,
    /// With an error.
    Failed(TaskError),
}

/// Why a conversation ended before its task did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stop {
    /// The run asked for it, and the program ended the task by itself.
    Interrupted,
    /// The run asked for it, and the program was not heard out.
    Cancelled,
    /// The program ended its output.
    Closed,
    /// The program cannot go on, or must not.
    Failed(TaskError),
}

impl Stop {
    /// The error of a program that did not get ready.
    pub(crate) fn into_error(self, ended: &Ended) -> TaskError {
        match self {
            Self::Failed(error) => error,
            Self::Closed => ended.without_answer(),
            Self::Interrupted | Self::Cancelled => {
                TaskError::new(ErrorKind::Timeout, "it was stopped before it was ready")
            }
        }
    }
}

/// What a program sends of its own accord.
#[derive(Debug)]
enum Incoming {
    Notification { method: String, params: Value },
    Request { method: String, params: Value, reply: oneshot::Sender<Reply> },
}

/// The talk with a program.
#[derive(Debug)]
pub(crate) struct Conversation {
    child: RpcChild,
    context: RunContext,
    inbox: Hear<Incoming>,
}

impl Conversation {
    /// Starts the program.
    pub(crate) async fn spawn(
        launch: &Launch,
        context: RunContext,
        options: Options,
    ) -> Result<Self, AgentError> {
        // A session that is resumed may say all of it again before its opening is answered.
        let backlog = Backlog::unbounded();
        let (said, inbox) = backlog.channel();
        let notifications = said.clone();
        let router = Router::new()
            .fallback_notification(move |method, params| {
                notifications.send(Incoming::Notification { method, params });
            })
            .fallback_request(move |method, params, _context| {
                // Sent here and not in the future, so that it stays in line with the notifications.
                let (reply, answer) = oneshot::channel();
                said.send(Incoming::Request { method, params, reply });
                async move {
                    answer.await.unwrap_or_else(|_| Err(ErrorObject::internal("nobody listens any more")))
                }
            });
        let options = options.with_cancel(CancelStyle::None).with_on_malformed(OnMalformed::Report);
        let child = RpcChild::spawn(launch, &context, router, options, backlog).await?;
        Ok(Self { child, context, inbox })
    }

    /// The way to the program.
    pub(crate) fn peer(&self) -> Peer {
        self.child.peer.clone()
    }

    /// Greets the program and opens its first session; gives what it answered to the greeting.
    pub(crate) async fn start<V: Vendor>(
        &mut self,
        vendor: &V,
        task: &TaskSpec,
    ) -> Result<(Value, V::Turn), Stop> {
        let peer = self.peer();
        let start = async {
            let greeting = vendor.greet(&peer).await?;
            let turn = vendor.open(&peer, task, &greeting).await?;
            Ok((greeting, turn))
        };
        self.open(start).await
    }

    /// Waits without a task, for as long as nothing is wrong.
    pub(crate) async fn idle(&mut self) -> Stop {
        loop {
            tokio::select! {
                // Nobody listens: a notification is dropped, a request refused.
                incoming = self.inbox.recv() => if incoming.is_none() {
                    return self.closed().await;
                },
                trouble = self.child.next_trouble() => match trouble {
                    Some(trouble) => if let Err(stop) = self.note(trouble).await {
                        return stop;
                    },
                    None => return Stop::Closed,
                },
            }
        }
    }

    /// Has the first questions of the protocol asked, within the time that a start may take.
    pub(crate) async fn open<T>(
        &mut self,
        handshake: impl Future<Output = Result<T, Stop>>,
    ) -> Result<T, Stop> {
        let patience = self.context.limits.start_timeout;
        let pace = self.context.pace.clone();
        let mut handshake = pin!(pace.within(patience, handshake));
        loop {
            tokio::select! {
                biased;
                () = self.context.cancel.cancelled() => return Err(Stop::Cancelled),
                opened = &mut handshake => return match opened {
                    Some(Err(Stop::Closed)) => Err(self.closed().await),
                    Some(opened) => opened,
                    None => Err(Stop::Failed(TaskError::new(
                        ErrorKind::Timeout,
                        format!("it did not get ready within {} ms", patience.as_millis()),
                    ))),
                },
                trouble = self.child.trouble() => self.note(trouble).await?,
            }
        }
    }

    /// Has the dialect take in all that has come up to now.
    pub(crate) async fn catch_up(&mut self, dialect: &mut impl Dialect) {
        while let Some(incoming) = self.inbox.try_recv() {
            self.tell(take_in(dialect, incoming)).await;
        }
    }

    /// Gives the program its prompt and hears it out to the end of the task.
    pub(crate) async fn prompt(
        &mut self,
        dialect: &mut impl Dialect,
        method: &str,
        params: &Value,
    ) -> Result<(), Stop> {
        self.inbox.bound();
        let peer = self.peer();
        let mut prompt = pin!(peer.call_untyped::<Value>(method, params));
        let mut is_answered = false;
        let mut grace: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
        while !dialect.is_over() {
            let events = tokio::select! {
                biased;
                () = self.context.cancel.cancelled(), if grace.is_none() => {
                    self.context.pace.resume();
                    let interrupt = dialect.interrupt().ok_or(Stop::Cancelled)?;
                    grace = Some(Box::pin(self.interrupted(interrupt)));
                    Vec::new()
                }
                () = async { if let Some(grace) = &mut grace { grace.await } }, if grace.is_some() => {
                    return Err(Stop::Cancelled);
                }
                incoming = self.inbox.recv() => match incoming {
                    Some(incoming) => take_in(dialect, incoming),
                    None => return Err(self.closed().await),
                },
                reply = &mut prompt, if !is_answered => {
                    is_answered = true;
                    match reply_of(reply) {
                        Ok(reply) => dialect.replied(reply),
                        Err(Stop::Closed) => return Err(self.closed().await),
                        Err(stop) => return Err(stop),
                    }
                }
                trouble = self.child.trouble() => {
                    self.note(trouble).await?;
                    Vec::new()
                }
            };
            self.tell(events).await;
        }
        if grace.is_some() { Err(Stop::Interrupted) } else { Ok(()) }
    }

    /// Ends the program: at leisure when the task is over, at once when it must not go on.
    pub(crate) async fn end(self, outcome: &Result<(), Stop>) -> Ended {
        // What it still says is for nobody, and must not keep it from ending.
        drop(self.inbox);
        let ended = match outcome {
            Ok(()) | Err(Stop::Closed | Stop::Interrupted) => self.child.finish(&self.context).await,
            Err(Stop::Cancelled | Stop::Failed(_)) => self.child.stop(&self.context).await,
        };
        // A program that ends well may leave a tool behind all the same.
        sweep(&self.context.marker);
        ended
    }

    /// Asks the program to end the task, and waits out the grace.
    fn interrupted(&self, interrupt: Interrupt) -> impl Future<Output = ()> + Send + 'static {
        let (peer, grace, pace) = (self.peer(), self.context.limits.stop_grace, self.context.pace.clone());
        let ask = async move {
            // A refusal changes nothing: the end of the task or of the grace is what counts.
            match interrupt {
                Interrupt::Call { method, params } => drop(peer.call_untyped::<Value>(method, &params).await),
                Interrupt::Notify { method, params } => drop(peer.notify_untyped(method, &params).await),
            }
            std::future::pending::<()>().await;
        };
        async move {
            pace.within(grace, ask).await;
        }
    }

    /// Why the program's output ended: what was wrong with it, if anything was.
    async fn closed(&mut self) -> Stop {
        loop {
            tokio::select! {
                biased;
                trouble = self.child.trouble() => {
                    if let Err(stop) = self.note(trouble).await {
                        return stop;
                    }
                }
                () = std::future::ready(()) => return Stop::Closed,
            }
        }
    }

    async fn note(&self, trouble: Trouble) -> Result<(), Stop> {
        match trouble {
            Trouble::Unknown(line) => {
                self.context.events.send(AgentEvent::Unknown { line }).await;
                Ok(())
            }
            Trouble::Fatal(error) => Err(Stop::Failed(error)),
        }
    }

    /// Tells events to the run.
    pub(crate) async fn tell(&self, events: Vec<AgentEvent>) {
        for event in events {
            self.context.events.send(event).await;
        }
    }
}

fn take_in(dialect: &mut impl Dialect, incoming: Incoming) -> Vec<AgentEvent> {
    match incoming {
        Incoming::Notification { method, params } => dialect.hear(&method, &params),
        Incoming::Request { method, params, reply } => {
            let (answer, events) = dialect.answer(&method, &params);
            // An error means that the program has withdrawn its question.
            drop(reply.send(answer));
            events
        }
    }
}

/// Asks a question of the protocol's opening; `refused` says what a refusal means.
pub(crate) async fn ask(
    peer: &Peer,
    method: &str,
    params: &Value,
    refused: impl FnOnce(ErrorObject) -> TaskError,
) -> Result<Value, Stop> {
    reply_of(peer.call_untyped(method, params).await)?.map_err(|error| Stop::Failed(refused(error)))
}

/// What a program answered to a call, or why it did not.
fn reply_of(reply: Result<Value, CallError>) -> Result<Reply, Stop> {
    match reply {
        Ok(value) => Ok(Ok(value)),
        Err(CallError::Rpc { code, message, data }) => Ok(Err(ErrorObject { code, message, data })),
        Err(CallError::Closed { .. }) => Err(Stop::Closed),
        Err(error @ CallError::TooLarge { .. }) => {
            Err(Stop::Failed(TaskError::new(ErrorKind::Limit, error.to_string())))
        }
        Err(error) => Err(Stop::Failed(TaskError::new(ErrorKind::Protocol, error.to_string()))),
    }
}

/// Refuses a program that is too old for its driver.
pub(crate) fn check_version(profile: &Profile, version: Option<&str>) -> Result<(), Stop> {
    let (Some(version), Some(needed)) = (version, profile.version_min.as_deref()) else { return Ok(()) };
    if is_older(version, needed) != Some(true) {
        return Ok(());
    }
    let name = profile.command.first().map_or("", String::as_str);
    let message = format!("`{name}` {version} is too old, {needed} or newer is needed");
    let hint = profile.install.as_ref().map(|install| format!("update it with: {install}"));
    Err(Stop::Failed(TaskError { hint, ..TaskError::new(ErrorKind::Config, message) }))
}

/// Gives a result its status and its error; `end` is what the program said itself, if anything.
pub(crate) fn settle(
    result: TaskResult,
    outcome: Result<(), Stop>,
    end: Option<End>,
    ended: &Ended,
) -> TaskResult {
    let error = match (outcome, end) {
        (Err(Stop::Interrupted | Stop::Cancelled), _) => {
            return TaskResult { status: TaskStatus::Cancelled, ..result };
        }
        (_, Some(End::Failed(error))) | (Err(Stop::Failed(error)), _) => error,
        (Ok(()), Some(End::Completed)) if !result.denials.is_empty() => {
            return TaskResult { status: TaskStatus::Denied, ..result };
        }
        (Ok(()), Some(End::Completed)) if result.answer.is_some() => {
            return TaskResult { status: TaskStatus::Completed, ..result };
        }
        (Ok(()), Some(End::Completed)) => {
            TaskError::new(ErrorKind::Empty, "it ended well but without an answer")
        }
        (Ok(()), Some(End::Interrupted)) => TaskError::new(ErrorKind::Provider, "it ended the task early"),
        (Ok(()) | Err(Stop::Closed), _) => ended.without_answer(),
    };
    let status = match error.kind {
        ErrorKind::RateLimit => TaskStatus::RateLimited,
        _ => TaskStatus::Failed,
    };
    TaskResult { status, error: Some(error), ..result }
}

/// The event of a message that is not understood.
pub(crate) fn unknown(method: &str, params: &Value) -> AgentEvent {
    AgentEvent::Unknown { line: start_of(&format!("{method} {params}")) }
}
