//! `aiswitch metrics`: what runs have measured.

use std::fs;

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
