//! An agent whose process stays for several tasks, and is started again when it ends by itself.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::time::Duration;

use aiswitch_rpc::protocol::{AgentId, ErrorKind, TaskError, TaskResult, TaskSpec, TaskStatus};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rpc_agent::{End, Talk, failed};
use crate::{
    AgentError, AgentEvent, Driver, LifeEvent, LifeState, Profile, Restart, RestartPolicy, Restarts,
    RunContext,
};

/// How many tasks may wait for an agent before their senders wait.
const TASKS_MAX: usize = 64;

/// How many orders may wait for an agent before their senders wait.
const ORDERS_MAX: usize = 8;

/// An agent whose process stays for several tasks in one folder and one mode.
///
/// It speaks the aiswitch protocol. When its process ends by itself, it is started again as its [`RestartPolicy`] says.
/// Dropping it kills its process.
#[derive(Debug)]
pub struct LiveAgent {
    id: AgentId,
    orders: mpsc::Sender<(Order, Reply)>,
    tasks: mpsc::Sender<Given>,
    status: watch::Receiver<LiveStatus>,
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
}

/// Whether a task that was in work when the agent's process ended is given to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// No: what it has done is done, and doing it twice could do harm. The task has failed.
    Never,
    /// Yes: the task is idempotent, so that doing it twice is as good as doing it once.
    Idempotent,
}

/// Why an agent did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// Its driver starts a process for each task.
    #[error("agent `{agent}` cannot stay for several tasks: its driver is `{driver}`")]
    Driver {
        /// The agent.
        agent: AgentId,
        /// Its driver.
        driver: Driver,
    },
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
    /// The task is for another folder or mode than the agent was made for.
    #[error("agent `{agent}` works in another folder or mode than task `{task}`")]
    Place {
        /// The agent.
        agent: AgentId,
        /// The task.
        task: aiswitch_rpc::protocol::TaskId,
    },
    /// Its run was cancelled.
    #[error("agent `{agent}` is given up")]
    Over {
        /// The agent.
        agent: AgentId,
    },
}

type Reply = oneshot::Sender<Result<(), LiveError>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Start,
    Stop,
    Restart,
}

/// A task that was given to an agent.
#[derive(Debug)]
struct Given {
    task: TaskSpec,
    replay: Replay,
    reply: oneshot::Sender<Result<TaskResult, LiveError>>,
}

impl LiveAgent {
    /// An agent that is stopped; `place` is a task that tells its folder and mode, and is not given to it.
    ///
    /// A cancelled [`RunContext::cancel`] gives it up for good.
    ///
    /// # Errors
    /// Its driver starts a process for each task.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn new(
        profile: Profile,
        place: TaskSpec,
        context: RunContext,
        policy: RestartPolicy,
    ) -> Result<Self, LiveError> {
        if !matches!(profile.driver, Driver::Rpc | Driver::Echo) {
            return Err(LiveError::Driver { agent: profile.id, driver: profile.driver });
        }
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let (tasks, given) = mpsc::channel(TASKS_MAX);
        let first = LiveStatus { state: LifeState::Stopped, restarts: 0, problem: None };
        let (told, status) = watch::channel(first);
        let id = profile.id.clone();
        let keeper = Keeper {
            profile,
            place,
            context,
            restarts: Restarts::new(policy),
            born: Instant::now(),
            orders: ordered,
            tasks: given,
            waiting: None,
            status: told,
        };
        Ok(Self { id, orders, tasks, status, keeper: tokio::spawn(keeper.keep()) })
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
        let (reply, answer) = oneshot::channel();
        let given = Given { task, replay, reply };
        match self.tasks.send(given).await {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(self.over())),
            Err(_) => Err(self.over()),
        }
    }

    async fn order(&self, order: Order) -> Result<(), LiveError> {
        let (reply, answer) = oneshot::channel();
        match self.orders.send((order, reply)).await {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(self.over())),
            Err(_) => Err(self.over()),
        }
    }
}

