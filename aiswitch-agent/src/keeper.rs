//! The loop that owns a live agent: its state, its process, its environment.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{ErrorKind, TaskError, TaskResult, TaskSpec, TaskStatus};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::live_agent::{Given, LiveError, LiveStatus, Replay, Turn};
use crate::rpc_agent::{End, Talk, failed};
use crate::worker::{Turns, Worker, not_started};
use crate::{Agent, AgentEvent, Driver, LifeEvent, Restart, RestartPolicy, Restarts, RunContext};

/// Where the end of an order is told.
pub(crate) type Reply = oneshot::Sender<Result<(), LiveError>>;

/// What a live agent is asked for.
#[derive(Debug)]
pub(crate) enum Order {
    Start,
    Stop,
    Restart,
    Switch(Box<Environment>, Turn),
}

/// What a live agent hears, and where it tells how it is.
type Lines = (mpsc::Receiver<(Order, Reply)>, mpsc::Receiver<Given>, watch::Sender<LiveStatus>);

/// The loop that owns a live agent: its state, its process, its environment.
#[derive(Debug)]
pub(crate) struct Keeper {
    agent: Arc<dyn Agent>,
    place: TaskSpec,
    context: RunContext,
    restarts: Restarts,
    /// What the times of restarts are counted from.
    born: Instant,
    orders: mpsc::Receiver<(Order, Reply)>,
    tasks: mpsc::Receiver<Given>,
    /// A task that is given to the next process.
    waiting: Option<Given>,
    /// A switch that waits for the end of the task in work.
    later: Option<Switch>,
    /// A switch whose environment has not proved itself.
    trial: Option<Trial>,
    status: watch::Sender<LiveStatus>,
}

/// A switch to another environment.
#[derive(Debug)]
struct Switch {
    environment: Environment,
    reply: Reply,
}

/// A switch that was made and can be taken back.
#[derive(Debug)]
struct Trial {
    before: Environment,
    reply: Reply,
    /// What was wrong under the new environment: it is taken back.
    problem: Option<TaskError>,
}

/// Why an agent has no process any more.
enum Gone {
    /// Somebody wanted it to start anew.
    Restarted(Reply),
    /// Somebody wanted it to end.
    Stopped(Reply),
    /// Somebody wants it to go on under another environment.
    Switched(Switch),
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
    pub(crate) fn new(
        agent: Arc<dyn Agent>,
        place: TaskSpec,
        context: RunContext,
        policy: RestartPolicy,
        (orders, tasks, status): Lines,
    ) -> Self {
        Self {
            agent,
            place,
            context,
            restarts: Restarts::new(policy),
            born: Instant::now(),
            orders,
            tasks,
            waiting: None,
            later: None,
            trial: None,
            status,
        }
    }

    pub(crate) async fn keep(mut self) {
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
                    (Order::Switch(environment, _), reply) => {
                        self.context.environment = *environment;
                        answer(reply, Ok(()));
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
            if let Some(switch) = self.later.take() {
                self.try_out(switch);
            }
            let began = Instant::now();
            let gone = self.process(&mut asked).await;
            event = match gone {
                Gone::Restarted(reply) => {
                    self.go(LifeEvent::Ended).await;
                    self.give_up_start(&mut asked, None);
                    asked = Some(reply);
                    LifeEvent::Start
                }
                Gone::Switched(switch) => {
                    self.go(LifeEvent::Ended).await;
                    self.try_out(switch);
                    LifeEvent::Start
                }
                Gone::Stopped(reply) => {
                    self.go(LifeEvent::Ended).await;
                    self.give_up_start(&mut asked, None);
                    answer(reply, Ok(()));
                    return Rest::Ready;
                }
                Gone::Over => return Rest::Over,
                Gone::Crashed(problem) | Gone::Hopeless(problem) if self.take_back(&problem) => {
                    self.go(LifeEvent::Crashed).await;
                    LifeEvent::Waited
                }
                Gone::Hopeless(problem) => {
                    self.go(LifeEvent::GaveUp).await;
                    self.give_up_start(&mut asked, Some(&problem));
                    return Rest::Ready;
                }
                Gone::Crashed(problem) => match self.crashed(problem, began.elapsed(), &mut asked).await {
                    None => LifeEvent::Waited,
                    Some(rest) => return rest,
                },
            };
        }
    }

    /// Takes on another environment, until the next process has proved it.
    fn try_out(&mut self, switch: Switch) {
        let before = std::mem::replace(&mut self.context.environment, switch.environment);
        // One that has not proved itself is not one to go back to.
        let (before, replaced) = match self.trial.take() {
            Some(trial) => (trial.before, Some(trial.reply)),
            None => (before, None),
        };
        if let Some(reply) = replaced {
            answer(reply, Err(self.state_error()));
        }
        self.trial = Some(Trial { before, reply: switch.reply, problem: None });
    }

