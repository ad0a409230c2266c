//! Several live agents together, and one that is paused.

use std::time::{Duration, Instant};

use aiswitch_agent::{
    AgentEvent, AgentId, AgentSpec, Agents, Driver, LifeState, LiveAgent, LiveError, Pace, Replay,
    RestartPolicy, RunContext, TaskStatus, Turn,
};
use rustix::process::Pid;

use crate::support::{Bench, PATIENCE, environment, wait_for};

const LIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/live.sh");

fn spec(program: &str) -> AgentSpec {
    AgentSpec { command: vec![program.into(), LIVE.into()], ..AgentSpec::new(Driver::Rpc) }
}

fn id(name: &str) -> AgentId {
    name.parse().unwrap()
}

/// An agent of its own name in the bench's folder, which tells its events there too.
fn live(bench: &Bench, name: &str, program: &str) -> LiveAgent {
    let context = RunContext { events: bench.context.events.for_agent(id(name)), ..bench.context.clone() };
    LiveAgent::new(spec(program).build(id(name)), bench.task(""), context, RestartPolicy::default())
}

fn three(bench: &Bench) -> Agents {
    let mut agents = Agents::new();
    for (name, program) in [("first", "sh"), ("broken", "no-such-program"), ("last", "sh")] {
        agents.add(live(bench, name, program)).unwrap();
    }
    agents
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.unwrap()
}

/// Who was told to be in a state, in that order.
fn told_to_be(bench: &mut Bench, wanted: LifeState) -> Vec<String> {
    let events = std::iter::from_fn(|| bench.events.try_recv().ok());
    let is_wanted = |event: &AgentEvent| matches!(event, AgentEvent::State { to, .. } if *to == wanted);
    events.filter(|(_, event)| is_wanted(event)).map(|(agent, _)| agent.to_string()).collect()
}

