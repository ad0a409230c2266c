//! `aiswitch metrics`: what runs have measured.
#![expect(
    clippy::disallowed_methods,
    reason = "parsers of others are programs of their own, and look at samples of now"
)]

use std::fs;
use std::io::{self, Write as _};
use std::process::{Command, Output, Stdio};

use aiswitch_metrics::{Metric, MetricsStore as _, Sample, Source, SqliteMetricsStore};
use chrono::Utc;
use serde_json::Value;

use crate::harness::show;
use crate::sandbox::Sandbox;

/// A user who has run the echo agent twice.
fn with_runs() -> Sandbox {
    let sandbox = Sandbox::new();
    for prompt in ["one", "two"] {
        let run = show(&sandbox, &["run", "-a", "echo", prompt]);
        assert!(run.stdout.contains(prompt), "{run}");
    }
    sandbox
}

#[test]
fn what_runs_measured_is_shown_a_line_a_metric_and_gaps_are_blank() {
    let sandbox = with_runs();
    for verb in [&["metrics"][..], &["metrics", "show", "--since", "2h"]] {
        let shown = show(&sandbox, verb).stdout;
        let tasks = shown.lines().find(|line| line.starts_with("echo") && line.contains("task_count"));
        assert!(tasks.is_some_and(|line| line.contains(" 2 ") && line.ends_with('█')), "{shown}");
        assert!(shown.contains("(system)   memory_available_b"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
        // Only the newest step was measured.
        assert!(tasks.is_some_and(|line| line.matches('█').count() == 1 && !line.contains('▁')), "{shown}");
    }
    let json = show(&sandbox, &["metrics", "--agent", "echo", "--json"]).json();
    let series = json["series"].as_array().unwrap();
    let tasks = series.iter().find(|series| series["metric"] == "task_count").unwrap();
    assert_eq!((&tasks["agent"], &tasks["total"]["sum"]), (&"echo".into(), &2.0.into()));
    assert!(tasks["steps"][0].is_null() && series.iter().all(|series| series["agent"] == "echo"), "{json}");
}

#[test]
fn one_metric_is_printed_step_by_step_and_another_name_is_an_error() {
    let sandbox = with_runs();
    let shown =
        show(&sandbox, &["metrics", "query", "response_time_ms", "--since", "1h", "--step", "30m"]).stdout;
    assert!(shown.lines().any(|line| line.contains("echo") && line.contains("  2  ")), "{shown}");
    assert!(
        shown.lines().any(|line| line.contains("echo") && line.contains("  0  ") && line.contains('-')),
        "{shown}"
    );
    let json = show(&sandbox, &["metrics", "query", "response_time_ms", "--json"]).json();
    let total = &json["series"][0]["total"];
    assert!(total["p95"].as_f64().unwrap() >= total["p50"].as_f64().unwrap(), "{json}");
    let nothing = show(&sandbox, &["metrics", "query", "never_told"]).stdout;
    assert!(nothing.starts_with("nothing was measured from "), "{nothing}");
    let known = nothing.lines().last().unwrap();
    assert!(
        known.starts_with("what was measured then: ") && known.contains(", response_time_ms"),
        "{nothing}"
    );
    let refused = show(&sandbox, &["metrics", "query", "No Metric"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("cannot be a metric's name"), "{refused}");
    let long = show(&sandbox, &["metrics", "query", "cpu_percent", "--since", "30d", "--step", "1s"]);
    assert!(long.stderr.contains("1 to 10000 steps"), "{long}");
}

#[test]
fn an_export_goes_to_stdout_or_into_a_file_at_once() {
    let sandbox = with_runs();
    let printed = show(&sandbox, &["metrics", "export", "--format", "prometheus"]).stdout;
    assert!(printed.contains("\naiswitch_agent_tasks_total{agent=\"echo\"} 2\n"), "{printed}");
    assert!(printed.contains("\n# TYPE aiswitch_agent_response_time_seconds summary\n"), "{printed}");
    let file = sandbox.home().join("metrics.prom");
    let written = show(&sandbox, &["metrics", "export", "-o", file.to_str().unwrap()]);
    assert_eq!((written.stdout.as_str(), fs::read_to_string(file).unwrap()), ("", printed));
}

/// Reads what stdin has with the package that others read it with, and prints the labels of agents; 77 without that package.
const READ_PROMETHEUS: &str = "
import json, sys
try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    sys.exit(77)
families = list(text_string_to_metric_families(sys.stdin.read()))
assert {'counter', 'gauge', 'summary'} <= {family.type for family in families}
print(json.dumps([sample.labels['agent'] for family in families for sample in family.samples if 'agent' in sample.labels]))
";
const READ_OTLP: &str = "
import json, sys
try:
    from google.protobuf.json_format import Parse
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
except ImportError:
    sys.exit(77)
data = Parse(sys.stdin.read(), MetricsData())
metrics = data.resource_metrics[0].scope_metrics[0].metrics
kinds = {metric.WhichOneof('data') for metric in metrics}
assert kinds == {'gauge', 'sum', 'histogram'}, kinds
points = [point for metric in metrics for point in getattr(metric, metric.WhichOneof('data')).data_points]
assert all(point.time_unix_nano > 10 ** 18 for point in points)
assert all(sum(p.bucket_counts) == p.count for m in metrics for p in m.histogram.data_points)
print(json.dumps([label.value.string_value for point in points for label in point.attributes]))
";

#[test]
fn parsers_of_prometheus_and_opentelemetry_read_the_exports() {
    let hostile = "a\"} 1\nevil{x=\"\\";
    let sandbox = with_runs();
    let at = Utc::now();
    let sample = Sample {
        source: Source::Agent(hostile.to_owned()),
        at,
        figures: vec![(Metric::PROCESSES, 3.0), (Metric::named("drift_ms").unwrap(), -1.5)],
    };
    let store = SqliteMetricsStore::at(sandbox.aiswitch_home().join("state/metrics.db"));
    assert!(store.store_metrics(&[sample], at).unwrap().rejected.is_none());
    let python = std::env::var_os("AISWITCH_PYTHON").unwrap_or("python3".into());
    for (format, script) in [("prometheus", READ_PROMETHEUS), ("otlp-json", READ_OTLP)] {
        let text = show(&sandbox, &["metrics", "export", "--format", format]).stdout;
        let Some(read) = read_by(Command::new(&python).args(["-c", script]), &text) else { continue };
        assert!(read.status.success(), "{format}: {text}");
        let agents: Vec<Value> = serde_json::from_slice(&read.stdout).unwrap();
        assert!(agents.contains(&"echo".into()) && agents.contains(&hostile.into()), "{format}: {agents:?}");
    }
    let text = show(&sandbox, &["metrics", "export"]).stdout;
    let promtool = std::env::var_os("AISWITCH_PROMTOOL").unwrap_or("promtool".into());
    if let Some(read) = read_by(Command::new(promtool).args(["check", "metrics"]), &text) {
        // It exits with 3 for what it would write otherwise.
        assert!(read.status.success() && read.stderr.is_empty(), "{read:?}: {text}");
    }
}

/// What a program says that reads a text; `None`, and a word of it, where there is none or it has no parser.
fn read_by(command: &mut Command, text: &str) -> Option<Output> {
    let reading = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let read = reading.map(|mut reading| {
        // One that has no parser does not read it.
        drop(reading.stdin.take().unwrap().write_all(text.as_bytes()));
        reading.wait_with_output().unwrap()
    });
    let read = read.ok().filter(|read| read.status.code() != Some(77));
    if read.is_none() {
        drop(writeln!(io::stderr(), "skipped: no parser in {}", command.get_program().display()));
    }
    read
}
