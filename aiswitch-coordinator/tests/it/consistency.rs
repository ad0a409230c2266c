//! What of a home's records does not agree is found, and mended without a loss.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use aiswitch_coordinator::{
    Home, MemoryAgent, ProcessMark, RunId, RunRecordSummary, RunState, RunStore, SqliteRunStore, StateProblem,
};

use aiswitch_metrics::SqliteMetricsStore;

use crate::support::{answer, coordinator, echo, home, id, plan};

async fn run(home: &Home, prompt: &str) -> RunId {
    let coordinator = coordinator([echo("a")]).with_home(home.clone());
    coordinator.execute_parallel(plan(prompt, &["a"])).await.expect("it runs").run_id
}

fn known(home: &Home) -> Vec<(RunId, RunState, String)> {
    let runs = home.runs().list().expect("a list").into_iter();
    runs.map(|run| (run.run_id, run.status, run.prompt_start)).collect()
}

/// Mends everything, which leaves nothing to find.
async fn mend(home: &Home) -> Vec<StateProblem> {
    let mended = home.mend_state().await.expect("mended");
    assert_eq!(home.state_problems().expect("a look"), []);
    mended
}

#[tokio::test]
async fn a_home_that_nothing_happened_to_and_one_without_runs_agree() {
    let (_folder, home) = home();
    assert_eq!(mend(&home).await, []);
    assert!(!home.state_dir().exists(), "a look makes nothing");
    run(&home, "hello").await;
    assert_eq!(mend(&home).await, []);
}

#[tokio::test]
async fn a_database_that_is_gone_or_damaged_is_made_anew_from_the_folders_of_runs() {
    for damage in [Damage::Gone, Damage::NoDatabase, Damage::Page] {
        let (_folder, home) = home();
        for prompt in ["first", "second"] {
            run(&home, prompt).await;
        }
        let before = known(&home);
        damage.to(&home.runs_file());
        let mended = mend(&home).await;
        let unknown = mended.iter().filter(|problem| matches!(problem, StateProblem::Unknown { .. })).count();
        assert_eq!((known(&home), unknown), (before, 2), "{damage:?}: {mended:?}");
        let aside = home
            .state_dir()
            .read_dir()
            .expect("a folder")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("runs.db.damaged-"));
        assert_eq!(aside.count() > 0, damage != Damage::Gone, "{damage:?}");
    }
}

/// What may happen to a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Gone,
    NoDatabase,
    Page,
}