impl LiveAgent {
    fn over(&self) -> LiveError {
        LiveError::Over { agent: self.id.clone() }
    }
}

impl Drop for LiveAgent {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// The loop that owns an agent's process and state.
#[derive(Debug)]
struct Keeper {
    profile: Profile,
    place: TaskSpec,
    context: RunContext,
    restarts: Restarts,
    /// What the times of restarts are counted from.
    born: Instant,
    orders: mpsc::Receiver<(Order, Reply)>,
    tasks: mpsc::Receiver<Given>,
    /// A task that is given to the next process.
    waiting: Option<Given>,
    status: watch::Sender<LiveStatus>,
}

/// Why an agent has no process any more.
#[derive(Debug)]
enum Gone {
    /// Somebody wanted it to end.
    Ordered(Order, Reply),
    /// It ended by itself, or had to be ended.
    Crashed(TaskError),
    /// There is no use in starting it again.
    Hopeless(TaskError),
    /// The run is cancelled.
    Over,
}

/// Whether an agent may be started again by hand.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    Ready,
    Over,
}

impl Keeper {
    async fn keep(mut self) {
        while let Some(reply) = self.rest().await {
            if self.run(reply).await == Rest::Over {
                // Its process is gone by now; each is an event only where it is one.
                drop(self.enter(LifeEvent::Stop).await);
                drop(self.enter(LifeEvent::Ended).await);
                return;
            }
        }
    }

    /// Waits without a process for the order to start; `None` when there will be none.
    async fn rest(&mut self) -> Option<Reply> {
        loop {
            tokio::select! {
                () = self.context.cancel.cancelled() => return None,
                ordered = self.orders.recv() => match ordered? {
                    (Order::Start | Order::Restart, reply) => return Some(reply),
                    (Order::Stop, reply) => {
                        let stopped = self.enter(LifeEvent::Stop).await;
                        answer(reply, stopped);
                    }
                },
                Some(given) = self.tasks.recv() => self.refuse(given),
            }
        }
    }

    /// Has one process after the other, until the agent is to have none.
    async fn run(&mut self, reply: Reply) -> Rest {
        let mut asked = Some(reply);
        let mut event = LifeEvent::Start;
        loop {
            if event == LifeEvent::Start {
                self.restarts.reset();
                self.status.send_modify(|status| (status.restarts, status.problem) = (0, None));
            }
            self.go(event).await;
            let began = Instant::now();
            let problem = match self.process(&mut asked).await {
                Gone::Ordered(Order::Restart, reply) => {
                    self.go(LifeEvent::Ended).await;
                    self.give_up_start(&mut asked, None);
                    (asked, event) = (Some(reply), LifeEvent::Start);
                    continue;
                }
                Gone::Ordered(_, reply) => {
                    self.go(LifeEvent::Ended).await;
                    self.give_up_start(&mut asked, None);
                    answer(reply, Ok(()));
                    return Rest::Ready;
                }
                Gone::Over => return Rest::Over,
                Gone::Hopeless(problem) => {
                    self.go(LifeEvent::GaveUp).await;
                    self.give_up_start(&mut asked, Some(problem));
                    return Rest::Ready;
                }
                Gone::Crashed(problem) => problem,
            };
            self.go(LifeEvent::Crashed).await;
            self.status.send_modify(|status| status.problem = Some(problem.clone()));
            match self.restarts.crashed(self.born.elapsed(), began.elapsed(), chance()) {
                Restart::After(wait) => match self.wait(wait, &mut asked).await {
                    None => event = LifeEvent::Waited,
                    Some(rest) => return rest,
                },
                Restart::GiveUp => {
                    self.go(LifeEvent::GaveUp).await;
                    self.give_up_start(&mut asked, Some(problem));
                    return Rest::Ready;
                }
            }
        }
    }

