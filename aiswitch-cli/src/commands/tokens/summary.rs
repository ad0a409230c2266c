//! `aiswitch tokens summary`: what was used within a time, in a few figures.

use aiswitch_tokens::{NanoUsd, Period, TokenUsageSummary, UsageQuery, UsageStore, get_usage_summary};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::stamp;
use crate::args::{SummaryArgs, Timeframe};
use crate::caller;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;

/// What `tokens summary --json` prints.
#[derive(Debug, Serialize)]
struct SummaryView {
    since: Option<String>,
    until: Option<String>,
    total_input_tokens: Option<u64>,
    total_output_tokens: Option<u64>,
    total_cost: Option<NanoUsd>,
    unpriced: u64,
    requests: Option<u64>,
    avg_tokens_per_request: Option<f64>,
    peak_usage_time: Option<String>,
    quota_remaining: Option<u64>,
}

/// Sums up.
///
/// # Errors
/// The store cannot be read.
pub(super) fn summary(args: &SummaryArgs, store: &dyn UsageStore, output: &Output) -> Result<Code, Error> {
    let zone = args.timezone.clone().unwrap_or_else(TimeZone::system);
    let now = caller::now();
    let query = UsageQuery {
        since: args.since.map(|since| stamp(since.at_now(now))),
        until: args.until.map(|until| stamp(until.at_now(now))),
        agent: args.agent.clone(),
        model: args.model.clone(),
        preset: args.preset.clone(),
        task: None,
        run: args.run.clone(),
    };
    let within = |period| query.clone().within(period, stamp(now), &zone);
    let query = match args.timeframe {
        _ if args.since.is_some() || args.until.is_some() => query,
        Timeframe::Hour => within(Period::Hour),
        Timeframe::Day => within(Period::Day),
        Timeframe::Week => within(Period::Week),
        Timeframe::Month => within(Period::Month),
        Timeframe::All => query,
    };
    let summary = get_usage_summary(store, &query, stamp(now), &zone)?;
    let peak =
        |time: &str| summary.peak_usage_time.map(|at| at.to_zoned(zone.clone()).strftime(time).to_string());
    let view = SummaryView {
        since: query.since.map(|since| since.to_string()),
        until: query.until.map(|until| until.to_string()),
        total_input_tokens: summary.total_input_tokens,
        total_output_tokens: summary.total_output_tokens,
        total_cost: summary.total_cost,
        unpriced: summary.unpriced,
        requests: summary.requests,
        avg_tokens_per_request: summary.avg_tokens_per_request,
        peak_usage_time: peak("%Y-%m-%dT%H:%M:%S%:z"),
        quota_remaining: summary.quota_remaining,
    };
    output.result(&view, || text(&summary, peak("%Y-%m-%d %H:%M").as_deref()));
    Ok(Code::Completed)
}

fn text(summary: &TokenUsageSummary, peak: Option<&str>) -> String {
    let known =
        |figure: Option<u64>| figure.map_or_else(|| "unknown".to_owned(), |figure| figure.to_string());
    let cost = summary.total_cost.map_or_else(|| "unknown".to_owned(), |usd| usd.to_string());
    let unpriced = match summary.unpriced {
        0 => String::new(),
        count => format!(", without {count} calls of which nobody knows the cost"),
    };
    let average =
        summary.avg_tokens_per_request.map_or_else(|| "unknown".to_owned(), |tokens| format!("{tokens:.0}"));
    let left = summary.quota_remaining.map_or_else(|| "no limit".to_owned(), |tokens| tokens.to_string());
    let lines = [
        ("input tokens", known(summary.total_input_tokens)),
        ("output tokens", known(summary.total_output_tokens)),
        ("cost", cost + &unpriced),
        ("tokens per request", average),
        ("busiest hour", peak.unwrap_or("unknown").to_owned()),
        ("left of today's quota", left),
    ];
    let line = |(name, figure): &(&str, String)| format!("{name:<22} {figure}");
    lines.iter().map(line).collect::<Vec<_>>().join("\n") + "\n"
}
