//! What a store has, as OpenTelemetry reads it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Level, Metric, MetricKind, MetricsError, MetricsStore, SampleQuery, Source, Summary};

/// The upper bounds of the buckets of response times, in seconds: those of OpenTelemetry's `gen_ai.client.operation.duration`,
/// and three more, as agents work for longer than a model answers.
const BOUNDS_S: [f64; 17] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 327.68, 1_310.72,
    5_242.88,
];

/// The sums are of all time, not of the time since the export before: `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// All that a store has as one line of OTLP's JSON, a `MetricsData`, as a collector's `otlpjsonfile` receiver reads it.
///
/// Gauges have their newest figure, counts the sum of all time, response times a histogram; a metric is called
/// `aiswitch.agent.NAME` or `aiswitch.system.NAME`, its unit stands beside it as UCUM writes it, and an agent is the attribute
/// `agent`. Since when sums are kept is not known, so nothing is said of it. See
/// <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>.
///
/// # Errors
/// The store cannot be read.
pub fn otlp_json(store: &dyn MetricsStore) -> Result<String, MetricsError> {
    let mut metrics: BTreeMap<String, (Metric, Vec<Value>)> = BTreeMap::new();
    store.points(&SampleQuery::of(Level::Ever), &mut |point| {
        let (name, _, scale) = exported(point.metric);
        let of = point.source.agent().map_or("system", |_| "agent");
        let name = format!("aiswitch.{of}.{name}");
        let (_, points) = metrics.entry(name).or_insert_with(|| (point.metric.clone(), Vec::new()));
        points.push(data_point(point.source, point.metric, point.summary, scale));
    })?;
    let metrics: Vec<Value> =
        metrics.into_iter().map(|(name, (metric, points))| described(&name, &metric, &points)).collect();
    let data = json!({"resourceMetrics": [{
        "resource": {"attributes": [attribute("service.name", "aiswitch")]},
        "scopeMetrics": [{
            "scope": {"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")},
            "metrics": metrics,
        }],
    }]});
    Ok(format!("{data}\n"))
}

/// A metric with what is told of it.
fn described(name: &str, metric: &Metric, points: &[Value]) -> Value {
    let (_, unit, _) = exported(metric);
    let help = metric.help().unwrap_or("A figure that agents report.");
    let (kind, data) = match metric.kind() {
        _ if *metric == Metric::RESPONSE_TIME_MS => {
            ("histogram", json!({"aggregationTemporality": CUMULATIVE, "dataPoints": points}))
        }
        MetricKind::Gauge => ("gauge", json!({"dataPoints": points})),
        MetricKind::Count => {
            ("sum", json!({"aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points}))
        }
    };
    json!({"name": name, "description": help, "unit": unit, kind: data})
}

/// What is told of one source. Whole numbers of 64 bits are texts, as JSON's numbers are not sure to hold them.
fn data_point(source: &Source, metric: &Metric, summary: &Summary, scale: f64) -> Value {
    let attributes: Vec<Value> = source.agent().map(|agent| attribute("agent", agent)).into_iter().collect();
    let nanos = i128::from(summary.last_at().timestamp_millis()) * 1_000_000;
    let time = nanos.max(0).to_string();
    if *metric == Metric::RESPONSE_TIME_MS {
        let counts = summary.counts(&BOUNDS_S.map(|bound| bound / scale));
        return json!({
            "attributes": attributes, "timeUnixNano": time, "count": summary.n.to_string(), "sum": summary.sum * scale,
            "min": summary.min * scale, "max": summary.max * scale, "explicitBounds": BOUNDS_S,
            "bucketCounts": counts.iter().map(u64::to_string).collect::<Vec<_>>(),
        });
    }
    let figure = if metric.kind() == MetricKind::Count { summary.sum } else { summary.last };
    json!({"attributes": attributes, "timeUnixNano": time, "asDouble": figure * scale})
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// A metric's name in OpenTelemetry's manner, its unit, and what its figures are multiplied with.
fn exported(metric: &Metric) -> (String, &'static str, f64) {
    let units = [
        ("_percent", "", "1", 0.01),
        ("_ms", "", "s", 0.001),
        ("_bytes", "", "By", 1.0),
        ("_count", "s", "1", 1.0),
    ];
    for (ending, instead, unit, scale) in units {
        if let Some(name) = metric.name().strip_suffix(ending) {
            return (format!("{name}{instead}"), unit, scale);
        }
    }
    // Nobody knows the unit of what an agent has named without one.
    (metric.name().to_owned(), if metric.help().is_some() { "1" } else { "" }, 1.0)
}
