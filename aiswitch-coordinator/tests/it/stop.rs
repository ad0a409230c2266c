//! Time-outs, cancel, and stopping after a failure.

use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::AgentEvent;
use aiswitch_coordinator::{
    AgentReport, CancellationToken, ErrorKind, Home, Limits, MemoryAgent, OnFailure, Order, Outcome,
    RunEventKind, RunStatus,
};
use tokio::time::Instant;

use crate::support::{answer, coordinator, echo, endless, failing, id, outcomes, plan, reasons, said, slow};

const CANCELLED: Option<&str> = Some("the run was cancelled");

fn fault(report: &AgentReport) -> (Outcome, ErrorKind, &str) {
    let error = report.error.as_ref().expect("it says what went wrong");
    (report.status, error.kind, &error.message)
}

#[tokio::test(start_paused = true)]
async fn an_agent_beyond_its_time_is_stopped_and_keeps_what_it_said() {
    let plan = plan("hello", &["a", "b"]).with_timeout(Duration::from_secs(5));
    let start = Instant::now();
    let report = coordinator([endless("a"), echo("b")]).execute_parallel(plan).await.expect("it runs");
    assert_eq!((report.status, start.elapsed().as_secs()), (RunStatus::Partial, 5));
    let expected = (Outcome::TimedOut, ErrorKind::Timeout, "it did not end within 5s");
    assert_eq!((fault(&report.agents[0]), said(&report.agents[0])), (expected, "so far"));
}

#[tokio::test(start_paused = true)]
async fn the_time_of_one_agent_may_differ_from_the_plans() {
    let mut plan = plan("hello", &["a", "b"]).with_timeout(Duration::from_secs(5));
    plan.agents[0].timeout = Some(Duration::from_secs(50));
    let agents = ["a", "b"].map(|name| slow(name, Duration::from_secs(20)));
    let report = coordinator(agents).execute_parallel(plan).await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed, Outcome::TimedOut]);
}

/// An agent that tells something every four seconds, eight times, and then nothing more.
fn fading(name: &str) -> Arc<MemoryAgent> {
    Arc::new(MemoryAgent::new(id(name), |_, context| async move {
        for n in 0..8 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            context.events.send(AgentEvent::Output { text: n.to_string() }).await;
        }
        context.cancel.cancelled().await;
        aiswitch_coordinator::TaskResult::new(aiswitch_coordinator::TaskStatus::Cancelled)
    }))
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_sign_of_life_is_stopped_and_signs_of_life_put_that_off() {
    let plan = plan("hello", &["a"]).with_idle_timeout(Duration::from_secs(5));
    let start = Instant::now();
    let report = coordinator([fading("a") as _]).execute_parallel(plan).await.expect("it runs");
    // Eight times four seconds of life, then five of silence.
    assert_eq!((report.status, start.elapsed().as_secs()), (RunStatus::TimedOut, 37));
    let expected = (Outcome::TimedOut, ErrorKind::Timeout, "it gave no sign of life for 5s");
    // It handed back no answer, so what it had said until then stands for one.
    assert_eq!((fault(&report.agents[0]), said(&report.agents[0])), (expected, "01234567"));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_stop_is_killed_after_two_graces_and_a_margin() {
    let deaf = slow("a", Duration::from_secs(1000));
    let limits = Limits { stop_grace: Duration::from_secs(3), ..Limits::default() };
    let plan = plan("hello", &["a"]).with_timeout(Duration::from_secs(5));
    let start = Instant::now();
    let report = coordinator([deaf]).with_limits(limits).execute_parallel(plan).await.expect("it runs");
    assert_eq!(start.elapsed().as_secs(), 5 + 2 * 3 + 2);
    let message = "it did not end within 5s, and it had to be killed since it did not stop when asked to";
    assert_eq!(fault(&report.agents[0]), (Outcome::TimedOut, ErrorKind::Timeout, message));
}

#[tokio::test]
async fn a_cancelled_run_ends_all_agents_and_still_has_a_report() {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let two_at_a_time = Order::Parallel { max_parallel: 2.try_into().expect("not zero") };
    let report = coordinator([endless("a"), echo("b"), endless("c"), echo("d")])
        .run(plan("hello", &["a", "b", "c", "d"]).with_order(two_at_a_time), cancel, |event| {
            if event.agent == Some(id("c")) && matches!(event.kind, RunEventKind::Started { .. }) {
                stop.cancel();
            }
        })
        .await
        .expect("it runs");
    assert_eq!(report.status, RunStatus::Partial);
    assert_eq!(
        outcomes(&report),
        [Outcome::Cancelled, Outcome::Completed, Outcome::Cancelled, Outcome::Cancelled]
    );
    assert_eq!(reasons(&report), [CANCELLED, None, CANCELLED, CANCELLED]);
    assert_eq!((said(&report.agents[0]), report.agents[3].started_at), ("so far", None));
}

#[tokio::test]
async fn a_run_that_is_cancelled_before_it_starts_starts_no_agent() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let mut started = 0;
    let report = coordinator([echo("a")])
        .run(plan("hello", &["a"]), cancel, |event| {
            started += usize::from(matches!(event.kind, RunEventKind::Started { .. }));
        })
        .await
        .expect("it has a report");
    assert_eq!((report.status, started, reasons(&report)), (RunStatus::Cancelled, 0, vec![CANCELLED]));
}

