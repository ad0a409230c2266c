//! One process of a live agent, from its start to its end.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use aiswitch_rpc::protocol::{ErrorKind, TaskResult, TaskSpec, TaskStatus};
use tokio_util::sync::CancellationToken;

use super::{Gone, Keeper, Order, Reply, Switch, answer};
use crate::acp_agent::AcpAgent;
use crate::codex_agent::CodexAgent;
use crate::live_agent::{Given, LiveError, Replay, Turn};
use crate::rpc_agent::{End, Talk, failed};
use crate::sessions::Sessions;
use crate::worker::{Turns, Worker, not_started};
use crate::{AgentError, Driver, LifeEvent, LifeState, RunContext};

impl Keeper {
    /// Makes what does the tasks.
    async fn hire(&self, cancel: &CancellationToken) -> Result<Box<dyn Worker>, AgentError> {
        let context = RunContext { cancel: cancel.clone(), ..self.context.clone() };
        let (profile, place) = (self.agent.profile(), self.place.clone());
        // What goes on from turn to turn, or under another environment, is the session.
        let session_id = self.status.borrow().session_id.clone();
        let resumed = TaskSpec { session_id, ..place.clone() };
        let first = if self.trial.is_some() { resumed.clone() } else { place.clone() };
        Ok(match profile.driver {
            Driver::Rpc | Driver::Echo => {
                let launch = profile.launch(&place, &context.environment, [""; 0])?;
                Box::new(Talk::spawn(&launch, place, context).await?)
            }
            Driver::Acp | Driver::Gemini | Driver::Opencode => {
                let agent = AcpAgent::new(profile.clone());
                let launch = agent.start(&place, &context.environment)?;
                Box::new(Sessions::spawn(agent, &launch, first, context).await?)
            }
            Driver::Codex => {
                let agent = CodexAgent::new(profile.clone());
                let launch = agent.start(&place, &context.environment)?;
                let codex = agent.under(&context.environment);
                Box::new(Sessions::spawn(codex, &launch, first, context).await?)
            }
            Driver::Claude | Driver::Qwen | Driver::Command | Driver::Memory => {
                Box::new(Turns::new(Arc::clone(&self.agent), resumed, context))
            }
        })
    }

    /// Has one process, from its start to its end.
    pub(super) async fn process(&mut self, asked: &mut Option<Reply>) -> Gone {
        let cancel = self.context.cancel.child_token();
        let mut worker = match self.hire(&cancel).await {
            Ok(worker) => worker,
            // What the system has too little of now it may have again by the next start.
            Err(error) if error.kind() == ErrorKind::Limit => return Gone::Crashed(not_started(&error)),
            Err(error) => return Gone::Hopeless(not_started(&error)),
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
                    ErrorKind::Crash | ErrorKind::Protocol => Gone::Crashed(problem),
                    _ => Gone::Hopeless(problem),
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
                        self.go(LifeEvent::Stop).await;
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
        let gone = ordered.or(cancel.is_cancelled().then_some(Gone::Over));
        if gone.is_none() {
            // Before the answer is told, so that whoever hears of it finds the agent ready for the next task.
            self.go(LifeEvent::Answered).await;
        }
        // An error means that nobody waits for it any more.
        drop(given.reply.send(Ok(said)));
        match gone {
            None => Ok(worker),
            Some(gone) => {
                // An order has told of it already.
                drop(self.enter(LifeEvent::Stop).await);
                worker.shut_down().await;
                Err(gone)
            }
        }
    }

    /// Waits for some work of the process; an order to end it cancels the work first.
    async fn attend<T>(
        &mut self,
        cancel: &CancellationToken,
        work: impl Future<Output = T>,
    ) -> (T, Option<Gone>) {
        let pace = self.context.pace.clone();
        let mut work = pin!(work);
        let mut ordered = None;
        loop {
            let state = self.status.borrow().state;
            tokio::select! {
                biased;
                done = &mut work => {
                    if self.status.borrow().state == LifeState::Paused {
                        self.go(LifeEvent::Resumed).await;
                    }
                    return (done, ordered);
                }
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
                () = pace.until(true), if state == LifeState::Busy => self.go(LifeEvent::Paused).await,
                () = pace.until(false), if state == LifeState::Paused => self.go(LifeEvent::Resumed).await,
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
}
