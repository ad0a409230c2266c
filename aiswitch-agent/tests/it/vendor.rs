//! Programs that speak Codex's protocol and the Agent Client Protocol, well and badly.

use std::time::Duration;

use aiswitch_agent::{
    AgentEvent, AgentSpec, Driver, ErrorKind, LifeState, Limits, LiveAgent, PermissionMode, Replay,
    RestartPolicy, TaskResult, TaskStatus,
};

use crate::support::{Bench, PATIENCE};

const VENDOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/vendor.sh");

const DRIVERS: [(Driver, &str); 2] = [(Driver::Codex, "codex"), (Driver::Acp, "acp")];

fn bench((driver, speaks): (Driver, &str), behaviour: &str) -> Bench {
    let command = ["sh", VENDOR, speaks, behaviour].map(str::to_owned).to_vec();
    let modes = Some(vec![PermissionMode::Write]);
    Bench::new(&AgentSpec { command, modes, ..AgentSpec::new(driver) })
}

/// Runs a task on a program of each kind.
async fn each(behaviour: &str, change: impl Fn(&mut Bench)) -> Vec<(TaskResult, Vec<AgentEvent>)> {
    let mut results = Vec::new();
    for driver in DRIVERS {
        let mut bench = bench(driver, behaviour);
        change(&mut bench);
        let result = bench.run("x").await.unwrap();
        results.push((result, bench.told()));
    }
    results
}

fn failure(result: &TaskResult) -> (TaskStatus, ErrorKind, &str) {
    let error = result.error.as_ref().unwrap();
    (result.status, error.kind, error.message.as_str())
}

#[tokio::test]
async fn an_answer_is_streamed_and_is_the_result() {
    for (result, told) in each("fine", |_| {}).await {
        assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Completed, Some("part")));
        assert_eq!(result.model.as_deref(), Some("m"));
        assert!(told.contains(&AgentEvent::Output { text: "part".into() }), "{told:?}");
    }
}

#[tokio::test]
async fn a_stray_print_is_counted_and_not_fatal() {
    for (result, told) in each("noise", |_| {}).await {
        assert_eq!(result.status, TaskStatus::Completed);
        assert!(told.contains(&AgentEvent::Unknown { line: "a stray print".into() }), "{told:?}");
    }
}

#[tokio::test]
async fn a_program_that_dies_before_its_last_word_has_crashed() {
    for (result, _) in each("crash", |_| {}).await {
        let message = "it ended with exit code 7 before it answered: out of cheese";
        assert_eq!(failure(&result), (TaskStatus::Failed, ErrorKind::Crash, message));
        assert_eq!(result.answer.as_deref(), Some("part"));
    }
}

#[tokio::test]
async fn each_break_of_the_stream_is_told_by_its_name() {
    for (behaviour, part) in [("long", "bytes"), ("half", "ended inside a frame"), ("invalid", "not UTF-8")] {
        for (result, _) in each(behaviour, |bench| bench.context.limits.frame_bytes_max = 100_000).await {
            let (status, kind, message) = failure(&result);
            assert_eq!((status, kind), (TaskStatus::Failed, ErrorKind::Protocol), "{behaviour}: {message}");
            assert!(message.contains(part), "{behaviour}: {message}");
        }
    }
}

#[tokio::test]
async fn a_program_that_prints_without_end_is_ended() {
    for driver in DRIVERS {
        let mut bench = bench(driver, "flood");
        bench.context.limits.output_bytes_max = 1_000_000;
        let mut events = std::mem::replace(&mut bench.events, tokio::sync::mpsc::channel(1).1);
        // Somebody has to hear them: a run that does not is waited for.
        let heard = tokio::spawn(async move { while events.recv().await.is_some() {} });
        let result = bench.run("x").await.unwrap();
        heard.abort();
        let message = "it printed more than an agent may";
        assert_eq!(failure(&result), (TaskStatus::Failed, ErrorKind::Limit, message));
    }
}

#[tokio::test]
async fn a_program_that_does_not_get_ready_is_ended() {
    let soon = |bench: &mut Bench| bench.context.limits.start_timeout = Duration::from_millis(300);
    for (result, _) in each("silent", soon).await {
        let message = "it did not get ready within 300 ms";
        assert_eq!(failure(&result), (TaskStatus::Failed, ErrorKind::Timeout, message));
    }
}

#[tokio::test]
async fn a_program_that_is_not_logged_in_is_told_as_such() {
    for (result, _) in each("login", |_| {}).await {
        let (status, kind, _) = failure(&result);
        assert_eq!((status, kind), (TaskStatus::Failed, ErrorKind::Auth));
    }
}

#[tokio::test]
async fn a_program_that_is_too_old_is_named_with_what_updates_it() {
    let command = ["sh", VENDOR, "codex", "fine", "0.9.1"].map(str::to_owned).to_vec();
    let mut bench = Bench::new(&AgentSpec { command, ..AgentSpec::new(Driver::Codex) });
    let result = bench.run("x").await.unwrap();
    let (status, kind, message) = failure(&result);
    assert_eq!((status, kind), (TaskStatus::Failed, ErrorKind::Config));
    assert!(message.starts_with("`sh` 0.9.1 is too old, "), "{message}");
    let hint = result.error.as_ref().unwrap().hint.as_deref();
    assert_eq!(hint, Some("update it with: npm install -g @openai/codex"));
}

