//! Agents that are real processes, of which none may be left.

use std::sync::Arc;
use std::time::Duration;

use aiswitch_coordinator::{
    CancellationToken, ErrorKind, Home, Limits, MemoryAgent, Outcome, PermissionMode, RunEventKind, RunStatus,
};

use crate::support::{
    answer, coordinator, endless, id, is_alive, marked, outcomes, plan, said, script, wait_for,
};

/// A coordinator's limits with a short grace, so that a stop by force is soon.
fn hasty() -> Limits {
    Limits { stop_grace: Duration::from_millis(200), ..Limits::default() }
}

#[tokio::test]
async fn programs_answer_side_by_side_and_their_ends_are_told_apart() {
    let agents = [
        script("a", "cat"),
        script("b", "echo partly; echo 'it broke' >&2; exit 3"),
        script("c", "kill -9 $$"),
        script("d", "cat >/dev/null"),
    ];
    let report =
        coordinator(agents).execute_parallel(plan("hello", &["a", "b", "c", "d"])).await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed, Outcome::Failed, Outcome::Crashed, Outcome::Failed]);
    assert_eq!((report.status, said(&report.agents[0])), (RunStatus::Partial, "hello"));
    assert_eq!(said(&report.agents[1]), "partly\n");
    let errors: Vec<(ErrorKind, String)> = report
        .agents
        .iter()
        .filter_map(|agent| agent.error.clone())
        .map(|error| (error.kind, error.message))
        .collect();
    let expected = [
        (ErrorKind::Provider, "it ended with exit code 3: it broke"),
        (ErrorKind::Crash, "it ended with signal 9"),
        (ErrorKind::Empty, "it ended well but answered nothing"),
    ];
    assert_eq!(errors, expected.map(|(kind, message)| (kind, message.to_owned())));
    let pids: Vec<u32> = report.agents.iter().filter_map(|agent| agent.pid).collect();
    assert_eq!((pids.len(), pids.iter().filter(|pid| is_alive(**pid)).count()), (4, 0));
}

#[tokio::test]
async fn an_agent_that_cannot_keep_to_the_mode_is_refused_and_not_run_wider() {
    let folder = tempfile::tempdir().expect("a folder");
    let touch = script("a", "touch written; echo done");
    let mut plan = plan("hello", &["a"]).with_mode(PermissionMode::ReadOnly);
    plan.cwd = folder.path().to_owned();
    let report = coordinator([touch]).execute_parallel(plan).await.expect("it runs");
    let error = report.agents[0].error.clone().expect("it says why");
    assert_eq!((report.agents[0].status, error.kind), (Outcome::Failed, ErrorKind::Config));
    assert_eq!(error.message, "agent `a` cannot keep to the mode `read-only`");
    assert!(error.hint.is_some_and(|hint| hint.contains("`modes`")));
    assert_eq!(folder.path().read_dir().expect("a folder").count(), 0);
}

#[test]
fn agents_that_share_a_folder_are_read_only_unless_the_plan_says_otherwise() {
    let mut plan = plan("hello", &["a"]);
    plan.mode = None;
    assert_eq!(plan.effective_mode(), PermissionMode::Write);
    assert_eq!(plan.with_agent(id("b")).effective_mode(), PermissionMode::ReadOnly);
}

#[tokio::test]
async fn a_timed_out_agent_leaves_no_process_though_it_and_its_child_ignore_the_signal() {
    // The child has a session of its own, out of reach of a signal to the agent's group.
    let deaf = script(
        "a",
        "trap '' TERM; setsid sh -c \"trap '' TERM; sleep 1000\" & echo started; sleep 1000; sleep 1000",
    );
    let plan = plan("hello", &["a"]).with_timeout(Duration::from_millis(500));
    let report = coordinator([deaf]).with_limits(hasty()).execute_parallel(plan).await.expect("it runs");
    assert_eq!((report.status, said(&report.agents[0])), (RunStatus::TimedOut, "started\n"));
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}

#[tokio::test]
async fn what_an_agent_left_running_in_a_session_of_its_own_is_gone_when_the_run_ends() {
    let leaves = script("a", "setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo done");
    let report = coordinator([leaves]).execute_parallel(plan("hello", &["a"])).await.expect("it runs");
    assert_eq!((report.status, said(&report.agents[0])), (RunStatus::Completed, "done\n"));
    let run = report.run_id.to_string();
    wait_for("nothing is left", || marked(&run).is_empty());
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a driver that forgets its process")]
async fn what_a_driver_forgot_is_killed_when_the_run_ends_and_the_report_says_so() {
    let (forgotten, mut left) = tokio::sync::mpsc::unbounded_channel();
    let forgetful = MemoryAgent::new(id("a"), move |_, context| {
        let mut sleep = std::process::Command::new("sleep");
        let child = sleep.arg("1000").env(aiswitch_agent::MARKER, context.marker).spawn().expect("a child");
        forgotten.send(child).expect("the test listens");
        async { answer("done") }
    });
    let report = coordinator([Arc::new(forgetful) as _])
        .execute_parallel(plan("hello", &["a"]))
        .await
        .expect("it runs");
    assert_eq!(report.warnings, ["processes that agents had left running were killed"]);
    let ended = left.recv().await.expect("it was started").wait().expect("it ends");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(9));
}

#[tokio::test]
async fn a_cancelled_run_leaves_no_process() {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let mut run = None;
    let agents = [script("a", "echo started; sleep 1000"), endless("b")];
    let report = coordinator(agents)
        .with_limits(hasty())
        .run(plan("hello", &["a", "b"]), cancel, |event| {
            run = Some(event.run);
            if matches!(event.kind, RunEventKind::Output { .. }) {
                stop.cancel();
            }
        })
        .await
        .expect("it runs");
    assert_eq!((report.status, said(&report.agents[0])), (RunStatus::Cancelled, "started\n"));
    assert_eq!((run, marked(&report.run_id.to_string())), (Some(report.run_id), Vec::new()));
}

#[tokio::test]
async fn a_dropped_run_leaves_no_process() {
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let coordinator = coordinator([script("a", "echo started; setsid sleep 1000 & sleep 1000")]);
    let run = tokio::spawn(async move {
        let told = move |event: &aiswitch_coordinator::RunEvent| {
            if matches!(event.kind, RunEventKind::Output { .. }) {
                told.send(event.run).expect("the test listens");
            }
        };
        coordinator.run(plan("hello", &["a"]), CancellationToken::new(), told).await
    });
    let id = heard.recv().await.expect("it answers").to_string();
    assert!(!marked(&id).is_empty());
    run.abort();
    assert!(run.await.is_err_and(|error| error.is_cancelled()));
    wait_for("nothing is left", || marked(&id).is_empty());
}

#[tokio::test]
async fn the_memory_of_a_running_agent_is_looked_at_once_a_second() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path());
    // The child holds 32 MiB; the loop's look also writes the state file, and that ends the agent.
    let state = home.agents_file();
    let hold = format!(
        "sh -c 'v=$(head -c 33554432 /dev/zero | tr \"\\0\" x); until grep -q hold {}; do sleep 0.1; done; sleep 1; echo ${{#v}}'; :",
        state.display()
    );
    let coordinator = coordinator([script("hold", &hold)]).with_home(home);
    let report = coordinator.execute_parallel(plan("hello", &["hold"])).await.expect("it runs");
    assert_eq!(said(&report.agents[0]), "33554432\n");
    let peak = report.agents[0].memory_bytes_peak;
    assert!(peak.is_some_and(|bytes| bytes >= 32 * 1024 * 1024), "{peak:?}");
}
