//! The written form of reports and events, which scripts rely on.

use std::sync::Arc;

use aiswitch_agent::{AgentEvent, Decision, TokenUsage, ToolPhase};
use aiswitch_coordinator::{
    CancellationToken, Denial, ErrorKind, MemoryAgent, RunEvent, RunReport, TaskError, TaskResult, TaskStatus,
};
use serde_json::{Value, json};

use crate::support::{answer, coordinator, id, plan};

fn usage() -> TokenUsage {
    TokenUsage {
        input_tokens: Some(700),
        output_tokens: Some(50),
        cache_read_tokens: Some(200),
        cache_write_tokens: Some(100),
        reasoning_tokens: None,
    }
}

/// One agent that tells everything and completes, and one that fails.
async fn ran() -> (RunReport, Vec<RunEvent>) {
    let full = MemoryAgent::new(id("full"), |task, context| async move {
        let limit = TaskError::new(ErrorKind::RateLimit, "slow down");
        for event in [
            AgentEvent::Session { session_id: Some("s-1".into()), model: Some("m-1".into()) },
            AgentEvent::Output { text: "hel".into() },
            AgentEvent::Tool {
                id: None,
                name: "bash".into(),
                phase: ToolPhase::Started,
                detail: Some("ls".into()),
            },
            AgentEvent::Permission { tool: "bash".into(), question: None, decision: Decision::Allow },
            AgentEvent::Usage { usage: usage(), cost_usd: None },
            AgentEvent::Retry { error: limit },
            AgentEvent::Unknown { line: "???".into() },
            AgentEvent::LogLost { reason: "disk full".into() },
        ] {
            context.events.send(event).await;
        }
        TaskResult { usage: Some(usage()), cost_usd: Some(0.00434), ..answer(task.prompt) }
    });
    let poor = MemoryAgent::new(id("poor"), |_, _| async {
        let error = TaskError {
            kind: ErrorKind::Auth,
            message: "not logged in".into(),
            hint: Some("log in".into()),
            reset_at: None,
        };
        let denials = vec![Denial { tool: "write".into(), reason: None }];
        TaskResult { error: Some(error), denials, ..TaskResult::new(TaskStatus::Failed) }
    });
    let mut events = Vec::new();
    let report = coordinator([Arc::new(full) as _, Arc::new(poor) as _])
        .run(plan("hello", &["full", "poor"]), CancellationToken::new(), |event| events.push(event.clone()))
        .await
        .expect("it runs");
    (report, events)
}

/// Puts a fixed value in place of one that differs from run to run, which must be there.
fn fix(value: &mut Value, pointers: &[&str]) {
    for pointer in pointers {
        let place = value.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is missing"));
        assert!(!place.is_null(), "{pointer} is null");
        *place = "…".into();
    }
}

#[tokio::test]
async fn a_report_has_the_form_that_scripts_rely_on_and_reads_back() {
    let (report, _) = ran().await;
    let mut written = serde_json::to_value(&report).expect("it can be written");
    assert_eq!(serde_json::from_value::<RunReport>(written.clone()).expect("it reads back"), report);
    fix(&mut written, &["/run_id", "/started_at", "/duration_ms"]);
    for agent in ["/agents/0", "/agents/1"] {
        fix(
            &mut written,
            &["/started_at", "/ended_at", "/duration_ms"]
                .map(|field| format!("{agent}{field}"))
                .each_ref()
                .map(String::as_str),
        );
    }
    let usage = json!({"input_tokens": 700, "output_tokens": 50, "cache_read_tokens": 200, "cache_write_tokens": 100, "cache_write_1h_tokens": null, "reasoning_tokens": null, "web_searches": null});
    let expected = json!({
        "v": 1, "run_id": "…", "mode": "parallel", "status": "partial", "started_at": "…", "duration_ms": "…",
        "task": {"prompt": "hello", "cwd": "/tmp", "mode": "write"},
        "agents": [
            {
                "id": "full", "driver": "memory", "status": "completed", "answer": "hello", "session_id": "s-1",
                "model": "m-1", "usage": usage, "cost": {"usd": 0.00434, "source": "reported"}, "error": null,
                "reason": null, "denials": [], "started_at": "…", "ended_at": "…", "duration_ms": "…", "restarts": 0,
                "paused_ms": 0, "pid": null, "held_by": null, "limits": [], "unknown_lines": 1, "memory_bytes_peak": null,
            },
            {
                "id": "poor", "driver": "memory", "status": "failed", "answer": null, "session_id": null,
                "model": null, "usage": null, "cost": {"usd": null, "source": "unknown"},
                "error": {"kind": "auth", "message": "not logged in", "hint": "log in", "reset_at": null},
                "reason": null, "denials": [{"tool": "write", "reason": null}], "started_at": "…", "ended_at": "…",
                "duration_ms": "…", "restarts": 0, "paused_ms": 0, "pid": null, "held_by": null, "limits": [],
                "unknown_lines": 0, "memory_bytes_peak": null,
            },
        ],
        "totals": {"usage": usage, "cost": {"usd": 0.00434, "unpriced": 1}},
        "answer": {"by": "list", "agents": ["full"], "text": "hello"},
        "alerts": [],
        "warnings": ["the raw output of agent `full` is not kept: disk full"],
    });
    assert_eq!(written, expected);
}

