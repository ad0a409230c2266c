//! A program that speaks its vendor's own JSON-RPC, and does one task after the other, each in a session of its own.

use aiswitch_rpc::protocol::{ErrorKind, TaskError, TaskResult, TaskSpec, TaskStatus};
use aiswitch_rpc::{Options, Peer};
use serde_json::Value;

use crate::conversation::{Conversation, Dialect, Stop, settle};
use crate::process::{Ended, Exit, Launch};
use crate::rpc_agent::{End, failed};
use crate::worker::{Worker, not_started};
use crate::{AgentError, RunContext};

/// What differs from vendor to vendor.
#[async_trait::async_trait]
pub(crate) trait Vendor: Send + Sync {
    /// What it says about one prompt.
    type Turn: Dialect + 'static;

    /// The method that gives a prompt.
    const PROMPT: &'static str;

    /// How its messages differ from others.
    fn options() -> Options;

    /// Greets the program; gives its answer.
    async fn greet(&self, peer: &Peer) -> Result<Value, Stop>;

    /// Opens the session of a task.
    async fn open(&self, peer: &Peer, task: &TaskSpec, greeting: &Value) -> Result<Self::Turn, Stop>;
}

/// Does one task with a program of its own.
///
/// # Errors
/// It could not be started.
pub(crate) async fn run_once<V: Vendor>(
    vendor: &V,
    launch: &Launch,
    task: &TaskSpec,
    context: RunContext,
) -> Result<TaskResult, AgentError> {
    let mut conversation = Conversation::spawn(launch, context, V::options()).await?;
    let mut opened = None;
    let outcome = match conversation.start(vendor, task).await {
        Ok((_, turn)) => prompt::<V>(&mut conversation, opened.insert(turn), task).await,
        Err(stop) => Err(stop),
    };
    let ended = conversation.end(&outcome).await;
    Ok(match opened {
        Some(turn) => turn.into_result(outcome, &ended),
        None => settle(TaskResult::new(TaskStatus::Failed), outcome, None, &ended),
    })
}

/// Gets a program as far as it could be given a task, and ends it.
///
/// # Errors
/// It could not be given the task.
pub(crate) async fn probe_once<V: Vendor>(
    vendor: &V,
    launch: &Launch,
    task: &TaskSpec,
    context: RunContext,
) -> Result<(), TaskError> {
    let spawned = Conversation::spawn(launch, context, V::options()).await;
    let mut conversation = spawned.map_err(|error| not_started(&error))?;
    let opened = conversation.start(vendor, task).await.map(drop);
    let ended = conversation.end(&opened).await;
    opened.map_or_else(|stop| Err(stop.into_error(&ended)), |()| Ok(()))
}

/// Gives a prompt in an opened session, and hears it out.
async fn prompt<V: Vendor>(
    conversation: &mut Conversation,
    turn: &mut V::Turn,
    task: &TaskSpec,
) -> Result<(), Stop> {
    conversation.catch_up(turn).await;
    conversation.tell(vec![turn.session()]).await;
    let params = turn.prompt(&task.prompt);
    conversation.prompt(turn, V::PROMPT, &params).await
}

/// A program that stays for several tasks, each in a session of its own.
pub(crate) struct Sessions<V: Vendor> {
    vendor: V,
    conversation: Conversation,
    /// The task that the first session is opened for.
    place: TaskSpec,
    greeting: Value,
    /// The first session, which no prompt was given yet.
    first: Option<V::Turn>,
    /// The session in work, or one that broke off.
    turn: Option<V::Turn>,
    /// Whether the program was not heard out.
    is_cut_off: bool,
}

impl<V: Vendor> Sessions<V> {
    /// Starts the program.
    pub(crate) async fn spawn(
        vendor: V,
        launch: &Launch,
        place: TaskSpec,
        context: RunContext,
    ) -> Result<Self, AgentError> {
        let conversation = Conversation::spawn(launch, context, V::options()).await?;
        let (greeting, first, turn) = (Value::Null, None, None);
        Ok(Self { vendor, conversation, place, greeting, first, turn, is_cut_off: false })
    }

    /// The session of a task.
    async fn open(&mut self, task: &TaskSpec) -> Result<V::Turn, Stop> {
        let is_like_first = (&task.session_id, &task.model) == (&self.place.session_id, &self.place.model);
        if let Some(first) = self.first.take()
            && is_like_first
        {
            return Ok(first);
        }
        let peer = self.conversation.peer();
        let open = self.vendor.open(&peer, task, &self.greeting);
        self.conversation.open(open).await
    }
}

#[async_trait::async_trait]
impl<V: Vendor> Worker for Sessions<V> {
    async fn greet(&mut self) -> Result<(), End> {
        let (greeting, first) =
            self.conversation.start(&self.vendor, &self.place).await.map_err(End::from)?;
        (self.greeting, self.first) = (greeting, Some(first));
        Ok(())
    }

    async fn work(&mut self, task: TaskSpec) -> End {
        let turn = match self.open(&task).await {
            Ok(turn) => turn,
            // What one session is refused another may be given.
            Err(Stop::Failed(error)) if error.kind != ErrorKind::Timeout => {
                return End::Answered(failed(error));
            }
            Err(stop) => return stop.into(),
        };
        let outcome = prompt::<V>(&mut self.conversation, self.turn.insert(turn), &task).await;
        self.is_cut_off = outcome == Err(Stop::Cancelled);
        let end = match outcome {
            Err(stop @ (Stop::Closed | Stop::Failed(_))) => return stop.into(),
            over => over,
        };
        let Some(turn) = self.turn.take() else { return End::Gone };
        let is_over = end.is_ok();
        let result = turn.into_result(end, &UNHEARD);
        if is_over { End::Answered(result) } else { End::Cancelled(Some(result)) }
    }

    async fn whole(&mut self, result: TaskResult) -> TaskResult {
        let Some(turn) = self.turn.take() else { return result };
        let so_far = turn.into_result(Err(Stop::Closed), &UNHEARD);
        TaskResult { status: result.status, error: result.error, ..so_far }
    }

    async fn idle(&mut self) -> End {
        self.conversation.idle().await.into()
    }

    async fn shut_down(self: Box<Self>) {
        let outcome = if self.is_cut_off { Err(Stop::Cancelled) } else { Ok(()) };
        self.conversation.end(&outcome).await;
    }

    async fn give_up(self: Box<Self>, end: End) -> TaskError {
        let stop = match end {
            End::Failed(problem) | End::Hung(problem) => Stop::Failed(problem),
            End::Cancelled(_) => Stop::Cancelled,
            End::Answered(_) | End::Gone => Stop::Closed,
        };
        let outcome = Err(stop.clone());
        let ended = self.conversation.end(&outcome).await;
        stop.into_error(&ended)
    }
}

/// The end of a program that goes on, of which nothing is asked.
const UNHEARD: Ended = Ended { exit: Exit::Unknown, stderr_tail: String::new() };

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed(error) => Self::Failed(error),
            Stop::Closed => Self::Gone,
            Stop::Interrupted | Stop::Cancelled => Self::Cancelled(None),
        }
    }
}
