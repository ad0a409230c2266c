//! The loop that owns a live agent: its state, its process, its environment.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{TaskError, TaskSpec};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::live_agent::{Given, LiveError, LiveStatus, Turn};
use crate::{Agent, AgentEvent, LifeEvent, LifeState, Restart, RestartPolicy, Restarts, RunContext};

mod process;

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
                let now = Instant::now();
                self.status.send_modify(|status| {
                    (status.restarts, status.problem, status.started) = (0, None, Some(now));
                });
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
        let stays = self.agent.profile().driver.stays();
        self.status.send_modify(|status| {
            status.state = to;
            status.pid = status.pid.filter(|_| to.has_process() && (stays || to != LifeState::Idle));
        });
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
