use serde_json::json;

use super::*;
use crate::dialect::replay::{Talk, ended, streamed, task};

macro_rules! talk {
    ($name:literal) => {
        Talk::read(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/transcripts/codex/",
            $name,
            ".jsonl"
        )))
    };
}

fn turn(talk: &Talk, mode: PermissionMode, session_id: Option<&str>) -> Turn {
    Turn::new(&task(mode, session_id), talk.result(&["thread/start", "thread/resume"])).unwrap()
}

fn one_request() -> TokenUsage {
    TokenUsage {
        input_tokens: Some(800),
        output_tokens: Some(50),
        cache_read_tokens: Some(200),
        cache_write_tokens: Some(0),
        reasoning_tokens: Some(10),
    }
}

fn completed(session_id: &str, answer: &str, usage: TokenUsage) -> TaskResult {
    TaskResult {
        answer: Some(answer.into()),
        session_id: Some(session_id.into()),
        model: Some("mock-model".into()),
        usage: Some(usage),
        ..TaskResult::new(TaskStatus::Completed)
    }
}

#[test]
fn the_version_is_read_from_the_greeting() {
    let talk = talk!("success-two-turns");
    assert_eq!(version(talk.result(&["initialize"])), Some("0.169.0"));
}

#[test]
fn a_turn_is_streamed_counted_and_answered() {
    let talk = talk!("success-two-turns");
    let mut turn = turn(&talk, PermissionMode::Yolo, None);
    let (events, answers) = talk.play(&mut turn, "turn/start");
    let text = |text: &str| AgentEvent::Output { text: text.into() };
    assert_eq!(events, [text("FI"), text("RST"), AgentEvent::Usage { usage: one_request(), cost_usd: None }]);
    assert_eq!(answers, []);
    let expected = completed("01a20452-c699-74a1-835d-70fe162acf4c", "FIRST", one_request());
    assert_eq!(turn.into_result(Ok(()), &ended()), expected);
}

#[test]
fn a_resumed_thread_counts_its_new_turn_only() {
    let talk = talk!("resume");
    let id = "01a20453-7039-7e51-9a9c-0407afdccf32";
    let mut turn = turn(&talk, PermissionMode::Yolo, Some(id));
    talk.play(&mut turn, "turn/start");
    assert_eq!(turn.into_result(Ok(()), &ended()), completed(id, "SECOND", one_request()));
}

#[test]
fn a_command_that_the_mode_forbids_is_declined_and_reported() {
    let talk = talk!("tool-approval-decline");
    let mut turn = turn(&talk, PermissionMode::ReadOnly, None);
    let (events, answers) = talk.play(&mut turn, "turn/start");
    assert_eq!(answers, [Ok(json!({"decision": "decline"}))]);
    let command = "/bin/bash -lc 'echo hi > hi.txt; cat hi.txt'";
    let tool = |phase| AgentEvent::Tool {
        id: Some("call_97d1c8b3e9ee47a8".into()),
        name: "commandExecution".into(),
        phase,
        detail: Some(command.into()),
    };
    let asked = AgentEvent::Permission {
        tool: "commandExecution".into(),
        question: Some(command.into()),
        decision: Decision::Deny,
    };
    assert_eq!(events[..3], [tool(ToolPhase::Started), asked, tool(ToolPhase::Denied)]);
    let result = turn.into_result(Ok(()), &ended());
    let denial = Denial { tool: "commandExecution".into(), reason: Some("the mode is `read-only`".into()) };
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Denied, Some("DONE")));
    assert_eq!(result.denials, [denial]);
    let both = one_request().plus(one_request());
    assert_eq!(result.usage, Some(both));
}

#[test]
fn the_same_question_is_accepted_where_all_is_allowed() {
    let talk = talk!("tool-approval-decline");
    let mut turn = turn(&talk, PermissionMode::Yolo, None);
    let (_, answers) = talk.play(&mut turn, "turn/start");
    assert_eq!(answers, [Ok(json!({"decision": "accept"}))]);
}

#[test]
fn errors_of_the_provider_keep_their_kind() {
    for (talk, status, kind, retries) in [
        (talk!("error-401"), TaskStatus::Failed, ErrorKind::Auth, 1),
        (talk!("error-429"), TaskStatus::RateLimited, ErrorKind::RateLimit, 0),
        (talk!("error-drop-midstream"), TaskStatus::Failed, ErrorKind::Network, 1),
    ] {
        let mut turn = turn(&talk, PermissionMode::Write, None);
        let (events, _) = talk.play(&mut turn, "turn/start");
        let retried = events.iter().filter(|event| matches!(event, AgentEvent::Retry { .. })).count();
        let result = turn.into_result(Ok(()), &ended());
        assert_eq!((result.status, result.error.unwrap().kind, retried), (status, kind, retries));
        assert_eq!(result.usage, None);
    }
}

