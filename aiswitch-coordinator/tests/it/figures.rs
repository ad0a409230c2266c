//! What an adapter reports of itself while it works, and what it and others may ask for.

use std::path::Path;
use std::sync::Arc;

use aiswitch_coordinator::{
    AgentSpec, Coordinator, Outcome, REPORTED_METRICS_MAX, Role, RunReport, UsageStore, metrics_methods,
};
use aiswitch_metrics::{Level, MetricsStore, SampleQuery, Source, SqliteMetricsStore, Summary};
use aiswitch_rpc::protocol::{MetricsQuery, MetricsQueryParams};
use aiswitch_rpc::{CallError, Options, Router, connect, error_code};
use aiswitch_tokens::{MemoryUsageStore, UsageQuery};
use serde_json::{Value, json};

use crate::support::{adapter, coordinator, id, plan};

/// All that a store has of an agent, by metric.
fn ever(store: &dyn MetricsStore, agent: &str) -> Vec<(String, Summary)> {
    let mut found = Vec::new();
    let query = SampleQuery { source: Some(Source::Agent(agent.to_owned())), ..SampleQuery::of(Level::Ever) };
    store
        .points(&query, &mut |point| found.push((point.metric.to_string(), point.summary.clone())))
        .expect("it can be read");
    found
}

fn summary(store: &dyn MetricsStore, metric: &str) -> Option<Summary> {
    ever(store, "a").into_iter().find(|(name, _)| name == metric).map(|(_, summary)| summary)
}

fn say(message: &Value) -> String {
    format!("printf '%s\\n' '{message}'\n")
}

fn report(values: &Value) -> String {
    say(&json!({"jsonrpc": "2.0", "method": "metrics.report", "params": {"values": values}}))
}

/// Asks for figures, and keeps the answer in a file.
fn query(names: &[&str], answer: &Path) -> String {
    let call = json!({"jsonrpc": "2.0", "id": "q", "method": "metrics.query", "params": {"names": names}});
    format!("{}read -r reply\nprintf '%s' \"$reply\" >{}\n", say(&call), answer.display())
}

fn answered(answer: &Path) -> Value {
    let text = std::fs::read_to_string(answer).expect("it was answered");
    serde_json::from_str(&text).expect("JSON")
}

async fn run(spec: &AgentSpec, with: impl FnOnce(Coordinator) -> Coordinator) -> RunReport {
    let coordinator = with(coordinator([spec.build(id("a"))]));
    let report = coordinator.execute_parallel(plan("work", &["a"])).await.expect("it runs");
    assert_eq!(report.agents[0].status, Outcome::Completed, "{report:?}");
    report
}

#[tokio::test]
async fn an_adapter_reports_figures_of_itself_and_is_told_the_newest_when_it_asks() {
    let folder = tempfile::tempdir().expect("a folder");
    let answer = folder.path().join("answer");
    let store = Arc::new(SqliteMetricsStore::at(folder.path().join("metrics.db")));
    for (place, wait) in [(1, 12.5), (2, -7.0)] {
        let names = ["queue_wait_ms", "nobody_told_ms", "task_count"];
        let works = report(&json!({"queue_wait_ms": 1.0}))
            + &report(&json!({"queue_wait_ms": wait, "queue_depth": 3}))
            + &query(&names, &answer);
        let told = run(&adapter("{}", &works), |one| one.with_metrics(store.clone())).await;
        assert_eq!(told.warnings, [""; 0]);
        // The sum of all time of what is counted; nothing, rather than 0, of what nobody has told.
        let expected = match place {
            1 => json!({"queue_wait_ms": wait}),
            _ => json!({"queue_wait_ms": wait, "task_count": 1.0}),
        };
        assert_eq!(answered(&answer)["result"]["values"], expected, "run {place}");
        // Of figures that come within a second the newest is kept.
        let waits = summary(&*store, "queue_wait_ms").expect("it was told");
        assert_eq!((waits.last, waits.n >= place), (wait, true), "{waits:?}");
    }
    assert_eq!(summary(&*store, "queue_depth").map(|depth| depth.max), Some(3.0));
}

#[tokio::test]
async fn without_a_store_an_adapter_is_told_what_it_has_reported_and_a_name_that_is_none_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let works =
        report(&json!({"a_ms": 1, "b_ms": 2})) + &query(&[], &first) + &query(&["a_ms", "No Name"], &second);
    run(&adapter("{}", &works), |one| one).await;
    assert_eq!(answered(&first)["result"]["values"], json!({"a_ms": 1.0, "b_ms": 2.0}));
    let error = &answered(&second)["error"];
    assert_eq!(error["code"], error_code::INVALID_PARAMS);
    assert!(error["message"].as_str().expect("a text").contains("`No Name`"), "{error}");
}

