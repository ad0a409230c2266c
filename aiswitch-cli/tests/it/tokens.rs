//! `aiswitch tokens`: what runs and transcripts tell, each request once.

use std::fs;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::harness::{Shown, aiswitch, configure, show};
use crate::sandbox::Sandbox;

const CLAUDE: &str = include_str!("../../../aiswitch-tokens/tests/transcripts/claude.jsonl");
const CODEX: &str = include_str!("../../../aiswitch-tokens/tests/transcripts/codex.jsonl");

/// An adapter that answers the first task with a session and its usage.
const ADAPTER: &str = r#"id_of() { printf '%s' "$1" | /bin/sed 's/^{"jsonrpc":"2.0","id":\("[^"]*"\|[0-9][0-9]*\).*/\1/'; }
answer() { read -r line; printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$(id_of "$line")" "$1"; }
answer '{"protocol_version":1,"agent":{"name":"mine","version":"1"},"capabilities":{}}'
answer '{"status":"completed","answer":"hi","session_id":"SESSION","usage":{"input_tokens":5,"output_tokens":7}}'
answer null
"#;

/// A user whose agents left transcripts, one of them twice.
fn with_transcripts() -> Sandbox {
    let sandbox = Sandbox::new();
    for (folder, name, text) in [
        (".claude/projects/-repo", "a.jsonl", CLAUDE),
        (".claude/projects/-repo", "resumed.jsonl", CLAUDE),
        (".codex/sessions/2026/11/23", "rollout-1.jsonl", CODEX),
    ] {
        let folder = sandbox.home().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }
    sandbox
}

#[test]
fn transcripts_are_imported_once_and_shown_by_day_model_and_session() {
    let sandbox = with_transcripts();
    let imported = show(&sandbox, &["tokens", "import", "--json"]).json();
    assert_eq!(
        (&imported["files"], &imported["requests_new"], &imported["requests_known"]),
        (&3.into(), &2.into(), &1.into())
    );
    let again = show(&sandbox, &["tokens", "import", "--json"]).json();
    assert_eq!((&again["requests_new"], &again["requests_known"]), (&0.into(), &3.into()));

    let days = show(&sandbox, &["tokens", "--json", "--timezone", "UTC"]).json();
    assert_eq!((days["rows"].as_array().unwrap().len(), &days["rows"][0]["name"]), (1, &"2026-11-23".into()));
    let usage = &days["total"]["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"], &usage["cache_read_tokens"]),
        (&1500.into(), &100.into(), &400.into())
    );
    let models = show(&sandbox, &["tokens", "models"]).stdout;
    assert!(
        models.contains("claude-sonnet-4-5-20250929        1     700      50      200      100"),
        "{models}"
    );
    assert!(models.lines().all(|line| line.chars().count() <= 80), "{models}");
    assert_eq!(show(&sandbox, &["tokens", "session", "--json"]).json()["rows"].as_array().unwrap().len(), 2);
    let codex = show(&sandbox, &["tokens", "agents", "--agent", "codex", "--json"]).json();
    assert_eq!(codex["total"]["requests"], 1);
    let none = show(&sandbox, &["tokens", "--until", "2020-01-01"]);
    assert!(none.stdout.starts_with("nothing is known of that time"), "{none}");
}

/// A line of a transcript, of another message, session and time.
fn claude_line(message: &str, session: &str, at: DateTime<Utc>) -> String {
    let mut line: Value = serde_json::from_str(CLAUDE.lines().next().unwrap()).unwrap();
    line["message"]["id"] = message.into();
    line["sessionId"] = session.into();
    line["timestamp"] = at.to_rfc3339().into();
    format!("{line}\n")
}

