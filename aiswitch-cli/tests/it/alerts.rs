//! `config/alerts.yaml` and `aiswitch metrics alerts`: what runs watch for, who is told, and what they do.

#![expect(clippy::disallowed_methods, reason = "a test makes a named pipe")]

use std::fs;

use aiswitch_metrics::{MetricsStore, SqliteMetricsStore};
use chrono::{DateTime, TimeDelta, Utc};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{WITHIN, aiswitch, configure, send, show, start};
use crate::sandbox::{Sandbox, holds_within};

/// Fires at the end of a run's agent.
const ENDED: &str = "alerts:\n  ended: {metric: task_count, above: 0, keep_firing_for: 1h}\n";

#[test]
fn an_alert_is_on_stderr_in_the_report_in_the_journal_and_in_the_log_of_metrics() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "alerts.yaml", ENDED);
    let fires = "alert `ended` fires: task_count of echo is 1, above 0";
    let run = show(&sandbox, &["run", "-a", "echo", "hello"]);
    assert!(run.code == Some(0) && run.stdout == "hello\n", "{run}");
    assert!(run.stderr.contains(&format!("note: {fires}\n")), "{run}");
    assert!(run.stderr.contains(&format!("alert: {fires}\n")), "{run}");

    let report = show(&sandbox, &["result", "--json"]).json();
    let alert = &report["alerts"][0];
    assert_eq!((&alert["rule"], &alert["agent"]), (&"ended".into(), &"echo".into()));
    assert!(alert["value"] == 1.0 && alert["severity"] == "warning" && alert["until"].is_null(), "{report}");
    let id = report["run_id"].as_str().unwrap();
    let journal = show(&sandbox, &["logs", id]).stdout;
    assert!(journal.contains(fires), "{journal}");
    let log = fs::read_to_string(sandbox.aiswitch_home().join("logs/metrics/metrics.log")).unwrap();
    assert!(log.contains("aiswitch_metrics::alert") && log.contains("\"rule\":\"ended\""), "{log}");

    // It fires still, which the next run is not told once more.
    let again = show(&sandbox, &["run", "-a", "echo", "--output-format", "stream-json", "hello"]);
    assert!(again.json_lines().iter().all(|event| event["type"] != "alert"), "{again}");
    let shown = show(&sandbox, &["metrics", "alerts"]).stdout;
    let (head, line) = shown.split_once('\n').unwrap();
    assert_eq!(head, "ended: task_count above 0");
    assert!(line.starts_with("  echo             firing since ") && line.ends_with(", 1\n"), "{shown}");
    let json = show(&sandbox, &["metrics", "alerts", "--json"]).json();
    let alert = &json[0]["alerts"][0];
    assert_eq!(
        (&alert["state"], &alert["agent"], &json[0]["condition"]),
        (&"firing".into(), &"echo".into(), &"above 0".into())
    );
}

#[test]
fn events_of_a_run_have_the_alert_and_quiet_runs_say_nothing_of_it() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "alerts.yaml", ENDED);
    let run = show(&sandbox, &["run", "-a", "echo", "--output-format", "stream-json", "--quiet", "hello"]);
    let events = run.json_lines();
    let alerts: Vec<_> = events.iter().filter(|event| event["type"] == "alert").collect();
    let [event] = alerts[..] else { panic!("{run}") };
    assert!(event["agent"] == "echo" && event["alert"]["metric"] == "task_count", "{event}");
    assert_eq!(run.stderr, "");
}

#[test]
fn an_agent_that_an_alert_cancels_names_it_and_the_run_has_failed() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents:\n  slow: {driver: echo, args: [--delay, 10m]}\n");
    configure(&sandbox, "coordination.yaml", "metrics: {every: 1s}\n");
    let rule = "alerts:\n  heavy: {metric: memory_bytes, above: 1, action: cancel, severity: critical}\n";
    configure(&sandbox, "alerts.yaml", rule);
    let run = show(&sandbox, &["run", "-a", "slow", "hello"]);
    assert!(run.code == Some(1) && run.stdout.is_empty(), "{run}");
    assert!(run.stderr.contains("slow cancelled: alert `heavy` fired: memory_bytes of slow is "), "{run}");
    assert_eq!(sandbox.processes().len(), 0, "{:?}", sandbox.processes());
}

