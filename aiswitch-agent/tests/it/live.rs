//! An agent whose process stays for several tasks.

use std::time::Duration;

use aiswitch_agent::{
    AgentEvent, AgentSpec, Driver, ErrorKind, LifeState, LiveAgent, LiveError, PermissionMode, Replay,
    RestartPolicy, TaskSpec, TaskStatus, Turn,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bench, PATIENCE, environment, wait_for};

const LIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/live.sh");

/// Restarts as by default, but soon.
pub(crate) const SOON: RestartPolicy = RestartPolicy {
    restarts_max: 3,
    window: Duration::from_mins(1),
    backoff: Duration::from_millis(5),
    backoff_max: Duration::from_millis(20),
    healthy_after: Duration::from_mins(1),
};

fn spec() -> AgentSpec {
    AgentSpec { command: vec!["sh".into(), LIVE.into()], ..AgentSpec::new(Driver::Rpc) }
}

pub(crate) fn live(bench: &Bench, policy: RestartPolicy) -> LiveAgent {
    LiveAgent::new(bench.agent.clone(), bench.task(""), bench.context.clone(), policy)
}

fn bench() -> (Bench, LiveAgent) {
    let mut bench = Bench::new(&spec()).guarded();
    bench.context.limits.stop_grace = Duration::from_millis(500);
    let agent = live(&bench, SOON);
    (bench, agent)
}

async fn ask(
    bench: &Bench,
    agent: &LiveAgent,
    prompt: &str,
) -> Result<aiswitch_agent::TaskResult, LiveError> {
    tokio::time::timeout(PATIENCE, agent.send_task(bench.task(prompt), Replay::Never)).await.unwrap()
}

async fn answer(bench: &Bench, agent: &LiveAgent, prompt: &str) -> String {
    ask(bench, agent, prompt).await.unwrap().answer.unwrap()
}

fn starts(bench: &Bench) -> usize {
    bench.log("starts").lines().count()
}

#[tokio::test]
async fn one_process_does_one_task_after_the_other_and_is_asked_to_end() {
    let (mut bench, agent) = bench();
    agent.start().await.unwrap();
    let first = answer(&bench, &agent, "pid").await;
    assert_eq!(answer(&bench, &agent, "pid").await, first);
    assert_eq!(agent.status().state, LifeState::Idle);
    agent.stop().await.unwrap();
    assert_eq!(
        (agent.status().state, starts(&bench), bench.log("ends").as_str()),
        (LifeState::Stopped, 1, "shutdown\n")
    );
    assert_eq!(bench.alive(), Vec::<String>::new());
    let states: Vec<_> = bench
        .told()
        .into_iter()
        .filter_map(|event| if let AgentEvent::State { to, .. } = event { Some(to) } else { None })
        .collect();
    let expected = ["starting", "idle", "busy", "idle", "busy", "idle", "stopping", "stopped"];
    assert_eq!(states.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_crash_fails_the_task_in_work_and_the_next_one_has_a_new_process() {
    let (bench, agent) = bench();
    agent.start().await.unwrap();
    let first = answer(&bench, &agent, "pid").await;
    let error = ask(&bench, &agent, "crash").await.unwrap().error.unwrap();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Crash, "it ended with exit code 7 before it answered: out of cheese")
    );
    assert_ne!(answer(&bench, &agent, "pid").await, first);
    let status = agent.status();
    assert_eq!((status.restarts, status.problem.unwrap().kind, starts(&bench)), (1, ErrorKind::Crash, 2));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn only_an_idempotent_task_is_given_to_the_next_process() {
    let (bench, agent) = bench();
    agent.start().await.unwrap();
    let task = agent.send_task(bench.task("crash once"), Replay::Idempotent);
    let result = tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
    assert_eq!((result.answer.as_deref(), starts(&bench)), (Some("twice"), 2));
    std::fs::remove_file(bench.dir.path().join("crashed")).unwrap();
    let result = ask(&bench, &agent, "crash once").await.unwrap();
    assert_eq!((result.status, result.answer), (TaskStatus::Failed, None));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn what_no_restart_can_mend_is_not_tried_again() {
    let bench =
        Bench::new(&AgentSpec { command: vec!["no-such-program".into()], ..AgentSpec::new(Driver::Rpc) });
    let agent = live(&bench, SOON);
    let LiveError::Start { problem, .. } = agent.start().await.unwrap_err() else {
        panic!("it did not start")
    };
    assert_eq!(problem.kind, ErrorKind::NotInstalled);
    assert_eq!((agent.status().state, agent.status().restarts), (LifeState::Failed, 0));
}

#[tokio::test]
async fn a_stop_cancels_the_task_in_work_and_kills_an_agent_that_ignores_it() {
    for (prompt, expected) in [("wait", Some("so far")), ("hang", None)] {
        let (bench, agent) = bench();
        agent.start().await.unwrap();
        let ready = bench.dir.path().join("ready");
        let (result, stopped) = tokio::join!(ask(&bench, &agent, prompt), async {
            wait_for(&ready).await;
            agent.stop().await
        });
        let result = result.unwrap();
        assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Cancelled, expected), "{prompt}");
        stopped.unwrap();
        assert_eq!((agent.status().state, bench.alive()), (LifeState::Stopped, Vec::new()));
        assert!(matches!(agent.stop().await, Err(LiveError::State { state: LifeState::Stopped, .. })));
    }
}

