//! Who may call which method: every cell of the table, and every method at an adapter's own door.

use aiswitch_agent::{
    ACCESS, Access, AgentEvent, AgentSpec, Driver, LiveAgent, Replay, RestartPolicy, Role, TaskSpec, access,
    event_channel,
};
use aiswitch_rpc::error_code::{FORBIDDEN, INTERNAL_ERROR, METHOD_NOT_FOUND, OVERLOADED};
use aiswitch_rpc::protocol::{METHODS, Sender};
use serde_json::{Value, json};

use crate::support::{Bench, PATIENCE};

/// What each role may do, written down a second time: `-` nothing, `o` for its own, `a` for all.
const EXPECTED: &str = "\
agent.initialize    operator a  viewer -  agent -
agent.shutdown      operator a  viewer -  agent -
agent.status        operator a  viewer a  agent -
agent.restart       operator a  viewer -  agent -
task.assign         operator a  viewer -  agent -
task.cancel         operator a  viewer -  agent -
task.output         operator -  viewer -  agent o
task.status         operator a  viewer a  agent -
task.result         operator a  viewer a  agent -
permission.request  operator -  viewer -  agent o
env.switch          operator a  viewer -  agent -
env.snapshot        operator a  viewer -  agent -
env.rollback        operator a  viewer -  agent -
metrics.report      operator -  viewer -  agent o
metrics.query       operator a  viewer a  agent o
tokens.usage        operator -  viewer -  agent o
";

const ROLES: [Role; 3] = [Role::Operator, Role::Viewer, Role::Agent];

#[test]
fn every_cell_of_the_table_is_as_it_was_agreed_and_every_method_has_a_row() {
    let row = |(method, _): &(&str, [Access; 3])| {
        let cells = ROLES.map(|role| {
            let cell = match access(role, method) {
                Access::Denied => "-",
                Access::Own => "o",
                Access::Any => "a",
            };
            format!("{role} {cell}")
        });
        format!("{method:18}  {}\n", cells.join("  "))
    };
    assert_eq!(ACCESS.iter().map(row).collect::<String>(), EXPECTED);
    assert!(include_str!("../../README.md").contains(EXPECTED), "the README shows it too");
    let names = |table: &mut dyn Iterator<Item = &'static str>| table.collect::<Vec<_>>();
    assert_eq!(
        names(&mut ACCESS.iter().map(|(name, _)| *name)),
        names(&mut METHODS.iter().map(|(name, ..)| *name))
    );
}

#[test]
fn what_is_not_in_the_table_is_denied_to_all() {
    for method in ["", "env", "env.switch ", "ENV.SWITCH", "secrets.get", "audit.verify", "rpc.integrity"] {
        for role in ROLES {
            assert_eq!(access(role, method), Access::Denied, "{role} {method:?}");
        }
    }
}

#[test]
fn only_who_sends_a_method_in_the_protocol_may_call_it() {
    for (method, sender, _) in METHODS {
        let may = |role| access(role, method) != Access::Denied;
        assert_eq!(may(Role::Agent), matches!(sender, Sender::Agent | Sender::Both), "{method}");
        assert_eq!(may(Role::Operator), matches!(sender, Sender::Coordinator | Sender::Both), "{method}");
        assert!(!may(Role::Viewer) || may(Role::Operator), "{method}");
    }
}

fn bench() -> Bench {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/caller.sh");
    let command = ["sh", script].map(str::to_owned).to_vec();
    Bench::new(&AgentSpec { command, ..AgentSpec::new(Driver::Rpc) })
}

/// Params that every method which an agent may call can read.
fn params(task: &str) -> Value {
    json!({"task_id": task, "text": "words", "tool": "shell", "question": "may I?", "values": {},
        "usage": {"input_tokens": 7}})
}

/// Has an adapter say these messages; the errors' codes that it is answered with, and what was told.
async fn said(bench: &mut Bench, calls: &[Value]) -> (Vec<Option<i64>>, Vec<AgentEvent>) {
    let lines = calls.iter().fold(String::new(), |lines, call| lines + &call.to_string() + "\n");
    std::fs::write(bench.dir.path().join("calls"), lines).unwrap();
    assert_eq!(bench.run("x").await.unwrap().answer.as_deref(), Some("done"));
    let replies = std::fs::read_to_string(bench.dir.path().join("replies")).unwrap_or_default();
    let code = |reply: &str| {
        let reply: Value = serde_json::from_str(reply).unwrap();
        reply["error"]["code"].as_i64()
    };
    let codes = replies.lines().map(code).collect();
    let told =
        bench.told().into_iter().filter(|event| !matches!(event, AgentEvent::Started { .. })).collect();
    (codes, told)
}

fn refused(method: &str, reason: &str) -> AgentEvent {
    AgentEvent::Refused { method: method.to_owned(), reason: reason.to_owned() }
}

#[tokio::test]
async fn an_adapter_is_answered_with_an_error_whatever_it_calls_that_is_not_for_agents() {
    let others = METHODS.iter().filter(|(method, ..)| *method != "metrics.query");
    for (number, (method, ..)) in others.enumerate() {
        let call = json!({"jsonrpc": "2.0", "id": number, "method": method, "params": params("task")});
        let (codes, told) = said(&mut bench(), &[call]).await;
        let (code, refusal) = match *method {
            "permission.request" => (None, None),
            // Nobody answers them: notifications.
            "task.output" | "tokens.usage" | "metrics.report" => (Some(METHOD_NOT_FOUND), None),
            _ => (Some(FORBIDDEN), Some(refused(method, &format!("no agent may call `{method}`")))),
        };
        assert_eq!(codes, [code], "{method}");
        let refusals: Vec<_> =
            told.iter().filter(|event| matches!(event, AgentEvent::Refused { .. })).collect();
        assert_eq!(refusals, refusal.iter().collect::<Vec<_>>(), "{method}");
    }
}

