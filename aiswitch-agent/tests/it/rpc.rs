//! A child that speaks the aiswitch protocol, well and badly.

use std::time::Duration;

use aiswitch_agent::{
    AgentEvent, AgentSpec, Decision, Denial, Driver, ErrorKind, Limits, PermissionMode, TaskResult,
    TaskStatus, TokenUsage,
};

use crate::support::{Bench, PATIENCE};

const ADAPTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/adapter.sh");

fn bench(behaviour: &str) -> Bench {
    let command = ["sh", ADAPTER, behaviour].map(str::to_owned).to_vec();
    Bench::new(&AgentSpec { command, ..AgentSpec::new(Driver::Rpc) })
}

fn failure(result: &TaskResult) -> (TaskStatus, ErrorKind, &str) {
    let error = result.error.as_ref().unwrap();
    (result.status, error.kind, error.message.as_str())
}

fn output(told: &[AgentEvent]) -> String {
    told.iter()
        .filter_map(|event| if let AgentEvent::Output { text } = event { Some(text.as_str()) } else { None })
        .collect()
}

#[tokio::test]
async fn a_streamed_answer_is_told_as_it_comes_and_is_the_result() {
    let mut bench = bench("stream");
    let result = bench.run("x").await.unwrap();
    let usage = TokenUsage { input_tokens: Some(7), ..TokenUsage::default() };
    let expected = TaskResult {
        answer: Some("one two".into()),
        session_id: Some("s-1".into()),
        model: Some("m-1".into()),
        usage: Some(usage),
        cost_usd: Some(0.5),
        ..TaskResult::new(TaskStatus::Completed)
    };
    assert_eq!(result, expected);
    let told = bench.told();
    assert_eq!(output(&told), "one two");
    assert!(told.contains(&AgentEvent::Usage { usage, cost_usd: None }), "{told:?}");
}

#[tokio::test]
async fn a_stray_print_is_counted_and_not_fatal() {
    let mut bench = bench("noise");
    assert_eq!(bench.run("x").await.unwrap().answer.as_deref(), Some("fine"));
    assert!(bench.told().contains(&AgentEvent::Unknown { line: "a stray print".into() }));
    assert!(bench.log("stdout.log").contains("a stray print\n"));
}

#[tokio::test]
async fn a_question_is_answered_by_the_mode() {
    for (mode, answer, decision) in [
        (PermissionMode::ReadOnly, "denied", Decision::Deny),
        (PermissionMode::Write, "allowed", Decision::Allow),
        (PermissionMode::Yolo, "allowed", Decision::Allow),
    ] {
        let spec = AgentSpec {
            command: ["sh", ADAPTER, "ask"].map(str::to_owned).to_vec(),
            modes: Some(vec![mode]),
            ..AgentSpec::new(Driver::Rpc)
        };
        let mut bench = Bench::new(&spec);
        let task = aiswitch_agent::TaskSpec { mode, ..bench.task("x") };
        let result = tokio::time::timeout(PATIENCE, bench.agent.run(task, bench.context.clone()))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(result.answer.as_deref(), Some(answer), "{mode}");
        let asked =
            AgentEvent::Permission { tool: "shell".into(), question: Some("rm -rf".into()), decision };
        assert!(bench.told().contains(&asked), "{mode}");
        let denial = Denial { tool: "shell".into(), reason: Some("the mode is `read-only`".into()) };
        let denials = if decision == Decision::Deny { vec![denial] } else { vec![] };
        assert_eq!(result.denials, denials, "{mode}");
    }
}

/// Cancels as soon as the first piece of the answer was told.
async fn cancelled(mut bench: Bench) -> TaskResult {
    let mut events = std::mem::replace(&mut bench.events, tokio::sync::mpsc::channel(1).1);
    let cancel = bench.context.cancel.clone();
    let (result, ()) = tokio::join!(bench.run("x"), async {
        while let Some((_, event)) = events.recv().await {
            if matches!(event, AgentEvent::Output { .. }) {
                cancel.cancel();
                break;
            }
        }
    });
    result.unwrap()
}

#[tokio::test]
async fn a_cancel_is_told_to_the_adapter_and_its_last_word_is_kept() {
    let result = cancelled(bench("cancel")).await;
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Cancelled, Some("so far")));
}

#[tokio::test]
async fn an_adapter_that_ignores_cancel_and_sigterm_is_killed_and_its_answer_so_far_is_kept() {
    let mut bench = bench("deaf");
    bench.context.limits.stop_grace = Duration::from_millis(100);
    let result = cancelled(bench).await;
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Cancelled, Some("part")));
}

#[tokio::test]
async fn each_bad_end_is_named_and_leaves_nothing() {
    async fn check(behaviour: &str, kind: ErrorKind, expected: &str) {
        let mut bench = bench(behaviour);
        bench.context.limits = Limits {
            frame_bytes_max: 100_000,
            start_timeout: Duration::from_millis(500),
            stop_grace: Duration::from_millis(500),
            ..bench.context.limits
        };
        let result = bench.run("x").await.unwrap();
        assert_eq!(failure(&result), (TaskStatus::Failed, kind, expected), "{behaviour}");
    }
    check("silent-start", ErrorKind::Protocol, "it did not answer `agent.initialize` within 500ms").await;
    check("old", ErrorKind::Protocol, "it speaks version 99, not 1").await;
    check("error", ErrorKind::Protocol, "peer answered with error -32603: no luck").await;
    check("crash", ErrorKind::Crash, "it ended with exit code 7 before it answered: out of cheese").await;
    check("long", ErrorKind::Protocol, "frame of 200000 bytes is over the limit of 100000 bytes").await;
    check("half", ErrorKind::Protocol, "stream ended inside a frame, after 22 bytes of it").await;
    check("invalid", ErrorKind::Protocol, "frame is not UTF-8 after byte 20").await;
}
