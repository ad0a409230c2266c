//! The state files and the folders of runs.
#![expect(clippy::disallowed_methods, reason = "processes that share a home are processes")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use aiswitch_agent::{AgentEvent, TokenUsage};
use aiswitch_coordinator::{
    AgentRecord, CancellationToken, Cost, EVENTS_BYTES_MAX, Home, HomeError, LockManager, MemoryAgent,
    MemoryLockManager, ProcessMark, RunEvent, RunEventKind, RunRecordSummary, RunReport, RunState, RunStatus,
    RunStore, SqliteRunStore, TASKS_KEPT_MAX, TaskResult, Usage, UsageStore,
};

use aiswitch_metrics::SqliteMetricsStore;
use aiswitch_tokens::{MemoryUsageStore, UsageKey, UsageRecord};
use chrono::DateTime;
use jiff::{SignedDuration, Timestamp};

use crate::examples::example;
use crate::support::{agent, answer, coordinator, echo, failing, id, mode, plan, script, wait_for};

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path().join("home"));
    (folder, home)
}

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

/// The document in a state file, which must be whole at any moment; `None` before there is one.
fn document(path: &Path) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", path.display())))
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
