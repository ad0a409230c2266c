//! Agents side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aiswitch_coordinator::{
    AgentReport, Aggregate, CancellationToken, MemoryAgent, Order, Outcome, RunEvent, RunEventKind,
    RunStatus, TaskError, aggregate_results,
};
use tokio::time::Instant;

use crate::support::{agent, answer, coordinator, echo, failing, id, outcomes, plan, slow};

fn parallel(max_parallel: usize) -> Order {
    Order::Parallel { max_parallel: max_parallel.try_into().expect("not zero") }
}

#[tokio::test(start_paused = true)]
async fn agents_work_at_the_same_time() {
    let three = coordinator(["a", "b", "c"].map(|name| slow(name, Duration::from_mins(1))));
    let start = Instant::now();
    let report = three.execute_parallel(plan("hello", &["a", "b", "c"])).await.expect("it runs");
    assert_eq!((report.status, start.elapsed().as_secs()), (RunStatus::Completed, 60));
    assert_eq!(report.agents.iter().map(|agent| agent.duration_ms / 1000).collect::<Vec<_>>(), [60, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn no_more_agents_work_than_the_limit_allows() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let names: Vec<String> = (0..10).map(|n| format!("a{n}")).collect();
    let agents = names.iter().map(|name| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        agent(name, move |_| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(1)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                answer("done")
            }
        })
    });
    let ten = coordinator(agents);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let start = Instant::now();
    let report = ten.execute_parallel(plan("hello", &names).with_order(parallel(3))).await.expect("it runs");
    assert_eq!((report.status, most.load(Ordering::SeqCst)), (RunStatus::Completed, 3));
    // Ten agents in groups of three, a second each.
    assert_eq!(start.elapsed().as_secs(), 4);
}

#[tokio::test]
async fn one_agents_failure_leaves_the_others_alone() {
    let report = coordinator([echo("a"), failing("b"), echo("c")])
        .execute_parallel(plan("hello", &["a", "b", "c"]))
        .await
        .expect("it runs");
    assert_eq!(report.status, RunStatus::Partial);
    assert_eq!(outcomes(&report), [Outcome::Completed, Outcome::Failed, Outcome::Completed]);
    let text = report.answer.expect("two answers").text;
    assert_eq!(text, "## a\n\nhello\n\n## c\n\nhello");
}

#[tokio::test]
async fn fault_45_a_panic_is_one_agents_failure() {
    let panicking = agent("b", |task| async move { panic!("cannot do `{}`", task.prompt) });
    let report = coordinator([echo("a"), panicking])
        .execute_parallel(plan("hello", &["a", "b"]))
        .await
        .expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Completed, Outcome::Failed]);
    let error = report.agents[1].error.clone().map(|TaskError { kind, message, .. }| (kind, message));
    let message = "its driver panicked: cannot do `hello`".to_owned();
    assert_eq!(error, Some((aiswitch_coordinator::ErrorKind::Internal, message)));
}

#[tokio::test]
async fn a_hundred_agents_work_in_one_run() {
    let names: Vec<String> = (0..100).map(|n| format!("a{n}")).collect();
    let hundred = coordinator(names.iter().map(|name| echo(name)));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let report =
        hundred.execute_parallel(plan("hello", &names).with_order(parallel(100))).await.expect("it runs");
    assert_eq!((report.status, report.agents.len()), (RunStatus::Completed, 100));
}

/// An agent that tells a thousand pieces, the last of them right before its end.
fn talkative(name: &str) -> Arc<MemoryAgent> {
    Arc::new(MemoryAgent::new(id(name), |_, context| async move {
        for n in 0..1000 {
            context.events.send(aiswitch_agent::AgentEvent::Output { text: format!("{n} ") }).await;
        }
        answer("done")
    }))
}

