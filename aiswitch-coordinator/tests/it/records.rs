//! The state files and the folders of runs.
#![expect(clippy::disallowed_methods, reason = "processes that share a home are processes")]

use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use aiswitch_agent::AgentEvent;
use aiswitch_coordinator::{
    CancellationToken, EVENTS_BYTES_MAX, Home, HomeError, LockManager, MemoryAgent, MemoryLockManager,
    ProcessMark, RunEvent, RunEventKind, RunRecordSummary, RunReport, RunState, RunStatus, RunStore,
    SqliteRunStore,
};

use crate::examples::example;
use crate::support::{answer, coordinator, document, echo, failing, home, id, mode, plan, script, wait_for};

/// A process that does runs in a home.
fn writer(home: &Home, count: usize) -> Child {
    Command::new(example("kept_runs"))
        .arg(home.root())
        .arg(count.to_string())
        .env_clear()
        .stdout(Stdio::null())
        .spawn()
        .expect("the example")
}

/// Has the latest run stand as running, by a process like its own.
fn stands_as_running(home: &Home, change: fn(&mut ProcessMark)) {
    let store = SqliteRunStore::at(home.runs_file());
    let mut run = store.runs(1).expect("a database").remove(0);
    run.status = RunState::Running;
    change(run.process.as_mut().expect("it has one"));
    store.save(&run, &[]).expect("written");
}

#[tokio::test]
async fn a_run_leaves_its_report_its_events_and_what_its_agents_printed() {
    let (_folder, home) = home();
    let mut told: Vec<RunEvent> = Vec::new();
    let report = coordinator([script("a", "cat; echo aside >&2"), failing("b")])
        .with_home(home.clone())
        .run(plan("hello", &["a", "b"]), CancellationToken::new(), |event| told.push(event.clone()))
        .await
        .expect("it runs");
    let runs = home.runs();
    assert_eq!(runs.read(&report.run_id).expect("a report"), report);
    let kept: Vec<RunEvent> =
        runs.events(&report.run_id).expect("events").map(|event| event.expect("whole")).collect();
    assert_eq!(kept, told);
    let printed = home.agent_dir(&report.run_id, &id("a"));
    let read = |name| std::fs::read_to_string(printed.join(name)).expect("a log");
    assert_eq!((read("stdout.log"), read("stderr.log")), ("hello".to_owned(), "aside\n".to_owned()));
    let listed = runs.list().expect("a list");
    let [only] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((only.run_id, only.status), (report.run_id, RunState::Ended(RunStatus::Partial)));
    assert_eq!((only.prompt_start.as_str(), only.duration_ms), ("hello", Some(report.duration_ms)));
    assert_eq!(runs.agents_at_work().expect("a list"), []);
}

#[tokio::test]
async fn folders_and_files_are_for_their_owner_alone() {
    let (_folder, home) = home();
    let report = coordinator([script("a", "cat")])
        .with_home(home.clone())
        .execute_parallel(plan("hello", &["a"]))
        .await
        .expect("it runs");
    let mut folders = vec![home.root().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                assert_eq!(mode(&entry), 0o600, "{}", entry.display());
                files += 1;
            }
        }
    }
    assert!(files >= 6 && home.report_file(&report.run_id).is_file(), "{files}");
}

#[tokio::test]
async fn what_runs_now_is_in_the_state_files_and_is_gone_afterwards() {
    let (_folder, home) = home();
    let state = home.agents_file();
    // It works until it stands in the file.
    let agent = script(
        "a",
        &format!("until grep -q '\"pid\": '$$, {}; do sleep 0.05; done; cat {0}", state.display()),
    );
    let report = coordinator([agent])
        .with_home(home.clone())
        .execute_parallel(plan("hello", &["a"]))
        .await
        .expect("it runs");
    let seen: serde_json::Value =
        serde_json::from_str(report.agents[0].answer.as_deref().expect("it saw")).expect("JSON");
    assert_eq!(seen["agents"][0]["run_id"], report.run_id.to_string());
    assert_eq!(seen["agents"][0]["agent"], "a");
    assert_eq!(document(&state).expect("a file")["agents"], serde_json::json!([]));
}

