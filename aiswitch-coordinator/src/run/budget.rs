//! What a run may spend: the quotas that its agents are under, and its own budget.

use std::time::Duration;

use aiswitch_lock::ProcessMark;
use aiswitch_tokens::{CostSource, NanoUsd, Priced, ReserveRequest, Reserved};
use jiff::Timestamp;

use super::{Halt, Run};
use crate::error::RunError;
use crate::part::Verdict;
use crate::{AgentReport, Outcome, RunEvent, clock};

/// How long what is set aside for an agent without a time-out stays so, should nobody see that this process has ended.
const RESERVED_MAX: Duration = Duration::from_hours(24);

/// How much longer than an agent may take something is set aside for it.
const RESERVED_MARGIN: Duration = Duration::from_hours(1);

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    /// Sets aside what each agent may use; one that a quota leaves nothing for will not start.
    ///
    /// # Cancel safety
    /// What was set aside until then is free again when this process has ended, or its time is over.
    pub(super) async fn reserve(&mut self) -> Result<(), RunError> {
        let Some(store) = self.start.usage.clone() else { return Ok(()) };
        let now = Timestamp::from_millisecond(clock::now().timestamp_millis()).unwrap_or(Timestamp::MAX);
        let ready = self.start.ready.agents.iter().zip(self.start.plan.assignments());
        let requests: Vec<ReserveRequest> = ready
            .map(|(ready, assignment)| ReserveRequest {
                agent: ready.id().to_string(),
                preset: assignment.preset.as_ref().map(ToString::to_string),
                estimate: None,
                owner: ProcessMark::own(),
                until: now
                    .checked_add(ready.times.0.unwrap_or(RESERVED_MAX).saturating_add(RESERVED_MARGIN))
                    .unwrap_or(Timestamp::MAX),
            })
            .collect();
        let all = tokio::task::spawn_blocking(move || {
            requests.iter().map(|request| store.reserve(request, now)).collect::<Result<Vec<_>, _>>()
        });
        let all = all.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        for (index, reserved) in all.map_err(|source| RunError::Quota { source })?.into_iter().enumerate() {
            match reserved {
                Reserved::Unlimited => {}
                Reserved::Granted { id, near, .. } => {
                    self.slots[index].reserved = Some(id);
                    self.start.ready.warnings.extend(near.iter().map(|status| format!("quota of {status}")));
                }
                Reserved::Denied { status, amount } => {
                    self.slots[index].denied = Some(format!(
                        "quota of {status}, and it would take about {} tokens and {} (see: aiswitch tokens quota show)",
                        amount.tokens, amount.usd
                    ));
                }
            }
        }
        Ok(())
    }

    /// Ends the part of an agent that a quota keeps from starting.
    pub(super) fn refuse(&mut self, index: usize, reason: String) {
        let verdict = Verdict { outcome: Outcome::OverBudget, error: None, result: None };
        let report = AgentReport { reason: Some(reason), ..self.report(index, verdict) };
        self.end_judged(index, report);
    }

    /// Stops the run if its budget is spent, as far as costs are known by now.
    pub(super) fn check_budget(&mut self) {
        if let Some(budget) = self.start.plan.budget.filter(|budget| self.spent() >= *budget)
            && self.halt.is_none()
        {
            self.halt(Halt::Budget { budget });
        }
    }

    /// Says that an agent's cost is missing in what is spent.
    pub(super) fn note_unpriced(&mut self, report: &AgentReport) {
        let worked = report.started_at.is_some() && report.status != Outcome::Skipped;
        if self.start.plan.budget.is_some() && worked && report.cost.source == CostSource::Unknown {
            self.warn(format!(
                "nobody knows what agent `{}` cost; it does not count into the budget",
                report.id
            ));
        }
    }

    /// What all agents together have cost by now.
    fn spent(&self) -> NanoUsd {
        let now = Timestamp::from_millisecond(clock::now().timestamp_millis()).unwrap_or(Timestamp::MAX);
        let costs = self.slots.iter().filter_map(|slot| match &slot.report {
            Some(report) => report.cost.usd,
            None => slot.heard.cost.usd.or_else(|| {
                let (model, usage) = (slot.heard.model.as_deref()?, slot.heard.usage?);
                self.start.prices.cost_of(&Priced { model, tier: None, requests: None, at: now, usage }).usd
            }),
        });
        NanoUsd(costs.fold(0_u64, |sum, cost| sum.saturating_add(cost.0)))
    }
}