impl Damage {
    fn to(self, path: &Path) {
        // What stands in the log beside the file is not yet in the file.
        let beside = |suffix| path.with_file_name(format!("runs.db{suffix}"));
        match self {
            Self::Gone => {
                for path in ["", "-wal", "-shm"].map(beside) {
                    drop(std::fs::remove_file(path));
                }
            }
            Self::NoDatabase => {
                for path in ["-wal", "-shm"].map(beside) {
                    drop(std::fs::remove_file(path));
                }
                std::fs::write(path, "x".repeat(20_000)).expect("written");
            }
            Self::Page => {
                let file = std::fs::File::options().write(true).open(path).expect("a file");
                let page = 4096;
                for at in (page..file.metadata().expect("a file").len()).step_by(4096) {
                    file.write_all_at(&[0xFF; 200], at).expect("written");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_run_whose_process_is_gone_is_found_and_one_that_goes_on_is_not() {
    let (_folder, home) = home();
    let first = run(&home, "hello").await;
    let store = SqliteRunStore::at(home.runs_file());
    let record = store.runs(1).expect("a database").remove(0);
    let gone = ProcessMark { started_ticks: Some(1), ..record.process.expect("it has one") };
    store
        .save(&RunRecordSummary { status: RunState::Running, process: Some(gone), ..record }, &[])
        .expect("written");
    // A look from within a run that goes on.
    let inside = home.clone();
    let looker = MemoryAgent::new(id("b"), move |_, _| {
        let home = inside.clone();
        async move { answer(format!("{:?}", home.state_problems().expect("a look"))) }
    });
    let report = coordinator([std::sync::Arc::new(looker) as _]).with_home(home.clone());
    let report = report.execute_parallel(plan("look", &["b"])).await.expect("it runs");
    assert_eq!(report.agents[0].answer.as_deref(), Some("[]"), "the run before it was taken care of");
    assert_eq!(known(&home)[1].1, RunState::Interrupted);

    let record = store.runs(2).expect("a database").remove(1);
    store
        .save(&RunRecordSummary { status: RunState::Running, process: Some(gone), ..record }, &[])
        .expect("written");
    let mended = mend(&home).await;
    assert!(mended.contains(&StateProblem::Interrupted { run: first }), "{mended:?}");
    assert_eq!(known(&home)[1].1, RunState::Interrupted);
}

#[tokio::test]
async fn a_view_that_was_changed_is_found_and_written_anew() {
    let (_folder, home) = home();
    run(&home, "hello").await;
    let before = std::fs::read_to_string(home.tasks_file()).expect("a file");
    std::fs::write(home.tasks_file(), before.replace("hello", "goodbye")).expect("written");
    assert_eq!(mend(&home).await, [StateProblem::Behind { path: home.tasks_file() }]);
    let after = std::fs::read_to_string(home.tasks_file()).expect("a file");
    assert!(after.contains("hello") && !after.contains("goodbye"), "{after}");
}

#[tokio::test]
async fn a_view_of_metrics_that_was_changed_and_their_damaged_database_are_found_and_mended() {
    let (_folder, home) = home();
    let store = Arc::new(SqliteMetricsStore::at(home.metrics_file()));
    let one = coordinator([echo("a")]).with_home(home.clone()).with_metrics(store);
    for _ in 0..2 {
        one.execute_parallel(plan("hello", &["a"])).await.expect("it runs");
    }
    drop(one);
    assert_eq!(mend(&home).await, []);
    let read = || std::fs::read_to_string(home.metrics_view_file()).expect("a file");
    let changed = read().replace("task_count", "tusk_count");
    assert_ne!(changed, read());
    std::fs::write(home.metrics_view_file(), changed).expect("written");
    assert_eq!(mend(&home).await, [StateProblem::Behind { path: home.metrics_view_file() }]);
    assert!(read().contains("task_count"), "{}", read());

    std::fs::write(home.metrics_view_file(), "{\"v\": 1, \"metrics\": [").expect("written");
    assert_eq!(mend(&home).await, [StateProblem::Behind { path: home.metrics_view_file() }]);

    std::fs::write(home.metrics_file(), "x".repeat(20_000)).expect("written");
    let mended = mend(&home).await;
    assert!(
        matches!(&mended[..], [StateProblem::Damaged { path, .. }] if *path == home.metrics_file()),
        "{mended:?}"
    );
    assert!(!read().contains("task_count"), "what the new database holds: {}", read());
}

#[tokio::test]
async fn a_run_without_a_report_is_known_from_its_events_and_an_empty_folder_stays() {
    let (_folder, home) = home();
    let first = run(&home, "hello").await;
    std::fs::remove_file(home.report_file(&first)).expect("removed");
    SqliteRunStore::at(home.runs_file()).forget(&[first]).expect("forgotten");
    let empty: RunId = "01K9XJ5V7C8N3T2B4M6P000001".parse().expect("a name");
    std::fs::create_dir_all(home.run_dir(&empty)).expect("a folder");
    let problems = home.state_problems().expect("a look");
    assert_eq!(problems.len(), 3, "two runs and the view: {problems:?}");
    let mended = home.mend_state().await.expect("mended");
    assert!(mended.contains(&StateProblem::Unknown { run: first }), "{mended:?}");
    assert_eq!(known(&home), [(first, RunState::Interrupted, String::new())]);
    assert_eq!(home.state_problems().expect("a look"), [StateProblem::Unknown { run: empty }]);
}
