//! What runs keep of what their agents took of the machine.

use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::{AgentEvent, TokenUsage};
use aiswitch_coordinator::{Agent, Coordinator, MemoryAgent, Outcome};
use aiswitch_metrics::{
    AgentSample, Level, MemoryMetricsStore, Metric, MetricsStore, RecordedCollector, SampleQuery, Source,
    SqliteMetricsStore, Summary,
};
use chrono::DateTime;
use tempfile::TempDir;

use crate::support::{answer, failing, id, plan, script};

/// All that a store has of one metric of an agent.
fn ever(store: &dyn MetricsStore, agent: &str, metric: Metric) -> Option<Summary> {
    let mut found = None;
    let source = Some(Source::Agent(agent.to_owned()));
    let query = SampleQuery { source, metric: Some(metric), ..SampleQuery::of(Level::Ever) };
    store.points(&query, &mut |point| found = Some(point.summary.clone())).expect("it can be read");
    found
}

fn sum(store: &dyn MetricsStore, agent: &str, metric: Metric) -> Option<f64> {
    ever(store, agent, metric).map(|summary| summary.sum)
}

#[tokio::test]
async fn each_part_of_a_run_is_kept_with_how_it_ended_and_the_machine_with_it() {
    let folder = TempDir::new().expect("a folder");
    let store = Arc::new(SqliteMetricsStore::at(folder.path().join("metrics.db")));
    let coordinator = Coordinator::new()
        .with_agent(script("cat", "cat"))
        .with_agent(failing("bad"))
        .with_metrics(store.clone());
    for _ in 0..2 {
        let report = coordinator.execute_parallel(plan("work", &["cat", "bad"])).await.expect("it ran");
        assert_eq!(report.warnings, [""; 0]);
    }
    assert_eq!(sum(&*store, "cat", Metric::TASK_COUNT), Some(2.0));
    assert_eq!(sum(&*store, "cat", Metric::ERROR_COUNT), Some(0.0));
    assert_eq!(sum(&*store, "bad", Metric::ERROR_COUNT), Some(2.0));
    assert_eq!(ever(&*store, "cat", Metric::RESPONSE_TIME_MS).map(|summary| summary.n), Some(2));
    // Nobody told how many tokens they used.
    assert_eq!(sum(&*store, "cat", Metric::TOKENS_INPUT), None);
    let mut system = Vec::new();
    let query = SampleQuery { source: Some(Source::System), ..SampleQuery::of(Level::Ever) };
    store.points(&query, &mut |point| system.push(point.metric.to_string())).expect("it can be read");
    assert!(system.contains(&"memory_available_bytes".to_owned()), "{system:?}");
}

/// An agent that tells of a process and of its usage, and works for 35 seconds.
fn at_work() -> Arc<dyn Agent> {
    Arc::new(MemoryAgent::new(id("claude"), |_, context| async move {
        let used = |tokens| AgentEvent::Usage {
            usage: TokenUsage { input_tokens: Some(tokens), ..TokenUsage::default() },
            cost_usd: None,
        };
        context.events.send(AgentEvent::Started { pid: 1 }).await;
        context.events.send(used(70)).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        context.events.send(used(100)).await;
        tokio::time::sleep(Duration::from_secs(20)).await;
        answer("done")
    }))
}

#[tokio::test(start_paused = true)]
async fn an_agent_at_work_is_sampled_every_10_seconds_with_the_mean_of_all_looks() {
    let look = |number: u32| AgentSample {
        // The first look can tell no CPU.
        cpu_percent: (number > 0).then(|| f64::from(number % 2) * 50.0),
        memory_bytes: Some(u64::from(number) * 1_000),
        ..AgentSample::new("claude", DateTime::UNIX_EPOCH)
    };
    let looks = (0..60).map(look).fold(RecordedCollector::new(), RecordedCollector::with_agent);
    let store = Arc::new(MemoryMetricsStore::new());
    let coordinator =
        Coordinator::new().with_agent(at_work()).with_collector(Arc::new(looks)).with_metrics(store.clone());
    let report = coordinator.execute_parallel(plan("work", &["claude"])).await.expect("it ran");
    assert_eq!((report.agents[0].status, report.warnings.len()), (Outcome::Completed, 0));
    // Three while it worked, and one at its end.
    assert_eq!(ever(&*store, "claude", Metric::MEMORY_BYTES).map(|summary| summary.n), Some(4));
    let cpu = ever(&*store, "claude", Metric::CPU_PERCENT).expect("it was seen");
    assert!(cpu.n == 4 && cpu.min >= 20.0 && cpu.max <= 30.0, "{cpu:?}");
    assert!(report.agents[0].memory_bytes_peak.is_some_and(|peak| peak >= 33_000), "{report:?}");
    // Told as they came, and counted once.
    let tokens = ever(&*store, "claude", Metric::TOKENS_INPUT).expect("it told them");
    assert_eq!((tokens.sum, tokens.max), (100.0, 70.0));
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_a_warning_and_no_failure() {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("file"), "").expect("it is written");
    let store = SqliteMetricsStore::at(folder.path().join("file").join("metrics.db"));
    let quick = MemoryAgent::new(id("quick"), |_, _| async { answer("42") });
    let coordinator = Coordinator::new().with_agent(Arc::new(quick)).with_metrics(Arc::new(store));
    let report = coordinator.execute_parallel(plan("work", &["quick"])).await.expect("it ran");
    assert_eq!(report.agents[0].status, Outcome::Completed);
    let [warning] = report.warnings.as_slice() else { panic!("{:?}", report.warnings) };
    assert!(warning.starts_with("what the agents took of the machine is not kept: "), "{warning}");
}