#[tokio::test]
async fn an_agent_of_another_version_of_the_protocol_is_refused() {
    let mut bench = bench((Driver::Acp, "acp"), "version");
    let result = bench.run("x").await.unwrap();
    let message = "it speaks version 2 of ACP, not 1";
    assert_eq!(failure(&result), (TaskStatus::Failed, ErrorKind::Protocol, message));
}

/// Runs a task and cancels it as soon as the first piece of the answer was told.
async fn cancelled(mut bench: Bench) -> TaskResult {
    let mut events = std::mem::replace(&mut bench.events, tokio::sync::mpsc::channel(1).1);
    let cancel = bench.context.cancel.clone();
    let (result, ()) = tokio::join!(bench.run("x"), async {
        while let Some((_, event)) = events.recv().await {
            if matches!(event, AgentEvent::Output { .. }) {
                cancel.cancel();
                break;
            }
        }
    });
    result.unwrap()
}

#[tokio::test]
async fn a_cancel_is_asked_for_in_the_vendors_own_way_and_leaves_no_tool_behind() {
    for driver in DRIVERS {
        for behaviour in ["wait", "tool"] {
            let result = cancelled(bench(driver, behaviour)).await;
            assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Cancelled, Some("part")));
        }
    }
}

#[tokio::test]
async fn a_program_that_hears_no_cancel_is_killed_and_its_answer_so_far_is_kept() {
    for driver in DRIVERS {
        let mut bench = bench(driver, "deaf");
        bench.context.limits = Limits { stop_grace: Duration::from_millis(200), ..Limits::default() };
        let result = cancelled(bench).await;
        assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Cancelled, Some("part")));
    }
}

fn live(bench: &Bench) -> LiveAgent {
    let policy = RestartPolicy { backoff: Duration::from_millis(5), ..RestartPolicy::default() };
    LiveAgent::new(bench.agent.clone(), bench.task(""), bench.context.clone(), policy)
}

async fn ask(bench: &Bench, agent: &LiveAgent) -> TaskResult {
    tokio::time::timeout(PATIENCE, agent.send_task(bench.task("x"), Replay::Never)).await.unwrap().unwrap()
}

#[tokio::test]
async fn one_process_does_several_tasks_each_in_a_session_of_its_own() {
    for driver in DRIVERS {
        let bench = bench(driver, "fine").guarded();
        let agent = live(&bench);
        agent.start().await.unwrap();
        let pid = agent.status().pid;
        let results = [ask(&bench, &agent).await, ask(&bench, &agent).await];
        for result in &results {
            assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Completed, Some("part")));
        }
        assert_ne!(results[0].session_id, results[1].session_id);
        assert!(pid.is_some() && agent.status().pid == pid);
        agent.stop().await.unwrap();
        assert_eq!(bench.alive(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_process_that_dies_in_a_task_fails_it_with_what_it_had_said_and_is_replaced() {
    for driver in DRIVERS {
        let bench = bench(driver, "crash").guarded();
        let agent = live(&bench);
        agent.start().await.unwrap();
        let pid = agent.status().pid;
        let result = ask(&bench, &agent).await;
        let message = "it ended with exit code 7 before it answered: out of cheese";
        assert_eq!(failure(&result), (TaskStatus::Failed, ErrorKind::Crash, message));
        assert_eq!(result.answer.as_deref(), Some("part"));
        let mut status = agent.watch();
        let again = status.wait_for(|status| status.restarts == 1 && status.state == LifeState::Idle);
        tokio::time::timeout(PATIENCE, again).await.unwrap().unwrap();
        assert_ne!(agent.status().pid, pid);
        agent.stop().await.unwrap();
        assert_eq!(bench.alive(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_stop_in_a_task_is_heard_by_the_program_and_what_it_had_said_is_kept() {
    for driver in DRIVERS {
        let mut bench = bench(driver, "waits").guarded();
        let (agent, task) = (live(&bench), bench.task("x"));
        agent.start().await.unwrap();
        let heard = async {
            while !matches!(bench.events.recv().await, Some((_, AgentEvent::Output { .. }))) {}
            agent.stop().await.unwrap();
        };
        let work = async { tokio::join!(agent.send_task(task, Replay::Never), heard).0 };
        let result = tokio::time::timeout(PATIENCE, work).await.unwrap().unwrap();
        assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Cancelled, Some("part")));
        assert_eq!(bench.alive(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_program_that_says_more_than_is_heard_waits() {
    /// What waits at most: the messages, what was read with them, what the pipe holds.
    const WAITS_BYTES_MAX: u64 = 1024 * 1024;
    for driver in DRIVERS {
        let mut bench = bench(driver, "flood");
        let (agent, task, context) = (bench.agent.clone(), bench.task("x"), bench.context.clone());
        let run = tokio::spawn(async move { agent.run(task, context).await });
        // Nobody hears it, so that in the end nothing more is read.
        let log = bench.dir.path().join("stdout.log");
        let read = || std::fs::metadata(&log).map_or(0, |log| log.len());
        let mut before = 0;
        let waits = async {
            while read() == 0 || before != read() {
                before = read();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waits).await.unwrap();
        assert!(before < WAITS_BYTES_MAX, "{before} bytes");
        bench.context.cancel.cancel();
        let mut events = std::mem::replace(&mut bench.events, tokio::sync::mpsc::channel(1).1);
        let heard = tokio::spawn(async move { while events.recv().await.is_some() {} });
        let result = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap().unwrap();
        assert_eq!(result.status, TaskStatus::Cancelled);
        heard.abort();
    }
}
