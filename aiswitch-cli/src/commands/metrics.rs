//! `aiswitch metrics`: what agents and the machine used over time.

use std::collections::BTreeSet;
use std::path::Path;

use aiswitch_coordinator::Home;
use aiswitch_lock::replace_file;
use aiswitch_metrics::{
    AgentStatus, Metric, MetricKind, MetricsStore, Series, SeriesQuery, Source, SqliteMetricsStore, Summary,
    otlp_json, prometheus, series,
};
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::alerts::alerts;
use crate::args::{MetricsArgs, MetricsFormat, MetricsSpan, MetricsVerb};
use crate::caller;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::{self, arrow, figure};

/// How many steps a line of blocks has at most.
const CELLS_MAX: i64 = 30;

/// The steps that people can tell the bounds of, in seconds.
const STEPS_S: [i64; 14] =
    [10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 172_800, 604_800];

/// What is shown when the command line says nothing.
const SPAN_DEFAULT: TimeDelta = TimeDelta::hours(24);

/// The permission bits of an export: other programs read it.
const EXPORT_MODE: u32 = 0o644;

/// Shows, queries or exports what was measured.
///
/// # Errors
/// The store cannot be read, the time has too many steps, or the file cannot be written.
pub(crate) fn metrics(args: &MetricsArgs, home: &Home, output: &Output) -> Result<Code, Error> {
    let store = SqliteMetricsStore::at(home.metrics_file());
    let now = caller::now();
    match &args.verb {
        None => show(&store, &args.span, now, output),
        Some(MetricsVerb::Show(span)) => show(&store, span, now, output),
        Some(MetricsVerb::Query { metric, span, step }) => {
            let step = step.as_ref().and_then(|step| TimeDelta::from_std(step.0).ok());
            let asked = SeriesQuery { metric: Some(metric.clone()), ..asked(span, step, now) };
            let view = View::of(&series(&store, &asked, now)?, &asked);
            let others = if view.series.is_empty() { measured(&store, asked, now)? } else { String::new() };
            output.result(&view, || steps_text(&view, metric) + &others);
            Ok(Code::Completed)
        }
        Some(MetricsVerb::Alerts) => alerts(home, now, output),
        Some(MetricsVerb::Export { format, output: file }) => {
            let text = match format {
                MetricsFormat::Prometheus => prometheus(&store)?,
                MetricsFormat::OtlpJson => otlp_json(&store)?,
            };
            export(&text, file.as_deref(), output)
        }
    }
}

/// Which metrics have figures, for who asked for one that has none.
fn measured(store: &dyn MetricsStore, asked: SeriesQuery, now: DateTime<Utc>) -> Result<String, Error> {
    let all = series(store, &SeriesQuery { metric: None, ..asked }, now)?;
    let names: BTreeSet<String> = all.iter().map(|series| series.metric.to_string()).collect();
    let names: Vec<String> = names.into_iter().collect();
    Ok(if names.is_empty() {
        String::new()
    } else {
        format!("\nwhat was measured then: {}", names.join(", "))
    })
}

fn export(text: &str, file: Option<&Path>, output: &Output) -> Result<Code, Error> {
    match file {
        None => output.text(text),
        Some(file) => replace_file(file, text.as_bytes(), EXPORT_MODE)?,
    }
    Ok(Code::Completed)
}

fn show(
    store: &dyn MetricsStore,
    span: &MetricsSpan,
    now: DateTime<Utc>,
    output: &Output,
) -> Result<Code, Error> {
    let asked = asked(span, None, now);
    let view = View::of(&series(store, &asked, now)?, &asked);
    output.result(&view, || lines_text(&view));
    Ok(Code::Completed)
}

