use serde_json::json;

use super::*;
use crate::dialect::replay::{Talk, ended, streamed, task};

macro_rules! talk {
    ($name:literal) => {
        Talk::read(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts/", $name, ".jsonl")))
    };
}

/// Plays a talk as a task; gives the events, the outcomes that were chosen, and the result.
fn play(talk: &Talk, driver: Driver, task: &TaskSpec) -> (Vec<AgentEvent>, Vec<Value>, TaskResult) {
    let opened = talk.result(&["session/new", "session/load"]);
    let session_id = session_id(task, opened).unwrap();
    let mut turn = Turn::new(driver, task, session_id, opened);
    turn.prompt("x");
    let (events, answers) = talk.play(&mut turn, "session/prompt");
    let outcomes = answers.into_iter().map(|it| it.map_or(Value::Null, |it| it["outcome"].clone())).collect();
    (events, outcomes, turn.into_result(Ok(()), &ended()))
}

fn usage(counts: [u64; 2], cached: Option<u64>, reasoning: Option<u64>) -> TokenUsage {
    TokenUsage {
        input_tokens: Some(counts[0]),
        output_tokens: Some(counts[1]),
        cache_read_tokens: cached,
        cache_write_tokens: None,
        reasoning_tokens: reasoning,
    }
}

fn tool(id: &str, phase: ToolPhase, detail: &str) -> AgentEvent {
    AgentEvent::Tool { id: Some(id.into()), name: "execute".into(), phase, detail: Some(detail.into()) }
}

const COMMAND: &str = "echo hi > hi.txt; cat hi.txt";

#[test]
fn gemini_is_allowed_a_tool_and_answers() {
    let (events, outcomes, result) =
        play(&talk!("gemini/tool-allow"), Driver::Gemini, &task(PermissionMode::Write, None));
    assert_eq!(outcomes, [json!({"outcome": "selected", "optionId": "proceed_once"})]);
    let id = "run_shell_command__run_shell_command_1795372438648_0";
    let asked = AgentEvent::Permission {
        tool: "execute".into(),
        question: Some(COMMAND.into()),
        decision: Decision::Allow,
    };
    let tools = [tool(id, ToolPhase::Started, COMMAND), asked, tool(id, ToolPhase::Completed, COMMAND)];
    assert_eq!(events[..3], tools);
    let expected = TaskResult {
        answer: Some("DONE".into()),
        session_id: Some("00dbc4d8-4ddc-4d01-ae47-f03939fa0122".into()),
        model: Some("gemini-2.5-flash".into()),
        usage: Some(usage([2000, 80], None, None)),
        ..TaskResult::new(TaskStatus::Completed)
    };
    assert_eq!(result, expected);
}

#[test]
fn a_refused_tool_makes_a_denied_task_whatever_the_agent_says_of_its_end() {
    for (talk, driver, option) in [
        (talk!("gemini/tool-reject"), Driver::Gemini, "cancel"),
        (talk!("opencode/tool-reject"), Driver::Opencode, "reject"),
    ] {
        let (_, outcomes, result) = play(&talk, driver, &task(PermissionMode::ReadOnly, None));
        assert_eq!(outcomes, [json!({"outcome": "selected", "optionId": option})]);
        let denial = Denial { tool: "execute".into(), reason: Some("the mode is `read-only`".into()) };
        assert_eq!((result.status, result.denials), (TaskStatus::Denied, vec![denial]));
    }
}

#[test]
fn opencode_tells_its_cost_and_no_tokens_when_a_tool_ran_between_its_requests() {
    let (events, outcomes, result) =
        play(&talk!("opencode/tool-allow"), Driver::Opencode, &task(PermissionMode::Write, None));
    assert_eq!(outcomes, [json!({"outcome": "selected", "optionId": "once"})]);
    let id = "call_365b89ff7e474819";
    assert_eq!(events[0], tool(id, ToolPhase::Started, "bash"));
    assert_eq!(events[2], tool(id, ToolPhase::Completed, COMMAND));
    assert_eq!(streamed(&events), "DONE");
    assert_eq!((result.usage, result.cost_usd), (None, Some(0.00642)));
}

#[test]
fn opencode_goes_on_with_a_session_whose_earlier_cost_is_not_known() {
    let id = "ses_dfb79439bffepXm4AwmCt6e0z7";
    let (events, _, result) =
        play(&talk!("opencode/session-load"), Driver::Opencode, &task(PermissionMode::Write, Some(id)));
    assert_eq!(streamed(&events), "SECOND");
    let expected = TaskResult {
        answer: Some("SECOND".into()),
        session_id: Some(id.into()),
        model: Some("mock/mock-model".into()),
        usage: Some(usage([800, 50], Some(200), Some(10))),
        ..TaskResult::new(TaskStatus::Completed)
    };
    assert_eq!(result, expected);
}

#[test]
fn the_past_of_a_loaded_session_is_no_answer() {
    let task = task(PermissionMode::Write, Some("s"));
    let mut turn = Turn::new(Driver::Acp, &task, "s".into(), &json!({}));
    let past = json!({"sessionId": "s", "update": {"sessionUpdate": "agent_message_chunk", "content": {"text": "OLD"}}});
    assert_eq!(turn.hear("session/update", &past), []);
    let cost = |amount| {
        json!({"sessionId": "s", "update": {"sessionUpdate": "usage_update",
        "cost": {"amount": amount, "currency": "USD"}}})
    };
    turn.hear("session/update", &cost(0.25));
    turn.prompt("x");
    turn.hear("session/update", &cost(1.0));
    let result = turn.into_result(Err(Stop::Interrupted), &ended());
    assert_eq!((result.answer, result.cost_usd), (None, Some(0.75)));
}

#[test]
fn the_tokens_of_each_request_are_added_up() {
    let (_, outcomes, result) =
        play(&talk!("acp/qwen-tool-allow"), Driver::Acp, &task(PermissionMode::Write, None));
    assert_eq!(outcomes, [json!({"outcome": "selected", "optionId": "proceed_once"}), Value::Null]);
    assert_eq!(result.answer.as_deref(), Some("DONE"));
    assert_eq!(result.usage, Some(usage([1600, 100], Some(400), Some(20))));
}

#[test]
fn a_refused_key_is_told_as_such() {
    for (talk, driver, message) in [
        (talk!("gemini/error-401"), Driver::Gemini, "mock says 401: invalid api key"),
        (talk!("opencode/error-401"), Driver::Opencode, "Internal error: mock says 401: invalid api key"),
    ] {
        let (_, _, result) = play(&talk, driver, &task(PermissionMode::Write, None));
        assert_eq!(result.status, TaskStatus::Failed);
        assert_eq!(result.error, Some(TaskError::new(ErrorKind::Auth, message)));
        assert_eq!((result.usage, result.cost_usd), (None, None));
    }
}

#[test]
fn a_cancelled_prompt_keeps_what_it_had_answered_and_answers_no_more_questions() {
    let talk = talk!("gemini/cancel-midstream");
    let task = task(PermissionMode::Write, None);
    let opened = talk.result(&["session/new"]);
    let mut turn = Turn::new(Driver::Gemini, &task, session_id(&task, opened).unwrap(), opened);
    turn.prompt("x");
    let (events, _) = talk.play(&mut turn, "session/prompt");
    let params = json!({"sessionId": turn.session_id});
    assert_eq!(turn.interrupt(), Some(Interrupt::Notify { method: "session/cancel", params }));
    let (answer, _) = turn.answer("session/request_permission", &json!({"options": []}));
    assert_eq!(answer, Ok(json!({"outcome": {"outcome": "cancelled"}})));
    let result = turn.into_result(Err(Stop::Interrupted), &ended());
    assert_eq!((result.status, result.answer), (TaskStatus::Cancelled, Some(streamed(&events))));
    assert_eq!(result.denials, []);
}

#[test]
fn nothing_counted_is_not_known() {
    let (_, _, result) = play(
        &talk!("opencode/cancel-during-permission"),
        Driver::Opencode,
        &task(PermissionMode::Write, None),
    );
    assert_eq!((result.usage, result.cost_usd), (None, None));
}

#[test]
fn an_edit_is_allowed_only_where_all_its_files_may_be_changed() {
    let call = |paths: &[&str]| json!({"locations": paths.iter().map(|path| json!({"path": path})).collect::<Vec<_>>()});
    let cwd = Path::new("/workspace");
    let decided = |mode, kind, call: &Value| allows(mode, cwd, Some(kind), call);
    let write = PermissionMode::Write;
    assert_eq!(decided(write, "edit", &call(&["/workspace/a", "b"])), Decision::Allow);
    assert_eq!(decided(write, "edit", &call(&["/workspace/a", "/etc/passwd"])), Decision::Deny);
    assert_eq!(
        decided(write, "delete", &json!({"content": [{"type": "diff", "path": "/etc/passwd"}]})),
        Decision::Deny
    );
    assert_eq!(decided(PermissionMode::ReadOnly, "read", &call(&["/etc/hosts"])), Decision::Allow);
    assert_eq!(decided(PermissionMode::ReadOnly, "edit", &call(&[])), Decision::Deny);
    assert_eq!(allows(PermissionMode::ReadOnly, cwd, None, &call(&[])), Decision::Deny);
}

#[test]
fn a_session_is_told_to_ask_when_it_would_not() {
    let modes = |current: &str, offered: &[&str]| {
        let offered: Vec<Value> = offered.iter().map(|id| json!({"id": id})).collect();
        json!({"modes": {"currentModeId": current, "availableModes": offered}})
    };
    let chosen = |mode, opened: &Value| {
        set_mode(&task(mode, None), "s", opened)
            .map(|(_, params)| params["modeId"].as_str().unwrap().to_owned())
    };
    let claude = modes("auto", &["auto", "default", "plan"]);
    assert_eq!(chosen(PermissionMode::Write, &claude).as_deref(), Some("default"));
    assert_eq!(chosen(PermissionMode::Yolo, &claude), None);
    assert_eq!(chosen(PermissionMode::Write, &modes("default", &["default", "yolo"])), None);
    let codex = modes("agent", &["read-only", "agent"]);
    assert_eq!(chosen(PermissionMode::ReadOnly, &codex).as_deref(), Some("read-only"));
    assert_eq!(chosen(PermissionMode::Write, &json!({})), None);
}

#[test]
fn a_model_is_chosen_by_the_way_that_the_session_offers() {
    let option = json!({"configOptions": [{"id": "m", "category": "model", "currentValue": "a"}]});
    let expected = json!({"sessionId": "s", "configId": "m", "value": "b"});
    assert_eq!(set_model("b", "s", &option), Some(("session/set_config_option", expected)));
    let models = json!({"models": {"currentModelId": "a"}});
    let expected = json!({"sessionId": "s", "modelId": "b"});
    assert_eq!(set_model("b", "s", &models), Some(("session/set_model", expected)));
    assert_eq!(set_model("b", "s", &json!({})), None);
    assert_eq!([model_of(&option), model_of(&models)].map(Option::unwrap), ["a", "a"]);
}

#[test]
fn an_early_stop_is_no_success() {
    let task = task(PermissionMode::Write, None);
    for (reason, kind) in [("refusal", ErrorKind::Provider), ("max_tokens", ErrorKind::Provider)] {
        let mut turn = Turn::new(Driver::Acp, &task, "s".into(), &json!({}));
        turn.replied(Ok(json!({"stopReason": reason})));
        assert_eq!(turn.into_result(Ok(()), &ended()).error.unwrap().kind, kind);
    }
    let mut turn = Turn::new(Driver::Acp, &task, "s".into(), &json!({}));
    turn.replied(Ok(json!({"stopReason": "end_turn"})));
    assert_eq!(turn.into_result(Ok(()), &ended()).error.unwrap().kind, ErrorKind::Empty);
}
