//! What a store has, as Prometheus reads it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::{Level, Metric, MetricKind, MetricsError, MetricsStore, SampleQuery, Source, Summary};

/// The shares of response times that are told.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// All that a store has, in Prometheus' text format, version 0.0.4.
///
/// Gauges have their newest figure, counts the sum of all time, response times their quantiles; base units are used, so
/// `cpu_percent` is `cpu_ratio` and `response_time_ms` is `response_time_seconds`. No line has a time, so that the textfile
/// collector of the node exporter takes it: `aiswitch_…_sample_timestamp_seconds` tells when a source was last measured. See
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>.
///
/// # Errors
/// The store cannot be read.
pub fn prometheus(store: &dyn MetricsStore) -> Result<String, MetricsError> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut newest: BTreeMap<Source, i64> = BTreeMap::new();
    store.points(&SampleQuery::of(Level::Ever), &mut |point| {
        let (name, scale) = exported(point.source, point.metric);
        let family = families.entry(name.clone()).or_insert_with(|| Family::of(point.metric));
        family.add(&name, &labels(point.source), point.summary, scale);
        let last_ms = point.summary.last_at().timestamp_millis();
        newest.entry(point.source.clone()).and_modify(|at| *at = last_ms.max(*at)).or_insert(last_ms);
    })?;
    for (source, at_ms) in newest {
        let name = format!("{}_sample_timestamp_seconds", prefix(&source));
        let family = families.entry(name.clone()).or_insert_with(|| Family {
            help: "When it was last measured.",
            kind: "gauge",
            lines: String::new(),
        });
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are below 2⁵³")]
        let seconds = at_ms as f64 / 1_000.0;
        family.line(&name, &labels(&source), seconds);
    }
    let mut text = String::new();
    for (name, Family { help, kind, lines }) in families {
        put(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}"));
    }
    Ok(text)
}

/// All lines of one name.
struct Family {
    help: &'static str,
    kind: &'static str,
    lines: String,
}

impl Family {
    fn of(metric: &Metric) -> Self {
        let kind = match metric.kind() {
            _ if *metric == Metric::RESPONSE_TIME_MS => "summary",
            MetricKind::Gauge => "gauge",
            MetricKind::Count => "counter",
        };
        Self { help: metric.help().unwrap_or("A figure that agents report."), kind, lines: String::new() }
    }

    fn add(&mut self, name: &str, labels: &[String], summary: &Summary, scale: f64) {
        match self.kind {
            "summary" => {
                for share in QUANTILES {
                    let Some(value) = summary.quantile(share) else { continue };
                    let mut labels = labels.to_vec();
                    labels.push(format!("quantile=\"{share}\""));
                    self.line(name, &labels, value * scale);
                }
                self.line(&format!("{name}_sum"), labels, summary.sum * scale);
                #[expect(clippy::cast_precision_loss, reason = "there are fewer than 2⁵³ figures")]
                self.line(&format!("{name}_count"), labels, summary.n as f64);
            }
            "counter" => self.line(name, labels, summary.sum * scale),
            _ => self.line(name, labels, summary.last * scale),
        }
    }

    fn line(&mut self, name: &str, labels: &[String], value: f64) {
        match labels {
            [] => put(&mut self.lines, format_args!("{name} {value}\n")),
            labels => put(&mut self.lines, format_args!("{name}{{{}}} {value}\n", labels.join(","))),
        }
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a text in memory takes all");
}

fn prefix(source: &Source) -> &'static str {
    match source {
        Source::System => "aiswitch_system",
        Source::Agent(_) => "aiswitch_agent",
    }
}

/// A metric's name in Prometheus' manner, and what its figures are multiplied with.
fn exported(source: &Source, metric: &Metric) -> (String, f64) {
    let units = [("_percent", "_ratio", 0.01), ("_ms", "_seconds", 0.001), ("_count", "s", 1.0)];
    let unit = units
        .into_iter()
        .find_map(|(ending, unit, scale)| Some((metric.name().strip_suffix(ending)?, unit, scale)));
    let (name, unit, scale) = unit.unwrap_or((metric.name(), "", 1.0));
    let total = if metric.kind() == MetricKind::Count { "_total" } else { "" };
    (format!("{}_{name}{unit}{total}", prefix(source)), scale)
}

fn labels(source: &Source) -> Vec<String> {
    let escaped = |agent: &str| agent.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    source.agent().map(|agent| format!("agent=\"{}\"", escaped(agent))).into_iter().collect()
}