/// What the command line asks for; the first step begins at a bound of steps.
fn asked(span: &MetricsSpan, step: Option<TimeDelta>, now: DateTime<Utc>) -> SeriesQuery {
    let until = span.until.map_or(now, |until| until.at_now(now));
    let since = span.since.map_or(until - SPAN_DEFAULT, |since| since.at_now(now));
    let (since, step) = steps((since, until), step, CELLS_MAX);
    SeriesQuery { since, until, step, source: span.agent.clone().map(Source::Agent), metric: None }
}

/// When the first step of a time begins, at a bound of steps, and how long a step is: what is asked for, or at most so many steps.
pub(super) fn steps(
    (since, until): (DateTime<Utc>, DateTime<Utc>),
    step: Option<TimeDelta>,
    steps_max: i64,
) -> (DateTime<Utc>, TimeDelta) {
    let fits = |step: &i64| (until - since).num_seconds() <= step * steps_max;
    let fitting = || TimeDelta::seconds(STEPS_S.into_iter().find(fits).unwrap_or(STEPS_S[STEPS_S.len() - 1]));
    let step = step.unwrap_or_else(fitting);
    let into_step_ms =
        since.timestamp_millis().checked_rem_euclid(step.num_milliseconds()).unwrap_or_default();
    (since.checked_sub_signed(TimeDelta::milliseconds(into_step_ms)).unwrap_or(since), step)
}

/// What `metrics --json` and `metrics query --json` print.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Metrics")]
pub(super) struct View {
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    step_ms: i64,
    series: Vec<SeriesView>,
}

/// One metric of one source.
#[derive(Debug, Serialize, JsonSchema)]
struct SeriesView {
    /// `None` of the machine.
    agent: Option<String>,
    metric: String,
    /// `gauge` or `count`.
    #[serde(serialize_with = "by_name")]
    #[schemars(with = "String")]
    kind: MetricKind,
    total: Option<SummaryView>,
    /// What the newest figure of the metric `status` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<String>,
    /// How the figures change in an hour, and where they are at the end by that.
    trend_per_hour: Option<f64>,
    trend_at_end: Option<f64>,
    /// How much that changes them, from the first step that has a figure to the last.
    trend_change: Option<f64>,
    /// One entry a step; null where nothing was measured.
    steps: Vec<Option<SummaryView>>,
}

/// Figures of a span of time.
#[derive(Debug, Serialize, JsonSchema)]
struct SummaryView {
    n: u64,
    sum: f64,
    mean: f64,
    min: f64,
    max: f64,
    last: f64,
    last_at: DateTime<Utc>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

impl SummaryView {
    fn of(summary: &Summary) -> Self {
        Self {
            n: summary.n,
            sum: summary.sum,
            mean: summary.mean(),
            min: summary.min,
            max: summary.max,
            last: summary.last,
            last_at: summary.last_at(),
            p50: summary.quantile(0.5),
            p95: summary.quantile(0.95),
            p99: summary.quantile(0.99),
        }
    }

