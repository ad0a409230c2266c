//! The report over a time: what agents did, used, cost and took of the machine; pure.

mod page;
mod plot;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use aiswitch_coordinator::{CostSummary, RunRecordSummary, Usage};
use aiswitch_metrics::{Alert, AlertRule, AlertState, Metric, MetricKind, Series, Summary};
use aiswitch_tokens::{NanoUsd, UsageGroup};
use chrono::{DateTime, TimeDelta, Utc};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

/// The version of the form of `report --json`.
const REPORT_FORM: u32 = 1;

/// Of which time and whom a report is.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) since: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
    /// When it is made.
    pub(crate) now: DateTime<Utc>,
    /// The zone of its days and times.
    pub(crate) zone: TimeZone,
    /// The one agent that it is about.
    pub(crate) agent: Option<String>,
}

/// What was found of that time.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) total: Option<UsageGroup>,
    /// The sums by day, agent, model and run.
    pub(crate) days: Vec<UsageGroup>,
    pub(crate) agents: Vec<UsageGroup>,
    pub(crate) models: Vec<UsageGroup>,
    pub(crate) by_run: Vec<UsageGroup>,
    /// The runs that began in that time, the latest first.
    pub(crate) runs: Vec<RunRecordSummary>,
    /// Whether earlier runs of that time are not among them.
    pub(crate) are_runs_cut: bool,
    pub(crate) series: Vec<Series>,
    /// The rules of alerts, and how the alerts of all of them are now.
    pub(crate) rules: Vec<AlertRule>,
    pub(crate) alerts: Vec<Alert>,
}

/// The report over a time, as `report --json` prints it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PeriodReport")]
pub(crate) struct Report {
    /// The version of this form.
    v: u32,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    made_at: DateTime<Utc>,
    /// The zone of its days.
    zone: String,
    /// The one agent that it is about.
    agent: Option<String>,
    /// Whether the cost of every call is known.
    complete: bool,
    total: Used,
    days: Vec<Used>,
    agents: Vec<AgentRow>,
    models: Vec<Used>,
    /// The latest first.
    runs: Vec<RunRow>,
    /// Whether earlier runs of that time are not among them.
    are_runs_cut: bool,
    /// Those that are pending or fire, and those that were resolved in that time.
    alerts: Vec<AlertRow>,
    series: Vec<SeriesRow>,
    #[serde(skip)]
    clock: TimeZone,
}

/// What a day, an agent or a model used; a figure that nobody knows is `None`.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Used {
    /// `None` of calls of which it is not known.
    name: Option<String>,
    calls: u64,
    usage: Option<Usage>,
    cost: CostSummary,
}

/// What an agent used, did and took of the machine.
#[derive(Debug, Serialize, JsonSchema)]
struct AgentRow {
    #[serde(flatten)]
    used: Used,
    tasks: Option<f64>,
    errors: Option<f64>,
    response_ms_p50: Option<f64>,
    response_ms_p95: Option<f64>,
    cpu_percent_mean: Option<f64>,
    memory_bytes_max: Option<f64>,
}

/// A run, and what it cost.
#[derive(Debug, Serialize, JsonSchema)]
struct RunRow {
    #[serde(flatten)]
    run: RunRecordSummary,
    /// `None` where no agent told what it used.
    cost: Option<CostSummary>,
}

/// An alert, as it is now.
#[derive(Debug, Serialize, JsonSchema)]
struct AlertRow {
    rule: String,
    metric: String,
    condition: String,
    /// `None` of the machine.
    agent: Option<String>,
    #[serde(flatten)]
    state: AlertState,
    /// The newest figure; `None` when none came yet.
    value: Option<f64>,
}