#[tokio::test]
async fn what_fails_with_one_is_a_value_and_the_others_go_on() {
    let mut bench = Bench::new(&spec("sh")).guarded();
    let mut agents = three(&bench);
    let started = bounded(agents.start_all()).await;
    let shown: Vec<_> = started.iter().map(|(id, started)| (id.as_ref(), started.is_ok())).collect();
    assert_eq!(shown, [("first", true), ("broken", false), ("last", true)]);
    let states: Vec<_> = agents.status_all().into_iter().map(|(_, status)| status.state).collect();
    assert_eq!(states, [LifeState::Idle, LifeState::Failed, LifeState::Idle]);
    let results = bounded(agents.send_task_all(&bench.task("pid"), Replay::Never)).await;
    for (id, result) in results {
        match (id.as_ref(), result) {
            ("broken", Err(LiveError::State { state: LifeState::Failed, .. })) => {}
            (name, Ok(result)) if name != "broken" => {
                // The process that answers is the one that the status names.
                let pid = agents.get(&id).unwrap().status().pid.unwrap().to_string();
                assert_eq!(result.answer, Some(pid), "{name}");
            }
            (name, other) => panic!("{name}: {other:?}"),
        }
    }
    let samples = agents.collect_metrics_all(Instant::now());
    let processes: Vec<_> = samples.iter().map(|(_, sample)| sample.map(|sample| sample.processes)).collect();
    assert_eq!(processes, [Some(1), None, Some(1)]);
    let again = agents.collect_metrics(&id("first"), Instant::now()).unwrap().unwrap();
    assert!(again.cpu_percent.is_some() && again.rss_bytes > 0, "{again:?}");
    let stopped = bounded(agents.stop_all()).await;
    let order: Vec<_> = stopped.iter().map(|(id, stopped)| (id.as_ref(), stopped.is_ok())).collect();
    assert_eq!(order, [("last", true), ("broken", true), ("first", true)]);
    assert_eq!(told_to_be(&mut bench, LifeState::Stopped), ["last", "broken", "first"]);
    assert!(agents.status_all().iter().all(|(_, status)| status.pid.is_none()));
    assert_eq!(bench.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn the_one_that_was_started_last_is_stopped_first() {
    let bench = Bench::new(&spec("sh")).guarded();
    let agents = three(&bench);
    for name in ["last", "first"] {
        bounded(agents.get(&id(name)).unwrap().start()).await.unwrap();
    }
    let stopped = bounded(agents.stop_all()).await;
    let order: Vec<_> = stopped.iter().map(|(id, stopped)| (id.as_ref(), stopped.is_ok())).collect();
    assert_eq!(order, [("first", true), ("last", true), ("broken", false)]);
}

#[tokio::test]
async fn all_are_started_again_or_switched_together() {
    let bench = Bench::new(&spec("sh")).guarded();
    let mut agents = three(&bench);
    assert!(matches!(agents.add(live(&bench, "first", "sh")), Err(LiveError::Twice { .. })));
    bounded(agents.remove(&id("broken")).unwrap().end()).await;
    assert!(matches!(agents.get(&id("broken")), Err(LiveError::Unknown { .. })));
    bounded(agents.start_all()).await;
    let pids = || agents.iter().map(|agent| agent.status().pid.unwrap()).collect::<Vec<_>>();
    let before = pids();
    for (_, done) in bounded(agents.restart_all()).await {
        done.unwrap();
    }
    assert!(pids().iter().all(|pid| !before.contains(pid)));
    let switch = |agent: &AgentId| (agent.as_ref() == "last").then(|| environment(&[("KEY", "second")]));
    let switched = bounded(agents.switch_env_all(switch, Turn::Finish)).await;
    assert_eq!(switched.iter().map(|(id, _)| id.as_ref()).collect::<Vec<_>>(), ["last"]);
    let results = bounded(agents.send_task_all(&bench.task("key"), Replay::Never)).await;
    let answers: Vec<_> = results.into_iter().map(|(_, result)| result.unwrap().answer.unwrap()).collect();
    assert_eq!(answers, ["none", "second"]);
    bounded(agents.stop_all()).await;
    assert_eq!(bench.alive(), Vec::<String>::new());
}

/// The state letter of a process: `proc_pid_stat(5)`.
fn letter(pid: &str) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap()[..1].to_owned()
}

/// An agent at work, whose time-outs are short, and its pace.
async fn at_work(bench: &mut Bench) -> (LiveAgent, Pace, String) {
    bench.context.limits.ping_after = Duration::from_millis(100);
    bench.context.limits.ping_timeout = Duration::from_millis(200);
    let agent =
        LiveAgent::new(bench.agent.clone(), bench.task(""), bench.context.clone(), RestartPolicy::default());
    bounded(agent.start()).await.unwrap();
    let pid = agent.status().pid.unwrap();
    assert!(Pid::from_raw(i32::try_from(pid).unwrap()).is_some());
    (agent, bench.context.pace.clone(), pid.to_string())
}

#[tokio::test]
async fn a_paused_agent_is_stopped_and_no_time_counts_until_it_goes_on() {
    let mut bench = Bench::new(&spec("sh")).guarded();
    let (agent, pace, pid) = at_work(&mut bench).await;
    let ready = bench.dir.path().join("ready");
    let mut watch = agent.watch();
    let (result, ()) = tokio::join!(
        bounded(agent.send_task(bench.task("until go"), Replay::Never)),
        bounded(async {
            wait_for(&ready).await;
            assert!(pace.pause() > 0);
            watch.wait_for(|status| status.state == LifeState::Paused).await.unwrap();
            // One that waits for the disk is stopped a little later.
            while letter(&pid) != "T" {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // Three pings and their time would be over by then.
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!((agent.status().state, agent.status().restarts), (LifeState::Paused, 0));
            pace.resume();
            watch.wait_for(|status| status.state == LifeState::Busy).await.unwrap();
            std::fs::write(bench.dir.path().join("go"), "").unwrap();
        })
    );
    assert_eq!(result.unwrap().answer.as_deref(), Some("went"));
    let edges: Vec<_> = bench
        .told()
        .into_iter()
        .filter_map(|event| match event {
            AgentEvent::State { from, to } => Some(format!("{from} {to}")),
            _ => None,
        })
        .collect();
    assert!(
        edges.contains(&"busy paused".to_owned()) && edges.contains(&"paused busy".to_owned()),
        "{edges:?}"
    );
    bounded(agent.stop()).await.unwrap();
    assert_eq!(bench.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn fault_40_a_paused_agent_can_be_stopped() {
    let mut bench = Bench::new(&spec("sh")).guarded();
    bench.context.limits.stop_grace = Duration::from_millis(500);
    let (agent, pace, _) = at_work(&mut bench).await;
    let ready = bench.dir.path().join("ready");
    let (result, ()) = tokio::join!(
        bounded(agent.send_task(bench.task("wait"), Replay::Never)),
        bounded(async {
            wait_for(&ready).await;
            pace.pause();
            agent.watch().wait_for(|status| status.state == LifeState::Paused).await.unwrap();
            agent.stop().await.unwrap();
        })
    );
    // It was told of its end and heard of it, so it could say how far it was.
    let result = result.unwrap();
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Cancelled, Some("so far")));
    assert_eq!(bench.alive(), Vec::<String>::new());
}
