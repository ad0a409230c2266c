//! What was measured of each agent and the machine up to now, for the view of it.

use aiswitch_metrics::{AgentStatus, Level, MetricsError, MetricsStore, Point, SampleQuery, Source};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// How many sources `metrics.json` shows: those that were measured last; the store knows all.
pub const METRICS_SOURCES_SHOWN_MAX: usize = 200;

/// One metric of one source: its newest figure, and all figures of all time together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Measured {
    /// `None` of the machine.
    agent: Option<String>,
    metric: String,
    /// `gauge`, whose newest figure and mean say something, or `count`, whose sum does.
    kind: &'static str,
    last: f64,
    /// What the newest figure of the metric `status` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<String>,
    last_at: DateTime<Utc>,
    n: u64,
    sum: f64,
    mean: f64,
    min: f64,
    max: f64,
}

impl Measured {
    fn of(Point { source, metric, summary, .. }: &Point<'_>) -> Self {
        Self {
            agent: source.agent().map(str::to_owned),
            metric: metric.to_string(),
            kind: metric.kind().name(),
            last: summary.last,
            last_status: AgentStatus::of_figure(metric, summary.last).map(|status| status.to_string()),
            last_at: summary.last_at(),
            n: summary.n,
            sum: summary.sum,
            mean: summary.mean(),
            min: summary.min,
            max: summary.max,
        }
    }
}

/// Every metric of the sources that were measured last: the machine first, then agents by name.
pub(crate) fn measured(store: &dyn MetricsStore) -> Result<Vec<Measured>, MetricsError> {
    let mut sources: Vec<(Source, Vec<Measured>)> = Vec::new();
    store.points(&SampleQuery::of(Level::Ever), &mut |point| {
        let measured = Measured::of(point);
        match sources.last_mut().filter(|(source, _)| source == point.source) {
            Some((_, metrics)) => metrics.push(measured),
            None => sources.push((point.source.clone(), vec![measured])),
        }
    })?;
    let newest = |metrics: &[Measured]| metrics.iter().map(|measured| measured.last_at).max();
    sources.sort_by_key(|(_, metrics)| std::cmp::Reverse(newest(metrics)));
    sources.truncate(METRICS_SOURCES_SHOWN_MAX);
    sources.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(sources.into_iter().flat_map(|(_, metrics)| metrics).collect())
}
