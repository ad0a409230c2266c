//! What the agents of a run used, for the store of usage.

use aiswitch_tokens::{CostSource, UsageKey, UsageRecord};
use jiff::Timestamp;

use crate::{AgentReport, Plan, RunId};

/// Within what the names of these records are unique.
pub const RUN_USAGE_SOURCE: &str = "aiswitch";

/// A record for each agent of a run that told what it used or what that cost.
pub(crate) fn used(run: RunId, plan: &Plan, agents: &[AgentReport]) -> Vec<UsageRecord> {
    let told = |report: &&AgentReport| report.usage.is_some() || report.cost.source != CostSource::Unknown;
    agents
        .iter()
        .filter(told)
        .filter_map(|report| {
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
                requests: None,
                usage: report.usage,
                cost: report.cost,
            })
        })
        .collect()
}