/// The figures of one metric of one source in equal steps.
#[derive(Debug, Serialize, JsonSchema)]
struct SeriesRow {
    /// `None` of the machine.
    agent: Option<String>,
    metric: String,
    /// `gauge` or `count`.
    kind: &'static str,
    since: DateTime<Utc>,
    step_ms: i64,
    /// The newest figure of a gauge, the sum of a count.
    figure: f64,
    trend_per_hour: Option<f64>,
    /// How much that changes it, from the first step that has a figure to the last.
    trend_change: Option<f64>,
    /// The mean of a gauge, the sum of a count; `None` in a step in which nothing was measured.
    steps: Vec<Option<f64>>,
}

impl Report {
    /// Puts together what was found.
    pub(crate) fn of(frame: Frame, found: Found) -> Self {
        let Frame { since, until, now, zone, agent } = frame;
        let total = found.total.as_ref().map(|group| Used::of(group, None)).unwrap_or_default();
        let day = |group: &UsageGroup| {
            let date = group.since.map(|since| since.to_zoned(zone.clone()).strftime("%Y-%m-%d").to_string());
            Used::of(group, date)
        };
        let labelled = |group: &UsageGroup| Used::of(group, group.label.clone());
        let costs: BTreeMap<&str, CostSummary> =
            found.by_run.iter().filter_map(|group| Some((group.label.as_deref()?, group.sum.cost))).collect();
        let runs = found.runs.into_iter().map(|run| {
            let cost = costs.get(run.run_id.to_string().as_str()).copied();
            RunRow { run, cost }
        });
        Self {
            v: REPORT_FORM,
            since,
            until,
            made_at: now,
            zone: name_of(&zone, now),
            agent,
            complete: total.cost.unpriced == 0,
            total,
            days: found.days.iter().map(day).collect(),
            agents: agents(found.agents.iter().map(labelled), &found.series),
            models: found.models.iter().map(labelled).collect(),
            runs: runs.collect(),
            are_runs_cut: found.are_runs_cut,
            alerts: found.rules.iter().flat_map(|rule| told(rule, &found.alerts, since)).collect(),
            series: found.series.iter().filter_map(SeriesRow::of).collect(),
            clock: zone,
        }
    }

    /// A moment by the clock of the report's zone.
    fn at(&self, moment: DateTime<Utc>, form: &str) -> String {
        in_zone(moment, &self.clock).strftime(form).to_string()
    }

    /// How an alert is, in words.
    fn state(&self, state: AlertState) -> String {
        let (word, at) = match state {
            AlertState::Inactive => return state.name().to_owned(),
            AlertState::Pending { since } | AlertState::Firing { since, .. } => ("since", since),
            AlertState::Resolved { until, .. } => ("at", until),
        };
        format!("{} {word} {}", state.name(), self.at(at, "%m-%d %H:%M"))
    }

    /// Of which time it is, in words.
    fn span(&self) -> String {
        let minute = |moment| self.at(moment, "%Y-%m-%d %H:%M");
        format!("{} to {}, {}", minute(self.since), minute(self.until), self.zone)
    }

    /// What its cost leaves out, in words; `None` if that is nothing.
    fn gap(&self) -> Option<String> {
        let (unpriced, calls) = (self.total.cost.unpriced, self.total.calls);
        (!self.complete)
            .then(|| format!("not complete: nobody knows the cost of {unpriced} of {calls} calls"))
    }
}

impl Used {
    fn of(group: &UsageGroup, name: Option<String>) -> Self {
        Self { name, calls: group.requests, usage: group.sum.usage, cost: group.sum.cost }
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("(not known)")
    }

    /// What is known of its cost, in a few characters.
    fn cost(&self) -> String {
        cost(self.cost)
    }
}

impl SeriesRow {
    /// `None` without a figure.
    fn of(series: &Series) -> Option<Self> {
        let total = series.total()?;
        let is_count = series.metric.kind() == MetricKind::Count;
        Some(Self {
            agent: series.source.agent().map(str::to_owned),
            metric: series.metric.to_string(),
            kind: series.metric.kind().name(),
            since: series.since,
            step_ms: series.step.num_milliseconds(),
            figure: if is_count { total.sum } else { total.last },
            trend_per_hour: series.trend().map(|trend| trend.per_hour),
            trend_change: series.change(),
            steps: series.figures().collect(),
        })
    }

