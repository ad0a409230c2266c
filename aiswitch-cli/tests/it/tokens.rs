//! `aiswitch tokens`: what runs and transcripts tell, each request once.

use std::fs;

use crate::harness::{configure, show};
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

#[test]
fn what_a_run_used_is_kept_and_the_transcript_of_its_session_does_not_count_it_again() {
    let sandbox = with_transcripts();
    // An agent that tells the session of the transcript, as a run of the real one does.
    let session: serde_json::Value = serde_json::from_str(CLAUDE.lines().next().unwrap()).unwrap();
    let session = session["sessionId"].as_str().unwrap();
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
    let imported = show(&sandbox, &["tokens", "import", "--json"]).json();
    assert_eq!((&imported["requests_new"], &imported["of_runs"]), (&1.into(), &2.into()));
}

#[test]
fn without_transcripts_the_next_step_is_told() {
    let sandbox = Sandbox::new();
    let refused = show(&sandbox, &["tokens", "import"]);
    assert!(refused.stderr.contains("hint: name their folder with --claude DIR or --codex DIR"), "{refused}");
    assert_eq!(refused.code, Some(2));
}
