//! What every store of runs keeps.

use std::sync::Arc;

use aiswitch_coordinator::{
    AgentRecord, MemoryRunStore, ProcessMark, RunId, RunMode, RunRecordSummary, RunState, RunStatus,
    RunStore, SqliteRunStore,
};
use chrono::DateTime;

use crate::support::{coordinator, echo, id, plan};

/// Each store, and what keeps it.
fn stores() -> Vec<(Arc<dyn RunStore>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = SqliteRunStore::at(folder.path().join("runs.db"));
    vec![(Arc::new(MemoryRunStore::new()), None), (Arc::new(sqlite), Some(folder))]
}

fn name(n: u32) -> RunId {
    format!("01K9XJ5V7C8N3T2B4M6P{n:06}").parse().expect("a name")
}

fn run(n: u32, status: RunState) -> RunRecordSummary {
    RunRecordSummary {
        run_id: name(n),
        status,
        mode: RunMode::Sequential,
        agents: vec![id("a"), id("b")],
        prompt_start: "it's \"quoted\"; DROP TABLE runs --".to_owned(),
        cwd: "/tmp/ä b".into(),
        started_at: DateTime::from_timestamp_millis(1_762_000_000_123).expect("a time"),
        duration_ms: matches!(status, RunState::Ended(_)).then_some(u64::from(n)),
        process: (n != 2).then_some(ProcessMark { pid: u32::MAX, started_ticks: Some(7) }),
    }
}

fn agent(n: u32, agent: &str) -> AgentRecord {
    AgentRecord {
        agent: id(agent),
        run_id: name(n),
        driver: "command".to_owned(),
        pid: (agent == "a").then_some(42),
        started_at: DateTime::from_timestamp_millis(1_762_000_000_456).expect("a time"),
        process: ProcessMark { pid: 1, started_ticks: None },
    }
}

#[test]
fn what_is_kept_is_read_as_it_was() {
    for (store, _folder) in stores() {
        let (one, two) = (run(1, RunState::Running), run(2, RunState::Ended(RunStatus::Partial)));
        store.save(&two, &[]).expect("kept");
        store.save(&one, &[agent(1, "b"), agent(1, "a")]).expect("kept");
        assert_eq!(store.runs(9).expect("runs"), [two.clone(), one.clone()]);
        assert_eq!(store.runs(1).expect("runs"), [two]);
        assert_eq!(store.running().expect("runs"), [one]);
        assert_eq!(store.agents().expect("agents"), [agent(1, "a"), agent(1, "b")]);
    }
}

#[test]
fn a_run_takes_the_place_of_what_was_kept_of_it_and_of_nothing_else() {
    for (store, _folder) in stores() {
        store.save(&run(1, RunState::Running), &[agent(1, "a"), agent(1, "b")]).expect("kept");
        store.save(&run(2, RunState::Running), &[agent(2, "a")]).expect("kept");
        let ended = run(1, RunState::Ended(RunStatus::Completed));
        store.save(&ended, &[]).expect("kept");
        assert_eq!(store.runs(9).expect("runs"), [run(2, RunState::Running), ended]);
        assert_eq!(store.agents().expect("agents"), [agent(2, "a")]);
    }
}

#[test]
fn only_what_runs_is_interrupted_and_what_is_forgotten_is_gone_with_its_agents() {
    for (store, _folder) in stores() {
        let ended = run(3, RunState::Ended(RunStatus::Failed));
        for n in [1, 2] {
            store.save(&run(n, RunState::Running), &[agent(n, "a")]).expect("kept");
        }
        store.save(&ended, &[]).expect("kept");
        store.interrupt(&[name(1), name(3), name(4)]).expect("kept");
        let states = |store: &dyn RunStore| {
            store.runs(9).expect("runs").into_iter().map(|run| run.status).collect::<Vec<_>>()
        };
        assert_eq!(states(store.as_ref()), [ended.status, RunState::Running, RunState::Interrupted]);
        assert_eq!(store.agents().expect("agents"), [agent(2, "a")]);
        store.forget(&[name(2), name(3), name(4)]).expect("forgotten");
        assert_eq!(states(store.as_ref()), [RunState::Interrupted]);
        assert_eq!(store.agents().expect("agents"), []);
    }
}

#[tokio::test]
async fn a_program_without_a_home_keeps_its_runs_in_memory() {
    let store = Arc::new(MemoryRunStore::new());
    let report = coordinator([echo("a")])
        .with_run_store(Arc::clone(&store) as _)
        .execute_parallel(plan("hello", &["a"]))
        .await
        .expect("it runs");
    let kept = store.runs(9).expect("runs");
    assert_eq!(
        kept.iter().map(|run| (run.run_id, run.status)).collect::<Vec<_>>(),
        [(report.run_id, RunState::Ended(RunStatus::Completed))]
    );
}