    /// The sum of a count, the mean of a gauge.
    fn figure(&self, kind: MetricKind) -> f64 {
        match kind {
            MetricKind::Count => self.sum,
            MetricKind::Gauge => self.mean,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn by_name<S: Serializer>(kind: &MetricKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

impl View {
    fn of(series: &[Series], asked: &SeriesQuery) -> Self {
        let views = series.iter().map(|series| {
            let trend = series.trend();
            let total = series.total();
            let status = total.as_ref().and_then(|total| AgentStatus::of_figure(&series.metric, total.last));
            SeriesView {
                agent: series.source.agent().map(str::to_owned),
                metric: series.metric.to_string(),
                kind: series.metric.kind(),
                total: total.as_ref().map(SummaryView::of),
                last_status: status.map(|status| status.to_string()),
                trend_per_hour: trend.map(|trend| trend.per_hour),
                trend_at_end: trend.map(|trend| trend.at_end),
                trend_change: series.change(),
                steps: series.steps.iter().map(|step| step.as_ref().map(SummaryView::of)).collect(),
            }
        });
        Self {
            since: asked.since,
            until: asked.until,
            step_ms: asked.step.num_milliseconds(),
            series: views.collect(),
        }
    }

    /// What to say when there is nothing.
    fn nothing(&self) -> String {
        format!("nothing was measured from {} to {}", minute(self.since), minute(self.until))
    }
}

fn minute(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%Y-%m-%d %H:%M UTC")
}

/// A line a metric, at most 80 columns wide.
fn lines_text(view: &View) -> String {
    if view.series.is_empty() {
        return format!("{}; aiswitch run measures its agents", view.nothing());
    }
    let head = format!("{:<10} {:<21} {:>7} {:>7} ", "agent", "metric", "newest", "max");
    let step = u64::try_from(view.step_ms).map(human::duration).unwrap_or_default();
    let mut text = format!("{head} {}, █ {step}\n", view.since.format("%m-%d %H:%M"));
    for series in &view.series {
        let Some(total) = &series.total else { continue };
        let is_count = series.kind == MetricKind::Count;
        let newest = if is_count { total.sum } else { total.last };
        let figures: Vec<Option<f64>> =
            series.steps.iter().map(|step| step.as_ref().map(|step| step.figure(series.kind))).collect();
        let max = figures.iter().flatten().copied().fold(0.0, f64::max);
        let newest_and_max = match &series.last_status {
            // Of states there is neither a largest nor a way that they go.
            Some(status) => human::fit(&format!("{status:>7}"), 17),
            None => format!(
                "{:>7} {:>7} {}",
                figure(&series.metric, newest),
                figure(&series.metric, if is_count { max } else { total.max }),
                arrow(series.trend_change, max),
            ),
        };
        let line = format!(
            "{} {} {newest_and_max}{}",
            human::fit(series.agent.as_deref().unwrap_or("(system)"), 10),
            human::fit(&series.metric, 21),
            blocks(&figures, max),
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A block a step, from 0 to the largest; blank where nothing was measured.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of the largest is from 0 to 1, and cut at the ends"
)]
fn blocks(figures: &[Option<f64>], max: f64) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let block = |figure: &Option<f64>| match figure {
        None => ' ',
        Some(_) if max <= 0.0 => BLOCKS[0],
        Some(figure) => BLOCKS[((figure / max * 7.0).round() as usize).min(7)],
    };
    figures.iter().map(block).collect()
}

/// A line a step of each source.
fn steps_text(view: &View, metric: &Metric) -> String {
    if view.series.is_empty() {
        return format!("{} of {metric}", view.nothing());
    }
    let cells = |time: String, agent: &str, step: Option<&SummaryView>| {
        let cell = |pick: fn(&SummaryView) -> f64| {
            step.map_or("-".to_owned(), |step| figure(metric.name(), pick(step)))
        };
        let n = step.map_or(0, |step| step.n).to_string();
        let [sum, mean, min, max] =
            [cell(|step| step.sum), cell(|step| step.mean), cell(|step| step.min), cell(|step| step.max)];
        vec![time, agent.to_owned(), n, sum, mean, min, max]
    };
    let mut rows =
        vec![["from (UTC)", "agent", "n", "sum", "mean", "min", "max"].map(str::to_owned).to_vec()];
    for series in &view.series {
        let agent = series.agent.as_deref().unwrap_or("(system)");
        for (place, step) in (0..).zip(&series.steps) {
            let from = view.since + TimeDelta::milliseconds(view.step_ms * place);
            rows.push(cells(from.format("%Y-%m-%d %H:%M:%S").to_string(), agent, step.as_ref()));
        }
    }
    human::table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_blank_and_0_is_a_block() {
        assert_eq!(blocks(&[Some(0.0), None, Some(4.0), Some(8.0)], 8.0), "▁ ▅█");
        assert_eq!(blocks(&[Some(0.0), None], 0.0), "▁ ");
    }
}
