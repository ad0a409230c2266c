//! A machine that is short of memory, as a folder in place of `/proc` tells.

use std::path::Path;
use std::time::{Duration, Instant};

use aiswitch_coordinator::{Assignment, CancellationToken, Outcome, PermissionMode, Plan, RunEventKind};

use crate::support::{coordinator, id, make_pipes, marked, outcomes, plan, script, stopped, until_told};

/// Says that so much memory can be had.
fn tell(proc: &Path, available_mb: u64) {
    let text = format!("MemTotal:       24640584 kB\nMemAvailable:   {} kB\n", available_mb * 1024);
    // At once, so that nobody reads half of it.
    std::fs::write(proc.join("new"), text).expect("a file");
    std::fs::rename(proc.join("new"), proc.join("meminfo")).expect("a file");
}

const UNTIL_GO: &str = "until [ -e go ]; do sleep 0.02; done; echo went";

#[tokio::test]
async fn the_last_agent_is_paused_and_named_and_its_time_stands_still() {
    let (proc, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    tell(proc.path(), 10_000);
    make_pipes(folder.path(), &["a", "b"]);
    // It would be over while the agent is paused.
    let timeout = Duration::from_secs(4);
    let plan = Plan::new("hello", folder.path())
        .with_mode(PermissionMode::Write)
        .with_agent(id("a"))
        .with_assignment(Assignment::new(id("b")).with_timeout(timeout));
    let (mut pids, mut paused) = (Vec::new(), Vec::new());
    let since = Instant::now();
    let coordinator = coordinator([until_told("a"), until_told("b")]).with_proc(proc.path().to_owned());
    let run = coordinator.run(plan, CancellationToken::new(), |event| match &event.kind {
        RunEventKind::Process { pid } => {
            pids.push((event.agent.clone().expect("an agent's"), *pid));
            if pids.len() == 2 {
                tell(proc.path(), 100);
            }
        }
        RunEventKind::Paused { reason } => {
            let agent = event.agent.clone().expect("an agent's");
            let pid = pids.iter().find(|(id, _)| *id == agent).expect("it was told of").1;
            paused.push((agent.to_string(), reason.clone(), stopped(pid)));
            let proc = proc.path().to_owned();
            tokio::spawn(async move {
                tokio::time::sleep((timeout + Duration::from_secs(1)).saturating_sub(since.elapsed())).await;
                tell(&proc, 10_000);
            });
        }
        RunEventKind::Resumed { .. } => {
            for name in ["a", "b"] {
                std::fs::write(folder.path().join(name), "go\n").expect("it is read");
            }
        }
        _ => {}
    });
    let report = run.await.expect("it runs");
    assert!(since.elapsed() > timeout);
    assert_eq!(outcomes(&report), [Outcome::Completed; 2], "{report:?}");
    let reason = "memory is short: 100 MiB can be had".to_owned();
    assert_eq!(paused, [("b".to_owned(), reason.clone(), "T".to_owned())]);
    let paused_ms = report.agents[1].paused_ms;
    assert_eq!((report.agents[0].paused_ms, paused_ms > 1000), (0, true), "{paused_ms}");
    let named =
        format!("agent `b` was paused for {}.{} s: {reason}", paused_ms / 1000, paused_ms % 1000 / 100);
    assert_eq!(report.warnings, [named]);
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}

#[tokio::test]
async fn no_agent_starts_beside_others_while_memory_is_short() {
    let proc = tempfile::tempdir().expect("a folder");
    tell(proc.path(), 400);
    let agents = ["a", "b", "c"].map(|name| script(name, "sleep 0.1; echo done"));
    let coordinator = coordinator(agents).with_proc(proc.path().to_owned());
    let report = coordinator.execute_parallel(plan("hello", &["a", "b", "c"])).await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed; 3]);
    for pair in report.agents.windows(2) {
        assert!(pair[0].ended_at <= pair[1].started_at, "{pair:?}");
    }
    assert_eq!(report.warnings, ["agents waited for their start while memory was short"]);
}

#[tokio::test]
async fn a_paused_agent_is_stopped_with_its_run() {
    let (proc, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    tell(proc.path(), 10_000);
    let cancel = CancellationToken::new();
    let mut processes = 0;
    let mut plan = plan("hello", &["a", "b"]);
    plan.cwd = folder.path().to_owned();
    let agents = [script("a", UNTIL_GO), script("b", UNTIL_GO)];
    let coordinator = coordinator(agents).with_proc(proc.path().to_owned());
    let report = coordinator.run(plan, cancel.clone(), |event| match &event.kind {
        RunEventKind::Process { .. } => {
            processes += 1;
            tell(proc.path(), if processes == 2 { 100 } else { 10_000 });
        }
        RunEventKind::Paused { .. } => cancel.cancel(),
        _ => {}
    });
    let report = report.await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Cancelled; 2]);
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}
