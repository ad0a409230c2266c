//! The start of parts: which agent may start, and which process does its part.

use std::path::PathBuf;

use aiswitch_agent::{AgentEvent, AgentId, Launch, LiveAgent, Pace, RunContext, TaskSpec, event_channel};
use tokio::task::JoinError;
use tokio::time::Instant;

use super::{Run, panic_message};
use crate::aggregate::{hand_over, question};
use crate::part::{Does, Part, Verdict, run_part};
use crate::warm::{Warm, is_same};
use crate::{AgentReport, Order, Outcome, RunEvent, RunEventKind, chain, clock};

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    /// Starts as many agents as may work now; after a halt, ends those that wait instead.
    pub(super) fn start_more(&mut self) {
        self.notice_cancel();
        self.check_budget();
        let limit = match self.start.plan.order {
            Order::Parallel { max_parallel } => max_parallel.get(),
            Order::Sequential => 1,
        };
        while self.halt.is_none()
            && self.next < self.slots.len()
            && self.parts.len() < limit
            && self.has_room()
            && (self.parts.is_empty() || !self.is_judge(self.next))
        {
            let index = self.next;
            self.next += 1;
            match self.slots[index].denied.take() {
                Some(reason) => self.refuse(index, reason),
                None if self.is_judge(index) && self.answers(index).is_empty() => self.skip_judge(index),
                None => self.start_part(index),
            }
        }
        self.weed();
    }

    /// Whether it is the one that is given all answers, behind all others.
    fn is_judge(&self, index: usize) -> bool {
        self.start.plan.judge.is_some() && index + 1 == self.slots.len()
    }

    /// Ends the part of a judge that there is nothing for.
    fn skip_judge(&mut self, index: usize) {
        let verdict = Verdict { outcome: Outcome::Skipped, error: None, result: None };
        let reason = Some("there is no answer to judge".to_owned());
        let report = AgentReport { reason, ..self.report(index, verdict) };
        self.end_part(index, report);
    }

    fn start_part(&mut self, index: usize) {
        let id = self.id(index);
        let prompt = self.prompt(index);
        self.slots[index].started = Some((Instant::now(), clock::now()));
        let ready = &self.start.ready.agents[index];
        let driver = ready.agent.profile().driver.to_string();
        self.tell(Some(index), RunEventKind::Started { driver });
        let output_dir = match self.start.records.as_ref().map(|records| records.journal.agent_dir(&id)) {
            Some(Ok(path)) => Some(path),
            Some(Err(error)) => {
                self.warn(format!("the raw output of agent `{id}` is not kept: {}", chain(&error)));
                None
            }
            None => None,
        };
        let ready = &self.start.ready.agents[index];
        let task = self.start.ready.task(self.start.id, index, prompt);
        let launch = self.start.ready.stays(index, &task);
        let is_wanted = launch.as_ref().is_some_and(|launch| {
            let mut later =
                (index + 1..self.slots.len()).filter_map(|later| self.start.ready.stays(later, &task));
            later.any(|later| is_same(launch, &later))
        });
        let (agent, times) = (ready.agent.clone(), ready.times);
        let warm = launch.as_ref().and_then(|launch| self.pool.take(launch, Instant::now()));
        let pid = warm.as_ref().and_then(|warm| warm.live.status().pid);
        let does = match (warm, launch) {
            (Some(warm), _) => Does::Live(Box::new(warm)),
            (None, launch) => self.begin_part(index, &task, launch, output_dir),
        };
        let context = match &does {
            Does::Once { context, .. } => context,
            Does::Live(warm) => &warm.context,
        };
        let slot = &mut self.slots[index];
        (slot.pace, slot.cancel) = (Some(context.pace.clone()), Some(context.cancel.clone()));
        let told = self.told.clone();
        let replay = self.start.plan.replay;
        let part = Part { index, agent, task, does, replay, is_wanted, times, told };
        let place = self.parts.spawn(run_part(part)).id();
        self.places.insert(place, index);
        self.state_changed = true;
        if let Some(pid) = pid {
            self.hear(index, AgentEvent::Started { pid });
        }
    }

    /// What does a part that no process of before can do; with a launch, one that may do others later.
    fn begin_part(
        &self,
        index: usize,
        task: &TaskSpec,
        launch: Option<Launch>,
        output_dir: Option<PathBuf>,
    ) -> Does {
        let ready = &self.start.ready.agents[index];
        let marker = format!("{}:{}", self.start.id, ready.id());
        let (events, heard) = event_channel(ready.id().clone());
        let context = RunContext {
            environment: ready.environment.clone(),
            events,
            cancel: self.stop.child_token(),
            limits: self.start.limits,
            output_dir,
            pace: Pace::new(marker.clone()),
            marker,
            guard: self.start.guard.clone(),
            hidden: self.start.hidden.clone(),
        };
        let Some(launch) = launch else { return Does::Once { context: Box::new(context), heard } };
        let place = TaskSpec { prompt: String::new(), ..task.clone() };
        let live = LiveAgent::new(ready.agent.clone(), place, context.clone(), ready.agent.profile().restart);
        Does::Live(Box::new(Warm { live, heard, context, launch, uses: 0, born: Instant::now() }))
    }

    /// Ends the processes that no agent which waits can use.
    fn weed(&mut self) {
        if self.pool.is_empty() {
            return;
        }
        let waiting = self.next..self.slots.len();
        let launches: Vec<Launch> = waiting
            .filter_map(|index| {
                let task = self.start.ready.task(self.start.id, index, String::new());
                self.start.ready.stays(index, &task)
            })
            .collect();
        let unwanted = self.pool.weed(&launches.iter().collect::<Vec<_>>(), Instant::now());
        self.retire(unwanted);
    }

    /// Ends processes that are to do no other part.
    pub(super) fn retire(&mut self, warm: Vec<(usize, Warm)>) {
        for (index, warm) in warm {
            self.ends.spawn(async move { (index, warm.end().await) });
        }
    }

    pub(super) fn retired(&mut self, retired: Result<(usize, Vec<AgentEvent>), JoinError>) {
        match retired {
            Ok((index, told)) => told.into_iter().for_each(|event| self.hear(index, event)),
            Err(error) => self.warn(format!("a process did not end as it should: {}", panic_message(error))),
        }
    }

    /// The prompt of an agent; one of a sequence is given the answers before it, and the judge those of all others.
    fn prompt(&mut self, index: usize) -> String {
        let plan = self.start.plan;
        let is_judge = self.is_judge(index);
        if plan.order != Order::Sequential && !is_judge {
            return plan.prompt.clone();
        }
        let (mut prompt, cut) = hand_over(&plan.prompt, &self.answers(index));
        let cut: Vec<AgentId> = cut.into_iter().cloned().collect();
        if is_judge {
            prompt.extend(question(plan.aggregate).into_iter().flat_map(|question| ["\n\n", question]));
        }
        for answer in cut {
            self.warn(format!("the answer of agent `{answer}` was cut for agent `{}`", self.id(index)));
        }
        prompt
    }

    /// The answers of the agents before this one that completed.
    fn answers(&self, index: usize) -> Vec<(&AgentId, &str)> {
        let ended = self.slots[..index].iter().filter_map(|slot| slot.report.as_ref());
        ended
            .filter(|report| report.status == Outcome::Completed)
            .filter_map(|report| Some((&report.id, report.answer.as_deref()?)))
            .collect()
    }
}