#[test]
fn what_a_run_did_in_a_session_counts_once_and_what_others_did_there_before_and_after_counts_too() {
    let sandbox = Sandbox::new();
    let session = "c913e892-d290-44f7-a862-a8e297cc0267";
    let script = ADAPTER.replace("SESSION", session);
    let agents = serde_json::json!({"agents": {"mine": {"driver": "rpc", "command": ["/bin/sh", "-c", script], "modes": ["write"]}}});
    configure(&sandbox, "agents.yaml", &agents.to_string());
    let run = show(&sandbox, &["run", "-a", "mine", "--mode", "write", "--json", "hello"]);
    assert_eq!(run.code, Some(0), "{run}");
    let runs = show(&sandbox, &["tokens", "runs", "--json"]).json();
    assert_eq!(runs["rows"][0]["name"], run.json()["run_id"]);
    assert_eq!(
        (&runs["total"]["usage"]["output_tokens"], &runs["total"]["requests"]),
        (&7.into(), &1.into())
    );

    let begun: DateTime<Utc> = run.json()["started_at"].as_str().unwrap().parse().unwrap();
    let hour = TimeDelta::hours(1);
    let of_run = |session| claude_line("msg_run", session, begun);
    let folder = sandbox.home().join(".claude/projects/-repo");
    fs::create_dir_all(&folder).unwrap();
    let before = claude_line("msg_before", session, begun - hour);
    let after = claude_line("msg_after", session, begun + hour);
    fs::write(folder.join(format!("{session}.jsonl")), format!("{before}{}{after}", of_run(session)))
        .unwrap();
    // A session that went on from there under a name of its own, and says all again.
    let forked = claude_line("msg_fork", "fork", begun + hour);
    fs::write(folder.join("a-fork.jsonl"), format!("{}{forked}", of_run("fork"))).unwrap();
    let imported = show(&sandbox, &["tokens", "import", "--json"]).json();
    assert_eq!((&imported["requests_new"], &imported["of_runs"]), (&3.into(), &2.into()));
    assert_eq!(show(&sandbox, &["tokens", "--json"]).json()["total"]["requests"], 4);
}

#[test]
fn what_has_no_reported_cost_is_priced_by_the_users_file_first_and_anew_when_asked() {
    let sandbox = with_transcripts();
    assert_eq!(show(&sandbox, &["tokens", "import"]).code, Some(0));
    // 700 in, 100 written, 200 read, 50 out of Claude Sonnet 4.5: $3, $3.75, $0.30 and $15 per million.
    let cost = |sandbox: &Sandbox| {
        show(sandbox, &["tokens", "--agent", "claude", "--json"]).json()["total"]["cost"].clone()
    };
    assert_eq!(cost(&sandbox), serde_json::json!({"usd": 0.003_285, "unpriced": 0}));
    configure(
        &sandbox,
        "prices.yaml",
        "models:\n  claude-sonnet-4-5*: {input: 0, output: 20, cache_read: 0}\n",
    );
    assert_eq!(cost(&sandbox)["usd"], 0.003_285, "a change of prices changes no sum by itself");
    let repriced = show(&sandbox, &["tokens", "reprice", "--json"]).json();
    assert_eq!(repriced, serde_json::json!({"changed": 1, "same": 1, "unpriced": 0}));
    assert_eq!(cost(&sandbox)["usd"], 0.001);
}

#[test]
fn a_wrong_price_is_refused_with_its_place() {
    let sandbox = Sandbox::new();
    for (text, told) in [
        ("models:\n  mine: {input: -1, output: 1}\n", "prices.yaml:2:17: -1 is no price in dollars"),
        ("models:\n  mine: {input: .nan, output: 1}\n", "prices.yaml:2:17: NaN is no price in dollars"),
        ("models:\n  mine: {input: 1}\n", "prices.yaml:2:10: missing field `output`"),
        ("models:\n  mine: {input: 1, outptu: 1}\n", "prices.yaml:2:20: unknown key `outptu`"),
    ] {
        configure(&sandbox, "prices.yaml", text);
        let refused = show(&sandbox, &["tokens", "reprice"]);
        assert!(refused.stderr.contains(told), "{refused}");
        assert_eq!(refused.code, Some(2));
    }
}

#[test]
fn without_transcripts_the_next_step_is_told() {
    let sandbox = Sandbox::new();
    let refused = show(&sandbox, &["tokens", "import"]);
    assert!(refused.stderr.contains("hint: name their folder with --claude DIR or --codex DIR"), "{refused}");
    assert_eq!(refused.code, Some(2));
}

