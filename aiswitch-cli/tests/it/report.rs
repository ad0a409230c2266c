//! `aiswitch report`: what a time was like, as text, as JSON and as one page.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::harness::{configure, show};
use crate::sandbox::Sandbox;

/// A user who has run the echo agent, and one that fails.
fn with_runs() -> Sandbox {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents:\n  broken: {driver: echo, args: [--fail, auth]}\n");
    for (agent, prompt) in [("echo", "one <b>bold</b> & \"quoted\" word"), ("broken", "two")] {
        let run = show(&sandbox, &["run", "-a", agent, prompt]);
        assert_eq!(run.code, Some(i32::from(agent == "broken")), "{run}");
    }
    sandbox
}

#[test]
fn a_report_tells_of_runs_agents_and_costs_within_80_columns_and_as_json() {
    let sandbox = with_runs();
    let text = show(&sandbox, &["report", "--timezone", "UTC"]).stdout;
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.lines().next().is_some_and(|line| line.ends_with(", UTC")), "{text}");
    for (begin, part) in [("echo", " 1      0 "), ("broken", " 1      1 "), ("01", "  failed ")] {
        let is_it = |line: &&str| line.starts_with(begin) && line.contains(part);
        assert!(text.lines().any(|line| is_it(&line)), "{begin}: {text}");
    }
    let json = show(&sandbox, &["report", "--json", "--agent", "echo"]).json();
    assert_eq!((&json["v"], &json["complete"], &json["agent"]), (&1.into(), &true.into(), &"echo".into()));
    let runs = json["runs"].as_array().unwrap();
    assert_eq!((runs.len(), &runs[0]["status"]), (1, &"completed".into()), "{json}");
    assert_eq!((&json["agents"][0]["name"], &json["agents"][0]["tasks"]), (&"echo".into(), &1.0.into()));
    let series = json["series"].as_array().unwrap();
    assert!(series.iter().all(|series| series["agent"] == "echo"), "{json}");
    let tasks =
        series.iter().find(|series| series["metric"] == "task_count").unwrap()["steps"].as_array().unwrap();
    assert_eq!(tasks.iter().filter(|step| !step.is_null()).count(), 1, "gaps are null: {json}");
}

#[test]
fn a_page_goes_to_stdout_or_into_a_file_for_its_owner_alone_and_refers_to_nothing_outside() {
    let sandbox = with_runs();
    let page = show(&sandbox, &["report", "--html", "--since", "1h"]).stdout;
    assert!(page.starts_with("<!DOCTYPE html>\n") && page.ends_with("</html>\n"), "{page}");
    assert!(page.contains("one &lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot; word"), "{page}");
    for reference in ["http://", "https://", "src=", "@import", "url(", "<script", "<b>bold"] {
        assert!(!page.contains(reference), "{reference}: {page}");
    }
    assert!(page.matches("<svg class=\"plot\"").count() > 10, "{page}");
    let file = sandbox.home().join("report.html");
    let written = show(&sandbox, &["report", "--html", "--since", "1h", "-o", file.to_str().unwrap()]);
    assert_eq!((written.stdout.as_str(), written.code), ("", Some(0)), "{written}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(file).unwrap().starts_with("<!DOCTYPE html>\n"));
}

#[test]
fn an_alert_that_fires_is_in_the_report_of_its_agent_and_in_no_other() {
    let sandbox = Sandbox::new();
    configure(
        &sandbox,
        "alerts.yaml",
        "alerts:\n  ended: {metric: task_count, above: 0, keep_firing_for: 1h}\n  slow: {metric: response_time_ms, above: 1e8}\n",
    );
    assert_eq!(show(&sandbox, &["run", "-a", "echo", "hello"]).code, Some(0));
    let text = show(&sandbox, &["report"]).stdout;
    let line = text.lines().find(|line| line.starts_with("ended "));
    assert!(line.is_some_and(|line| line.contains("  echo   firing since ")), "{text}");
    assert!(!text.contains("slow"), "{text}");
    let page = show(&sandbox, &["report", "--html"]).stdout;
    assert!(page.contains("<h2>Alerts</h2>") && page.contains("task_count above 0"), "{page}");
    let other = show(&sandbox, &["report", "--agent", "codex", "--json"]).json();
    assert_eq!(other["alerts"], serde_json::json!([]));
    configure(&sandbox, "alerts.yaml", "alerts:\n  ended: {metric: task_count, abov: 0}\n");
    let wrong = show(&sandbox, &["report"]);
    assert!(wrong.code == Some(2) && wrong.stderr.contains("alerts.yaml"), "{wrong}");
}

#[test]
fn a_report_of_nothing_says_so_and_one_that_cannot_be_is_an_error() {
    let sandbox = Sandbox::new();
    let empty = show(&sandbox, &["report"]);
    assert!(empty.code == Some(0) && empty.stdout.contains("nothing is known of that time"), "{empty}");
    let page = show(&sandbox, &["report", "--html"]).stdout;
    assert!(page.contains("Nothing was measured in this time."), "{page}");
    for wrong in [
        &["report", "--html", "--json"][..],
        &["report", "-o", "file"],
        &["report", "--since", "1h", "--until", "2h"],
        &["report", "--since", "yesterday"],
        &["report", "--timezone", "Mars/Olympus"],
    ] {
        let refused = show(&sandbox, wrong);
        assert!(refused.code == Some(2) && refused.stderr.contains("error:"), "{wrong:?}: {refused}");
    }
    let folder = show(&sandbox, &["report", "--html", "-o", sandbox.home().to_str().unwrap()]);
    assert!(folder.code != Some(0) && folder.stderr.starts_with("error: "), "{folder}");
}
