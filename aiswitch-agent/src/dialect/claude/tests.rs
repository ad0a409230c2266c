//! Recorded transcripts of the real programs, and the facts in them.

use serde_json::Value;

use super::*;
use crate::event::{ToolPhase, UNKNOWN_CHARS_MAX};

macro_rules! transcript {
    ($name:literal) => {
        include_str!(concat!("../../../tests/transcripts/", $name, ".jsonl"))
    };
}

const OPUS: &str = "claude-opus-5-5";
const PROMPT_USAGE: TokenUsage = TokenUsage {
    input_tokens: Some(700),
    output_tokens: Some(50),
    cache_read_tokens: Some(200),
    cache_write_tokens: Some(100),
    reasoning_tokens: Some(0),
};
const NOTHING_USED: TokenUsage = TokenUsage {
    input_tokens: Some(0),
    output_tokens: Some(0),
    cache_read_tokens: Some(0),
    cache_write_tokens: Some(0),
    reasoning_tokens: Some(0),
};

fn hear(transcript: &mut Transcript, lines: &str) -> Vec<Fact> {
    lines.lines().flat_map(|line| transcript.hear(line)).collect()
}

fn claude(lines: &str) -> Vec<Fact> {
    hear(&mut Transcript::new(Vendor::Claude, false), lines)
}

fn qwen(lines: &str) -> Vec<Fact> {
    hear(&mut Transcript::new(Vendor::Qwen, false), lines)
}

fn session(id: &str, model: &str) -> Fact {
    Fact::Event(AgentEvent::Session { session_id: Some(id.into()), model: Some(model.into()) })
}

fn version() -> Fact {
    Fact::Version("2.1.330".into())
}

fn output(text: &str) -> Fact {
    Fact::Event(AgentEvent::Output { text: text.into() })
}

fn tool(id: &str, phase: ToolPhase, detail: Option<&str>) -> Fact {
    let name = if id.starts_with("toolu_") { "Bash" } else { "run_shell_command" };
    let detail = detail.map(str::to_owned);
    Fact::Event(AgentEvent::Tool { id: Some(id.into()), name: name.into(), phase, detail })
}

fn error(kind: ErrorKind, message: &str) -> TaskError {
    TaskError::new(kind, message)
}

fn retry(kind: ErrorKind, message: &str) -> Fact {
    Fact::Event(AgentEvent::Retry { error: error(kind, message) })
}

fn answered(answer: &str, usage: TokenUsage, cost_usd: f64) -> Fact {
    Fact::Ended(Ending { outcome: Ok(answer.into()), usage: Some(usage), cost_usd: Some(cost_usd) })
}

fn failed(status: TaskStatus, kind: ErrorKind, message: &str, used: Option<(TokenUsage, f64)>) -> Fact {
    let outcome = Err(Failure { status, error: error(kind, message) });
    Fact::Ended(Ending { outcome, usage: used.map(|used| used.0), cost_usd: used.map(|used| used.1) })
}

fn twice(usage: TokenUsage) -> TokenUsage {
    usage.plus(usage)
}

#[test]
fn an_answer_in_pieces_is_told_once() {
    let expected = [
        version(),
        session("62b25ea4-b653-4c0e-b151-8787ad0766b7", OPUS),
        output("PONG from mock0 "),
        output("PONG from mock1 "),
        output("PONG from mock2 "),
        answered("PONG from mock0 PONG from mock1 PONG from mock2 ", PROMPT_USAGE, 0.00434),
    ];
    assert_eq!(claude(transcript!("claude/partial")), expected);
}

