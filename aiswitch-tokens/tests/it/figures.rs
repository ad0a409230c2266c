//! What an agent used within a time, in a few figures: both stores.

use aiswitch_tokens::{
    Cost, NanoUsd, Period, Quota, QuotaMode, QuotaScope, TokenUsageSummary, Usage, UsageQuery, UsageRecord,
    get_usage_summary,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::store::{record, stores};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn a_summary_has_all_figures_and_says_which_nobody_knows() {
    let zone = TimeZone::get("Asia/Kolkata").unwrap();
    let cached = Usage {
        input_tokens: Some(10),
        output_tokens: Some(5),
        cache_read_tokens: Some(100),
        cache_write_tokens: Some(50),
        ..Usage::default()
    };
    let records = [
        UsageRecord {
            usage: Some(cached),
            cost: Cost::reported(Some(0.25)),
            ..record("a", "2026-11-23T10:10:00Z", 0)
        },
        UsageRecord { requests: Some(3), ..record("b", "2026-11-23T10:40:00Z", 20) },
        UsageRecord { requests: None, usage: None, ..record("c", "2026-11-23T11:00:00Z", 0) },
        record("yesterday", "2026-11-22T18:29:59Z", 1_000_000),
        UsageRecord { agent: "codex".into(), ..record("other", "2026-11-23T10:10:00Z", 1) },
    ];
    let now = at("2026-11-23T12:00:00Z");
    let today = |agent: Option<&str>| {
        UsageQuery { agent: agent.map(Into::into), ..UsageQuery::default() }.within(Period::Day, now, &zone)
    };
    for (store, _folder) in stores() {
        let summary = |query: &UsageQuery| get_usage_summary(&*store, query, now, &zone).unwrap();
        assert_eq!(summary(&today(None)), TokenUsageSummary::default(), "nothing is known, not 0");
        store.track_usage(&records).unwrap();
        let global = Quota {
            scope: QuotaScope::Global,
            tokens: Some(1_000),
            usd: None,
            mode: QuotaMode::Soft,
            zone: "Asia/Kolkata".into(),
        };
        store.set_quota_limit(&global).unwrap();
        let own = Quota { scope: QuotaScope::Agent("claude".into()), tokens: Some(200), ..global };
        store.set_quota_limit(&own).unwrap();
        let claude = TokenUsageSummary {
            total_input_tokens: Some(170),
            total_output_tokens: Some(25),
            total_cost: Some(NanoUsd(250_000_000)),
            unpriced: 2,
            requests: Some(4),
            avg_tokens_per_request: Some(48.75),
            // 15:00 by the clocks there; 10:40 in UTC is in the hour after it.
            peak_usage_time: Some(at("2026-11-23T09:30:00Z")),
            quota_remaining: Some(5),
        };
        assert_eq!(summary(&today(Some("claude"))), claude);
        let all = summary(&today(None));
        assert_eq!((all.total_output_tokens, all.quota_remaining), (Some(26), Some(794)));
        assert_eq!(summary(&UsageQuery::default()).total_output_tokens, Some(1_000_026));
        let codex = summary(&today(Some("codex")));
        assert_eq!((codex.total_cost, codex.unpriced, codex.quota_remaining), (None, 1, Some(794)));
    }
}
