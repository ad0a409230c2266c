//! What a run may spend: quotas of a day, and a budget of its own.

use std::sync::Arc;

use aiswitch_agent::{Agent, AgentEvent, TokenUsage};
use aiswitch_coordinator::{
    CancellationToken, Coordinator, MemoryAgent, OnFailure, Order, Outcome, Plan, RunReport, RunStatus,
    TaskResult, TaskStatus,
};
use aiswitch_tokens::{MemoryUsageStore, NanoUsd, Quota, QuotaMode, QuotaScope, UsageQuery, UsageStore};

use crate::support::{answer, coordinator, echo, endless, id, outcomes, plan, reasons};

/// An agent that answers, and tells how many tokens and dollars that took.
fn costly(name: &str, tokens: u64, usd: Option<f64>) -> Arc<dyn Agent> {
    Arc::new(MemoryAgent::new(id(name), move |task, _| async move {
        let usage =
            TokenUsage { input_tokens: Some(tokens), output_tokens: Some(0), ..TokenUsage::default() };
        TaskResult { usage: Some(usage), cost_usd: usd, ..answer(task.prompt) }
    }))
}

/// An agent that tells of a cost and works on until it is asked to stop.
fn spending(name: &str, usd: f64) -> Arc<dyn Agent> {
    Arc::new(MemoryAgent::new(id(name), move |_, context| async move {
        let usage = TokenUsage { input_tokens: Some(1), ..TokenUsage::default() };
        context.events.send(AgentEvent::Usage { usage, cost_usd: Some(usd) }).await;
        context.cancel.cancelled().await;
        TaskResult::new(TaskStatus::Cancelled)
    }))
}

fn quota(agent: &str, tokens: u64, mode: QuotaMode) -> Quota {
    Quota {
        scope: QuotaScope::Agent(agent.into()),
        tokens: Some(tokens),
        usd: None,
        mode,
        zone: "UTC".into(),
    }
}

async fn run(coordinator: &Coordinator, plan: Plan) -> RunReport {
    coordinator.run(plan, CancellationToken::new(), |_| {}).await.expect("it runs")
}

fn budget(usd: f64) -> NanoUsd {
    NanoUsd::from_usd(usd).expect("it is an amount")
}

#[tokio::test]
async fn an_agent_whose_quota_is_used_up_is_not_started_and_says_so() {
    let store = Arc::new(MemoryUsageStore::new());
    store.set_quota_limit(&quota("dear", 1_000, QuotaMode::Hard)).expect("it is one");
    let agents = || coordinator([costly("dear", 1_000, Some(0.5)), echo("free")]).with_usage(store.clone());
    let first = run(&agents(), plan("hello", &["dear"])).await;
    assert_eq!(outcomes(&first), [Outcome::Completed], "there is room, and nothing else goes on");

    let second = run(&agents(), plan("hello", &["dear", "free"])).await;
    assert_eq!(outcomes(&second), [Outcome::OverBudget, Outcome::Completed]);
    assert_eq!(second.status, RunStatus::Partial);
    let told = "quota of agent `dear`: 1000 of 1000 tokens of today are used, and it would take about 1000 tokens and \
                $0.50 (see: aiswitch tokens quota show)";
    assert_eq!(reasons(&second), [Some(told), None]);
    assert_eq!((second.agents[0].started_at, second.totals.cost.unpriced), (None, 1));
    assert_eq!(run(&agents(), plan("hello", &["dear"])).await.status, RunStatus::OverBudget);

    let stopping =
        plan("hello", &["dear", "free"]).with_on_failure(OnFailure::Stop).with_order(Order::Sequential);
    assert_eq!(outcomes(&run(&agents(), stopping).await), [Outcome::OverBudget, Outcome::Skipped]);
}

#[tokio::test]
async fn what_a_run_set_aside_becomes_what_it_used_and_a_soft_quota_only_tells() {
    let store = Arc::new(MemoryUsageStore::new());
    store.set_quota_limit(&quota("dear", 100_000, QuotaMode::Soft)).expect("it is one");
    let agents = coordinator([costly("dear", 70_000, None)]).with_usage(store.clone());
    let first = run(&agents, plan("hello", &["dear"])).await;
    assert_eq!((first.status, first.warnings), (RunStatus::Completed, vec![]));
    let status = store.check_quota("dear", None, jiff::Timestamp::now()).expect("it can be read").remove(0);
    assert_eq!((status.used.tokens, status.reserved.tokens), (70_000, 0));
    let second = run(&agents, plan("hello", &["dear"])).await;
    let told = "quota of agent `dear`: 70000 of 100000 tokens of today are used and 70000 set aside";
    assert_eq!((second.status, second.warnings), (RunStatus::Completed, vec![told.to_owned()]));
    let mut records = 0;
    store.records(&UsageQuery::default(), &mut |_| records += 1).expect("it can be read");
    assert_eq!(records, 2);
}

#[tokio::test]
async fn a_run_stops_when_its_budget_is_spent_and_those_that_wait_do_not_start() {
    let agents = coordinator([spending("dear", 0.6), spending("other", 0.5), endless("idle"), echo("late")]);
    let parallel = Order::Parallel { max_parallel: 3.try_into().expect("3 is not zero") };
    let names = ["dear", "other", "idle", "late"];
    let report = run(&agents, plan("hello", &names).with_order(parallel).with_budget(budget(1.1))).await;
    assert_eq!((outcomes(&report), report.status), (vec![Outcome::OverBudget; 4], RunStatus::OverBudget));
    assert_eq!(reasons(&report), [Some("the budget of $1.10 is spent"); 4]);
    assert_eq!(report.agents[3].started_at, None);
}

#[tokio::test]
async fn what_is_within_the_budget_goes_on_and_an_unknown_cost_is_told() {
    let agents = coordinator([costly("dear", 1, Some(0.5)), costly("silent", 1, None), echo("last")]);
    let all = plan("hello", &["dear", "silent", "last"]).with_order(Order::Sequential);
    let report = run(&agents, all.clone().with_budget(budget(0.51))).await;
    assert_eq!(outcomes(&report), [Outcome::Completed; 3]);
    assert_eq!(
        report.warnings[0],
        "nobody knows what agent `silent` cost; it does not count into the budget"
    );
    let report = run(&agents, all.with_budget(budget(0.5))).await;
    assert_eq!(outcomes(&report), [Outcome::Completed, Outcome::OverBudget, Outcome::OverBudget]);
}