#[test]
fn a_question_is_asked_and_its_denial_is_known() {
    let mut transcript = Transcript::new(Vendor::Claude, false);
    let facts = hear(&mut transcript, transcript!("claude/control-protocol"));
    let questions: Vec<&Question> = facts
        .iter()
        .filter_map(|fact| if let Fact::Question(question) = fact { Some(question) } else { None })
        .collect();
    assert_eq!(questions[0].detail().as_deref(), Some("echo hi > hi.txt"));
    assert_eq!(questions[0].ask(), Ask::Edit(Some(Path::new("/workspace/hi.txt"))));
    let allowed: Value = serde_json::from_str(&questions[0].answer(Decision::Allow, "")).unwrap();
    assert_eq!(
        allowed["response"]["response"],
        json!({"behavior": "allow", "updatedInput": {"command": "echo hi > hi.txt", "description": "mock tool call"}})
    );
    let denied: Value = serde_json::from_str(&questions[1].answer(Decision::Deny, "no")).unwrap();
    assert_eq!(denied["response"]["request_id"], questions[1].id);
    assert_eq!(denied["response"]["response"], json!({"behavior": "deny", "message": "no"}));
    assert_eq!(transcript.result(TaskStatus::Denied).denials, [Denial { tool: "Bash".into(), reason: None }]);
}

#[test]
fn a_tool_that_was_not_allowed_is_told_as_denied() {
    let mut transcript = Transcript::new(Vendor::Claude, false);
    let id = "toolu_b00dee51617c46d7bcd93487";
    let expected = [
        version(),
        session("175d1d2a-7b91-46af-9a7e-be6543731804", OPUS),
        tool(id, ToolPhase::Started, Some("echo hi > hi.txt")),
        tool(id, ToolPhase::Denied, None),
        output("DONE"),
        answered("DONE", twice(PROMPT_USAGE), 0.00868),
    ];
    assert_eq!(hear(&mut transcript, transcript!("claude/tool-denied")), expected);
    let denials = transcript.result(TaskStatus::Denied).denials;
    assert_eq!(denials.len(), 1);
    assert!(denials[0].reason.as_deref().unwrap().starts_with("Output redirection to"), "{denials:?}");
}

#[test]
fn a_resumed_session_tells_the_usage_and_cost_of_its_last_prompt_alone() {
    let mut transcript = Transcript::new(Vendor::Claude, true);
    let facts = hear(&mut transcript, transcript!("claude/resume-2"));
    assert_eq!(facts.last(), Some(&answered("SECOND", PROMPT_USAGE, 0.00434)));

    let older = transcript!("claude/resume-2").replace("model_usage_since_last_result", "unheard_of");
    let facts = hear(&mut Transcript::new(Vendor::Claude, true), &older);
    let Some(Fact::Ended(ending)) = facts.last() else { panic!("{facts:?}") };
    assert_eq!((ending.usage, ending.cost_usd), (Some(PROMPT_USAGE), None), "the total is not this task's");
}

#[test]
fn an_error_that_is_called_success_is_a_failure_with_its_kind() {
    use ErrorKind::{Auth, Limit, Network, RateLimit};
    let nothing = Some((NOTHING_USED, 0.0));
    let last = |lines: &str| claude(lines).pop().unwrap();
    assert_eq!(
        last(transcript!("claude/error-401")),
        failed(
            TaskStatus::Failed,
            Auth,
            "Failed to authenticate. API Error: 401 mock says 401: invalid api key",
            nothing
        )
    );
    assert_eq!(
        last(transcript!("claude/error-429")),
        failed(
            TaskStatus::RateLimited,
            RateLimit,
            "API Error: Request rejected (429) · mock says 429: rate limited",
            nothing
        )
    );
    assert_eq!(
        last(transcript!("claude/error-connection-refused")),
        failed(
            TaskStatus::Failed,
            Network,
            "API Error: Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)",
            nothing
        )
    );
    assert_eq!(
        last(transcript!("claude/error-no-key")),
        failed(TaskStatus::Failed, Auth, "Not logged in · Please run /login", nothing)
    );
    assert_eq!(
        last(transcript!("claude/max-budget")),
        failed(
            TaskStatus::OverBudget,
            Limit,
            "Reached maximum budget ($0.001)",
            Some((PROMPT_USAGE, 0.00434))
        )
    );
}

