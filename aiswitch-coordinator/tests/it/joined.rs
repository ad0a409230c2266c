//! Several answers become one by a vote, or by an agent that is given all of them.

use std::sync::Arc;
use std::time::Duration;

use aiswitch_coordinator::{
    Agent, AgentReport, Aggregate, Assignment, CancellationToken, OnFailure, Outcome, Plan, RunError,
    RunEventKind, RunReport, RunStatus, aggregate_results,
};

use crate::support::{agent, answer, coordinator, failing, id, outcomes, plan, reasons, said, slow};

/// An agent that answers with this.
fn says(name: &str, text: &'static str) -> Arc<dyn Agent> {
    agent(name, move |_| async move { answer(text) })
}

/// A plan of these agents whose answers `judge` is given.
fn judged(aggregate: Aggregate, agents: &[&str]) -> Plan {
    plan("count", agents).with_aggregate(aggregate).with_judge(Assignment::new(id("judge")))
}

async fn run(agents: impl IntoIterator<Item = Arc<dyn Agent>>, plan: Plan) -> RunReport {
    coordinator(agents).execute_parallel(plan).await.expect("it runs")
}

/// How the answer was made, of whose answers, and what it says.
fn joined(report: &RunReport) -> (Aggregate, Vec<&str>, &str) {
    let answer = report.answer.as_ref().expect("somebody completed");
    (answer.by, answer.agents.iter().map(AsRef::as_ref).collect(), &answer.text)
}

#[tokio::test]
async fn a_vote_takes_the_answer_that_most_agents_gave() {
    let agents = [says("a", "41"), says("b", " 42\n"), says("c", "42"), failing("d")];
    let report = run(agents, plan("count", &["a", "b", "c", "d"]).with_aggregate(Aggregate::Vote)).await;
    assert_eq!(joined(&report), (Aggregate::Vote, vec!["b", "c"], " 42\n"));
    assert_eq!(report.warnings, [""; 0]);
}

#[tokio::test]
async fn a_vote_without_a_winner_lists_all_answers_and_says_so() {
    let agents = [says("a", "41"), says("b", "42")];
    let report = run(agents, plan("count", &["a", "b"]).with_aggregate(Aggregate::Vote)).await;
    assert_eq!(joined(&report), (Aggregate::List, vec!["a", "b"], "## a\n\n41\n\n## b\n\n42"));
    assert_eq!(report.warnings, ["no answer was given more often than every other, so all are listed"]);
}

#[tokio::test(start_paused = true)]
async fn a_judge_is_asked_once_all_others_have_ended_and_its_choice_is_the_answer() {
    let agents = [
        slow("a", Duration::from_secs(9)),
        failing("b"),
        says("c", "three"),
        says("judge", "c is.\n**Best:** `c`.\n"),
    ];
    let mut order = Vec::new();
    let report = coordinator(agents)
        .run(judged(Aggregate::Judge, &["a", "b", "c"]), CancellationToken::new(), |event| {
            if let (Some(agent), RunEventKind::Started { .. } | RunEventKind::Ended { .. }) =
                (&event.agent, &event.kind)
            {
                order.push(agent.to_string());
            }
        })
        .await
        .expect("it runs");
    assert_eq!(joined(&report), (Aggregate::Judge, vec!["c"], "three"));
    assert_eq!((order[5].as_str(), &order[6..]), ("a", &["judge".to_owned(), "judge".to_owned()][..]));
    assert_eq!(outcomes(&report).last(), Some(&Outcome::Completed));
}

#[tokio::test]
async fn a_judge_is_given_the_task_and_the_answers_of_those_that_completed() {
    let judge = agent("judge", |task| async move { answer(task.prompt) });
    let report = run([says("a", "41"), failing("b"), judge], judged(Aggregate::Judge, &["a", "b"])).await;
    let given = said(report.agents.last().expect("the judge"));
    assert!(
        given.starts_with(
            "count\n\n<answers>\n<answer agent=\"a\">\n41\n</answer>\n</answers>\n\nThe answers above"
        ),
        "{given}"
    );
    assert!(given.ends_with("\nbest: NAME"), "{given}");
    // It repeats the form of the line and names nobody.
    assert_eq!(joined(&report), (Aggregate::List, vec!["a"], "41"));
    assert_eq!(report.warnings, ["agent `judge` named none of the answers as the best, so all are listed"]);
}

#[tokio::test]
async fn one_agent_makes_one_answer_of_all() {
    let agents = [says("a", "41"), says("b", "42"), says("judge", "41 or 42")];
    let report = run(agents, judged(Aggregate::Synthesize, &["a", "b"])).await;
    assert_eq!(joined(&report), (Aggregate::Synthesize, vec!["a", "b"], "41 or 42"));
    let report = run([says("a", "41"), failing("judge")], judged(Aggregate::Synthesize, &["a"])).await;
    assert_eq!((report.status, joined(&report)), (RunStatus::Partial, (Aggregate::List, vec!["a"], "41")));
    assert_eq!(report.warnings, ["agent `judge` did not put the answers together, so all are listed"]);
}

#[tokio::test]
async fn a_judge_without_an_answer_to_judge_is_not_started() {
    let plan = judged(Aggregate::Judge, &["a", "b"]);
    let report = run([failing("a"), failing("b"), says("judge", "best: a")], plan.clone()).await;
    assert_eq!(outcomes(&report), [Outcome::Failed, Outcome::Failed, Outcome::Skipped]);
    assert_eq!(reasons(&report)[2], Some("there is no answer to judge"));
    assert_eq!((report.answer, report.agents[2].started_at), (None, None));
    let stop =
        run([says("a", "x"), failing("b"), says("judge", "best: a")], plan.with_on_failure(OnFailure::Stop))
            .await;
    assert_eq!(reasons(&stop)[2], Some("agent `b` ended failed, and the run stops on failure"));
}

#[tokio::test]
async fn a_judge_is_named_where_one_is_needed_and_only_there() {
    let refused =
        async |plan: Plan| coordinator([says("a", "x"), says("judge", "x")]).execute_parallel(plan).await;
    let nobody = refused(plan("count", &["a"]).with_aggregate(Aggregate::Synthesize)).await;
    assert!(matches!(nobody, Err(RunError::NoJudge)), "{nobody:?}");
    let idle = refused(judged(Aggregate::Vote, &["a"])).await;
    assert!(matches!(idle, Err(RunError::IdleJudge { .. })), "{idle:?}");
    let itself = plan("count", &["a"]).with_aggregate(Aggregate::Judge).with_judge(Assignment::new(id("a")));
    let twice = refused(itself).await;
    assert!(matches!(twice, Err(RunError::DuplicateAgent { .. })), "{twice:?}");
}

#[test]
fn nobody_has_no_answer_however_it_is_made() {
    let nobody: [AgentReport; 0] = [];
    for aggregate in [Aggregate::First, Aggregate::Vote, Aggregate::Judge, Aggregate::Synthesize] {
        assert_eq!(aggregate_results(aggregate, &nobody), None);
    }
}
