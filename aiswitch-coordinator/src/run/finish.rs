//! The end of a run: what it left is gone, what it used is kept, and its report.

use aiswitch_agent::sweep;
use aiswitch_lock::LockError;
use aiswitch_tokens::UsageSummary;
use tokio::time::Instant;

use super::{Run, audited, panic_message};
use crate::aggregate::aggregate_results;
use crate::report::REPORT_VERSION;
use crate::state::told_of;
use crate::used::record_of;
use crate::{
    AgentReport, Aggregate, Answer, Plan, RunEvent, RunEventKind, RunReport, RunStatus, TaskReport, chain,
    clock,
};

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    pub(super) async fn finish(mut self) -> RunReport {
        while let Some(saved) = self.saves.join_next().await {
            self.saved(saved);
        }
        let rest = self.pool.weed(&[], Instant::now());
        self.retire(rest);
        while let Some(retired) = self.ends.join_next().await {
            self.retired(retired);
        }
        self.keep_samples().await;
        self.end_alerts().await;
        if sweep(&self.start.id.to_string()) > 0 {
            self.warn("processes that agents had left running were killed".to_owned());
        }
        while let Some(written) = audited(&mut self.start.records).await {
            self.audited(written);
        }
        let lost: Vec<LockError> = self.held.iter().filter_map(|lock| lock.verify().err()).collect();
        for error in lost {
            self.warn(chain(&error));
        }
        let agents: Vec<AgentReport> = self.slots.iter().filter_map(|slot| slot.report.clone()).collect();
        self.track_usage(&agents).await;
        let plan = self.start.plan;
        let answer = aggregate_results(plan.aggregate, &agents);
        if let Some(problem) = answer.as_ref().and_then(|answer| all_listed(plan, answer)) {
            self.warn(problem);
        }
        let mut report = RunReport {
            v: REPORT_VERSION,
            run_id: self.start.id,
            mode: self.mode(),
            status: RunStatus::of(agents.iter().map(|report| report.status)),
            started_at: self.start.started_at,
            duration_ms: clock::ms_since(self.started),
            task: TaskReport {
                prompt: self.start.ready.shown_prompt.clone(),
                cwd: self.start.ready.cwd.clone(),
                mode: self.start.ready.mode,
            },
            totals: totals(&agents),
            answer,
            agents,
            alerts: self.alerts.reports.clone(),
            warnings: self.warnings.clone(),
        };
        // The report first: a run that the state files show as ended has one.
        if let Some(Err(error)) = self.start.records.as_ref().map(|records| records.journal.keep(&report)) {
            self.warn(format!("the report is not kept: {}", chain(&error)));
        }
        self.save(Some(&report));
        while let Some(saved) = self.saves.join_next().await {
            self.saved(saved);
        }
        report.warnings.clone_from(&self.warnings);
        self.tell(None, RunEventKind::Report { report: Box::new(report.clone()) });
        report
    }

    /// Keeps what the agents took of the machine; a run that cannot says so.
    async fn keep_samples(&mut self) {
        let now = clock::now();
        self.sampling.add_system(now);
        // What is still being written comes first, then what is left.
        for _ in 0..2 {
            while let Some(written) = self.sampling.written().await {
                self.sampled(written);
            }
            self.sampling.write(true, now);
        }
        while let Some(written) = self.sampling.written().await {
            self.sampled(written);
        }
        let dropped = self.sampling.dropped();
        if dropped > 0 {
            self.warn(format!("{dropped} samples were dropped, since the store of metrics did not keep up"));
        }
    }

    /// Keeps what the agents used and gives back what was set aside; a run whose usage cannot be kept says so.
    async fn track_usage(&mut self, agents: &[AgentReport]) {
        let record_of = |report| record_of(self.start.id, self.start.plan, report);
        let records: Vec<_> = agents.iter().filter_map(record_of).collect();
        let Some(store) = self.start.usage.clone() else { return };
        let reserved: Vec<_> = self.slots.iter().filter_map(|slot| slot.reserved).collect();
        if records.is_empty() && reserved.is_empty() {
            return;
        }
        let (state, usage) = (self.start.state.clone(), store.clone());
        let problem = match tokio::task::spawn_blocking(move || store.settle(&reserved, &records)).await {
            Ok(Ok(_)) => {
                if let Some(state) = state {
                    for told in told_of(state.show_usage(usage).await) {
                        self.warn(told);
                    }
                }
                return;
            }
            Ok(Err(error)) => chain(&error),
            Err(error) => panic_message(error),
        };
        self.warn(format!("what the agents used is not kept: {problem}"));
    }
}

/// Why all answers are listed where the plan wants them joined in another way.
fn all_listed(plan: &Plan, answer: &Answer) -> Option<String> {
    if answer.by == plan.aggregate {
        return None;
    }
    Some(match &plan.judge {
        Some(judge) if plan.aggregate == Aggregate::Judge => {
            format!("agent `{}` named none of the answers as the best, so all are listed", judge.agent)
        }
        Some(judge) => {
            format!("agent `{}` did not put the answers together, so all are listed", judge.agent)
        }
        None => "no answer was given more often than every other, so all are listed".to_owned(),
    })
}

/// The sum over all agents that started.
fn totals(agents: &[AgentReport]) -> UsageSummary {
    let started = agents.iter().filter(|report| report.started_at.is_some());
    UsageSummary::of(started.map(|report| (report.usage, report.cost)))
}
