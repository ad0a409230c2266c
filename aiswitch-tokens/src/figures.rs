//! What an agent used within a time, in a few figures.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::{
    GroupBy, Groups, NanoUsd, Period, QuotaMode, QuotaStatus, Usage, UsageError, UsageGroup, UsageQuery,
    UsageStore, UsageSummary,
};

/// What was used within a time, in a few figures; what nobody knows is `None`, never 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenUsageSummary {
    /// Tokens of all prompts, caches included.
    pub total_input_tokens: Option<u64>,
    /// Tokens of all answers, thinking included.
    pub total_output_tokens: Option<u64>,
    /// What all of it cost, as far as that is known.
    pub total_cost: Option<NanoUsd>,
    /// How many records have no known cost; their share is missing in `total_cost`.
    pub unpriced: u64,
    /// How many requests were made, where that is known: an agent of a run does not tell.
    pub requests: Option<u64>,
    /// How many tokens a request took on average, over those that are known.
    pub avg_tokens_per_request: Option<f64>,
    /// The first moment of the hour, by the clocks of the zone, in which the most tokens were used.
    pub peak_usage_time: Option<Timestamp>,
    /// How many tokens the tightest quota leaves for today; `None` when none limits tokens.
    pub quota_remaining: Option<u64>,
}

impl UsageQuery {
    /// The same, within the hour, day, week or month around a moment, by the calendar of a zone.
    #[must_use]
    pub fn within(self, period: Period, at: Timestamp, zone: &TimeZone) -> Self {
        let (since, until) = period.around(at, zone);
        Self { since: Some(since), until: Some(until), ..self }
    }
}

/// What was used of what is asked for, in a few figures; quotas are looked up as they are at a moment.
///
/// # Errors
/// The store cannot be read.
pub fn get_usage_summary(
    store: &dyn UsageStore,
    query: &UsageQuery,
    at: Timestamp,
    zone: &TimeZone,
) -> Result<TokenUsageSummary, UsageError> {
    let mut summary = TokenUsageSummary::default();
    let mut hours = Groups::new(GroupBy::Period(Period::Hour, zone.clone()));
    let mut counted = (0_u64, 0_u64);
    let add = |sum: &mut Option<u64>, part: Option<u64>| {
        *sum = [*sum, part].into_iter().flatten().reduce(u64::saturating_add);
    };
    store.sums(query, &mut |sum| {
        if !hours.add_sum(sum) {
            return false;
        }
        let UsageSummary { usage, cost } = sum.sum;
        add(&mut summary.total_input_tokens, usage.and_then(Usage::prompt));
        add(&mut summary.total_output_tokens, usage.and_then(|usage| usage.output_tokens));
        add(&mut summary.requests, sum.requests);
        let mut nanos = summary.total_cost.map(|usd| usd.0);
        add(&mut nanos, cost.usd.map(|usd| usd.0));
        summary.total_cost = nanos.map(NanoUsd);
        summary.unpriced += cost.unpriced;
        counted = (counted.0.saturating_add(sum.counted.0), counted.1.saturating_add(sum.counted.1));
        true
    })?;
    summary.avg_tokens_per_request = average(counted);
    let total = |hour: &UsageGroup| hour.sum.usage.and_then(Usage::total);
    let busiest = hours.finish().into_iter().rev().filter(|hour| total(hour).is_some()).max_by_key(total);
    summary.peak_usage_time = busiest.and_then(|hour| hour.since);
    summary.quota_remaining = remaining(store, query, at)?;
    Ok(summary)
}

#[expect(clippy::cast_precision_loss, reason = "an average, where the last digits do not matter")]
fn average((requests, tokens): (u64, u64)) -> Option<f64> {
    (requests > 0).then(|| tokens as f64 / requests as f64)
}

/// What the tightest limit leaves of those that are for what is asked for.
fn remaining(store: &dyn UsageStore, query: &UsageQuery, at: Timestamp) -> Result<Option<u64>, UsageError> {
    let statuses = store.check_quota(query.agent.as_deref().unwrap_or(""), query.preset.as_deref(), at)?;
    let is_on = |status: &&QuotaStatus| status.quota.mode != QuotaMode::Off;
    Ok(statuses.iter().filter(is_on).filter_map(QuotaStatus::tokens_remaining).min())
}