#[tokio::test]
async fn events_are_numbered_and_all_that_an_agent_told_comes_before_its_end() {
    let mut events: Vec<RunEvent> = Vec::new();
    let report = coordinator([talkative("a") as _, talkative("b") as _])
        .run(plan("hello", &["a", "b"]), CancellationToken::new(), |event| events.push(event.clone()))
        .await
        .expect("it runs");
    assert_eq!(
        events.iter().map(|event| event.seq).collect::<Vec<_>>(),
        (1..=events.len() as u64).collect::<Vec<_>>()
    );
    assert!(matches!(events[0].kind, RunEventKind::RunStarted { .. }), "{:?}", events[0]);
    let last = events.last().map(|event| event.kind.clone());
    assert_eq!(last, Some(RunEventKind::Report { report: Box::new(report.clone()) }));
    for agent in &report.agents {
        let own: Vec<&RunEventKind> = events
            .iter()
            .filter(|event| event.agent.as_ref() == Some(&agent.id))
            .map(|event| &event.kind)
            .collect();
        assert_eq!(own.len(), 1002, "{own:?}");
        assert_eq!(*own[0], RunEventKind::Started { driver: "memory".to_owned() });
        assert_eq!(*own[1], RunEventKind::Output { text: "0 ".to_owned() });
        assert_eq!(*own[1000], RunEventKind::Output { text: "999 ".to_owned() });
        assert_eq!(*own[1001], RunEventKind::Ended { report: Box::new(agent.clone()) });
    }
}

#[tokio::test]
async fn a_flood_of_one_agent_does_not_hide_the_end_of_another() {
    let flood = MemoryAgent::new(id("flood"), |_, context| async move {
        while !context.cancel.is_cancelled() {
            context.events.send(aiswitch_agent::AgentEvent::Output { text: "water ".to_owned() }).await;
        }
        answer("dry")
    });
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    // Only the end of the other agent ends the flood.
    let report = coordinator([Arc::new(flood) as _, echo("other")])
        .run(plan("hello", &["flood", "other"]), cancel, |event| {
            if event.agent == Some(id("other")) && matches!(event.kind, RunEventKind::Ended { .. }) {
                stop.cancel();
            }
        })
        .await
        .expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Cancelled, Outcome::Completed]);
}

#[tokio::test(start_paused = true)]
async fn first_is_the_answer_that_was_complete_first() {
    let agents = [slow("a", Duration::from_secs(9)), failing("b"), slow("c", Duration::from_secs(3))];
    let plan = plan("hello", &["a", "b", "c"]).with_aggregate(Aggregate::First);
    let report = coordinator(agents).execute_parallel(plan).await.expect("it runs");
    let answer = report.answer.expect("two completed");
    assert_eq!((answer.by, answer.agents, answer.text.as_str()), (Aggregate::First, vec![id("c")], "hello"));
}

#[tokio::test]
async fn one_answer_alone_stands_as_it_is_and_none_is_none() {
    let run =
        |agents: [_; 2]| async { coordinator(agents).execute_parallel(plan("hello\n", &["a", "b"])).await };
    let one = run([echo("a"), failing("b")]).await.expect("it runs");
    assert_eq!(
        one.answer.map(|answer| (answer.agents, answer.text)),
        Some((vec![id("a")], "hello\n".to_owned()))
    );
    let none = run([failing("a"), failing("b")]).await.expect("it runs");
    assert_eq!((none.status, none.answer), (RunStatus::Failed, None));
    let nobody: [AgentReport; 0] = [];
    assert_eq!(aggregate_results(Aggregate::List, &nobody), None);
}

#[test]
fn the_end_of_a_run_follows_from_the_ends_of_its_parts() {
    use Outcome::{
        Cancelled, Completed, Crashed, Denied, Failed, OverBudget, RateLimited, Skipped, TimedOut,
    };
    for (outcomes, expected) in [
        (&[Completed, Completed][..], RunStatus::Completed),
        (&[Completed, Failed], RunStatus::Partial),
        (&[Completed, Cancelled], RunStatus::Partial),
        (&[TimedOut, TimedOut], RunStatus::TimedOut),
        (&[TimedOut, Cancelled, Skipped], RunStatus::TimedOut),
        (&[TimedOut, Failed], RunStatus::Failed),
        (&[Denied], RunStatus::Denied),
        (&[OverBudget, Skipped], RunStatus::OverBudget),
        (&[Cancelled, Cancelled], RunStatus::Cancelled),
        (&[Failed, Cancelled], RunStatus::Failed),
        (&[RateLimited], RunStatus::Failed),
        (&[Crashed], RunStatus::Failed),
    ] {
        assert_eq!(RunStatus::of(outcomes.iter().copied()), expected, "{outcomes:?}");
    }
}
