//! What OpenTelemetry reads.

use aiswitch_metrics::{Metric, Sample, Source, otlp_json};
use serde_json::{Value, json};

use crate::stores::{keep, noon, sample, with_each_store};

fn agent(value: &str) -> Value {
    json!([{"key": "agent", "value": {"stringValue": value}}])
}

#[test]
fn gauges_sums_and_histograms_are_those_of_the_specification() {
    with_each_store(|store| {
        let mut first = sample("claude", 0, &Metric::CPU_PERCENT, 250.0);
        first.figures.extend([(Metric::TASK_COUNT, 1.0), (Metric::RESPONSE_TIME_MS, 2_000.0)]);
        let mut second = sample("claude", 10, &Metric::CPU_PERCENT, 50.0);
        second.figures.extend([(Metric::TASK_COUNT, 2.0), (Metric::RESPONSE_TIME_MS, 9_000_000.0)]);
        let system =
            Sample { source: Source::System, at: noon(), figures: vec![(Metric::SWAP_USED_BYTES, 4_096.0)] };
        keep(store, &[first, second, system]);
        let text = otlp_json(store).expect("it can be read");
        assert_eq!((text.lines().count(), text.ends_with('\n')), (1, true));
        let data: Value = serde_json::from_str(&text).expect("it is JSON");
        let resource = &data["resourceMetrics"][0];
        let expected = json!([{"key": "service.name", "value": {"stringValue": "aiswitch"}}]);
        assert_eq!(resource["resource"]["attributes"], expected);
        let at = "1795435210000000000";
        let expected = json!([
            {"name": "aiswitch.agent.cpu", "description": "CPU use, of one core.", "unit": "1", "gauge": {"dataPoints": [
                {"attributes": agent("claude"), "timeUnixNano": at, "asDouble": 0.5}]}},
            {"name": "aiswitch.agent.response_time", "description": "How long a task took.", "unit": "s", "histogram": {
                "aggregationTemporality": 2, "dataPoints": [{
                    "attributes": agent("claude"), "timeUnixNano": at, "count": "2", "sum": 9_002.0, "min": 2.0, "max": 9_000.0,
                    "explicitBounds": [
                        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 327.68, 1_310.72,
                        5_242.88],
                    "bucketCounts": ["0", "0", "0", "0", "0", "0", "0", "0", "1", "0", "0", "0", "0", "0", "0", "0", "0", "1"],
                }]}},
            {"name": "aiswitch.agent.tasks", "description": "Tasks that ended.", "unit": "1", "sum": {
                "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [
                    {"attributes": agent("claude"), "timeUnixNano": at, "asDouble": 3.0}]}},
            {"name": "aiswitch.system.swap_used", "description": "Swap in use.", "unit": "By", "gauge": {"dataPoints": [
                {"attributes": [], "timeUnixNano": "1795435200000000000", "asDouble": 4_096.0}]}},
        ]);
        assert_eq!(resource["scopeMetrics"][0]["metrics"], expected);
    });
}

#[test]
fn a_hostile_label_stays_one_value_and_nothing_is_a_document_too() {
    with_each_store(|store| {
        let empty: Value =
            serde_json::from_str(&otlp_json(store).expect("it can be read")).expect("it is JSON");
        assert_eq!(empty["resourceMetrics"][0]["scopeMetrics"][0]["metrics"], json!([]));
        let label = "a\"} 1\n\u{0}{x=\"\\";
        keep(store, &[sample(label, 0, &Metric::PROCESSES, 3.0)]);
        let text = otlp_json(store).expect("it can be read");
        assert_eq!(text.lines().count(), 1);
        let data: Value = serde_json::from_str(&text).expect("it is JSON");
        let metric = &data["resourceMetrics"][0]["scopeMetrics"][0]["metrics"][0];
        assert_eq!(metric["gauge"]["dataPoints"][0]["attributes"], agent(label));
    });
}