#[tokio::test]
async fn a_task_for_another_folder_or_mode_is_refused() {
    let (bench, agent) = bench();
    agent.start().await.unwrap();
    let ok = bench.task("pid");
    for task in [TaskSpec { cwd: "/".into(), ..ok.clone() }, TaskSpec { mode: PermissionMode::Yolo, ..ok }] {
        let refused = agent.send_task(task, Replay::Never).await;
        assert!(matches!(refused, Err(LiveError::Place { .. })), "{refused:?}");
    }
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_left_of_an_agent_that_is_dropped_or_whose_run_is_cancelled() {
    let (bench, agent) = bench();
    agent.start().await.unwrap();
    drop(agent);
    wait_until_gone(&bench).await;

    let (bench, agent) = self::bench();
    agent.start().await.unwrap();
    bench.context.cancel.cancel();
    let mut status = agent.watch();
    let stopped = status.wait_for(|status| status.state == LifeState::Stopped);
    tokio::time::timeout(PATIENCE, stopped).await.unwrap().unwrap();
    assert_eq!(bench.alive(), Vec::<String>::new());
    assert!(matches!(agent.start().await, Err(LiveError::Over { .. })));
}

async fn wait_until_gone(bench: &Bench) {
    let gone = async {
        while !bench.alive().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_process_that_answers_nothing_any_more_is_hung_and_replaced() {
    let mut bench = Bench::new(&spec()).guarded();
    bench.context.limits.stop_grace = Duration::from_millis(100);
    bench.context.limits.ping_after = Duration::from_millis(100);
    bench.context.limits.ping_timeout = Duration::from_millis(500);
    let agent = live(&bench, SOON);
    agent.start().await.unwrap();
    let first = answer(&bench, &agent, "pid").await;
    wait_for(&bench.dir.path().join("pinged")).await;
    assert_eq!((agent.status().restarts, agent.status().state), (0, LifeState::Idle));
    kill_process(Pid::from_raw(first.parse().unwrap()).unwrap(), Signal::STOP).unwrap();
    let mut status = agent.watch();
    let again = status.wait_for(|status| status.restarts == 1 && status.state == LifeState::Idle);
    tokio::time::timeout(PATIENCE, again).await.unwrap().unwrap();
    let problem = agent.status().problem.unwrap();
    assert_eq!(problem.message, "it is hung: it left 3 pings unanswered, each for 500ms");
    assert_ne!(answer(&bench, &agent, "pid").await, first);
    agent.stop().await.unwrap();
    assert_eq!(bench.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn a_switch_waits_for_the_turn_and_loses_no_task() {
    let (bench, agent) = bench();
    agent.start().await.unwrap();
    assert_eq!(answer(&bench, &agent, "key").await, "none");
    let ready = bench.dir.path().join("ready");
    let (turn, (switched, next)) = tokio::join!(ask(&bench, &agent, "until go"), async {
        wait_for(&ready).await;
        let switch = agent.switch_env(environment(&[("KEY", "second")]), Turn::Finish);
        let go = async {
            std::fs::write(bench.dir.path().join("go"), "").unwrap();
            ask(&bench, &agent, "key").await
        };
        tokio::join!(switch, go)
    });
    assert_eq!(turn.unwrap().answer.as_deref(), Some("went"));
    switched.unwrap();
    // It was given while the switch was under way, so it may have been done on either side of it, but done it was.
    assert!(matches!(next.unwrap().answer.as_deref(), Some("none" | "second")));
    assert_eq!((answer(&bench, &agent, "key").await.as_str(), starts(&bench)), ("second", 2));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_switch_that_fails_its_probe_is_rolled_back_and_loses_no_task() {
    let (bench, agent) = bench();
    agent.start().await.unwrap();
    agent.switch_env(environment(&[("KEY", "good")]), Turn::Finish).await.unwrap();
    for turn in [Turn::Finish, Turn::Cancel] {
        let switch = agent.switch_env(environment(&[("KEY", "bad")]), turn);
        let (switched, next) = tokio::join!(switch, ask(&bench, &agent, "key"));
        let error = switched.unwrap_err();
        assert!(matches!(error, LiveError::RolledBack { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "agent `agent` goes on under its environment before: it ended with exit code 3 before it answered: \
             bad key"
        );
        assert_eq!(next.unwrap().answer.as_deref(), Some("good"));
        assert_eq!(agent.status().state, LifeState::Idle);
    }
    agent.stop().await.unwrap();
    agent.switch_env(environment(&[("KEY", "rested")]), Turn::Finish).await.unwrap();
    agent.start().await.unwrap();
    assert_eq!(answer(&bench, &agent, "key").await, "rested");
    agent.stop().await.unwrap();
    assert_eq!(bench.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn an_agent_with_a_process_for_each_turn_is_switched_between_two_turns() {
    let bench = Bench::script("echo ${KEY:-none}");
    let agent = live(&bench, SOON);
    agent.start().await.unwrap();
    assert_eq!(answer(&bench, &agent, "").await, "none\n");
    agent.switch_env(environment(&[("KEY", "second")]), Turn::Finish).await.unwrap();
    assert_eq!(answer(&bench, &agent, "").await, "second\n");
    let nowhere = aiswitch_env::Environment::default();
    let error = agent.switch_env(nowhere, Turn::Finish).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "agent `agent` goes on under its environment before: `sh` of agent `agent` is not installed"
    );
    assert_eq!(answer(&bench, &agent, "").await, "second\n");
    agent.stop().await.unwrap();
    assert_eq!(bench.alive(), Vec::<String>::new());
}