#[tokio::test]
async fn each_event_has_the_form_that_scripts_rely_on_and_reads_back() {
    let (report, events) = ran().await;
    let mut written = Vec::new();
    for event in &events {
        let text = serde_json::to_string(event).expect("it can be written");
        assert_eq!(&serde_json::from_str::<RunEvent>(&text).expect("it reads back"), event);
        let mut value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&value["v"], &value["run"]), (&json!(1), &json!(report.run_id.to_string())));
        fix(&mut value, &["/v", "/run", "/seq", "/ts"]);
        if event.agent != Some(id("poor")) && !matches!(value["type"].as_str(), Some("ended" | "report")) {
            let fields = value.as_object_mut().expect("an object");
            fields.retain(|_, field| *field != json!("…"));
            written.push(value);
        }
    }
    let usage = json!({"input_tokens": 700, "output_tokens": 50, "cache_read_tokens": 200, "cache_write_tokens": 100, "cache_write_1h_tokens": null, "reasoning_tokens": null, "web_searches": null});
    let expected = json!([
        {"agent": null, "type": "run_started", "mode": "parallel", "agents": ["full", "poor"]},
        {"agent": "full", "type": "started", "driver": "memory"},
        {"agent": "full", "type": "session", "session_id": "s-1", "model": "m-1"},
        {"agent": "full", "type": "output", "text": "hel"},
        {"agent": "full", "type": "tool", "id": null, "name": "bash", "phase": "started", "detail": "ls"},
        {"agent": "full", "type": "permission", "tool": "bash", "question": null, "decision": "allow"},
        {"agent": "full", "type": "usage", "usage": usage, "cost": {"usd": null, "source": "unknown"}},
        {
            "agent": "full", "type": "retry",
            "error": {"kind": "rate_limit", "message": "slow down", "hint": null, "reset_at": null},
        },
        {"agent": "full", "type": "unknown", "line": "???"},
        {"agent": null, "type": "warning", "message": "the raw output of agent `full` is not kept: disk full"},
    ]);
    assert_eq!(Value::from(written), expected);
}

#[test]
fn a_runs_name_reads_back_and_nothing_else_is_one() {
    let name = "01K9XJ5V7C8N3T2B4M6P0QRSWY";
    assert_eq!(name.parse::<aiswitch_coordinator::RunId>().expect("a name").to_string(), name);
    for bad in
        ["", "last", "../../../../../etc/passwd", "01K9XJ5V7C8N3T2B4M6P0QRSW", "01K9XJ5V7C8N3T2B4M6P0QRSW/"]
    {
        assert!(
            bad.parse::<aiswitch_coordinator::RunId>()
                .is_err_and(|error| error.to_string().starts_with(&format!("`{bad}` is not a run's name"))),
            "{bad}"
        );
    }
}

#[cfg(feature = "schema")]
#[tokio::test]
async fn the_schemas_name_the_fields_that_are_written() {
    let (report, events) = ran().await;
    let names = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let schema = serde_json::to_value(schemars::schema_for!(RunReport)).expect("JSON");
    let written = serde_json::to_value(&report).expect("JSON");
    assert_eq!(names(&schema["properties"]), names(&written));
    assert_eq!(names(&schema["$defs"]["AgentReport"]["properties"]), names(&written["agents"][0]));
    let schema = serde_json::to_value(schemars::schema_for!(RunEvent)).expect("JSON");
    let kinds: Vec<&Value> = schema["oneOf"].as_array().expect("a list").iter().collect();
    for event in &events {
        let written = serde_json::to_value(event).expect("JSON");
        let kind = kinds.iter().find(|kind| kind["properties"]["type"]["const"] == written["type"]);
        let own = names(&kind.unwrap_or_else(|| panic!("{written}"))["properties"]);
        let common = names(&schema["properties"]);
        let mut described: Vec<String> = own.into_iter().chain(common).collect();
        described.sort();
        assert_eq!(described, names(&written));
    }
}