    /// Waits before the next start; `None` when it is time for that.
    async fn wait(&mut self, wait: Duration, asked: &mut Option<Reply>) -> Option<Rest> {
        let mut time = pin!(tokio::time::sleep(wait));
        loop {
            tokio::select! {
                () = self.context.cancel.cancelled() => return Some(Rest::Over),
                Some((order, reply)) = self.orders.recv() => match order {
                    Order::Start => answer(reply, Err(self.state_error())),
                    Order::Restart => {
                        self.give_up_start(asked, None);
                        *asked = Some(reply);
                        break;
                    }
                    Order::Stop => {
                        self.go(LifeEvent::Stop).await;
                        self.give_up_start(asked, None);
                        answer(reply, Ok(()));
                        return Some(Rest::Ready);
                    }
                },
                () = &mut time => break,
            }
        }
        self.status.send_modify(|status| status.restarts += 1);
        None
    }

    /// Has one process, from its start to its end.
    async fn process(&mut self, asked: &mut Option<Reply>) -> Gone {
        let cancel = self.context.cancel.child_token();
        let context = RunContext { cancel: cancel.clone(), ..self.context.clone() };
        let launch = match self.profile.launch(&self.place, &context.environment, [""; 0]) {
            Ok(launch) => launch,
            Err(error) => return Gone::Hopeless(not_started(&error)),
        };
        let mut talk = match Talk::spawn(&launch, self.place.clone(), context).await {
            Ok(talk) => talk,
            Err(error) => return Gone::Hopeless(not_started(&error)),
        };
        let (greeted, ordered) = self.attend(&cancel, talk.greet()).await;
        if let Some((order, reply)) = ordered {
            talk.shut_down().await;
            return Gone::Ordered(order, reply);
        }
        match greeted {
            Ok(()) => {}
            Err(End::Failed(problem)) => {
                talk.give_up().await;
                return match problem.kind {
                    ErrorKind::Auth | ErrorKind::Config | ErrorKind::NotInstalled => Gone::Hopeless(problem),
                    _ => Gone::Crashed(problem),
                };
            }
            Err(End::Cancelled(_)) => {
                talk.give_up().await;
                return Gone::Over;
            }
            Err(End::Gone | End::Answered(_)) => return Gone::Crashed(talk.give_up().await),
        }
        self.go(LifeEvent::Ready).await;
        if let Some(reply) = asked.take() {
            answer(reply, Ok(()));
        }
        self.serve(talk, &cancel).await
    }

    /// Gives a process one task after the other.
    async fn serve(&mut self, mut talk: Talk, cancel: &CancellationToken) -> Gone {
        loop {
            let given = if let Some(given) = self.waiting.take() {
                given
            } else {
                tokio::select! {
                    () = cancel.cancelled() => {
                        talk.shut_down().await;
                        return Gone::Over;
                    }
                    Some((order, reply)) = self.orders.recv() => {
                        if order == Order::Start {
                            answer(reply, Err(self.state_error()));
                            continue;
                        }
                        self.go(LifeEvent::Stop).await;
                        talk.shut_down().await;
                        return Gone::Ordered(order, reply);
                    }
                    Some(given) = self.tasks.recv() => given,
                    fault = talk.fault() => {
                        let problem = talk.give_up().await;
                        return Gone::Crashed(fault.unwrap_or(problem));
                    }
                }
            };
            // Whoever does not wait for a task any more has taken it back.
            if given.reply.is_closed() {
                continue;
            }
            if (&given.task.cwd, given.task.mode) != (&self.place.cwd, self.place.mode) {
                let (agent, task) = (self.profile.id.clone(), given.task.id.clone());
                drop(given.reply.send(Err(LiveError::Place { agent, task })));
                continue;
            }
            self.go(LifeEvent::Assigned).await;
            talk = match self.work(talk, given, cancel).await {
                Ok(talk) => talk,
                Err(gone) => return gone,
            };
        }
    }

