//! The documented views of the records: files in `state/` that scripts read.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use aiswitch_agent::TokenUsage;
use aiswitch_coordinator::{
    AgentRecord, Cost, RunRecordSummary, RunStatus, RunStore, SqliteRunStore, TASKS_KEPT_MAX, TaskResult,
    Usage, UsageStore,
};
use aiswitch_metrics::SqliteMetricsStore;
use aiswitch_tokens::{MemoryUsageStore, UsageKey, UsageRecord};
use chrono::DateTime;
use jiff::{SignedDuration, Timestamp};

use crate::support::{agent, answer, coordinator, document, echo, failing, home, id, plan};

#[tokio::test]
async fn the_view_shows_the_last_runs_and_the_store_keeps_all() {
    let (_folder, home) = home();
    let one = coordinator([echo("a")]).with_home(home.clone());
    let first = one.execute_parallel(plan("first", &["a"])).await.expect("it runs").run_id;
    let store = SqliteRunStore::at(home.runs_file());
    let template = store.runs(1).expect("a database").remove(0);
    for n in 0..TASKS_KEPT_MAX {
        let run_id = format!("01K9XJ5V7C8N3T2B4M6P{n:06}").parse().expect("a name");
        store.save(&RunRecordSummary { run_id, ..template.clone() }, &[]).expect("written");
    }
    let last = one.execute_parallel(plan("last", &["a"])).await.expect("it runs").run_id;
    let shown = document(&home.tasks_file()).expect("a file")["tasks"].as_array().cloned().expect("a list");
    assert_eq!(shown.len(), TASKS_KEPT_MAX);
    assert_eq!(shown[TASKS_KEPT_MAX - 1]["run_id"], last.to_string());
    assert_eq!(store.runs(usize::MAX).expect("a database").len(), TASKS_KEPT_MAX + 2);
    assert_eq!(home.runs().read(&first).expect("a report").task.prompt, "first");
}

#[tokio::test]
async fn a_view_is_one_generation_on_whenever_it_changes_and_never_goes_back() {
    let (_folder, home) = home();
    let one = coordinator([echo("a")]).with_home(home.clone());
    let generation = || document(&home.tasks_file()).expect("a file")["generation"].as_u64();
    let mut seen = Vec::new();
    for _ in 0..3 {
        one.execute_parallel(plan("hello", &["a"])).await.expect("it runs");
        seen.push(generation());
    }
    // Each run is shown twice: as it goes on, and as it ended.
    assert_eq!(seen, [Some(2), Some(4), Some(6)]);
}

#[tokio::test]
async fn tokens_json_shows_what_each_agent_used_in_the_last_day() {
    let (_folder, home) = home();
    let usage = TokenUsage { input_tokens: Some(700), output_tokens: Some(50), ..TokenUsage::default() };
    let spender = || {
        agent("a", move |_| async move {
            TaskResult { usage: Some(usage), cost_usd: Some(0.5), ..answer("done") }
        })
    };
    let store = Arc::new(MemoryUsageStore::new());
    // A session of the day before yesterday, and one of now, which an agent had without a run.
    for (message, hours) in [("old", 48), ("new", 1)] {
        store.track_usage(&[imported(message, hours)]).expect("kept");
    }
    let one = coordinator([spender()]).with_home(home.clone()).with_usage(store);
    for _ in 0..2 {
        one.execute_parallel(plan("hello", &["a"])).await.expect("it runs");
    }
    let shown = document(&home.tokens_file()).expect("a file");
    let agents = shown["agents"].as_array().expect("a list");
    let [a, b] = agents.as_slice() else { panic!("{shown}") };
    assert_eq!((&a["agent"], &a["usage"]["input_tokens"]), (&"a".into(), &1400.into()), "{shown}");
    assert_eq!((&a["cost"]["usd"], &a["cost"]["unpriced"]), (&1.0.into(), &0.into()), "{shown}");
    assert_eq!((&b["agent"], &b["usage"]["output_tokens"]), (&"b".into(), &7.into()), "{shown}");
    assert_eq!(shown["generation"], 2);
}

#[tokio::test]
async fn metrics_json_shows_the_newest_figure_of_each_metric_and_the_sums_of_all_time() {
    let (_folder, home) = home();
    let store = Arc::new(SqliteMetricsStore::at(home.metrics_file()));
    let one = coordinator([echo("a"), failing("bad")]).with_home(home.clone()).with_metrics(store);
    let shown = async |agents: &[&str]| {
        let report = one.execute_parallel(plan("hello", agents)).await.expect("it runs");
        assert_eq!(report.warnings, [""; 0]);
        document(&home.metrics_view_file()).expect("a file")
    };
    let before = shown(&["a"]).await["generation"].as_u64();
    let view = shown(&["a", "bad"]).await;
    assert!(view["generation"].as_u64() > before && view["v"] == 1, "{view}");
    let figures = |agent: Option<&str>, metric: &str| {
        let list = view["metrics"].as_array().expect("a list");
        let is_it = |row: &&serde_json::Value| row["agent"].as_str() == agent && row["metric"] == metric;
        list.iter().find(is_it).cloned().unwrap_or_default()
    };
    let tasks = figures(Some("a"), "task_count");
    assert_eq!((&tasks["kind"], &tasks["last"], &tasks["sum"]), (&"count".into(), &1.0.into(), &2.0.into()));
    assert_eq!(figures(Some("bad"), "error_count")["sum"], 1.0);
    let machine = figures(None, "memory_available_bytes");
    assert!(machine["last"].as_f64() > Some(0.0) && machine["last_at"].is_string(), "{machine}");
    // What nobody has told is not there, rather than 0.
    assert_eq!(figures(Some("a"), "tokens_input"), serde_json::Value::Null);
}