    fn step(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.step_ms)
    }

    /// When a step begins.
    fn step_at(&self, step: usize) -> DateTime<Utc> {
        self.since + self.step() * i32::try_from(step).expect("a series has few steps")
    }
}

/// The alerts of a rule that there is something to tell of.
fn told(rule: &AlertRule, alerts: &[Alert], since: DateTime<Utc>) -> Vec<AlertRow> {
    let is_told = |alert: &&Alert| match alert.state {
        AlertState::Inactive => false,
        AlertState::Pending { .. } | AlertState::Firing { .. } => true,
        AlertState::Resolved { until, .. } => until >= since,
    };
    let row = |alert: &Alert| AlertRow {
        rule: rule.name.clone(),
        metric: rule.metric.to_string(),
        condition: rule.condition.to_string(),
        agent: alert.source.agent().map(str::to_owned),
        state: alert.state,
        value: alert.value,
    };
    alerts.iter().filter(|alert| alert.rule == rule.name).filter(is_told).map(row).collect()
}

/// What is known of each agent: of those that used something, and of those that were measured.
fn agents(used: impl Iterator<Item = Used>, series: &[Series]) -> Vec<AgentRow> {
    let mut all: BTreeMap<String, Used> = used.filter_map(|used| Some((used.name.clone()?, used))).collect();
    for agent in series.iter().filter_map(|series| series.source.agent()) {
        if !all.contains_key(agent) {
            let name = Some(agent.to_owned());
            all.insert(agent.to_owned(), Used { name, ..Used::default() });
        }
    }
    let row = |(agent, used): (String, Used)| {
        let total = |metric: Metric| {
            let own = |series: &&Series| series.source.agent() == Some(&agent) && series.metric == metric;
            series.iter().find(own).and_then(Series::total)
        };
        let response = total(Metric::RESPONSE_TIME_MS);
        let quantile = |share| response.as_ref().and_then(|summary| summary.quantile(share));
        AgentRow {
            tasks: total(Metric::TASK_COUNT).map(|summary| summary.sum),
            errors: total(Metric::ERROR_COUNT).map(|summary| summary.sum),
            response_ms_p50: quantile(0.5),
            response_ms_p95: quantile(0.95),
            cpu_percent_mean: total(Metric::CPU_PERCENT).as_ref().map(Summary::mean),
            memory_bytes_max: total(Metric::MEMORY_BYTES).map(|summary| summary.max),
            used,
        }
    };
    all.into_iter().map(row).collect()
}

/// What is known of a cost, in a few characters.
fn cost(cost: CostSummary) -> String {
    match (cost.usd, cost.unpriced) {
        (Some(usd), 0) => dollars(usd),
        (Some(usd), unpriced) => format!("{} + {unpriced} unpriced", dollars(usd)),
        (None, 0) => NOT_KNOWN.to_owned(),
        (None, unpriced) => format!("{unpriced} unpriced"),
    }
}

/// What stands where nobody knows a figure.
const NOT_KNOWN: &str = "–";

/// One cent, in billionths of a dollar.
const CENT: u64 = 10_000_000;

/// In cents, unless that would show something as nothing.
fn dollars(usd: NanoUsd) -> String {
    if usd.0 > 0 && usd.0 < CENT { usd.to_string() } else { format!("${:.2}", usd.usd()) }
}

fn in_zone(moment: DateTime<Utc>, zone: &TimeZone) -> jiff::Zoned {
    let moment = Timestamp::from_millisecond(moment.timestamp_millis()).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.to_zoned(zone.clone())
}

/// The name of a zone; how far it is from UTC now, where it has none.
fn name_of(zone: &TimeZone, now: DateTime<Utc>) -> String {
    zone.iana_name().map_or_else(|| in_zone(now, zone).strftime("UTC%:z").to_string(), str::to_owned)
}
