//! What agents leave behind, who holds it, and what they take of the machine.

use std::fs;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::{Duration, Instant};

use aiswitch_agent::{
    AgentSpec, Driver, ErrorKind, Fault, GUARD_MARKER, Resources, TaskStatus, Unenforced, reclaim, sweep,
};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    Caller, FAULTY, ask, caller, faulty, live_with, pid_of, processes, recovers, survives, until, within,
};
use crate::live::{SOON, live};
use crate::support::{Bench, PATIENCE};

/// How soon nothing may be left.
const GONE_WITHIN: Duration = Duration::from_millis(250);

/// How soon a tree that grows may be gone.
const BOMB_GONE_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn fault_09_a_guard_that_is_stopped_is_ended_and_its_work_done_by_the_sweep() {
    survives(async || {
        let (bench, agent) = live_with(Fault::Grandchildren).await;
        ask(&bench, &agent, "x").await;
        kill_process(bench.guard().unwrap(), Signal::STOP).unwrap();
        agent.stop().await.unwrap();
        assert_eq!(bench.alive(), Vec::<String>::new());
    });
}

#[test]
fn fault_10_a_guard_that_is_killed_takes_its_agent_along_and_the_sweep_the_rest() {
    survives(async || {
        let (mut bench, agent) = live_with(Fault::Grandchildren).await;
        ask(&bench, &agent, "x").await;
        let (process, guard) = (pid_of(&mut bench), bench.guard().unwrap());
        let left = bench.left().len();
        assert!(left > 1, "{left}");
        kill_process(guard, Signal::KILL).unwrap();
        let is_first = |stat: &String| stat.starts_with(&format!("{} ", process.as_raw_pid()));
        let took = until(|| !bench.alive().iter().any(is_first)).await;
        assert!(took < within(GONE_WITHIN), "{took:?}");
        recovers(&bench, &agent, 1).await;
        agent.stop().await.unwrap();
        assert_eq!(bench.alive(), Vec::<String>::new());
    });
}

/// Supervises agents that leave processes behind, of which so many are at work; says so when they all are.
async fn supervise(busy: usize) {
    let mut agents = Vec::new();
    for number in 0..busy.max(1) {
        let (bench, agent) = live_with(Fault::Grandchildren).await;
        ask(&bench, &agent, "x").await;
        fs::write(format!("marker-{number}"), &bench.context.marker).unwrap();
        agents.push((bench, agent));
    }
    let works = agents.iter().take(busy).map(|(bench, agent)| async move {
        // It has no end.
        let task = bench.task("until go");
        drop(agent.send_task(task, aiswitch_agent::Replay::Never).await);
    });
    let works: Vec<_> = works.collect();
    fs::write("ready", "").unwrap();
    for work in works {
        work.await;
    }
    std::future::pending::<()>().await;
}

#[test]
fn fault_11_nothing_is_left_of_a_caller_that_is_killed() {
    caller(async || supervise(8).await);
    survives(async || {
        let before = processes();
        let dir = tempfile::tempdir().unwrap();
        let mut caller = Caller::start(dir.path());
        until(|| dir.path().join("ready").exists()).await;
        assert!(processes().len() > before.len() + 8 * 2, "{:?}", processes());
        caller.kill();
        let took = until(|| processes() == before).await;
        assert!(took < within(GONE_WITHIN), "{took:?}");
    });
}

#[test]
fn fault_12_what_a_caller_leaves_that_is_killed_with_its_guard_is_gone_after_the_next_start() {
    caller(async || supervise(0).await);
    survives(async || {
        let before = processes();
        let dir = tempfile::tempdir().unwrap();
        let mut caller = Caller::start(dir.path());
        until(|| dir.path().join("ready").exists()).await;
        let marker = fs::read_to_string(dir.path().join("marker-0")).unwrap();
        let guard = guard_of(&marker);
        // At the same moment, as far as the two can tell.
        kill_process(guard, Signal::STOP).unwrap();
        caller.kill();
        kill_process(guard, Signal::KILL).unwrap();
        let run = marker.split(':').next().unwrap();
        let found = reclaim([run]);
        assert!(found > 0);
        until(|| processes() == before).await;
    });
}

fn guard_of(marker: &str) -> Pid {
    let wanted = format!("{GUARD_MARKER}={marker}\0");
    let mut numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let environ = fs::read_to_string(entry.path().join("environ")).ok()?;
        (environ == wanted).then(|| entry.file_name().to_str()?.parse().ok())?
    });
    numbers.find_map(Pid::from_raw).unwrap()
}

#[test]
fn fault_25_who_holds_the_streams_of_an_agent_that_has_ended_holds_nobody_up() {
    survives(async || {
        let mut bench = faulty(Fault::Grandchildren);
        let result = bench.run("x").await.unwrap();
        assert_eq!(result.answer.as_deref(), Some("grandchildren"));
        assert_eq!(bench.alive(), Vec::<String>::new());
        // Without a guard it is for the end of the run to find them.
        bench.context.guard = None;
        fs::remove_file(bench.dir.path().join("grandchild")).unwrap();
        let result = bench.agent.run(bench.task("x"), bench.context.clone()).await.unwrap();
        assert_eq!(result.answer.as_deref(), Some("grandchildren"));
        assert!(!bench.left().is_empty());
        assert!(sweep(&bench.context.marker) > 0);
    });
}

#[test]
fn fault_26_a_daemon_that_has_left_its_session_and_its_parent_is_ended() {
    survives(async || {
        const DAEMON: &str = "trap \"\" TERM HUP INT; (touch daemon; while :; do sleep 1; done) & exit";
        let mut bench = Bench::script(&format!(
            "setsid sh -c '{DAEMON}' >/dev/null 2>&1 </dev/null; until [ -e daemon ]; do sleep 0.01; done; echo done"
        ))
        .guarded();
        assert_eq!(bench.run("").await.unwrap().answer.as_deref(), Some("done\n"));
        assert_eq!(bench.alive(), Vec::<String>::new());
    });
}