#[test]
fn a_session_that_is_not_there_is_named() {
    let mut transcript = Transcript::new(Vendor::Claude, true);
    let message = "No conversation found with session ID: 99999999-2222-4333-8444-555555555555";
    let outcome = Err(error(ErrorKind::Config, message).into());
    let expected = [Fact::Ended(Ending { outcome, usage: Some(NOTHING_USED), cost_usd: None })];
    assert_eq!(hear(&mut transcript, transcript!("claude/unknown-resume")), expected);
}

#[test]
fn retries_are_told_and_forgotten_when_one_succeeds() {
    let mut transcript = Transcript::new(Vendor::Claude, false);
    let expected = [
        version(),
        session("d136d9f3-172f-43d0-8e7f-7539d78b3cd3", OPUS),
        retry(ErrorKind::RateLimit, "rate_limit (HTTP 429); retry 1 of 10"),
        retry(ErrorKind::RateLimit, "rate_limit (HTTP 429); retry 2 of 10"),
        output("RECOVERED"),
        answered("RECOVERED", PROMPT_USAGE, 0.00434),
    ];
    assert_eq!(hear(&mut transcript, transcript!("claude/error-429-then-ok")), expected);
    assert_eq!(transcript.result(TaskStatus::Completed).error, None);
}

#[test]
fn a_second_refusal_of_the_credentials_is_hopeless() {
    let refused = |attempt: u64| {
        let line = json!({
            "type": "system", "subtype": "api_retry", "attempt": attempt, "max_retries": 10,
            "retry_delay_ms": 500, "error_status": 401, "error": "authentication_failed",
        });
        claude(&line.to_string())
    };
    assert_eq!(refused(1), [retry(ErrorKind::Auth, "authentication_failed (HTTP 401); retry 1 of 10")]);
    assert_eq!(refused(2), [Fact::Hopeless(error(ErrorKind::Auth, "authentication_failed (HTTP 401)"))]);
}

#[test]
fn an_interrupted_answer_is_kept_and_counted() {
    let mut transcript = Transcript::new(Vendor::Claude, false);
    let facts = hear(&mut transcript, transcript!("claude/sigint-midstream"));
    let Some(Fact::Ended(ending)) = facts.last() else { panic!("{facts:?}") };
    assert_eq!(ending.usage, Some(TokenUsage { output_tokens: Some(2), ..PROMPT_USAGE }));
    assert_eq!(ending.cost_usd, Some(0.00338));
    assert_eq!(transcript.result(TaskStatus::Cancelled).answer.as_deref(), Some("PONG fr"));

    let uncounted = json!({
        "type": "result", "is_error": true, "terminal_reason": "aborted_streaming", "total_cost_usd": 0,
        "usage": {"input_tokens": 0, "output_tokens": 0}, "model_usage_since_last_result": {},
    });
    let facts = claude(&uncounted.to_string());
    let Some(Fact::Ended(ending)) = facts.last() else { panic!("{facts:?}") };
    assert_eq!((ending.usage, ending.cost_usd), (None, None), "a request that was cut short is not free");
}

#[test]
fn an_answer_that_comes_again_after_a_broken_stream_stands_apart() {
    let piece = |text: &str| {
        let delta = json!({"type": "text_delta", "text": text});
        json!({"type": "stream_event", "event": {"type": "content_block_delta", "delta": delta}}).to_string()
    };
    let whole = |text: &str| {
        json!({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}).to_string()
    };
    let lines = [piece("PONG fr"), whole("PONG from mock")].join("\n");
    assert_eq!(claude(&lines), [output("PONG fr"), output("om mock")]);
    let lines = [piece("PING fr"), whole("PONG from mock")].join("\n");
    assert_eq!(claude(&lines), [output("PING fr"), output("\n\nPONG from mock")]);
}