    /// Has a process do one task; gives it back if it is there for the next one.
    async fn work(&mut self, mut talk: Talk, given: Given, cancel: &CancellationToken) -> Result<Talk, Gone> {
        talk.next(given.task.clone());
        let (end, ordered) = self.attend(cancel, talk.assign()).await;
        let said = match end {
            End::Answered(result) => talk.result(result).await,
            End::Cancelled(Some(last)) => {
                talk.result(TaskResult { status: TaskStatus::Cancelled, ..last }).await
            }
            End::Cancelled(None) => talk.result(TaskResult::new(TaskStatus::Cancelled)).await,
            End::Failed(_) | End::Gone => {
                let so_far = talk.result(TaskResult::new(TaskStatus::Failed)).await;
                let ended = talk.give_up().await;
                let problem = if let End::Failed(problem) = end { problem } else { ended };
                if given.replay == Replay::Idempotent && ordered.is_none() {
                    self.waiting = Some(given);
                } else {
                    let result = TaskResult { answer: so_far.answer, ..failed(problem.clone()) };
                    drop(given.reply.send(Ok(result)));
                }
                return Err(match ordered {
                    Some((order, reply)) => Gone::Ordered(order, reply),
                    None => Gone::Crashed(problem),
                });
            }
        };
        // An error means that nobody waits for it any more.
        drop(given.reply.send(Ok(said)));
        match ordered {
            Some((order, reply)) => {
                talk.shut_down().await;
                Err(Gone::Ordered(order, reply))
            }
            None if cancel.is_cancelled() => {
                talk.shut_down().await;
                Err(Gone::Over)
            }
            None => {
                self.go(LifeEvent::Answered).await;
                Ok(talk)
            }
        }
    }

    /// Waits for some work of the process; an order to end it cancels the work first.
    async fn attend<T>(
        &mut self,
        cancel: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> (T, Option<(Order, Reply)>) {
        let mut work = pin!(work);
        let mut ordered = None;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return (done, ordered),
                Some((order, reply)) = self.orders.recv(), if ordered.is_none() => {
                    if order == Order::Start {
                        answer(reply, Err(self.state_error()));
                        continue;
                    }
                    self.go(LifeEvent::Stop).await;
                    ordered = Some((order, reply));
                    cancel.cancel();
                }
            }
        }
    }

    /// Goes where an event leads that the loop itself has brought about.
    async fn go(&self, event: LifeEvent) {
        self.enter(event).await.expect("the loop does what its state allows");
    }

    /// Goes where an event leads, and tells so.
    async fn enter(&self, event: LifeEvent) -> Result<(), LiveError> {
        let from = self.status.borrow().state;
        let Some(to) = from.after(event) else { return Err(self.state_error()) };
        self.status.send_modify(|status| status.state = to);
        self.context.events.send(AgentEvent::State { from, to }).await;
        Ok(())
    }

    /// Tells whoever wants the agent to run that it does not, and whoever waits with a task likewise.
    fn give_up_start(&mut self, asked: &mut Option<Reply>, problem: Option<TaskError>) {
        if let Some(problem) = &problem {
            self.status.send_modify(|status| status.problem = Some(problem.clone()));
        }
        if let Some(reply) = asked.take() {
            let agent = self.profile.id.clone();
            let error =
                problem.map_or_else(|| self.state_error(), |problem| LiveError::Start { agent, problem });
            answer(reply, Err(error));
        }
        if let Some(given) = self.waiting.take() {
            self.refuse(given);
        }
    }

    fn refuse(&self, given: Given) {
        // An error means that nobody waits for it any more.
        drop(given.reply.send(Err(self.state_error())));
    }

    fn state_error(&self) -> LiveError {
        LiveError::State { agent: self.profile.id.clone(), state: self.status.borrow().state }
    }
}

fn answer(reply: Reply, done: Result<(), LiveError>) {
    // An error means that whoever gave the order does not wait for its end.
    drop(reply.send(done));
}

fn not_started(error: &AgentError) -> TaskError {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let message = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    TaskError { kind: error.kind(), message, hint: None, reset_at: None }
}

/// A random number; the standard library draws the keys of its hash maps at random.
fn chance() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