#[tokio::test]
async fn figures_that_cannot_be_are_counted_and_nothing_else_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(SqliteMetricsStore::at(folder.path().join("metrics.db")));
    let many: serde_json::Map<String, Value> =
        (0..REPORTED_METRICS_MAX + 9).map(|n| (format!("m{n:03}_ms"), n.into())).collect();
    let works = report(&json!({"good_ms": 1, "Bad Name": 1, "": 1, "<script>": 1, "a\"b": 1, "a\nb": 1}))
        + r#"printf '{"jsonrpc":"2.0","method":"metrics.report","params":{"values":{"'
        head -c 1048576 /dev/zero | tr '\0' x
        printf '":1}}}\n'
        "#
        // What is measured here, a figure beyond all that is kept, and more metrics than there is room for.
        + &report(&json!({"cpu_percent": 99_999, "task_count": 7, "huge_ms": 1e300}))
        + &report(&Value::Object(many))
        // No JSON, and no figures: told of as lines that are not understood.
        + "echo '{\"jsonrpc\":\"2.0\",\"method\":\"metrics.report\",\"params\":{\"values\":{\"a\":1e999}}}'\n"
        + &report(&json!({"a": "text"}));
    let told = run(&adapter("{}", &works), |one| one.with_metrics(store.clone())).await;
    assert_eq!(
        told.warnings,
        [
            "not all figures that agent `a` reported are kept: 6 under a name that cannot be, 2 of metrics that \
          aiswitch measures itself, 10 beyond 50 metrics, 1 that cannot be"
        ]
    );
    assert_eq!(told.agents[0].unknown_lines, 2);
    let kept = ever(&*store, "a");
    assert_eq!(
        kept.iter().filter(|(name, _)| name.ends_with("_ms") && name != "response_time_ms").count(),
        50
    );
    assert!(summary(&*store, "good_ms").is_some() && summary(&*store, "huge_ms").is_none());
    assert_eq!(summary(&*store, "task_count").map(|tasks| tasks.sum), Some(1.0));
    assert!(summary(&*store, "cpu_percent").is_none_or(|cpu| cpu.max < 99_999.0));
}

#[tokio::test]
async fn an_adapter_that_says_it_measures_is_asked_for_its_figures_when_it_has_answered() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(SqliteMetricsStore::at(folder.path().join("metrics.db")));
    for (capabilities, expected) in [("{}", None), (r#"{"metrics":true}"#, Some(5.0))] {
        run(&adapter(capabilities, ""), |one| one.with_metrics(store.clone())).await;
        let cached = summary(&*store, "cached_tokens").map(|cached| cached.last);
        assert_eq!(cached, expected, "{capabilities}");
    }
}

#[tokio::test]
async fn usage_that_an_adapter_tells_again_and_again_is_counted_once_with_its_last_figures() {
    let usage = Arc::new(MemoryUsageStore::new());
    let tells = |task: &str, input: u64, cost: f64| {
        let params =
            json!({"task_id": task, "usage": {"input_tokens": input, "output_tokens": 2}, "cost_usd": cost});
        let call = json!({"jsonrpc": "2.0", "method": "tokens.usage", "params": params});
        say(&call).replace("$task", "'$task'")
    };
    let works =
        [(70, 0.25), (100, 0.5), (100, 0.5)].map(|(input, cost)| tells("$task", input, cost)).concat();
    // Of another task it may tell nothing.
    let works = works + &tells("another", 9_000_000, 900.0);
    let report = run(&adapter("{}", &works), |one| one.with_usage(usage.clone())).await;
    assert_eq!(report.agents[0].usage.and_then(|usage| usage.input_tokens), Some(100));
    assert_eq!(report.warnings, ["agent `a` was refused `tokens.usage`: task `another` is not its own"]);
    let mut kept = Vec::new();
    usage.records(&UsageQuery::default(), &mut |record| kept.push(record)).expect("it can be read");
    let [record] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(record.usage.and_then(|usage| usage.input_tokens), Some(100));
    assert_eq!(record.cost.usd.map(|usd| usd.to_string()), Some("$0.50".to_owned()));
}

#[tokio::test]
async fn the_table_of_roles_says_who_may_ask_for_figures_and_who_may_tell_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Arc::new(SqliteMetricsStore::at(folder.path().join("metrics.db")));
    run(&adapter("{}", &report(&json!({"depth": 4}))), |one| one.with_metrics(store.clone())).await;
    for role in [Role::Operator, Role::Viewer, Role::Agent] {
        let methods = metrics_methods(store.clone(), &id("a"), role);
        let (near, far) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(near);
        let (_served, serving) = connect(reader, writer, methods, Options::default());
        let (reader, writer) = tokio::io::split(far);
        let (peer, asking) = connect(reader, writer, Router::new(), Options::default());
        let tasks = [tokio::spawn(serving.run()), tokio::spawn(asking.run())];
        let all = peer.call::<MetricsQuery>(&MetricsQueryParams::default()).await.expect("answered").values;
        assert_eq!((all["depth"], all["task_count"]), (4.0, 1.0), "{role}: {all:?}");
        let one = MetricsQueryParams { names: vec!["depth".to_owned(), "nobody_told".to_owned()] };
        assert_eq!(peer.call::<MetricsQuery>(&one).await.expect("answered").values.len(), 1, "{role}");
        // Who is no agent cannot speak as one; what an agent may tell, it tells in its own channel.
        for (method, denied) in
            [("metrics.report", role != Role::Agent), ("tokens.usage", role != Role::Agent)]
        {
            let answered = peer.call_untyped::<Value>(method, &json!({"values": {"depth": 9}})).await;
            let Err(CallError::Rpc { code, .. }) = answered else { panic!("{role} {method}: {answered:?}") };
            let expected = if denied { error_code::FORBIDDEN } else { error_code::METHOD_NOT_FOUND };
            assert_eq!(code, expected, "{role} {method}");
        }
        for task in tasks {
            task.abort();
        }
    }
    assert_eq!(summary(&*store, "depth").map(|depth| depth.last), Some(4.0));
}
