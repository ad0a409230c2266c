//! Processes that do one part after the other.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_coordinator::{
    Agent, AgentSpec, Ambient, Assignment, CancellationToken, Coordinator, Driver, LifeState, Limits, Order,
    Outcome, PermissionMode, Plan, Preset, Replay, RunEventKind, RunReport,
};

use crate::support::{coordinator, id, marked, outcomes, said};

const STAYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/stays.sh");

const NAMES: [&str; 3] = ["a-1", "a-2", "a-3"];

fn spec() -> AgentSpec {
    AgentSpec { command: vec!["/bin/sh".into(), STAYS.into()], ..AgentSpec::new(Driver::Rpc) }
}

fn three() -> Coordinator {
    let agents: Vec<Arc<dyn Agent>> = NAMES.iter().map(|name| spec().build(id(name))).collect();
    let ambient = Ambient::from_vars([("PATH".into(), "/usr/bin:/bin".into())]);
    coordinator(agents)
        .with_ambient(ambient)
        .with_limits(Limits { stop_grace: Duration::from_millis(500), ..Limits::default() })
}

fn plan(prompt: &str, folder: &Path) -> Plan {
    let plan = Plan::new(prompt, folder).with_mode(PermissionMode::Write);
    NAMES.iter().fold(plan, |plan, name| plan.with_agent(id(name)))
}

/// How often a process was started in a folder.
fn starts(folder: &Path) -> usize {
    std::fs::read_to_string(folder.join("starts")).unwrap_or_default().lines().count()
}

fn processes(report: &RunReport) -> BTreeSet<u32> {
    report.agents.iter().filter_map(|agent| agent.pid).collect()
}

#[tokio::test]
async fn a_sequence_of_one_kind_has_one_process_and_each_step_of_its_life_is_told() {
    use LifeState::{Busy, Idle, Starting, Stopped, Stopping};
    let folder = tempfile::tempdir().expect("a folder");
    let (plan, mut edges) = (plan("who?", folder.path()).with_order(Order::Sequential), Vec::new());
    let coordinator = three();
    let report = coordinator.run(plan, CancellationToken::new(), |event| {
        if let RunEventKind::State { from, to } = &event.kind {
            edges.push((event.agent.clone().expect("an agent's"), *from, *to));
        }
    });
    let report = report.await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed; 3], "{report:?}");
    assert_eq!((starts(folder.path()), processes(&report).len()), (1, 1));
    let [first, second, third] = NAMES.map(id);
    let expected = [
        (&first, Stopped, Starting),
        (&first, Starting, Idle),
        (&first, Idle, Busy),
        (&first, Busy, Idle),
        (&second, Idle, Busy),
        (&second, Busy, Idle),
        (&third, Idle, Busy),
        (&third, Busy, Idle),
        (&third, Idle, Stopping),
        (&third, Stopping, Stopped),
    ];
    let told: Vec<_> = edges.iter().map(|(agent, from, to)| (agent, *from, *to)).collect();
    assert_eq!(told, expected);
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}

#[tokio::test]
async fn agents_side_by_side_have_a_process_each_and_those_that_wait_take_over_one() {
    for (max_parallel, expected) in [(3, 3), (1, 1)] {
        let folder = tempfile::tempdir().expect("a folder");
        let max_parallel = NonZeroUsize::new(max_parallel).expect("not zero");
        let plan = plan("who?", folder.path()).with_order(Order::Parallel { max_parallel });
        let report = three().run(plan, CancellationToken::new(), |_| {}).await.expect("it runs");
        assert_eq!(outcomes(&report), [Outcome::Completed; 3]);
        assert_eq!((starts(folder.path()), processes(&report).len()), (expected, expected));
        assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
    }
}

#[tokio::test]
async fn no_process_is_shared_under_another_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let preset: Preset =
        serde_json::from_value(serde_json::json!({"variables": {"TOPIC": "tea"}})).expect("a preset");
    let presets = [("tea".parse().expect("a name"), preset)].into();
    let mut plan = plan("who?", folder.path()).with_order(Order::Sequential);
    plan.agents[1] = Assignment::new(id("a-2")).with_preset("tea".parse().expect("a name"));
    let report = three().with_presets(presets).execute_sequential(plan).await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed; 3], "{report:?}");
    let pids: Vec<_> = report.agents.iter().map(|agent| agent.pid).collect();
    // The first one waits for the third one meanwhile.
    assert_eq!((starts(folder.path()), pids[0] == pids[2], pids[0] == pids[1]), (2, true, false));
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}

#[tokio::test]
async fn a_crash_fails_its_part_alone_and_is_not_done_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = plan("crash", folder.path()).with_order(Order::Sequential);
    let report = three().execute_sequential(plan).await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Crashed, Outcome::Completed, Outcome::Completed]);
    assert_eq!((starts(folder.path()), processes(&report).len()), (2, 2));
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}

#[tokio::test]
async fn a_task_that_may_be_done_twice_is_given_to_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut plan = plan("crash", folder.path()).with_replay(Replay::Idempotent);
    plan.agents.truncate(1);
    let report = three().execute_parallel(plan).await.expect("it runs");
    assert_eq!((outcomes(&report), said(&report.agents[0])), (vec![Outcome::Completed], "whole"));
    assert_eq!((starts(folder.path()), report.agents[0].restarts), (2, 1));
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}

#[tokio::test]
async fn a_process_that_crashes_before_its_task_is_started_three_times_more() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("no-start"), "").expect("a file");
    let mut plan = plan("who?", folder.path());
    plan.agents.truncate(1);
    let report = three().execute_parallel(plan).await.expect("it runs");
    assert_eq!((outcomes(&report), report.agents[0].restarts), (vec![Outcome::Crashed], 3));
    assert_eq!(starts(folder.path()), 4);
}

#[tokio::test]
async fn a_part_that_is_out_of_time_ends_its_process_and_the_next_has_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut plan = plan("hang", folder.path()).with_timeout(Duration::from_millis(700));
    plan.agents.truncate(2);
    let report = three().execute_sequential(plan).await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::TimedOut; 2]);
    assert_eq!(starts(folder.path()), 2);
    assert_eq!(marked(&report.run_id.to_string()), [0; 0]);
}