#[test]
fn an_agent_that_an_alert_holds_still_is_shown_as_paused() {
    let sandbox = Sandbox::new();
    configure(&sandbox, "agents.yaml", "agents:\n  slow: {driver: echo, args: [--delay, 10m]}\n");
    configure(&sandbox, "coordination.yaml", "metrics: {every: 1s}\n");
    configure(&sandbox, "alerts.yaml", "alerts:\n  heavy: {metric: memory_bytes, above: 1, action: pause}\n");
    let mut run = start(&mut aiswitch(&sandbox, &["run", "-a", "slow", "hello"]));
    let status_in = |metrics: &Value| {
        let is_it = |metric: &&Value| metric["agent"] == "slow" && metric["metric"] == "status";
        metrics.as_array().and_then(|metrics| metrics.iter().find(is_it)).map(|it| it["last_status"].clone())
    };
    let shown = || status_in(&show(&sandbox, &["metrics", "--json"]).json()["series"]);
    assert!(holds_within(WITHIN, || shown() == Some("paused".into())), "{:?}", shown());
    let text = show(&sandbox, &["metrics"]).stdout;
    let line = text.lines().find(|line| line.starts_with("slow       status ")).expect("it was measured");
    assert_eq!(line.split_whitespace().nth(2), Some("paused"), "{text}");
    let file = sandbox.aiswitch_home().join("state/metrics.json");
    let in_file =
        || status_in(&serde_json::from_slice::<Value>(&fs::read(&file).unwrap()).unwrap()["metrics"]);
    assert!(holds_within(WITHIN, || in_file() == Some("paused".into())), "{:?}", in_file());
    send(&run, Signal::INT);
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(shown(), Some("stopped".into()));
    assert_eq!(sandbox.processes().len(), 0, "{:?}", sandbox.processes());
}

#[test]
fn of_several_runs_at_once_one_tells_a_command_and_all_know() {
    let sandbox = Sandbox::new();
    let told = sandbox.home().join("told");
    let tell = format!("/bin/cat >>{}", told.display());
    let rule = format!(
        "alerts:\n  cpus: {{metric: cpus, system: true, above: 0, keep_firing_for: 1h, sinks: [{{command: [/bin/sh, -c, '{tell}']}}]}}\n"
    );
    configure(&sandbox, "alerts.yaml", &rule);
    let runs: Vec<_> =
        (0..4).map(|_| start(&mut aiswitch(&sandbox, &["run", "-a", "echo", "--json", "hello"]))).collect();
    let mut fired = 0;
    for run in runs {
        let ended: crate::harness::Shown = run.wait_with_output().unwrap().into();
        let report = ended.json();
        assert!(ended.code == Some(0) && report["warnings"].as_array().is_some_and(Vec::is_empty), "{ended}");
        fired += report["alerts"].as_array().unwrap().len();
    }
    let told = fs::read_to_string(&told).unwrap();
    assert_eq!((fired, told.lines().count()), (1, 1), "{told}");
    let shown = show(&sandbox, &["metrics", "alerts"]).stdout;
    assert!(shown.contains("  (system)         firing since "), "{shown}");
}

/// Has the notes of alerts look as if so many minutes had gone by since they were written.
fn let_minutes_pass(sandbox: &Sandbox, minutes: i64) {
    let store = SqliteMetricsStore::at(sandbox.aiswitch_home().join("state/metrics.db"));
    let earlier = |time: &Value| -> Option<Value> {
        let time: DateTime<Utc> = time.as_str()?.parse().ok()?;
        Some((time - TimeDelta::minutes(minutes)).to_rfc3339().into())
    };
    for (name, _) in store.notes("alert/").unwrap() {
        let change = &mut |_: &str, note: Option<&str>| {
            let mut note: Value = serde_json::from_str(note?).unwrap();
            for change in note.get_mut("untold").and_then(Value::as_array_mut).into_iter().flatten() {
                for key in ["noticed_at", "taken_at"] {
                    change[key] = earlier(&change[key])?;
                }
            }
            Some(note.to_string())
        };
        store.change_notes(&[&name], change).unwrap();
    }
}

