//! What Prometheus reads.

use aiswitch_metrics::{Metric, Sample, Source, prometheus};

use crate::stores::{keep, noon, sample, with_each_store};

#[test]
fn gauges_are_the_newest_counts_the_sum_and_response_times_quantiles() {
    with_each_store(|store| {
        let mut first = sample("claude", 0, &Metric::CPU_PERCENT, 250.0);
        first.figures.extend([
            (Metric::TASK_COUNT, 1.0),
            (Metric::TOKENS_INPUT, 70.0),
            (Metric::RESPONSE_TIME_MS, 2_000.0),
        ]);
        let mut second = sample("claude", 10, &Metric::CPU_PERCENT, 50.0);
        second
            .figures
            .extend([(Metric::TASK_COUNT, 2.0), (Metric::named("queue_wait_ms").expect("a name"), 500.0)]);
        let system = Sample { source: Source::System, at: noon(), figures: vec![(Metric::LOAD_1M, 0.25)] };
        keep(store, &[first, second, system]);
        let expected = "\
# HELP aiswitch_agent_cpu_ratio CPU use, of one core.
# TYPE aiswitch_agent_cpu_ratio gauge
aiswitch_agent_cpu_ratio{agent=\"claude\"} 0.5
# HELP aiswitch_agent_queue_wait_seconds A figure that agents report.
# TYPE aiswitch_agent_queue_wait_seconds gauge
aiswitch_agent_queue_wait_seconds{agent=\"claude\"} 0.5
# HELP aiswitch_agent_response_time_seconds How long a task took.
# TYPE aiswitch_agent_response_time_seconds summary
aiswitch_agent_response_time_seconds{agent=\"claude\",quantile=\"0.5\"} 2
aiswitch_agent_response_time_seconds{agent=\"claude\",quantile=\"0.95\"} 2
aiswitch_agent_response_time_seconds{agent=\"claude\",quantile=\"0.99\"} 2
aiswitch_agent_response_time_seconds_sum{agent=\"claude\"} 2
aiswitch_agent_response_time_seconds_count{agent=\"claude\"} 1
# HELP aiswitch_agent_sample_timestamp_seconds When it was last measured.
# TYPE aiswitch_agent_sample_timestamp_seconds gauge
aiswitch_agent_sample_timestamp_seconds{agent=\"claude\"} 1795435210
# HELP aiswitch_agent_tasks_total Tasks that ended.
# TYPE aiswitch_agent_tasks_total counter
aiswitch_agent_tasks_total{agent=\"claude\"} 3
# HELP aiswitch_agent_tokens_input_total Input tokens that were used.
# TYPE aiswitch_agent_tokens_input_total counter
aiswitch_agent_tokens_input_total{agent=\"claude\"} 70
# HELP aiswitch_system_load_1m Processes that ran or waited, mean of a minute.
# TYPE aiswitch_system_load_1m gauge
aiswitch_system_load_1m 0.25
# HELP aiswitch_system_sample_timestamp_seconds When it was last measured.
# TYPE aiswitch_system_sample_timestamp_seconds gauge
aiswitch_system_sample_timestamp_seconds 1795435200
";
        assert_eq!(prometheus(store).expect("it can be read"), expected);
    });
}

#[test]
fn a_hostile_label_stays_one_value_of_one_line() {
    with_each_store(|store| {
        keep(store, &[sample("a\"} 1\nevil{x=\"\\", 0, &Metric::PROCESSES, 3.0)]);
        let text = prometheus(store).expect("it can be read");
        let lines: Vec<&str> =
            text.lines().filter(|line| line.starts_with("aiswitch_agent_processes")).collect();
        assert_eq!(lines, [r#"aiswitch_agent_processes{agent="a\"} 1\nevil{x=\"\\"} 3"#]);
        assert!(text.lines().all(|line| line.starts_with("# ") || line.starts_with("aiswitch_")), "{text}");
    });
}
