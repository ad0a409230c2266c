//! What the agents of a run used, for the store of usage.

use std::collections::BTreeMap;

use aiswitch_tokens::{CostSource, UsageError, UsageKey, UsageQuery, UsageRecord, UsageStore, UsageSummary};
use chrono::{DateTime, Utc};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{AgentReport, Plan, RunId};

/// Within what the names of these records are unique.
pub const RUN_USAGE_SOURCE: &str = "aiswitch";

/// How far back `tokens.json` looks.
const LATELY: SignedDuration = SignedDuration::from_hours(24);

/// What one agent used in the last 24 hours, in all runs and imported sessions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct AgentUsage {
    agent: String,
    #[serde(flatten)]
    used: UsageSummary,
}

/// What each agent used in the last 24 hours, by name.
pub(crate) fn used_lately(store: &dyn UsageStore, now: DateTime<Utc>) -> Result<Vec<AgentUsage>, UsageError> {
    let now = Timestamp::from_millisecond(now.timestamp_millis()).unwrap_or(Timestamp::MAX);
    let query = UsageQuery { since: now.checked_sub(LATELY).ok(), ..UsageQuery::default() };
    let mut agents: BTreeMap<String, UsageSummary> = BTreeMap::new();
    store.records(&query, &mut |record| {
        let used = agents.entry(record.agent).or_default();
        *used = used.plus(UsageSummary::of([(record.usage, record.cost)]));
    })?;
    Ok(agents.into_iter().map(|(agent, used)| AgentUsage { agent, used }).collect())
}

/// What an agent of a run used; `None` if it neither told that nor what it cost.
pub(crate) fn record_of(run: RunId, plan: &Plan, report: &AgentReport) -> Option<UsageRecord> {
    if report.usage.is_none() && report.cost.source == CostSource::Unknown {
        return None;
    }
    let at = report.ended_at.or(report.started_at)?;
    let assignment = plan.assignments().find(|assignment| assignment.agent == report.id);
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