#[tokio::test]
async fn a_notification_that_is_not_for_agents_is_dropped_and_told_of() {
    let calls: Vec<Value> = METHODS
        .iter()
        .map(|(method, ..)| json!({"jsonrpc": "2.0", "method": method, "params": params("task")}))
        .collect();
    let (_, told) = said(&mut bench(), &calls).await;
    let expected: Vec<AgentEvent> = METHODS
        .iter()
        .map(|(method, ..)| match *method {
            "task.output" => AgentEvent::Output { text: "words".into() },
            "tokens.usage" => AgentEvent::Usage {
                usage: aiswitch_agent::TokenUsage { input_tokens: Some(7), ..Default::default() },
                cost_usd: None,
            },
            "metrics.report" => AgentEvent::Measured { values: std::collections::BTreeMap::new() },
            "permission.request" | "metrics.query" => AgentEvent::Unknown { line: (*method).to_owned() },
            _ => refused(method, &format!("no agent may call `{method}`")),
        })
        .collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn an_adapter_reaches_no_task_but_its_own() {
    let reason = "task `another` is not its own";
    let call = |method: &str| json!({"jsonrpc": "2.0", "method": method, "params": params("another")});
    let asked =
        json!({"jsonrpc": "2.0", "id": 1, "method": "permission.request", "params": params("another")});
    let mut bench = bench();
    let (codes, told) = said(&mut bench, &[call("task.output"), call("tokens.usage"), asked]).await;
    assert_eq!(codes, [Some(FORBIDDEN)]);
    let methods = ["task.output", "tokens.usage", "permission.request"];
    assert_eq!(told, methods.map(|method| refused(method, reason)));
}

#[tokio::test]
async fn an_adapter_that_asks_for_its_figures_is_answered_by_who_hears_it_and_told_when_nobody_does() {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "metrics.query", "params": {"names": ["a_ms"]}});
    for is_answered in [true, false] {
        let mut bench = bench();
        let (sender, mut events) = event_channel("agent".parse().unwrap());
        bench.context.events = sender;
        let hears = tokio::spawn(async move {
            while let Some((_, event)) = events.recv().await {
                if let AgentEvent::Queried { names, reply } = event
                    && is_answered
                {
                    reply.answer(Ok(names.into_iter().zip([2.5]).collect()));
                }
            }
        });
        let (codes, _) = said(&mut bench, std::slice::from_ref(&call)).await;
        assert_eq!(codes, [(!is_answered).then_some(INTERNAL_ERROR)]);
        let reply = std::fs::read_to_string(bench.dir.path().join("replies")).unwrap();
        assert_eq!(reply.contains(r#""values":{"a_ms":2.5}"#), is_answered, "{reply}");
        hears.abort();
    }
}

#[tokio::test]
async fn an_adapter_has_few_questions_for_its_figures_open_at_once() {
    // Nobody hears the first sixteen before the task is over; the answer to the last comes at once.
    let ask =
        |id: u32| format!("echo '{}'\n", json!({"jsonrpc": "2.0", "id": id, "method": "metrics.query"}));
    let asks = (0..17).map(ask).collect::<Vec<_>>().concat();
    let script = format!(
        r#"answer() {{ printf '%s' "$1" | sed 's/^{{"jsonrpc":"2.0","id":\([0-9]*\).*/{{"jsonrpc":"2.0","id":\1,"result":'"$2"'}}/'; echo; }}
        read -r line
        answer "$line" '{{"protocol_version":1,"agent":{{"name":"a","version":"1"}}}}'
        read -r line
        {asks}
        read -r reply
        printf '%s' "$reply" >reply
        answer "$line" '{{"status":"completed","answer":"done"}}'
        cat >/dev/null"#
    );
    let command = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let mut bench = Bench::new(&AgentSpec { command, ..AgentSpec::new(Driver::Rpc) });
    assert_eq!(bench.run("x").await.unwrap().answer.as_deref(), Some("done"));
    let reply: Value =
        serde_json::from_str(&std::fs::read_to_string(bench.dir.path().join("reply")).unwrap()).unwrap();
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(16), &json!(OVERLOADED)), "{reply}");
}

#[tokio::test]
async fn a_live_adapter_may_not_speak_of_the_task_before() {
    let mut bench = bench();
    let place = bench.task("");
    let agent = LiveAgent::new(bench.agent.clone(), place, bench.context.clone(), RestartPolicy::default());
    agent.start().await.unwrap();
    let call = json!({"jsonrpc": "2.0", "method": "task.output", "params": params("first")});
    std::fs::write(bench.dir.path().join("calls"), format!("{call}\n")).unwrap();
    for name in ["first", "second"] {
        let task = TaskSpec { id: name.parse().unwrap(), ..bench.task("x") };
        let answer = agent.send_task(task, Replay::Never);
        tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
    }
    agent.stop().await.unwrap();
    let told: Vec<_> = bench
        .told()
        .into_iter()
        .filter(|event| matches!(event, AgentEvent::Output { .. } | AgentEvent::Refused { .. }))
        .collect();
    let expected =
        [AgentEvent::Output { text: "words".into() }, refused("task.output", "task `first` is not its own")];
    assert_eq!(told, expected);
}