#[tokio::test]
async fn each_entry_of_a_view_has_what_the_readme_says_of_it() {
    let (_folder, home) = home();
    let store = Arc::new(SqliteMetricsStore::at(home.metrics_file()));
    let usage = Arc::new(MemoryUsageStore::new());
    let spender = agent("a", move |_| async move { TaskResult { cost_usd: Some(0.5), ..answer("done") } });
    let one = coordinator([spender]).with_home(home.clone()).with_metrics(store).with_usage(usage);
    let run_id = one.execute_parallel(plan("hello", &["a"])).await.expect("it runs").run_id;
    // Nobody works any more, so an entry of those who do is made here.
    let process = SqliteRunStore::at(home.runs_file()).runs(1).expect("a database")[0].process;
    let at_work = AgentRecord {
        agent: id("a"),
        run_id,
        driver: "memory".to_owned(),
        pid: None,
        started_at: DateTime::UNIX_EPOCH,
        process: process.expect("it has one"),
    };
    let at_work = serde_json::to_value(at_work).expect("a record");
    let views =
        [("tasks", home.tasks_file()), ("agents", home.tokens_file()), ("metrics", home.metrics_view_file())];
    let shown = views.map(|(list, path)| {
        let view = document(&path).expect("a file");
        assert!(view["v"] == 1 && view["generation"].is_u64() && view["as_of"].is_string(), "{view}");
        (path.file_name().expect("it has one").to_string_lossy().into_owned(), list, view[list][0].clone())
    });
    let readme = include_str!("../../README.md");
    for (file, list, entry) in shown.into_iter().chain([("agents.json".to_owned(), "agents", at_work)]) {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{file}` | `{list}` |")));
        let told = row.and_then(|row| row.trim_end_matches(" |").rsplit(" | ").next()).expect("a row");
        let mut told: Vec<&str> = told.split(' ').map(|name| name.trim_matches('`')).collect();
        let mut has: Vec<&str> = entry.as_object().expect("an entry").keys().map(String::as_str).collect();
        told.sort_unstable();
        has.sort_unstable();
        assert_eq!(has, told, "{file}");
    }
}

/// What agent `b` used so many hours ago.
fn imported(message: &str, hours: i64) -> UsageRecord {
    let now = Timestamp::try_from(std::time::SystemTime::now()).expect("a time");
    UsageRecord {
        key: UsageKey { source: "test".to_owned(), message: message.to_owned() },
        at: now - SignedDuration::from_hours(hours),
        agent: "b".to_owned(),
        model: None,
        preset: None,
        task: None,
        run: None,
        session: None,
        tier: None,
        requests: None,
        usage: Some(Usage { output_tokens: Some(7), ..Usage::default() }),
        cost: Cost::default(),
    }
}

#[tokio::test]
async fn fault_34_what_was_done_to_a_view_is_undone_and_told_and_a_later_version_is_left_alone() {
    let told = async |text: &str| {
        let (_folder, home) = home();
        std::fs::create_dir_all(home.state_dir()).expect("a folder");
        std::fs::write(home.tasks_file(), text).expect("a file");
        let report = coordinator([echo("a")])
            .with_home(home.clone())
            .execute_parallel(plan("hello", &["a"]))
            .await
            .expect("it runs");
        assert_eq!(report.status, RunStatus::Completed);
        assert_eq!(home.runs().list().expect("a list").len(), 1);
        let left = document(&home.tasks_file()).expect("a file");
        (report.warnings, left["tasks"].as_array().map(Vec::len))
    };
    let (warnings, shown) = told("{\"v\": 1, \"tasks\": [").await;
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.ends_with("tasks.json` was damaged at line 1, and was written anew"), "{warning}");
    assert_eq!(shown, Some(1));
    let (warnings, shown) = told("{\"v\": 2, \"tasks\": []}").await;
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.ends_with("tasks.json` has version 2, which this program does not know"), "{warning}");
    assert_eq!(shown, Some(0));
}

#[tokio::test]
async fn a_state_file_that_stays_as_it_is_is_not_written_again() {
    let (_folder, home) = home();
    let file = || home.agents_file().metadata().expect("a file").ino();
    let run = async || {
        let coordinator = coordinator([echo("a")]).with_home(home.clone());
        coordinator.execute_parallel(plan("hello", &["a"])).await.expect("it runs")
    };
    run().await;
    // A file that is replaced is another one.
    let first = file();
    run().await;
    assert_eq!(file(), first);
}
