//! Agents that say what they should not, or do not listen.

use std::time::Duration;

use aiswitch_agent::{AgentEvent, ErrorKind, Fault, TaskStatus};

use super::{ask, faulty, is_strict, live_with, recovers, survives};
use crate::support::{Bench, PATIENCE};

/// How much more memory this process may have after something that must not fill it, in bytes.
const GROWTH_MAX: u64 = 2 * 1024 * 1024;

/// The memory of this process that is in RAM, see `proc_pid_statm(5)`, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

fn unknown(bench: &mut Bench) -> Vec<String> {
    let line = |event| if let AgentEvent::Unknown { line } = event { Some(line) } else { None };
    bench.told().into_iter().filter_map(line).collect()
}

/// Has an agent that answers nothing be found out soon.
fn watch_closely(bench: &mut Bench) {
    bench.context.limits.ping_after = Duration::from_millis(50);
    bench.context.limits.ping_timeout = Duration::from_millis(100);
}

const HUNG: &str = "it is hung: it left 3 pings unanswered, each for 100ms";

#[test]
fn fault_15_an_agent_that_closes_its_stdout_and_lives_on_is_ended_and_replaced() {
    survives(async || {
        let (bench, agent) = live_with(Fault::CloseStdout).await;
        let result = ask(&bench, &agent, "x").await;
        let error = result.error.unwrap();
        assert_eq!((result.status, error.kind), (TaskStatus::Failed, ErrorKind::Crash), "{error:?}");
        recovers(&bench, &agent, 1).await;
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_16_an_agent_that_closes_its_stdin_fails_what_is_said_to_it_and_is_replaced() {
    survives(async || {
        let mut bench = faulty(Fault::CloseStdin);
        watch_closely(&mut bench);
        let agent = crate::live::live(&bench, crate::live::SOON);
        agent.start().await.unwrap();
        let error = ask(&bench, &agent, "x").await.error.unwrap();
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Crash, HUNG));
        recovers(&bench, &agent, 1).await;
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_17_an_agent_that_reads_nothing_is_hung_and_holds_nobody_up() {
    survives(async || {
        let mut bench = faulty(Fault::StopReading);
        watch_closely(&mut bench);
        let agent = crate::live::live(&bench, crate::live::SOON);
        agent.start().await.unwrap();
        // The first is read and makes it deaf; the second is more than a pipe holds.
        let long = "x".repeat(200_000);
        let (first, second) = tokio::join!(ask(&bench, &agent, &long), ask(&bench, &agent, "behave"));
        assert_eq!(first.error.unwrap().message, HUNG);
        assert_eq!(second.answer.as_deref(), Some("behave"));
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_18_a_flood_on_stderr_is_drained_and_only_its_end_is_kept() {
    survives(async || {
        let mut bench = faulty(Fault::StderrFlood);
        bench.context.output_dir = None;
        let agent = crate::live::live(&bench, crate::live::SOON);
        agent.start().await.unwrap();
        let before = resident();
        // 64 MiB each; 1 GiB in the long form.
        for _ in 0..if is_strict() { 16 } else { 2 } {
            assert_eq!(ask(&bench, &agent, "x").await.answer.as_deref(), Some("stderr-flood"));
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < GROWTH_MAX, "{grown} bytes");
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_19_a_line_without_end_is_cut_off_at_the_limit() {
    survives(async || {
        let mut bench = faulty(Fault::GiantLine);
        bench.context.output_dir = None;
        let before = resident();
        let error = bench.run("x").await.unwrap().error.unwrap();
        let limit = bench.context.limits.frame_bytes_max;
        assert_eq!(error.kind, ErrorKind::Protocol);
        assert!(error.message.ends_with(&format!("over the limit of {limit} bytes")), "{error:?}");
        let grown = resident().saturating_sub(before);
        assert!(grown < 3 * limit as u64, "{grown} bytes");
    });
}

#[test]
fn fault_20_stray_bytes_are_told_of_and_what_follows_is_understood() {
    survives(async || {
        for (fault, line) in [
            (Fault::Garbage, Some("a stray print")),
            (Fault::Nul, Some("\0\0")),
            (Fault::Bom, None),
            (Fault::Crlf, None),
        ] {
            let mut bench = faulty(fault);
            let result = bench.run("x").await.unwrap();
            assert_eq!(result.answer.as_deref(), Some(fault.name()), "{result:?}");
            assert_eq!(unknown(&mut bench), Vec::from_iter(line.map(str::to_owned)), "{}", fault.name());
        }
        let error = faulty(Fault::InvalidUtf8).run("x").await.unwrap().error.unwrap();
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::Protocol, "frame is not UTF-8 after byte 3")
        );
    });
}

#[test]
fn fault_21_half_a_line_fails_the_task_and_stays_in_the_log() {
    survives(async || {
        let mut bench = faulty(Fault::HalfLine);
        let error = bench.run("x").await.unwrap().error.unwrap();
        assert_eq!(error.kind, ErrorKind::Protocol);
        assert!(error.message.starts_with("stream ended inside a frame, after "), "{error:?}");
        let log = bench.log("stdout.log");
        assert!(log.lines().last().unwrap().starts_with("{\"id\":") && !log.ends_with('\n'), "{log}");
    });
}

#[test]
fn fault_22_json_that_is_too_deep_too_large_or_said_twice_is_refused() {
    survives(async || {
        let mut bench = faulty(Fault::DeepJson);
        assert_eq!(bench.run("x").await.unwrap().answer.as_deref(), Some("deep-json"));
        assert_eq!(unknown(&mut bench).len(), 1);
        for fault in [Fault::HugeNumber, Fault::DuplicateKeys] {
            let error = faulty(fault).run("x").await.unwrap().error.unwrap();
            let expected = "result of `task.assign` has another shape than expected";
            assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Protocol, expected));
        }
    });
}

#[test]
fn fault_23_answers_that_nobody_asked_for_are_dropped_and_told_of() {
    survives(async || {
        for (fault, told) in [(Fault::UnknownId, 1), (Fault::DuplicateId, 1), (Fault::Forged, 1000)] {
            let mut bench = faulty(fault);
            let result = bench.run("x").await.unwrap();
            assert_eq!(result.answer.as_deref(), Some(fault.name()));
            assert_eq!(unknown(&mut bench).len(), told, "{}", fault.name());
        }
    });
}

#[test]
fn fault_24_an_agent_that_answers_a_byte_a_second_is_hung_and_holds_nobody_up() {
    survives(async || {
        let mut bench = faulty(Fault::Drip);
        watch_closely(&mut bench);
        let error = bench.run("x").await.unwrap().error.unwrap();
        assert_eq!(error.message, HUNG);
    });
}

#[test]
fn fault_43_a_storm_of_messages_is_heard_out_and_fills_no_memory() {
    survives(async || {
        let mut bench = faulty(Fault::ReplyStorm);
        bench.context.output_dir = None;
        let (agent, task, context) = (bench.agent.clone(), bench.task("x"), bench.context.clone());
        let before = resident();
        let run = tokio::spawn(async move { agent.run(task, context).await });
        let mut heard = 0;
        while heard < 100_000 {
            let (_, event) = tokio::time::timeout(PATIENCE, bench.events.recv()).await.unwrap().unwrap();
            heard += usize::from(matches!(event, AgentEvent::Output { .. }));
        }
        let grown = resident().saturating_sub(before);
        let result = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap().unwrap();
        assert_eq!(result.answer.as_deref(), Some("reply-storm"));
        assert!(grown < GROWTH_MAX, "{grown} bytes");
    });
}