#[tokio::test]
async fn a_run_whose_process_was_killed_is_interrupted() {
    let (_folder, home) = home();
    let list = || home.runs().list().expect("a whole file");
    // The signal may come between two runs of the writer, so that none is interrupted.
    let interrupted = (0..20).any(|_| {
        let mut child = writer(&home, 1_000_000);
        let is_under_way = |run: &RunRecordSummary| {
            run.status == RunState::Running && run.process.is_some_and(|process| process.pid == child.id())
        };
        wait_for("a run is under way", || list().iter().any(is_under_way));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(list().iter().all(|run| run.status != RunState::Running));
        list().iter().any(|run| run.status == RunState::Interrupted)
    });
    assert!(interrupted);
    // The next run goes on with the same files.
    let report = coordinator([echo("a")])
        .with_home(home.clone())
        .execute_parallel(plan("hello", &["a"]))
        .await
        .expect("it runs");
    let [told] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(told.ends_with("was interrupted; nothing of it was left running"), "{told}");
    assert_eq!(list()[0].run_id, report.run_id);
}

#[tokio::test]
async fn what_an_interrupted_run_left_behind_is_killed_when_the_next_one_starts() {
    let (_folder, home) = home();
    let one = coordinator([echo("a")]).with_home(home.clone());
    let first = one.execute_parallel(plan("hello", &["a"])).await.expect("it runs");
    let leave = |run: &str| {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000").env(aiswitch_agent::MARKER, format!("{run}:a")).spawn().expect("a process")
    };
    let (mut left, mut other) = (leave(&first.run_id.to_string()), leave("01ANOTHER"));
    // As if the process of that run were gone: its number is another's now.
    stands_as_running(&home, |process| process.started_ticks = Some(1));

    let second = one.execute_parallel(plan("hello", &["a"])).await.expect("it runs");
    let killed = left.wait().expect("it ends");
    let others_end = other.try_wait().expect("it is a child");
    other.kill().expect("it goes on");
    other.wait().expect("it ends");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed), Some(9));
    assert_eq!(others_end, None, "the processes of other runs are left alone");
    let told = format!("1 processes that interrupted run {} had left were killed", first.run_id);
    assert_eq!(second.warnings, [told]);
    assert_eq!(document(&home.tasks_file()).expect("a file")["tasks"][0]["status"], "interrupted");
    let third = one.execute_parallel(plan("hello", &["a"])).await.expect("it runs");
    assert_eq!(third.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn fault_38_a_process_with_the_number_of_an_earlier_one_is_not_taken_for_it() {
    let (_folder, home) = home();
    let one = coordinator([echo("a")]).with_home(home.clone());
    one.execute_parallel(plan("hello", &["a"])).await.expect("it runs");
    let state_with = |change: fn(&mut ProcessMark)| {
        stands_as_running(&home, change);
        home.runs().list().expect("a list")[0].status
    };
    assert_eq!(state_with(|_| {}), RunState::Running);
    assert_eq!(state_with(|process| process.started_ticks = Some(1)), RunState::Interrupted);
}

#[tokio::test]
async fn two_coordinators_of_one_process_share_a_home() {
    let (_folder, home) = home();
    let locks: Arc<dyn LockManager> = Arc::new(MemoryLockManager::new());
    let one = coordinator([script("a", "cat")]).with_home(home.clone()).with_locks(Arc::clone(&locks));
    let two = coordinator([script("a", "cat")]).with_home(home.clone()).with_locks(locks);
    let plan = || plan("hello", &["a"]);
    let (first, second) = tokio::join!(one.execute_parallel(plan()), two.execute_parallel(plan()));
    let mut ids = [first, second].map(|report| report.expect("it runs").run_id);
    ids.sort_by_key(|id| std::cmp::Reverse(*id));
    assert_eq!(home.runs().list().expect("a list").iter().map(|run| run.run_id).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn events_beyond_the_limit_are_told_but_not_kept() {
    let (_folder, home) = home();
    let mebibyte = "x".repeat(1024 * 1024);
    let flood = MemoryAgent::new(id("a"), move |_, context| {
        let text = mebibyte.clone();
        async move {
            for _ in 0..65 {
                context.events.send(AgentEvent::Output { text: text.clone() }).await;
            }
            answer("done")
        }
    });
    let mut told = 0;
    let report = coordinator([Arc::new(flood) as _])
        .with_home(home.clone())
        .run(plan("hello", &["a"]), CancellationToken::new(), |event| {
            told += usize::from(matches!(event.kind, RunEventKind::Output { .. }));
        })
        .await
        .expect("it runs");
    let path = home.events_file(&report.run_id);
    assert_eq!((report.status, told), (RunStatus::Completed, 65));
    let expected =
        format!("later events are not kept in `{}`: it has reached 67108864 bytes", path.display());
    assert_eq!(report.warnings, [expected]);
    assert!(path.metadata().expect("a file").len() <= EVENTS_BYTES_MAX);
    assert!(home.runs().events(&report.run_id).expect("events").all(|event| event.is_ok()));
}

#[test]
fn two_processes_share_a_home_and_its_files_are_whole_at_any_moment() {
    let (_folder, home) = home();
    let mut writers = [writer(&home, 20), writer(&home, 20)];
    let mut looks = 0;
    while writers.iter_mut().any(|writer| writer.try_wait().expect("a child").is_none()) {
        document(&home.tasks_file());
        document(&home.agents_file());
        looks += 1;
    }
    for mut writer in writers {
        assert!(writer.wait().expect("it ends").success());
    }
    let listed = home.runs().list().expect("a list");
    assert!(listed.iter().all(|run| run.status == RunState::Ended(RunStatus::Completed)), "{listed:?}");
    assert_eq!((listed.len(), looks > 0), (40, true));
    assert!(listed.is_sorted_by(|a, b| a.run_id > b.run_id));
}

/// How often a writer is killed; the variable `AISWITCH_HOSTILE_RUNS` asks for more.
#[expect(clippy::disallowed_methods, reason = "only whoever runs the tests knows how long they may take")]
fn kills() -> usize {
    std::env::var("AISWITCH_HOSTILE_RUNS").map_or(5, |runs| runs.parse().expect("a number"))
}

#[test]
fn fault_35_a_killed_writer_leaves_whole_files_that_others_go_on_with() {
    let (_folder, home) = home();
    let listed = || format!("{:?}", home.runs().list().expect("a whole file"));
    for _ in 0..kills() {
        let before = listed();
        let mut child = writer(&home, 1_000_000);
        wait_for("it has written", || listed() != before);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        // They are written behind the database, so the first writer may have been killed before it.
        document(&home.tasks_file());
        document(&home.agents_file());
    }
    let before = listed();
    assert!(writer(&home, 1).wait().expect("it ends").success());
    assert_ne!(listed(), before);
}

#[tokio::test]
async fn a_run_goes_on_without_a_database_that_is_damaged_and_names_it() {
    let (_folder, home) = home();
    std::fs::create_dir_all(home.state_dir()).expect("a folder");
    std::fs::set_permissions(home.state_dir(), PermissionsExt::from_mode(0o700)).expect("closed");
    std::fs::write(home.runs_file(), "this is no database, as long as it may be").expect("a file");
    std::fs::set_permissions(home.runs_file(), PermissionsExt::from_mode(0o600)).expect("closed");
    let report = coordinator([echo("a")])
        .with_home(home.clone())
        .execute_parallel(plan("hello", &["a"]))
        .await
        .expect("it runs");
    assert_eq!(report.status, RunStatus::Completed);
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(warning.starts_with("how the run is is not kept: database `"), "{warning}");
    assert!(home.runs().list().is_err());
}

#[tokio::test]
async fn fault_33_records_that_fail_during_a_run_are_warnings() {
    let (_folder, home) = home();
    // The agent takes the home away while it works.
    let agent = script("a", &format!("rm -r {}; echo done", home.root().display()));
    let report = coordinator([agent])
        .with_home(home.clone())
        .execute_parallel(plan("hello", &["a"]))
        .await
        .expect("it runs");
    assert_eq!(report.status, RunStatus::Completed);
    assert!(
        report.warnings.iter().any(|warning| warning.starts_with("the report is not kept: ")),
        "{report:?}"
    );
    assert!(
        report.warnings.iter().any(|warning| warning.starts_with("how the run is is not kept: ")),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_run_is_found_by_its_name_the_start_of_it_or_as_the_last_one() {
    let (_folder, home) = home();
    let missing = |wanted: &str| match home.runs().resolve(wanted) {
        Err(error) => error.to_string(),
        Ok(run) => panic!("{run}"),
    };
    assert_eq!(missing("last"), "no run is kept");
    let one = coordinator([echo("a")]).with_home(home.clone());
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(one.execute_parallel(plan("hello", &["a"])).await.expect("it runs").run_id);
    }
    ids.sort();
    let (first, last) = (ids[0], ids[1]);
    let found = |wanted: &str| home.runs().resolve(wanted).expect("a run");
    assert_eq!((found("last"), found(&first.to_string().to_lowercase())), (last, first));
    // Two names differ somewhere; up to there they are ambiguous.
    let (one, two) = (first.to_string(), last.to_string());
    let same = one.bytes().zip(two.bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!((found(&one[..=same]), found(&two[..=same])), (first, last));
    let expected = format!("2 runs start with `{}`, among them `{last}` and `{first}`", &one[..same]);
    assert_eq!(
        (missing(&one[..same]), missing("../x"), missing("")),
        (expected, "no run is called `../x`".to_owned(), "no run is called ``".to_owned())
    );
}

#[tokio::test]
async fn half_a_line_at_the_end_of_the_events_is_no_event() {
    let (_folder, home) = home();
    let report = coordinator([echo("a")])
        .with_home(home.clone())
        .execute_parallel(plan("hello", &["a"]))
        .await
        .expect("it runs");
    let path = home.events_file(&report.run_id);
    let text = std::fs::read_to_string(&path).expect("a file");
    let lines = text.lines().count();
    std::fs::write(&path, &text[..text.len() - 10]).expect("written");
    let events: Vec<Result<RunEvent, HomeError>> =
        home.runs().events(&report.run_id).expect("events").collect();
    assert_eq!((events.len(), events.iter().all(Result::is_ok)), (lines - 1, true));
    std::fs::write(&path, "{}\n").expect("written");
    let damaged: Vec<String> = home
        .runs()
        .events(&report.run_id)
        .expect("events")
        .filter_map(|event| event.err().map(|error| error.to_string()))
        .collect();
    assert_eq!(damaged.len(), 1, "{damaged:?}");
}

#[tokio::test]
async fn without_a_home_nothing_is_written_but_the_events_are_the_same() {
    let kinds = |home: Option<Home>| async move {
        let coordinator = coordinator([echo("a")]);
        let coordinator = match home {
            Some(home) => coordinator.with_home(home),
            None => coordinator,
        };
        let mut kinds = Vec::new();
        let report: RunReport = coordinator
            .run(plan("hello", &["a"]), CancellationToken::new(), |event| {
                kinds.push(std::mem::discriminant::<RunEventKind>(&event.kind));
            })
            .await
            .expect("it runs");
        (kinds, report.warnings)
    };
    let (_folder, home) = home();
    assert_eq!(kinds(None).await, kinds(Some(home)).await);
}
