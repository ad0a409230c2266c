//! Agents one after the other.

use std::time::Duration;

use aiswitch_coordinator::{HAND_OVER_BYTES_MAX, Outcome, RunMode, RunStatus, hand_over};
use tokio::time::Instant;

use crate::support::{agent, answer, coordinator, echo, failing, id, outcomes, plan, said, slow};

#[tokio::test]
async fn each_step_is_given_the_answers_before_it() {
    let agents =
        [agent("a", |_| async { answer("one\n") }), agent("b", |_| async { answer("two") }), echo("c")];
    let report =
        coordinator(agents).execute_sequential(plan("count", &["a", "b", "c"])).await.expect("it runs");
    assert_eq!((report.status, report.mode), (RunStatus::Completed, RunMode::Sequential));
    let expected = "count\n\n<answers>\n<answer agent=\"a\">\none\n</answer>\n<answer agent=\"b\">\ntwo\n</answer>\n</answers>";
    assert_eq!(said(&report.agents[2]), expected);
}

#[tokio::test]
async fn an_answer_of_an_agent_that_did_not_complete_is_not_handed_over() {
    let report = coordinator([echo("a"), failing("b"), echo("c")])
        .execute_sequential(plan("hello", &["b", "a", "c"]))
        .await
        .expect("it runs");
    assert_eq!(outcomes(&report), [Outcome::Failed, Outcome::Completed, Outcome::Completed]);
    assert_eq!(said(&report.agents[1]), "hello");
    assert_eq!(
        said(&report.agents[2]),
        "hello\n\n<answers>\n<answer agent=\"a\">\nhello\n</answer>\n</answers>"
    );
}

#[tokio::test(start_paused = true)]
async fn steps_do_not_overlap() {
    let steps = coordinator(["a", "b"].map(|name| slow(name, Duration::from_mins(1))));
    let start = Instant::now();
    let report = steps.execute_sequential(plan("hello", &["b", "a"])).await.expect("it runs");
    assert_eq!(start.elapsed().as_secs(), 120);
    let [b, a] = report.agents.as_slice() else { panic!("{report:?}") };
    assert!(b.ended_at.is_some() && b.ended_at <= a.started_at, "{report:?}");
}

#[tokio::test]
async fn a_long_answer_is_cut_for_the_next_step_and_the_report_says_so() {
    let long = "ä".repeat(HAND_OVER_BYTES_MAX);
    let whole = long.clone();
    let first = agent("a", move |_| {
        let long = long.clone();
        async move { answer(long) }
    });
    let report = coordinator([first, echo("b")])
        .execute_sequential(plan("hello", &["a", "b"]))
        .await
        .expect("it runs");
    assert_eq!(report.agents[0].answer.as_ref(), Some(&whole));
    let given = said(&report.agents[1]);
    assert!(
        given.starts_with("hello\n\n<answers>\n<answer agent=\"a\" cut=\"true\">\nää"),
        "{}",
        &given[..80]
    );
    assert_eq!(given.matches('ä').count(), HAND_OVER_BYTES_MAX / 2);
    assert_eq!(report.warnings, ["the answer of agent `a` was cut for agent `b`"]);
}

#[test]
fn answers_that_are_handed_over_share_the_limit() {
    let (a, b) = (id("a"), id("b"));
    let long = "x".repeat(HAND_OVER_BYTES_MAX);
    let (prompt, cut) = hand_over("p", &[(&a, &long), (&b, "short")]);
    assert_eq!((cut, prompt.matches('x').count()), (vec![&a], HAND_OVER_BYTES_MAX / 2));
    assert!(prompt.ends_with("<answer agent=\"b\">\nshort\n</answer>\n</answers>"));
    assert_eq!(hand_over("p", &[]), ("p".to_owned(), Vec::new()));
}