#[test]
fn text_that_comes_again_after_a_broken_stream_is_not_doubled_in_the_answer() {
    let talk = talk!("error-drop-midstream");
    let mut turn = turn(&talk, PermissionMode::Write, None);
    let (events, _) = talk.play(&mut turn, "turn/start");
    assert_eq!(streamed(&events), "PONG fr\n\nPONG fr");
    assert_eq!(turn.into_result(Ok(()), &ended()).answer.as_deref(), Some("PONG fr"));
}

#[test]
fn an_interrupted_turn_keeps_what_it_had_answered() {
    let talk = talk!("interrupt-midstream");
    let mut turn = turn(&talk, PermissionMode::Write, None);
    assert_eq!(turn.interrupt(), None, "a turn without an id cannot be interrupted");
    let (events, _) = talk.play(&mut turn, "turn/start");
    let Some(Interrupt::Call { method: "turn/interrupt", params }) = turn.interrupt() else {
        panic!("no interrupt")
    };
    assert_eq!(params["turnId"].as_str(), turn.id.as_deref());
    let answer = streamed(&events);
    let result = turn.into_result(Err(Stop::Interrupted), &ended());
    assert_eq!((result.status, result.answer), (TaskStatus::Cancelled, Some(answer)));
}

#[test]
fn a_used_up_window_says_when_it_ends() {
    let talk = talk!("error-429");
    let mut turn = turn(&talk, PermissionMode::Write, None);
    let window = |used, at| json!({"usedPercent": used, "resetsAt": at, "windowDurationMins": 300});
    let limits =
        json!({"rateLimits": {"primary": window(100, 1_772_323_199), "secondary": window(7, 1_872_323_199)}});
    turn.hear("account/rateLimits/updated", &limits);
    let error = turn.error(&json!({"message": "limit", "codexErrorInfo": "usageLimitExceeded"}));
    assert_eq!((error.kind, error.reset_at.as_deref()), (ErrorKind::RateLimit, Some("2026-02-28T23:59:59Z")));
}

#[test]
fn what_is_not_known_is_told_and_what_is_known_but_unused_is_not() {
    let talk = talk!("error-429");
    let mut turn = turn(&talk, PermissionMode::Write, None);
    assert_eq!(turn.hear("thread/name/updated", &json!({})), []);
    let told = turn.hear("novel/thing", &json!({"a": 1}));
    assert_eq!(told, [AgentEvent::Unknown { line: r#"novel/thing {"a":1}"#.into() }]);
    let (answer, told) = turn.answer("item/tool/call", &json!({}));
    assert_eq!((answer.unwrap_err().code, told.len()), (-32601, 1));
}

#[test]
fn every_mode_but_yolo_has_a_sandbox_and_asks() {
    let opened = [PermissionMode::ReadOnly, PermissionMode::Write, PermissionMode::Yolo]
        .map(|mode| open_thread(&task(mode, None), Sandbox::None).1)
        .map(|params| {
            (params["sandbox"].clone(), params["approvalPolicy"]["granular"]["sandbox_approval"].clone())
        });
    let expected =
        [("read-only", json!(true)), ("workspace-write", json!(true)), ("danger-full-access", Value::Null)];
    assert_eq!(opened, expected.map(|(sandbox, asks)| (json!(sandbox), asks)));
}

#[test]
fn a_thread_uses_the_key_of_the_environment_at_the_providers_own_address() {
    let [none, own] = [Value::Null, json!("http://127.0.0.1:1/v1")]
        .map(|base_url| json!({"config": {"openai_base_url": base_url}}));
    for (preset, config, base_url) in [
        (None, &none, "https://api.openai.com/v1"),
        (None, &own, "http://127.0.0.1:1/v1"),
        (Some("https://gateway.example/v1"), &none, "https://gateway.example/v1"),
        (Some("https://gateway.example/v1"), &own, "https://gateway.example/v1"),
    ] {
        let mut params = json!({});
        use_key(&mut params, preset, config);
        assert_eq!(params["modelProvider"], "openai-key");
        let provider = &params["config"]["model_providers.openai-key"];
        assert_eq!(
            (&provider["base_url"], &provider["env_key"]),
            (&json!(base_url), &json!("CODEX_API_KEY"))
        );
    }
}
