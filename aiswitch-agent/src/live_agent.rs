//! An agent that stays for several tasks, is started again when it ends by itself, and can be moved to another
//! environment.

use std::sync::Arc;

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{AgentId, TaskError, TaskId, TaskResult, TaskSpec};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::keeper::{Keeper, Order, Reply};
use crate::{Agent, LifeState, RestartPolicy, RunContext};

/// How many tasks may wait for an agent before their senders wait.
const TASKS_MAX: usize = 64;

/// How many orders may wait for an agent before their senders wait.
const ORDERS_MAX: usize = 8;

/// An agent that stays for several tasks in one folder and one mode.
///
/// Where its driver's process [`stays`](crate::Driver::stays), it has one for all of them, which is started again as its
/// [`RestartPolicy`] says when it ends by itself. Any other has a process for each turn, and what goes on from turn to turn
/// is its session. Dropping it kills its processes.
#[derive(Debug)]
pub struct LiveAgent {
    id: AgentId,
    orders: mpsc::Sender<(Order, Reply)>,
    tasks: mpsc::Sender<Given>,
    status: watch::Receiver<LiveStatus>,
    cancel: CancellationToken,
    keeper: JoinHandle<()>,
}

/// How an agent is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LiveStatus {
    /// Its state.
    pub state: LifeState,
    /// How often its process was started again since it was last started by hand.
    pub restarts: u32,
    /// Why its process last ended by itself, or could not be started.
    pub problem: Option<TaskError>,
    /// The session of its last task, which the next one may go on with.
    pub session_id: Option<String>,
    /// Its process, which leads all that it starts; of one with a process for each turn, that of the turn in work.
    pub pid: Option<u32>,
    /// When it was last started by hand.
    pub started: Option<Instant>,
}

/// Whether a task that was in work when the agent's process ended is given to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// No: what it has done is done, and doing it twice could do harm. The task has failed.
    Never,
    /// Yes: the task is idempotent, so that doing it twice is as good as doing it once.
    Idempotent,
}

/// What a switch to another environment means for a task that is in work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is waited for.
    Finish,
    /// It is cancelled.
    Cancel,
}

/// Why an agent did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// What it was asked for makes no sense as it is.
    #[error("agent `{agent}` is {state}")]
    State {
        /// The agent.
        agent: AgentId,
        /// How it is.
        state: LifeState,
    },
    /// It did not start.
    #[error("agent `{agent}` did not start: {}", problem.message)]
    Start {
        /// The agent.
        agent: AgentId,
        /// Why.
        problem: TaskError,
    },
    /// It does not work under the environment that it was to be moved to, and goes on under the one before.
    #[error("agent `{agent}` goes on under its environment before: {}", problem.message)]
    RolledBack {
        /// The agent.
        agent: AgentId,
        /// What was wrong under the other.
        problem: TaskError,
    },
    /// The task is for another folder or mode than the agent was made for.
    #[error("agent `{agent}` works in another folder or mode than task `{task}`")]
    Place {
        /// The agent.
        agent: AgentId,
        /// The task.
        task: TaskId,
    },
    /// There is none of this name.
    #[error("there is no agent `{agent}`")]
    Unknown {
        /// The name.
        agent: AgentId,
    },
    /// There is one of this name already.
    #[error("there is an agent `{agent}` already")]
    Twice {
        /// The name.
        agent: AgentId,
    },
    /// Its run was cancelled.
    #[error("agent `{agent}` is given up")]
    Over {
        /// The agent.
        agent: AgentId,
    },
}

/// Where the end of an order or of a task is told.
pub(crate) type Answer<T> = oneshot::Receiver<Result<T, LiveError>>;

/// A task that was given to an agent.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) task: TaskSpec,
    pub(crate) replay: Replay,
    pub(crate) reply: oneshot::Sender<Result<TaskResult, LiveError>>,
}

