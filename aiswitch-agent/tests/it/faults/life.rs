//! Agents that end when they should not, or do not when they should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aiswitch_agent::{ErrorKind, Fault, LifeState, LiveError, RestartPolicy, TaskStatus};
use rustix::process::{Signal, kill_process};

use super::{ask, faulty, faulty_with, live_with, pid_of, processes, recovers, survives, within};
use crate::live::{SOON, live};
use crate::support::{Bench, PATIENCE, is_ignored};

/// The exit code of a crash that is a SIGKILL.
const KILLED: u8 = 128 + 9;

/// How soon a task must have failed after its agent was killed.
const FAILS_WITHIN: Duration = Duration::from_millis(100);

#[test]
fn fault_03_a_kill_during_the_greeting_is_tried_again_three_times() {
    survives(async || {
        let bench = faulty_with(Fault::CrashInitialize, KILLED);
        let agent = live(&bench, SOON);
        let LiveError::Start { problem, .. } = agent.start().await.unwrap_err() else {
            panic!("another error")
        };
        assert_eq!(problem.message, "it ended with signal 9 before it answered");
        assert_eq!((agent.status().state, agent.status().restarts), (LifeState::Failed, 3));
    });
}

#[test]
fn fault_03_a_kill_while_idle_is_made_good() {
    survives(async || {
        let (mut bench, agent) = live_with(Fault::Garbage).await;
        kill_process(pid_of(&mut bench), Signal::KILL).unwrap();
        recovers(&bench, &agent, 1).await;
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_03_a_kill_in_the_middle_of_a_task_fails_it_at_once() {
    survives(async || {
        let bench = faulty_with(Fault::CrashTask, KILLED);
        let agent = live(&bench, SOON);
        agent.start().await.unwrap();
        let asked = Instant::now();
        let result = ask(&bench, &agent, "x").await;
        assert!(asked.elapsed() < within(FAILS_WITHIN), "{:?}", asked.elapsed());
        let error = result.error.unwrap();
        assert_eq!(
            (result.status, error.kind, error.message.as_str()),
            (TaskStatus::Failed, ErrorKind::Crash, "it ended with signal 9 before it answered")
        );
        recovers(&bench, &agent, 1).await;
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_03_a_kill_in_the_middle_of_a_line_fails_the_task_at_once() {
    survives(async || {
        let bench = faulty_with(Fault::CrashFrame, KILLED);
        let agent = live(&bench, SOON);
        agent.start().await.unwrap();
        let asked = Instant::now();
        let error = ask(&bench, &agent, "x").await.error.unwrap();
        assert!(asked.elapsed() < within(FAILS_WITHIN), "{:?}", asked.elapsed());
        assert_eq!(error.kind, ErrorKind::Protocol);
        assert!(error.message.starts_with("stream ended inside a frame, after "), "{error:?}");
        recovers(&bench, &agent, 1).await;
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_03_a_kill_while_it_stops_is_a_stop() {
    survives(async || {
        let bench = faulty_with(Fault::CrashStop, KILLED);
        let agent = live(&bench, SOON);
        agent.start().await.unwrap();
        agent.stop().await.unwrap();
        let status = agent.status();
        assert_eq!((status.state, status.restarts, status.problem), (LifeState::Stopped, 0, None));
    });
}

#[test]
fn fault_04_an_end_without_an_error_that_nobody_asked_for_is_a_crash() {
    survives(async || {
        for restarts_max in [3, 0] {
            let bench = faulty_with(Fault::CrashIdle, 0);
            let agent = live(&bench, RestartPolicy { restarts_max, ..SOON });
            agent.start().await.unwrap();
            let mut status = agent.watch();
            let failed = status.wait_for(|status| status.state == LifeState::Failed);
            tokio::time::timeout(PATIENCE, failed).await.unwrap().unwrap();
            let status = agent.status();
            assert_eq!(status.restarts, restarts_max);
            assert_eq!(status.problem.unwrap().message, "it ended with exit code 0 before it answered");
        }
    });
}

#[test]
fn fault_05_every_exit_code_and_every_signal_is_told_as_it_was() {
    /// What ends no process unless it is handled, or stops it: see `signal(7)`.
    const HARMLESS: [i32; 8] = [17, 18, 19, 20, 21, 22, 23, 28];
    /// How many are run at once.
    const AT_ONCE: usize = 16;
    survives(async || {
        let codes = (1..=255).map(|code| (format!("exit {code}"), format!("exit code {code}")));
        let signals = (1..=31).filter(|signal| !HARMLESS.contains(signal) && !is_ignored(*signal));
        let signals = signals.map(|signal| (format!("kill -{signal} $$"), format!("signal {signal}")));
        let ends: Vec<_> = codes.chain(signals).collect();
        for some in ends.chunks(AT_ONCE) {
            let runs = some.iter().map(|(script, expected)| {
                let (script, expected) = (script.clone(), expected.clone());
                tokio::spawn(async move {
                    let error = Bench::script(&script).guarded().run("").await.unwrap().error.unwrap();
                    assert_eq!(error.message, format!("it ended with {expected}"));
                })
            });
            for run in runs.collect::<Vec<_>>() {
                run.await.unwrap();
            }
        }
    });
}

#[test]
fn fault_06_a_crash_loop_ends_after_three_restarts_until_somebody_starts_it_anew() {
    survives(async || {
        let bench = faulty(Fault::CrashStart);
        let agent = live(&bench, SOON);
        for _ in ["by itself", "by hand"] {
            let began = Instant::now();
            agent.start().await.unwrap_err();
            // Full jitter: the waits are at most 5, 10 and 20 ms; what is more is the processes' own.
            assert!(began.elapsed() < within(Duration::from_millis(35 + 4 * 50)), "{:?}", began.elapsed());
            assert_eq!((agent.status().state, agent.status().restarts), (LifeState::Failed, 3));
        }
    });
}

#[test]
fn fault_07_a_crash_after_each_healthy_time_is_never_too_often() {
    survives(async || {
        let mut bench = faulty(Fault::Garbage);
        let policy = RestartPolicy { restarts_max: 1, healthy_after: Duration::from_millis(1), ..SOON };
        let agent = live(&bench, policy);
        agent.start().await.unwrap();
        for crash in 1..=5 {
            kill_process(pid_of(&mut bench), Signal::KILL).unwrap();
            recovers(&bench, &agent, crash).await;
        }
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_08_an_agent_that_is_stopped_by_a_signal_is_hung_and_replaced() {
    survives(async || {
        let mut bench = faulty(Fault::StopItself);
        bench.context.limits.ping_after = Duration::from_millis(50);
        bench.context.limits.ping_timeout = Duration::from_millis(100);
        let agent = live(&bench, SOON);
        agent.start().await.unwrap();
        let error = ask(&bench, &agent, "x").await.error.unwrap();
        assert_eq!(error.message, "it is hung: it left 3 pings unanswered, each for 100ms");
        recovers(&bench, &agent, 1).await;
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_39_a_hundred_orders_at_once_leave_one_process_or_none() {
    survives(async || {
        let bench = faulty(Fault::Garbage);
        let agent = Arc::new(live(&bench, SOON));
        let before = processes().len();
        let orders = (0..100).map(|order| {
            let agent = agent.clone();
            tokio::spawn(async move {
                match order % 3 {
                    0 => agent.start().await,
                    1 => agent.stop().await,
                    _ => agent.restart().await,
                }
            })
        });
        for order in orders.collect::<Vec<_>>() {
            match tokio::time::timeout(PATIENCE, order).await.unwrap().unwrap() {
                Ok(()) | Err(LiveError::State { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        // The agent and its guard, if it is not stopped.
        let running = usize::from(agent.status().state == LifeState::Idle);
        assert_eq!(processes().len() - before, 2 * running);
        // A stop that comes while it rests is refused, and is as good.
        drop(agent.stop().await);
        assert_eq!(agent.status().state, LifeState::Stopped);
    });
}

#[test]
fn fault_40_an_agent_that_is_paused_can_be_stopped() {
    survives(async || {
        let (mut bench, agent) = live_with(Fault::Garbage).await;
        kill_process(pid_of(&mut bench), Signal::STOP).unwrap();
        agent.stop().await.unwrap();
        assert_eq!((agent.status().state, bench.alive()), (LifeState::Stopped, Vec::new()));
    });
}