#[test]
fn an_alert_whose_run_is_killed_before_it_has_told_it_is_told_by_another_run_and_by_one_only() {
    let sandbox = Sandbox::new();
    let (told, hold) = (sandbox.home().join("told"), sandbox.home().join("hold"));
    let status = std::process::Command::new("mkfifo").arg(&hold).status().unwrap();
    assert!(status.success());
    // The first one is told, and keeps its run from noting it until that is killed.
    let tell = format!("/bin/cat >>{}; read line <{}", told.display(), hold.display());
    let configure_command = |tell: &str| {
        let rule = "alerts:\n  ended: {metric: task_count, above: 0, keep_firing_for: 1h, ";
        let sinks = format!("sinks: [log, event, {{command: [/bin/sh, -c, '{tell}']}}]}}\n");
        configure(&sandbox, "alerts.yaml", &(rule.to_owned() + &sinks));
    };
    configure_command(&tell);
    let mut killed = start(&mut aiswitch(&sandbox, &["run", "-a", "echo", "hello"]));
    let lines = || fs::read_to_string(&told).unwrap_or_default().lines().count();
    assert!(holds_within(WITHIN, || lines() == 1));
    send(&killed, Signal::KILL);
    killed.wait().unwrap();
    assert!(holds_within(WITHIN, || sandbox.processes().is_empty()), "{:?}", sandbox.processes());
    let untold = || show(&sandbox, &["metrics", "alerts", "--json"]).json()[0]["alerts"][0]["untold"].clone();
    assert_eq!(untold(), true);
    let shown = show(&sandbox, &["metrics", "alerts"]).stdout;
    assert!(shown.ends_with(", 1, not told yet\n"), "{shown}");

    // It might be telling it still.
    configure_command(&format!("/bin/cat >>{}", told.display()));
    let run = |args: &[&str]| show(&sandbox, &[&["run", "-a", "echo", "hello"], args].concat());
    let soon = run(&["--json"]).json();
    assert_eq!((&soon["alerts"], lines(), untold()), (&Value::Array(Vec::new()), 1, true.into()), "{soon}");

    let_minutes_pass(&sandbox, 5);
    let runs: Vec<_> =
        (0..4).map(|_| start(&mut aiswitch(&sandbox, &["run", "-a", "echo", "--json", "hello"]))).collect();
    let mut alerts = Vec::new();
    for run in runs {
        let ended: crate::harness::Shown = run.wait_with_output().unwrap().into();
        let report = ended.json();
        assert!(ended.code == Some(0) && report["warnings"].as_array().is_some_and(Vec::is_empty), "{ended}");
        for alert in report["alerts"].as_array().unwrap() {
            let says = format!("ended` fires since {}", &alert["from"].as_str().unwrap()[..19]);
            assert!(
                ended.stderr.contains(&says) && ended.stderr.contains("Z, which is told late: "),
                "{ended}"
            );
            alerts.push(alert.clone());
        }
    }
    let [alert] = &alerts[..] else { panic!("{alerts:?}") };
    assert!(alert["told_late"] == true && alert["until"].is_null(), "{alert}");
    assert_eq!((lines(), untold()), (2, false.into()));
    let told = fs::read_to_string(&told).unwrap();
    let [first, late] = told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
    let [first, late]: [Value; 2] = [first, late].map(|told| serde_json::from_str(told).unwrap());
    assert_eq!((&first["told_late"], &first["from"], &late), (&false.into(), &late["from"], alert));

    // Nobody is told it a third time.
    assert_eq!((run(&["--json"]).json()["alerts"].as_array().map(Vec::len), lines()), (Some(0), 2));
}

