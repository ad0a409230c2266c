//! How samples are come by.

use aiswitch_metrics::{AgentSample, AgentStatus, Collector as _, RecordedCollector, SystemProbe};

use crate::stores::{at, noon};

#[test]
fn a_look_at_this_machine_tells_what_there_is_and_the_cpu_from_the_second_look_on() {
    let mut probe = SystemProbe::new();
    let first = probe.sample(noon());
    assert_eq!((first.at, first.cpu_percent), (noon(), None));
    let (total, available) =
        (first.memory_total_bytes.expect("it has"), first.memory_available_bytes.expect("it has"));
    assert!(available > 0 && available < total, "{first:?}");
    assert!(first.cpus.is_some_and(|cpus| cpus >= 1) && first.load.is_some(), "{first:?}");
    // Ticks come every hundredth of a second: looks until one has passed.
    let told = (0..1_000_000).find_map(|_| probe.sample(at(1)).cpu_percent).expect("time goes on");
    assert!((0.0..=100.0 * 4_096.0).contains(&told), "{told}");
}

#[test]
fn a_recorded_collector_gives_its_samples_in_turn_and_anew_when_it_is_fresh() {
    let idle = AgentSample { status: Some(AgentStatus::Idle), ..AgentSample::new("claude", noon()) };
    let busy = AgentSample { status: Some(AgentStatus::Busy), ..idle.clone() };
    let mut collector = RecordedCollector::new().with_agent(idle).with_agent(busy);
    let mut fresh = collector.fresh();
    let mut look = |seconds| {
        collector.collect_agent_metrics("claude", 1, at(seconds)).map(|sample| (sample.at, sample.status))
    };
    assert_eq!(look(1), Some((at(1), Some(AgentStatus::Idle))));
    assert_eq!(look(2), Some((at(2), Some(AgentStatus::Busy))));
    assert_eq!(look(3), Some((at(3), Some(AgentStatus::Busy))));
    assert_eq!(collector.collect_agent_metrics("codex", 1, at(4)), None);
    assert_eq!(collector.collect_system_metrics(at(4)), None);
    assert_eq!(
        fresh.collect_agent_metrics("claude", 1, at(5)).and_then(|sample| sample.status),
        Some(AgentStatus::Idle)
    );
}