#[test]
fn fault_27_a_process_that_forks_and_ends_on_and_on_is_ended() {
    survives(async || {
        let mut bench = faulty(Fault::Comet);
        assert_eq!(bench.run("x").await.unwrap().answer.as_deref(), Some("comet"));
        assert_eq!(bench.alive(), Vec::<String>::new());
    });
}

/// An agent with a fault and limits that are kept as well as can be.
fn limited(fault: Fault, limits: Resources) -> Bench {
    let command = vec![FAULTY.to_owned(), fault.name().to_owned()];
    let limits = Resources { unenforced: Unenforced::BestEffort, ..limits };
    Bench::new(&AgentSpec { limits, command, ..AgentSpec::new(Driver::Rpc) }).guarded()
}

#[test]
fn fault_28_a_tree_that_grows_is_ended_whole() {
    survives(async || {
        // It has answered, and grows while it is ended.
        let mut bench = faulty(Fault::ForkBomb);
        let began = Instant::now();
        bench.run("x").await.unwrap();
        assert_eq!(bench.alive(), Vec::<String>::new());
        assert!(began.elapsed() < within(BOMB_GONE_WITHIN), "{:?}", began.elapsed());
        // It goes on to work, and grows meanwhile.
        let limits = Resources { processes: NonZeroU32::new(20), ..Resources::default() };
        let bench = limited(Fault::ForkBomb, limits);
        let agent = live(&bench, SOON);
        agent.start().await.unwrap();
        ask(&bench, &agent, "x").await;
        let mut status = agent.watch();
        let ended = status.wait_for(|status| status.restarts == 1);
        tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
        let problem = agent.status().problem.unwrap();
        assert_eq!(problem.kind, ErrorKind::Limit, "{problem:?}");
        recovers(&bench, &agent, 1).await;
        agent.stop().await.unwrap();
    });
}

#[test]
fn fault_29_an_agent_that_takes_too_much_memory_is_ended_and_told_why() {
    survives(async || {
        let limits = Resources { memory_mb: NonZeroU64::new(100), ..Resources::default() };
        let error = limited(Fault::MemoryHog, limits).run("x").await.unwrap().error.unwrap();
        assert_eq!(error.kind, ErrorKind::Oom);
        assert!(error.message.ends_with("`memory_mb`"), "{error:?}");
    });
}

#[test]
fn fault_30_agents_that_take_all_the_time_do_not_hold_others_up() {
    const HOGS: usize = 8;
    const TASKS: usize = 40;
    const P95_WITHIN: Duration = Duration::from_millis(100);
    survives(async || {
        let (calm, agent) = live_with(Fault::Garbage).await;
        let hogs: Vec<Bench> = (0..HOGS).map(|_| faulty(Fault::CpuHog)).collect();
        let runs: Vec<_> = hogs
            .iter()
            .map(|bench| {
                let (agent, task, context) = (bench.agent.clone(), bench.task("x"), bench.context.clone());
                tokio::spawn(async move { agent.run(task, context).await.unwrap() })
            })
            .collect();
        until(|| hogs.iter().all(|bench| bench.left().len() == 1)).await;
        let mut times = Vec::new();
        for _ in 0..TASKS {
            let asked = Instant::now();
            ask(&calm, &agent, "behave").await;
            times.push(asked.elapsed());
        }
        for bench in &hogs {
            bench.context.cancel.cancel();
        }
        for run in runs {
            let result = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap();
            assert_eq!(result.status, TaskStatus::Cancelled);
        }
        agent.stop().await.unwrap();
        times.sort();
        let p95 = times[TASKS * 95 / 100];
        assert!(p95 < within(P95_WITHIN), "{p95:?}");
    });
}

#[test]
fn fault_37_a_caller_that_slept_takes_no_agent_for_hung() {
    caller(async || {
        let mut bench = faulty(Fault::Garbage);
        bench.context.limits.ping_after = Duration::from_millis(50);
        bench.context.limits.ping_timeout = Duration::from_millis(200);
        let agent = live(&bench, SOON);
        agent.start().await.unwrap();
        let process = pid_of(&mut bench);
        fs::write("ready", process.as_raw_pid().to_string()).unwrap();
        until(|| fs::exists("woken").unwrap()).await;
        ask(&bench, &agent, "behave").await;
        fs::write("restarts.new", agent.status().restarts.to_string()).unwrap();
        fs::rename("restarts.new", "restarts").unwrap();
        agent.stop().await.unwrap();
    });
    survives(async || {
        let dir = tempfile::tempdir().unwrap();
        let mut caller = Caller::start(dir.path());
        until(|| fs::read_to_string(dir.path().join("ready")).is_ok_and(|pid| !pid.is_empty())).await;
        let process = fs::read_to_string(dir.path().join("ready")).unwrap();
        let process = Pid::from_raw(process.parse().unwrap()).unwrap();
        // The whole machine sleeps, as far as the two can tell: for longer than all the pings together.
        caller.signal(Signal::STOP);
        kill_process(process, Signal::STOP).unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        kill_process(process, Signal::CONT).unwrap();
        caller.signal(Signal::CONT);
        fs::write(dir.path().join("woken"), "").unwrap();
        until(|| dir.path().join("restarts").exists()).await;
        assert_eq!(fs::read_to_string(dir.path().join("restarts")).unwrap(), "0");
        caller.wait();
    });
}