impl LiveAgent {
    /// An agent that is stopped; `place` is a task that tells its folder, mode and session, and is not given to it.
    ///
    /// A cancelled [`RunContext::cancel`] gives it up for good.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(agent: Arc<dyn Agent>, place: TaskSpec, context: RunContext, policy: RestartPolicy) -> Self {
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (tasks, given) = mpsc::channel(TASKS_MAX);
        let first = LiveStatus {
            state: LifeState::Stopped,
            restarts: 0,
            problem: None,
            session_id: place.session_id.clone(),
            pid: None,
            started: None,
        };
        let (told, status) = watch::channel(first);
        let id = agent.profile().id.clone();
        // Its own, so that its end is not that of others.
        let cancel = context.cancel.child_token();
        let events = context.events.with_status(told.clone());
        let context = RunContext { events, cancel: cancel.clone(), ..context };
        let keeper = Keeper::new(agent, place, context, policy, (ordered, given, told));
        Self { id, orders, tasks, status, cancel, keeper: tokio::spawn(keeper.keep()) }
    }

    /// Starts its process, and waits until it is ready for a task.
    ///
    /// # Errors
    /// It runs already, or does not start: then it is stopped or failed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the start to itself.
    pub async fn start(&self) -> Result<(), LiveError> {
        self.order(Order::Start).await
    }

    /// Asks its process to end, and ends it; a task that is in work is cancelled.
    ///
    /// # Errors
    /// It is stopped already, or about to be.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the stop to itself.
    pub async fn stop(&self) -> Result<(), LiveError> {
        self.order(Order::Stop).await
    }

    /// Stops it where it runs, and starts it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the restart to itself.
    pub async fn restart(&self) -> Result<(), LiveError> {
        self.order(Order::Restart).await
    }

    /// Has it go on under another environment, its session resumed: ends its process, and starts the next one there.
    ///
    /// When it does not get ready there, it goes on under its environment before, and says so. Tasks that wait meanwhile
    /// are done afterwards. One that is stopped or failed is given the environment at its next start.
    ///
    /// # Errors
    /// It was rolled back, or got ready under neither.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the switch to itself.
    pub async fn switch_env(&self, environment: Environment, turn: Turn) -> Result<(), LiveError> {
        self.order(Order::Switch(Box::new(environment), turn)).await
    }

    /// Its name.
    pub fn id(&self) -> &AgentId {
        &self.id
    }

    /// How it is.
    pub fn status(&self) -> LiveStatus {
        self.status.borrow().clone()
    }

    /// How it is, now and whenever that changes.
    pub fn watch(&self) -> watch::Receiver<LiveStatus> {
        self.status.clone()
    }

    /// Gives it a task behind those that wait for it, and waits for the result.
    ///
    /// # Errors
    /// It has no process and is given none, or the task is for another place.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a task that is in work to its end, and takes back one that waits.
    pub async fn send_task(&self, task: TaskSpec, replay: Replay) -> Result<TaskResult, LiveError> {
        self.told(self.give_task(task, replay).await).await
    }

    /// Gives it up for good, as a cancelled [`RunContext::cancel`] does, and waits until nothing of it is left.
    ///
    /// # Panics
    /// Where its driver did.
    ///
    /// # Cancel safety
    /// Dropping the future kills its processes at once.
    pub async fn end(mut self) {
        self.cancel.cancel();
        if let Err(error) = (&mut self.keeper).await
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }

    async fn order(&self, order: Order) -> Result<(), LiveError> {
        self.told(self.give_order(order).await).await
    }

    /// Gives it an order, whose end is told later.
    pub(crate) async fn give_order(&self, order: Order) -> Answer<()> {
        let (reply, answer) = oneshot::channel();
        // An error means that it is given up, which its answer says as well.
        drop(self.orders.send((order, reply)).await);
        answer
    }

    /// Gives it a task, whose result is told later.
    pub(crate) async fn give_task(&self, task: TaskSpec, replay: Replay) -> Answer<TaskResult> {
        let (reply, answer) = oneshot::channel();
        // An error means that it is given up, which its answer says as well.
        drop(self.tasks.send(Given { task, replay, reply }).await);
        answer
    }

    /// Waits for the end of an order or of a task.
    pub(crate) async fn told<T>(&self, answer: Answer<T>) -> Result<T, LiveError> {
        answer.await.unwrap_or_else(|_| Err(self.over()))
    }

    fn over(&self) -> LiveError {
        LiveError::Over { agent: self.id.clone() }
    }
}

impl Drop for LiveAgent {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