    /// Goes back to the environment before, if the one of now is on trial.
    fn take_back(&mut self, problem: &TaskError) -> bool {
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.problem.is_none()) else { return false };
        self.context.environment = trial.before.clone();
        trial.problem = Some(problem.clone());
        true
    }

    /// The environment of now has proved itself.
    fn prove(&mut self) {
        if let Some(Trial { reply, problem, .. }) = self.trial.take() {
            let agent = self.agent.profile().id.clone();
            answer(reply, problem.map_or(Ok(()), |problem| Err(LiveError::RolledBack { agent, problem })));
        }
    }

    /// A process ended by itself: waits before the next start; `None` when it is time for that.
    async fn crashed(
        &mut self,
        problem: TaskError,
        ran: Duration,
        asked: &mut Option<Reply>,
    ) -> Option<Rest> {
        self.go(LifeEvent::Crashed).await;
        self.status.send_modify(|status| status.problem = Some(problem.clone()));
        match self.restarts.crashed(self.born.elapsed(), ran, chance()) {
            Restart::After(wait) => self.wait(wait, asked).await,
            Restart::GiveUp => {
                self.go(LifeEvent::GaveUp).await;
                self.give_up_start(asked, Some(&problem));
                Some(Rest::Ready)
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
                    Order::Switch(environment, _) => self.put_off(*environment, reply),
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

    /// Makes what does the tasks.
    async fn hire(&self, cancel: &CancellationToken) -> Result<Box<dyn Worker>, TaskError> {
        let context = RunContext { cancel: cancel.clone(), ..self.context.clone() };
        if !matches!(self.agent.profile().driver, Driver::Rpc | Driver::Echo) {
            let place =
                TaskSpec { session_id: self.status.borrow().session_id.clone(), ..self.place.clone() };
            return Ok(Box::new(Turns::new(Arc::clone(&self.agent), place, context)));
        }
        let launch = self.agent.profile().launch(&self.place, &context.environment, [""; 0]);
        let launch = launch.map_err(|error| not_started(&error))?;
        let talk = Talk::spawn(&launch, self.place.clone(), context).await;
        Ok(Box::new(talk.map_err(|error| not_started(&error))?))
    }

    /// Has one process, from its start to its end.
    async fn process(&mut self, asked: &mut Option<Reply>) -> Gone {
        let cancel = self.context.cancel.child_token();
        let mut worker = match self.hire(&cancel).await {
            Ok(worker) => worker,
            Err(problem) => return Gone::Hopeless(problem),
        };
        let (greeted, ordered) = self.attend(&cancel, worker.greet()).await;
        if let Some(gone) = ordered {
            worker.shut_down().await;
            return gone;
        }
        match greeted {
            Ok(()) => {}
            Err(End::Cancelled(last)) => {
                worker.give_up(End::Cancelled(last)).await;
                return Gone::Over;
            }
            Err(end) => {
                let problem = worker.give_up(end).await;
                return match problem.kind {
                    ErrorKind::Auth | ErrorKind::Config | ErrorKind::NotInstalled => Gone::Hopeless(problem),
                    _ => Gone::Crashed(problem),
                };
            }
        }
        self.go(LifeEvent::Ready).await;
        self.prove();
        if let Some(reply) = asked.take() {
            answer(reply, Ok(()));
        }
        self.serve(worker, &cancel).await
    }

    /// Gives a process one task after the other.
    async fn serve(&mut self, mut worker: Box<dyn Worker>, cancel: &CancellationToken) -> Gone {
        loop {
            if let Some(switch) = self.later.take() {
                self.go(LifeEvent::Stop).await;
                worker.shut_down().await;
                return Gone::Switched(switch);
            }
            let given = if let Some(given) = self.waiting.take() {
                given
            } else {
                tokio::select! {
                    () = cancel.cancelled() => {
                        worker.shut_down().await;
                        return Gone::Over;
                    }
                    Some((order, reply)) = self.orders.recv() => {
                        let Some(gone) = self.gone(order, reply) else { continue };
                        self.go(LifeEvent::Stop).await;
                        worker.shut_down().await;
                        return gone;
                    }
                    Some(given) = self.tasks.recv() => given,
                    end = worker.idle() => return Gone::Crashed(worker.give_up(end).await),
                }
            };
            // Whoever does not wait for a task any more has taken it back.
            if given.reply.is_closed() {
                continue;
            }
            if (&given.task.cwd, given.task.mode) != (&self.place.cwd, self.place.mode) {
                let (agent, task) = (self.agent.profile().id.clone(), given.task.id.clone());
                drop(given.reply.send(Err(LiveError::Place { agent, task })));
                continue;
            }
            self.go(LifeEvent::Assigned).await;
            worker = match self.work(worker, given, cancel).await {
                Ok(worker) => worker,
                Err(gone) => return gone,
            };
        }
    }

    /// Has a process do one task; gives it back if it is there for the next one.
    async fn work(
        &mut self,
        mut worker: Box<dyn Worker>,
        given: Given,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn Worker>, Gone> {
        let (end, ordered) = self.attend(cancel, worker.work(given.task.clone())).await;
        let said = match end {
            End::Answered(result) => worker.whole(result).await,
            End::Cancelled(last) => {
                let last = last.unwrap_or_else(|| TaskResult::new(TaskStatus::Cancelled));
                worker.whole(TaskResult { status: TaskStatus::Cancelled, ..last }).await
            }
            end @ (End::Failed(_) | End::Hung(_) | End::Gone) => {
                let so_far = worker.whole(TaskResult::new(TaskStatus::Failed)).await;
                let problem = worker.give_up(end).await;
                if given.replay == Replay::Idempotent && ordered.is_none() {
                    self.waiting = Some(given);
                } else {
                    let result = TaskResult { answer: so_far.answer, ..failed(problem.clone()) };
                    drop(given.reply.send(Ok(result)));
                }
                return Err(ordered.unwrap_or(Gone::Crashed(problem)));
            }
        };
        if said.session_id.is_some() {
            self.status.send_modify(|status| status.session_id.clone_from(&said.session_id));
        }
        // An error means that nobody waits for it any more.
        drop(given.reply.send(Ok(said)));
        match ordered {
            Some(gone) => {
                worker.shut_down().await;
                Err(gone)
            }
            None if cancel.is_cancelled() => {
                worker.shut_down().await;
                Err(Gone::Over)
            }
            None => {
                self.go(LifeEvent::Answered).await;
                Ok(worker)
            }
        }
    }

    /// Waits for some work of the process; an order to end it cancels the work first.
    async fn attend<T>(
        &mut self,
        cancel: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> (T, Option<Gone>) {
        let mut work = pin!(work);
        let mut ordered = None;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return (done, ordered),
                Some((order, reply)) = self.orders.recv(), if ordered.is_none() => {
                    if let Order::Switch(environment, Turn::Finish) = order {
                        self.put_off(*environment, reply);
                        continue;
                    }
                    let Some(gone) = self.gone(order, reply) else { continue };
                    self.go(LifeEvent::Stop).await;
                    ordered = Some(gone);
                    cancel.cancel();
                }
            }
        }
    }

    /// What an order means for a process that runs; `None` where it means nothing, and was answered.
    fn gone(&self, order: Order, reply: Reply) -> Option<Gone> {
        match order {
            Order::Start => {
                answer(reply, Err(self.state_error()));
                None
            }
            Order::Stop => Some(Gone::Stopped(reply)),
            Order::Restart => Some(Gone::Restarted(reply)),
            Order::Switch(environment, _) => {
                Some(Gone::Switched(Switch { environment: *environment, reply }))
            }
        }
    }

    /// Has a switch wait; one that waits already is given up.
    fn put_off(&mut self, environment: Environment, reply: Reply) {
        if let Some(earlier) = self.later.replace(Switch { environment, reply }) {
            answer(earlier.reply, Err(self.state_error()));
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

    /// Tells whoever wants the agent to run that it does not, and whoever waits with a task or a switch likewise.
    fn give_up_start(&mut self, asked: &mut Option<Reply>, problem: Option<&TaskError>) {
        if let Some(problem) = problem {
            self.status.send_modify(|status| status.problem = Some(problem.clone()));
        }
        let trial = self.trial.take().map(|trial| {
            self.context.environment = trial.before;
            trial.reply
        });
        let replies = [asked.take(), trial, self.later.take().map(|switch| switch.reply)];
        for reply in replies.into_iter().flatten() {
            let agent = self.agent.profile().id.clone();
            let error = match problem {
                Some(problem) => LiveError::Start { agent, problem: problem.clone() },
                None => self.state_error(),
            };
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
        LiveError::State { agent: self.agent.profile().id.clone(), state: self.status.borrow().state }
    }
}

fn answer(reply: Reply, done: Result<(), LiveError>) {
    // An error means that whoever gave the order does not wait for its end.
    drop(reply.send(done));
}

/// A random number; the standard library draws the keys of its hash maps at random.
fn chance() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