#[tokio::test]
async fn after_a_failure_the_rest_goes_on_unless_the_plan_says_stop() {
    let names = ["a", "b", "c"];
    let agents = || [endless("a"), failing("b"), echo("c")];
    let two_at_a_time = Order::Parallel { max_parallel: 2.try_into().expect("not zero") };
    let plan = plan("hello", &names).with_order(two_at_a_time).with_on_failure(OnFailure::Stop);
    let report = coordinator(agents()).execute_parallel(plan.clone()).await.expect("it runs");
    assert_eq!(report.status, RunStatus::Failed);
    assert_eq!(outcomes(&report), [Outcome::Cancelled, Outcome::Failed, Outcome::Skipped]);
    let reason = Some("agent `b` ended failed, and the run stops on failure");
    assert_eq!(reasons(&report), [reason, None, reason]);

    let goes_on = coordinator([echo("a"), failing("b"), echo("c")])
        .execute_parallel(plan.with_on_failure(OnFailure::Continue))
        .await
        .expect("it runs");
    assert_eq!(outcomes(&goes_on), [Outcome::Completed, Outcome::Failed, Outcome::Completed]);
}

#[tokio::test]
async fn fault_41_a_sequence_that_stops_on_failure_skips_what_comes_behind() {
    let plan = plan("hello", &["a", "b", "c"]).with_on_failure(OnFailure::Stop);
    let report =
        coordinator([echo("a"), failing("b"), echo("c")]).execute_sequential(plan).await.expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed, Outcome::Failed, Outcome::Skipped]);
    assert_eq!((report.agents[2].duration_ms, report.totals.cost.unpriced), (0, 2));
}

#[tokio::test]
async fn a_dropped_run_drops_its_agents() {
    let (dropped, mut is_dropped) = tokio::sync::mpsc::channel::<()>(1);
    let held = MemoryAgent::new(id("a"), move |_, _| {
        let held = dropped.clone();
        async move {
            let forever = std::future::pending::<()>();
            forever.await;
            drop(held);
            answer("never")
        }
    });
    let coordinator = coordinator([Arc::new(held) as _]);
    let (told, mut started) = tokio::sync::mpsc::unbounded_channel();
    let run = tokio::spawn(async move {
        let plan = plan("hello", &["a"]);
        let told =
            move |event: &aiswitch_coordinator::RunEvent| told.send(event.seq).expect("the test listens");
        coordinator.run(plan, CancellationToken::new(), told).await
    });
    // The second event is the start of the agent's part.
    while started.recv().await.expect("it starts") < 2 {}
    run.abort();
    // `None`: the agent and its future, which held the senders, are gone.
    assert_eq!(is_dropped.recv().await, None);
}

#[tokio::test]
async fn a_run_is_cancelled_by_whoever_asks_for_it_in_its_home() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path().join("home"));
    let other = home.clone();
    let report = coordinator([endless("a"), echo("b")])
        .with_home(home)
        .run(plan("hello", &["a", "b"]), CancellationToken::new(), |event| {
            if event.agent == Some(id("b")) && matches!(event.kind, RunEventKind::Ended { .. }) {
                let run = other.runs().resolve("last").expect("it is kept");
                other.runs().cancel(&run).expect("it is asked");
                // Asked twice is asked once.
                other.runs().cancel(&run).expect("it is asked");
            }
        })
        .await
        .expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Cancelled, Outcome::Completed]);
    assert_eq!(reasons(&report)[0], Some("the run was cancelled by another process"));
}
