//! What the agents of a run used, for the store of usage.

use aiswitch_tokens::{CostSource, UsageKey, UsageRecord};
use jiff::Timestamp;

use crate::{AgentReport, Plan, RunId};

/// Within what the names of these records are unique.
pub const RUN_USAGE_SOURCE: &str = "aiswitch";

/// What an agent of a run used; `None` if it neither told that nor what it cost.
pub(crate) fn record_of(run: RunId, plan: &Plan, report: &AgentReport) -> Option<UsageRecord> {
    if report.usage.is_none() && report.cost.source == CostSource::Unknown {
        return None;
    }
    let at = report.ended_at.or(report.started_at)?;
    let assignment = plan.agents.iter().find(|assignment| assignment.agent == report.id);
    Some(UsageRecord {
        key: UsageKey { source: RUN_USAGE_SOURCE.into(), message: format!("{run}:{}", report.id) },
        at: Timestamp::from_millisecond(at.timestamp_millis()).ok()?,
        agent: report.id.to_string(),
        model: report.model.clone(),
        preset: assignment.and_then(|assignment| assignment.preset.as_ref()).map(ToString::to_string),
        task: None,
        run: Some(run.to_string()),
        session: report.session_id.clone(),
        tier: None,
        // Agents do not tell how many requests they made.
        requests: None,
        usage: report.usage,
        cost: report.cost,
    })
}