#[test]
fn a_quota_that_is_used_up_keeps_a_run_from_starting_and_exits_with_7() {
    let sandbox = Sandbox::new();
    assert_eq!(show(&sandbox, &["tokens", "quota", "show"]).stdout.lines().count(), 1);
    let set = ["tokens", "quota", "set", "--agent", "echo", "--tokens", "6", "--timezone", "UTC"];
    let shown = show(&sandbox, &set);
    assert_eq!(
        shown.stdout, "agent `echo`: 0 of 6 tokens of today are used (hard, days of UTC)\n",
        "{shown}"
    );
    // Echo tells three tokens each way for twelve bytes.
    assert_eq!(show(&sandbox, &["run", "-a", "echo", "four bytes?"]).code, Some(0));
    let check = show(&sandbox, &["tokens", "check", "echo", "--json"]);
    assert_eq!(check.code, Some(7), "{check}");
    let json = check.json();
    assert_eq!(
        (&json[0]["tokens_used"], &json[0]["tokens_remaining"], &json[0]["level"]),
        (&6.into(), &0.into(), &"exceeded".into())
    );
    let refused = show(&sandbox, &["run", "-a", "echo", "--json", "four bytes?"]);
    assert_eq!(
        (refused.code, refused.json()["status"].as_str()),
        (Some(7), Some("over_budget")),
        "{refused}"
    );
    let reason = refused.json()["agents"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("quota of agent `echo`: 6 of 6 tokens of today are used"), "{reason}");
    let partly = show(&sandbox, &["run", "-a", "echo", "-a", "other=echo", "--json", "four bytes?"]);
    assert_eq!((partly.code, partly.json()["status"].as_str()), (Some(4), Some("partial")), "{partly}");

    assert_eq!(show(&sandbox, &["tokens", "quota", "remove", "--agent", "echo"]).code, Some(0));
    assert_eq!(show(&sandbox, &["run", "-a", "echo", "four bytes?"]).code, Some(0));
    let gone = show(&sandbox, &["tokens", "quota", "remove", "--agent", "echo"]);
    assert_eq!(
        (gone.code, gone.stderr.lines().next()),
        (Some(2), Some("error: no limit is set for agent `echo`"))
    );
    let audit = show(&sandbox, &["audit", "show"]).stdout;
    assert!(audit.contains("quota.set") && audit.contains("quota.remove"), "{audit}");
}

#[test]
fn an_agent_cannot_raise_its_own_limit() {
    let sandbox = Sandbox::new();
    let mut raise = aiswitch(&sandbox, &["tokens", "quota", "set", "--global", "--tokens", "9"]);
    let refused: Shown =
        raise.env("AISWITCH_RUN", "01K9XJ5V7C8N3T2B4M6P0QRSWY:claude").output().unwrap().into();
    assert_eq!(refused.code, Some(5), "{refused}");
    assert!(show(&sandbox, &["tokens", "quota", "show"]).stdout.starts_with("no limits are set"));
}

#[test]
fn a_run_stops_at_its_budget() {
    let sandbox = Sandbox::new();
    let run = ["run", "-a", "echo", "-a", "late=echo", "--sequential", "--json", "hello", "--budget-usd"];
    let spent = show(&sandbox, &[&run[..], &["0"]].concat());
    assert_eq!((spent.code, spent.json()["status"].as_str()), (Some(7), Some("over_budget")), "{spent}");
    assert_eq!(spent.json()["agents"][1]["reason"], "the budget of $0.00 is spent");
    let enough = show(&sandbox, &[&run[..], &["0.01"]].concat());
    assert_eq!(enough.code, Some(0), "{enough}");
    let wrong = show(&sandbox, &[&run[..], &["-1"]].concat());
    assert_eq!(wrong.code, Some(2), "{wrong}");
}

#[test]
fn a_summary_tells_what_is_known_of_a_time() {
    let sandbox = with_transcripts();
    assert_eq!(show(&sandbox, &["tokens", "import"]).code, Some(0));
    let all = show(&sandbox, &["tokens", "summary", "all", "--timezone", "UTC", "--json"]).json();
    let expected = serde_json::json!({
        "since": null, "until": null, "total_input_tokens": 2000, "total_output_tokens": 100, "total_cost": 0.008_885,
        "unpriced": 0, "requests": 2, "avg_tokens_per_request": 1050.0,
        "peak_usage_time": "2026-11-23T07:00:00+00:00", "quota_remaining": null,
    });
    assert_eq!(all, expected);
    let text = show(&sandbox, &["tokens", "summary", "all", "--timezone", "UTC"]).stdout;
    assert!(
        text.starts_with(
            "input tokens           2000\noutput tokens          100\ncost                   $0.008885\n"
        ),
        "{text}"
    );
    let none = show(&sandbox, &["tokens", "summary", "--until", "2020-01-01"]).stdout;
    assert!(none.starts_with("input tokens           unknown\n"), "{none}");
}