#[test]
fn a_rate_limit_tells_when_it_ends() {
    let limit = json!({
        "type": "rate_limit_event",
        "rate_limit_info": {"status": "rejected", "resetsAt": 1_772_323_199, "rateLimitType": "five_hour"},
    });
    let lines = format!("{limit}\n{}", transcript!("claude/error-429"));
    let facts = claude(&lines);
    let Some(Fact::Ended(Ending { outcome: Err(failure), .. })) = facts.last() else { panic!("{facts:?}") };
    assert_eq!(failure.error.reset_at.as_deref(), Some("2026-02-28T23:59:59Z"));
}

#[test]
fn what_is_not_understood_is_told_and_not_fatal() {
    let unknown = |line: &str| vec![Fact::Event(AgentEvent::Unknown { line: line.into() })];
    for line in ["no json", "[]", "7", r#"{"type":"something_new"}"#, r#"{"no":"type"}"#] {
        assert_eq!(claude(line), unknown(line));
    }
    assert_eq!(claude(r#"{"type":"system","subtype":"something_new"}"#), []);
    assert_eq!(claude(&"x".repeat(1000)), unknown(&"x".repeat(UNKNOWN_CHARS_MAX)));
    let hook = r#"{"type":"control_request","request_id":"7","request":{"subtype":"hook_callback"}}"#;
    assert_eq!(claude(hook), [Fact::Unsupported { id: "7".into() }]);
}

#[test]
fn rules_that_allow_are_turned_into_rules_that_ask() {
    let settings = |effective: Value| ask_always(&json!({ "effective": effective }));
    assert_eq!(settings(json!({})), None);
    assert_eq!(settings(json!({"permissions": {"allow": [], "defaultMode": "acceptEdits"}})), None);
    let off = json!({"autoAllowBashIfSandboxed": false});
    assert_eq!(
        settings(json!({"permissions": {"allow": ["Write", "Bash(touch *)"]}})),
        Some(json!({"permissions": {"ask": ["Write", "Bash(touch *)"]}, "sandbox": off}))
    );
    assert_eq!(
        settings(json!({"sandbox": {"enabled": true}})),
        Some(json!({"permissions": {"ask": []}, "sandbox": off}))
    );
}

#[test]
fn each_tool_asks_for_what_it_does() {
    let ask = |tool: &str, input: Value, blocked: Option<&str>| {
        let request =
            json!({"subtype": "can_use_tool", "tool_name": tool, "input": input, "blocked_path": blocked});
        let line = json!({"type": "control_request", "request_id": "1", "request": request});
        match claude(&line.to_string()).pop() {
            Some(Fact::Question(question)) => format!("{:?}", question.ask()),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(ask("Read", json!({"file_path": "/etc/passwd"}), Some("/etc/passwd")), "Read");
    assert_eq!(ask("read_file", json!({}), None), "Read");
    assert_eq!(ask("Write", json!({"file_path": "/w/a"}), None), r#"Edit(Some("/w/a"))"#);
    assert_eq!(ask("NotebookEdit", json!({"notebook_path": "/w/n"}), None), r#"Edit(Some("/w/n"))"#);
    assert_eq!(ask("write_file", json!({"file_path": "/w/b"}), None), r#"Edit(Some("/w/b"))"#);
    assert_eq!(ask("Bash", json!({"command": "touch /x"}), Some("/x")), r#"Edit(Some("/x"))"#);
    assert_eq!(ask("Bash", json!({"command": "make"}), None), "Other");
    let rule = json!({"type": "addRules", "rules": [{"toolName": "Read", "ruleContent": "//etc/**"}]});
    let request = json!({
        "subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "cat /etc/hostname"},
        "blocked_path": "/etc/hostname", "permission_suggestions": [rule],
    });
    let reads =
        claude(&json!({"type": "control_request", "request_id": "1", "request": request}).to_string());
    assert!(matches!(&reads[..], [Fact::Question(question)] if question.ask() == Ask::Other), "{reads:?}");
    assert_eq!(ask("mcp__db__query", json!({}), None), "Other");
}

mod of_qwen {
    use super::*;

    const ID: &str = "625253ad-e43f-4d7e-b7c4-6d911c014ab8";

    fn used(requests: u64) -> TokenUsage {
        TokenUsage {
            input_tokens: Some(800 * requests),
            output_tokens: Some(50 * requests),
            cache_read_tokens: Some(200 * requests),
            cache_write_tokens: None,
            reasoning_tokens: None,
        }
    }

    #[test]
    fn a_tool_an_answer_and_an_interrupt_are_told_as_they_came() {
        let mut transcript = Transcript::new(Vendor::Qwen, false);
        let facts = hear(&mut transcript, transcript!("qwen/control-protocol"));
        let call = "call_556d6a317a524830";
        assert!(
            matches!(&facts[0], Fact::Answered { id, answer: Ok(_) } if id == "req_init"),
            "{:?}",
            facts[0]
        );
        assert_eq!(facts[1..3], [Fact::Version("0.24.4".into()), session(ID, "mock-model")]);
        assert_eq!(facts[3], tool(call, ToolPhase::Started, Some("echo hi > hi.txt")));
        let Fact::Question(question) = &facts[4] else { panic!("{:?}", facts[4]) };
        assert_eq!((question.tool.as_str(), question.ask()), ("run_shell_command", Ask::Other));
        let ended = |outcome| Fact::Ended(Ending { outcome, usage: Some(used(3)), cost_usd: None });
        assert_eq!(
            facts[5..9],
            [tool(call, ToolPhase::Completed, None), output("DO"), output("NE1"), ended(Ok("DONE1".into()))]
        );
        let cancelled = error(ErrorKind::Provider, "Operation cancelled.");
        assert_eq!(
            facts[9..],
            [
                Fact::Version("0.24.4".into()),
                output("\n\nPONG from mock0 "),
                output("PONG from mock1 "),
                output("PONG from mock2 "),
                Fact::Answered { id: "req_int".into(), answer: Ok(json!({"subtype": "interrupt"})) },
                ended(Err(cancelled.into())),
            ]
        );
    }

    #[test]
    fn errors_have_the_kind_that_their_text_tells() {
        let last = |lines: &str| qwen(lines).pop().unwrap();
        let failed = |kind, message| failed(TaskStatus::Failed, kind, message, None);
        assert_eq!(
            last(transcript!("qwen/error-401")),
            failed(ErrorKind::Auth, "401 mock says 401: invalid api key")
        );
        assert_eq!(
            last(transcript!("qwen/error-connection-refused")),
            failed(ErrorKind::Network, "Connection error. (cause: fetch failed)")
        );
        let no_key = "Missing API key for OpenAI-compatible auth. Set settings.security.auth.apiKey, or set the \
                      'OPENAI_API_KEY' environment variable.";
        assert_eq!(last(transcript!("qwen/error-no-key")), failed(ErrorKind::Auth, no_key));
        assert_eq!(
            last(transcript!("qwen/error-429")),
            retry(ErrorKind::RateLimit, "rate limit; retry 1 of 10 in 60000 ms")
        );
        let text = |facts: Vec<Fact>| {
            facts.into_iter().any(|fact| matches!(fact, Fact::Event(AgentEvent::Output { .. })))
        };
        assert!(!text(qwen(transcript!("qwen/error-401"))), "the text of an error is no answer");
    }

    #[test]
    fn a_resumed_session_counts_from_where_the_task_began() {
        let mut transcript = Transcript::new(Vendor::Qwen, true);
        let usage = |transcript: &mut Transcript| {
            let facts = hear(transcript, transcript!("qwen/resume-2"));
            let Some(Fact::Ended(ending)) = facts.into_iter().next_back() else { panic!("it has not ended") };
            ending.usage
        };
        assert_eq!(usage(&mut transcript), None, "the total is not this task's");
        let before = json!({
            "type": "result", "is_error": false, "result": "Tokens",
            "usage": {"input_tokens": 2000, "output_tokens": 100, "cache_read_input_tokens": 400},
        });
        transcript.hear(&before.to_string());
        transcript.start_here();
        assert_eq!(usage(&mut transcript), Some(used(2)));
    }
}
