//! What is beyond a home's retention goes, and nothing else.

use std::time::Duration;

use aiswitch_coordinator::{
    Expired, Home, MemoryAgent, Retention, RunId, RunStore, SqliteRunStore, StateProblem,
};
use chrono::{DateTime, Utc};

use crate::support::{answer, coordinator, echo, home, id, plan};

async fn run(home: &Home) -> RunId {
    let coordinator = coordinator([echo("a")]).with_home(home.clone());
    coordinator.execute_parallel(plan("hello", &["a"])).await.expect("it runs").run_id
}

/// Far enough ahead for everything of now to be too old.
fn later() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(4_000_000_000_000).expect("a time")
}

/// Just after what the files of now say.
fn chrono_now() -> DateTime<Utc> {
    std::time::SystemTime::now().into()
}

fn now() -> DateTime<Utc> {
    later() - chrono::Duration::days(365_000)
}

#[tokio::test]
async fn what_is_too_old_goes_with_its_record_and_its_folder() {
    let (_folder, home) = home();
    let (first, second) = (run(&home).await, run(&home).await);
    assert_eq!(Expired::find(&home, &Retention::default(), now()).expect("a look"), Expired::default());
    let expired = Expired::find(&home, &Retention::default(), later()).expect("a look");
    assert_eq!((expired.runs.as_slice(), expired.logs.len()), (&[first, second][..], 0));
    assert!(home.run_dir(&first).exists() && expired.bytes > 0, "a look removes nothing");
    expired.remove(&home).await.expect("removed");
    assert!(!home.run_dir(&first).exists() && !home.run_dir(&second).exists());
    assert_eq!(home.runs().list().expect("a list"), []);
    // Another process that found the same has nothing left to do.
    expired.remove(&home).await.expect("nothing to remove");
    assert_eq!(home.state_problems().expect("a look"), [] as [StateProblem; 0]);
    assert!(!Expired::is_due(&home, chrono_now()) && Expired::is_due(&home, later()));
}

#[tokio::test]
async fn of_too_much_the_oldest_goes() {
    let (_folder, home) = home();
    let runs = [run(&home).await, run(&home).await, run(&home).await];
    let all = Expired::find(&home, &Retention { run_bytes_max: 0, ..Retention::default() }, now());
    let bytes = all.expect("a look").bytes;
    let two_thirds = Retention { run_bytes_max: bytes / 3 * 2, ..Retention::default() };
    assert_eq!(Expired::find(&home, &two_thirds, now()).expect("a look").runs, runs[..1]);
}

#[tokio::test]
async fn a_run_that_goes_on_stays() {
    let (_folder, home) = home();
    let before = run(&home).await;
    let inside = home.clone();
    let looker = MemoryAgent::new(id("b"), move |_, _| {
        let home = inside.clone();
        async move {
            let expired = Expired::find(&home, &Retention::default(), later()).expect("a look");
            answer(expired.runs.iter().map(ToString::to_string).collect::<String>())
        }
    });
    let coordinator = coordinator([std::sync::Arc::new(looker) as _]).with_home(home.clone());
    let report = coordinator.execute_parallel(plan("look", &["b"])).await.expect("it runs");
    assert_eq!(report.agents[0].answer.as_deref(), Some(before.to_string().as_str()));
}

#[tokio::test]
async fn files_of_logs_go_but_for_the_one_that_is_written() {
    let (_folder, home) = home();
    let folder = home.logs_dir();
    std::fs::create_dir_all(folder.join("agents")).expect("a folder");
    let line =
        |day: &str| format!("{{\"ts\":\"2026-{day}T00:00:00.000Z\",\"level\":\"info\",\"msg\":\"x\"}}\n");
    for (name, text) in [
        ("coordinator-20261101T000000.000Z.log.zst", "packed".to_owned()),
        ("coordinator-20261120T000000.000Z.log", line("11-20") + &line("11-22")),
        ("coordinator.log", line("11-23")),
        ("agents/a.log", line("10-01")),
    ] {
        std::fs::write(folder.join(name), text).expect("written");
    }
    let names = |now: &str, retention: Retention| {
        let expired = Expired::find(&home, &retention, now.parse().expect("a time")).expect("a look");
        let name =
            |path: &std::path::PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
        expired.logs.iter().map(name).collect::<Vec<_>>()
    };
    let days = |days: u64| Retention { log_age_max: Duration::from_hours(24 * days), ..Retention::default() };
    // The last line of the one is not later than the first one of the next file, of the 20th; that of the other is of the 22nd.
    assert_eq!(names("2026-11-25T00:00:00Z", days(5)), [] as [&str; 0]);
    assert_eq!(names("2026-11-25T01:00:00Z", days(5)), ["coordinator-20261101T000000.000Z.log.zst"]);
    let both = ["coordinator-20261101T000000.000Z.log.zst", "coordinator-20261120T000000.000Z.log"];
    assert_eq!(names("2026-11-27T01:00:00Z", days(5)), both);
    let none = Retention { log_bytes_max: 0, ..Retention::default() };
    assert_eq!(names("2026-11-25T00:00:00Z", none), both);
    let expired = Expired::find(&home, &none, now()).expect("a look");
    expired.remove(&home).await.expect("removed");
    assert!(folder.join("coordinator.log").exists() && !folder.join(both[1]).exists());
}

#[tokio::test]
async fn what_was_removed_is_gone_from_the_database_alone_when_it_expired() {
    let (_folder, home) = home();
    let (first, second) = (run(&home).await, run(&home).await);
    let expired = Expired { runs: vec![first], ..Expired::default() };
    expired.remove(&home).await.expect("removed");
    let kept = SqliteRunStore::at(home.runs_file()).runs(9).expect("a database");
    assert_eq!(kept.iter().map(|run| run.run_id).collect::<Vec<_>>(), [second]);
}