#[test]
fn a_rule_that_cannot_be_is_an_error_with_its_place_and_nothing_is_started() {
    let sandbox = Sandbox::new();
    assert_eq!(
        show(&sandbox, &["metrics", "alerts"]).stdout,
        "no alerts are configured; alerts.yaml has their rules (see: aiswitch schema alerts)\n"
    );
    for (rule, expected) in [
        ("a: {metric: cpu_percent, abov: 1}", "unknown key `abov`"),
        ("a: {metric: CPU, above: 1}", "alert `a`: `CPU` (3 bytes) cannot be a metric's name"),
        (
            "a: {metric: cpu_percent}",
            "alert `a`: exactly one of `above`, `below`, `absent` and `anomaly: true` says",
        ),
        ("a: {metric: cpu_percent, above: 1, below: 2}", "alert `a`: exactly one of"),
        ("a: {metric: cpu_percent, above: .nan}", "alert `a`: `NaN` is no limit of a figure"),
        (
            "a: {metric: cpu_percent, anomaly: true, for: 1m}",
            "alert `a`: `for` cannot stand beside `anomaly`",
        ),
        ("a: {metric: cpu_percent, absent: 1m}", "alert `a`: `absent` needs `agent` or `system: true`"),
        ("a: {metric: load_1m, above: 1}", "alert `a`: `load_1m` is told by the machine alone"),
        (
            "a: {metric: cpus, above: 1, system: true, agent: echo}",
            "alert `a`: `agent` and `system: true` exclude",
        ),
        (
            "a: {metric: cpu_percent, above: 1, pause_max: 1m}",
            "alert `a`: `pause_max` stands beside `action: pause`",
        ),
        ("a: {metric: cpu_percent, above: 1, for: 1h, action: stop}", "unknown value `stop`"),
        ("a: {metric: cpu_percent, above: 1, sinks: [mail]}", "unknown value `mail`"),
        (
            "a: {metric: cpu_percent, above: 1, sinks: [{command: []}]}",
            "alert `a`: a `command` has no program",
        ),
        (
            "a: {metric: cpu_percent, above: 1, sinks: [{command: [./tell]}]}",
            "alert `a`: `./tell` depends on the folder",
        ),
        ("\"a b\": {metric: cpu_percent, above: 1}", "alert `a b`: `a b` cannot be a rule's name"),
    ] {
        configure(&sandbox, "alerts.yaml", &format!("alerts:\n  {rule}\n"));
        for args in [&["run", "-a", "echo", "hello"][..], &["metrics", "alerts"]] {
            let shown = show(&sandbox, args);
            let is_placed = shown.stderr.contains("alerts.yaml:");
            assert!(shown.code == Some(2) && is_placed && shown.stderr.contains(expected), "{rule}: {shown}");
        }
    }
    let doctor = show(&sandbox, &["doctor", "--json"]).json();
    assert!(doctor["config_problem"].as_str().is_some_and(|problem| problem.contains("alerts.yaml:")));
    configure(&sandbox, "alerts.yaml", "");
    configure(&sandbox, "coordination.yaml", "metrics: {every: 2m}\n");
    let shown = show(&sandbox, &["run", "-a", "echo", "hello"]);
    assert!(shown.code == Some(2) && shown.stderr.contains("samples are kept every 1s to 60s"), "{shown}");
}

#[test]
fn the_rules_that_the_readmes_show_are_rules() {
    for readme in ["../README.md", "../README.zh-CN.md"] {
        let text = fs::read_to_string(readme).unwrap();
        let (_, block) = text.split_once("```yaml\n# alerts.yaml").unwrap();
        let (block, _) = block.split_once("```").unwrap();
        let sandbox = Sandbox::new();
        configure(&sandbox, "alerts.yaml", &format!("#{block}"));
        let shown = show(&sandbox, &["metrics", "alerts"]).stdout;
        let rules: Vec<&str> = shown.lines().filter(|line| !line.starts_with(' ')).collect();
        assert_eq!(
            rules,
            [
                "full: memory_available_bytes below 1000000000",
                "heavy: memory_bytes above 4000000000",
                "odd: tokens_output an anomaly",
            ]
        );
    }
}
