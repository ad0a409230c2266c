//! The guard: nothing of an agent is left, whatever it does and whoever dies.

use std::num::{NonZeroU32, NonZeroU64};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use aiswitch_agent::{
    AgentError, AgentEvent, AgentSpec, Driver, Enforcement, ErrorKind, Guard, Resource, Resources,
    Supervision, TaskStatus, Tier, Unenforced, reclaim,
};
use aiswitch_env::{Ambient, Environment};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bench, PATIENCE, wait_for};

const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hostile.sh");

/// How often the hostile tree is ended in each way; the variable `AISWITCH_HOSTILE_RUNS` asks for more.
const HOSTILE_RUNS: usize = 3;

#[expect(clippy::disallowed_methods, reason = "only whoever runs the tests knows how long they may take")]
fn hostile_runs() -> usize {
    std::env::var("AISWITCH_HOSTILE_RUNS").map_or(HOSTILE_RUNS, |runs| runs.parse().unwrap())
}

/// How long anything may be left: that it goes is always asked; how soon, only of many runs on a machine of their own.
fn gone_within() -> Duration {
    if hostile_runs() > HOSTILE_RUNS { Duration::from_millis(250) } else { PATIENCE }
}

fn script(script: &str) -> Bench {
    Bench::script(script).guarded()
}

fn hostile() -> Bench {
    let mut bench = Bench::new(&AgentSpec::command(["sh", HOSTILE])).guarded();
    bench.context.limits.stop_grace = Duration::from_millis(20);
    bench
}

/// Has something done to the agent, whose process is this, once its script has made the file `ready`.
pub(crate) async fn when_ready<T>(
    bench: &mut Bench,
    act: impl FnOnce(&Bench, u32) -> T,
) -> (aiswitch_agent::TaskResult, T) {
    let (agent, task, context) = (bench.agent.clone(), bench.task(""), bench.context.clone());
    let run = tokio::spawn(async move { agent.run(task, context).await });
    wait_for(&bench.dir.path().join("ready")).await;
    // The script may be ready before its guard has said that it was started.
    let started = async {
        loop {
            if let AgentEvent::Started { pid } = bench.events.recv().await.unwrap().1 {
                break pid;
            }
        }
    };
    let pid = tokio::time::timeout(PATIENCE, started).await.expect("it is told to have started");
    let acted = act(bench, pid);
    let result = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap().unwrap();
    assert_eq!(bench.alive(), Vec::<String>::new());
    (result, acted)
}

/// Waits until nothing of the agent is alive, and tells how long that took.
async fn gone(bench: &Bench) -> Duration {
    let start = Instant::now();
    let gone = async {
        while !bench.alive().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap_or_else(|_| panic!("left: {:?}", bench.alive()));
    start.elapsed()
}

#[tokio::test]
async fn a_guarded_program_is_given_what_an_unguarded_one_is_to_the_byte() {
    const ALL: &str = "env | grep -v -e ^PWD= -e ^AISWITCH_RUN= | sort; ls /proc/self/fd; cat";
    let prompt = "x".repeat(1_000_000);
    let guarded = script(ALL).run(&prompt).await.unwrap();
    assert_eq!(guarded, Bench::script(ALL).run(&prompt).await.unwrap());
    assert!(guarded.answer.unwrap().ends_with(&prompt));

    let mut bench = script("echo $AISWITCH_RUN; pwd");
    let dir = bench.dir.path().canonicalize().unwrap();
    let expected = format!("{}\n{}\n", bench.context.marker, dir.display());
    assert_eq!(bench.run("").await.unwrap().answer, Some(expected));
}

#[tokio::test]
async fn the_end_of_a_guarded_program_is_told_as_it_was() {
    for (end, kind, message) in [
        ("exit 3", ErrorKind::Provider, "it ended with exit code 3"),
        ("exit 125", ErrorKind::Provider, "it ended with exit code 125"),
        ("exit 139", ErrorKind::Provider, "it ended with exit code 139"),
        ("kill -SEGV $$", ErrorKind::Crash, "it ended with signal 11"),
        ("kill -KILL $$", ErrorKind::Crash, "it ended with signal 9"),
    ] {
        let error = script(end).run("").await.unwrap().error.unwrap();
        assert_eq!((error.kind, error.message.as_str()), (kind, message), "{end}");
    }
}

#[tokio::test]
async fn the_process_that_is_told_is_the_agents_own() {
    let mut bench = script("echo $$");
    let answer = bench.run("").await.unwrap().answer.unwrap();
    let pid: u32 = answer.trim().parse().unwrap();
    assert_eq!(bench.told()[0], AgentEvent::Started { pid });
}

#[tokio::test]
async fn what_a_guard_cannot_start_is_named_with_the_systems_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("program");
    std::fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error =
        Bench::new(&AgentSpec::command([file.display().to_string()])).guarded().run("").await.unwrap_err();
    assert!(
        matches!(&error, AgentError::Spawn { source, .. } if source.raw_os_error() == Some(2)),
        "{error:?}"
    );

    // The kernel takes at most 128 KiB in one variable.
    let mut bench = script("echo never");
    let variables = [("PATH", "/bin:/usr/bin".to_owned()), ("LONG", "x".repeat(200_000))];
    let ambient = Ambient::from_vars(variables.map(|(name, value)| (name.into(), value.into())));
    bench.context.environment = Environment::compose(&ambient, &["LONG"], None).unwrap();
    let error = bench.run("").await.unwrap_err();
    assert!(
        matches!(&error, AgentError::Spawn { source, .. } if source.raw_os_error() == Some(7)),
        "{error:?}"
    );
    assert_eq!(bench.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn a_guard_that_is_none_is_an_error_that_names_it() {
    for (program, expected) in [
        ("/no/such/guard", "No such file or directory (os error 2)"),
        ("/bin/true", "it ended without a report"),
        ("/bin/ls", "/bin/ls: unrecognized option"),
    ] {
        let mut bench = Bench::script("echo never");
        bench.context.guard = Some(Guard::by_program(program));
        let error = bench.run("").await.unwrap_err();
        assert_eq!(error.to_string(), format!("the guard `{program}` of agent `agent` cannot be used"));
        let AgentError::Guard { source, .. } = error else { panic!("{error:?}") };
        assert!(!source.to_string().is_empty(), "{expected}");
        assert_eq!(bench.alive(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_a_finished_program_leaves_behind_is_gone_when_it_has_ended() {
    let mut bench = script("setsid sh -c 'sleep 300 & sleep 300' >/dev/null 2>&1 </dev/null & echo done");
    let result = bench.run("").await.unwrap();
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Completed, Some("done\n")));
    assert_eq!(bench.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn the_last_of_a_pipeline_may_end_after_the_program() {
    // The program ends at once; what it has started answers a little later.
    let mut bench = script("echo early; (sleep 0.01; echo late) &");
    assert_eq!(bench.run("").await.unwrap().answer.as_deref(), Some("early\nlate\n"));
}

#[tokio::test]
async fn a_hostile_tree_is_gone_when_its_stop_has_ended() {
    for _ in 0..hostile_runs() {
        let mut bench = hostile();
        let (result, stopped) = when_ready(&mut bench, |bench, _| {
            bench.context.cancel.cancel();
            Instant::now()
        })
        .await;
        assert!(stopped.elapsed() < gone_within(), "{:?}", stopped.elapsed());
        assert_eq!(result.status, TaskStatus::Cancelled);
    }
}

#[tokio::test]
async fn a_hostile_tree_is_gone_when_its_run_is_dropped() {
    for _ in 0..hostile_runs() {
        let bench = hostile();
        let run = bench.agent.run(bench.task(""), bench.context.clone());
        let ready = bench.dir.path().join("ready");
        tokio::select! {
            _ = run => unreachable!("the program does not end"),
            () = wait_for(&ready) => {}
        }
        let took = gone(&bench).await;
        assert!(took < gone_within(), "{took:?}");
    }
}

#[tokio::test]
async fn what_a_stopped_guard_holds_is_ended_when_its_run_is_reclaimed() {
    let bench = script(
        "env -i setsid sh -c 'touch bare; sleep 300' & until [ -e bare ]; do :; done; touch ready; sleep 300",
    );
    let (run, ready) =
        (bench.agent.run(bench.task(""), bench.context.clone()), bench.dir.path().join("ready"));
    // While the run goes on: what comes behind the arrow is done when it has been dropped.
    let stopped = async {
        wait_for(&ready).await;
        kill_process(bench.guard().unwrap(), Signal::STOP).unwrap();
    };
    tokio::select! {
        _ = run => unreachable!("the program does not end"),
        () = stopped => {}
    }
    // What has neither mark nor a guard that works can be found by nobody.
    assert!(!bench.alive().is_empty());
    let marker = bench.context.marker.clone();
    // On a thread of its own: the line to the guard is cut by a turn of the runtime, which must not be held up.
    let found = tokio::task::spawn_blocking(move || reclaim([marker.split(':').next().unwrap()])).await;
    assert!(found.unwrap() > 0);
    gone(&bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn those_who_try_out_at_the_same_time_leave_each_other_alone() {
    let guard = Guard::by_program(env!("CARGO_BIN_EXE_aiswitch-guard"));
    let mut probes = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let guard = guard.clone();
        probes.spawn(async move {
            for _ in 0..10 {
                guard.in_tier(Tier::Guard).await?;
            }
            Ok::<(), AgentError>(())
        });
    }
    for tried in probes.join_all().await {
        tried.unwrap();
    }
}

#[tokio::test]
async fn the_tier_is_found_out_by_doing() {
    let guard = Guard::by_program(env!("CARGO_BIN_EXE_aiswitch-guard"));
    let with = Supervision::probe(Some(&guard)).await;
    assert_eq!((with.hold.tier, with.problem.is_none()), (Tier::Guard, true), "{with:?}");
    assert_eq!(with.promises[1].how_far, Enforcement::Enforced);
    let broken = Supervision::probe(Some(&Guard::by_program("/bin/true"))).await;
    assert_eq!((broken.hold.tier, broken.problem.is_some()), (Tier::Group, true));
    let without = Supervision::probe(None).await;
    assert_eq!((without.hold.tier, without.problem.is_none()), (Tier::Group, true));
    assert!(matches!(without.promises[1].how_far, Enforcement::BestEffort(_)));
}

#[tokio::test]
async fn a_guard_holds_few_files_and_takes_ended_orphans_off_the_list() {
    let mut bench = script(
        "i=0; while [ $i -lt 20 ]; do setsid sh -c 'sleep 0 & exit' & i=$((i+1)); done; wait; touch ready; sleep 300",
    );
    let (_, (files, zombies)) = when_ready(&mut bench, |bench, _| {
        let guard = bench.guard().unwrap();
        let files = PathBuf::from(format!("/proc/{}/fd", guard.as_raw_pid())).read_dir().unwrap().count();
        // The agent alone is left, as soon as the others are taken off.
        let bound = Instant::now() + PATIENCE;
        while children(guard) > 1 && Instant::now() < bound {
            std::thread::yield_now();
        }
        bench.context.cancel.cancel();
        (files, children(guard) - 1)
    })
    .await;
    // What the process of the tests was given itself, beside the three streams, and what `ls` opens.
    let inherited =
        Bench::script("ls /proc/self/fd").run("").await.unwrap().answer.unwrap().lines().count() - 4;
    assert_eq!((files - inherited, zombies), (6, 0));
}

pub(crate) fn best_effort() -> Resources {
    Resources { unenforced: Unenforced::BestEffort, ..Resources::default() }
}

/// An agent with limits that are kept as well as can be.
pub(crate) fn limited(script: &str, limits: Resources) -> Bench {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    Bench::new(&AgentSpec { limits, command, ..AgentSpec::new(Driver::Command) }).guarded()
}

#[tokio::test]
async fn an_agent_that_is_over_a_limit_is_ended_and_the_limit_is_named() {
    let best = best_effort();
    let memory = Resources { memory_mb: NonZeroU64::new(40), ..best };
    let hold = "v=$(head -c 60000000 /dev/zero | tr '\\0' x); while :; do sleep 1; done";
    let processes = Resources { processes: NonZeroU32::new(5), ..best };
    let fork = "for i in 1 2 3 4 5 6; do setsid sleep 300 & done; sleep 300";
    for (limits, script, name, kind) in
        [(memory, hold, "`memory_mb`", ErrorKind::Oom), (processes, fork, "`processes`", ErrorKind::Limit)]
    {
        let mut bench = limited(script, limits);
        let error = bench.run("").await.unwrap().error.unwrap();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(error.hint.is_some_and(|hint| hint.contains(name)));
        assert!(
            error.message.starts_with("it was ended since it had ") && error.message.ends_with(name),
            "{}",
            error.message
        );
        assert_eq!(bench.alive(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_agent_within_its_limits_is_left_alone_and_cannot_open_more_files() {
    let limits = Resources {
        memory_mb: NonZeroU64::new(200),
        processes: NonZeroU32::new(50),
        open_files: NonZeroU64::new(17),
        ..best_effort()
    };
    let result = limited("sleep 0.5; ulimit -n; ulimit -Hn", limits).run("").await.unwrap();
    assert_eq!(result.answer.as_deref(), Some("17\n17\n"), "{result:?}");
}

#[tokio::test]
async fn a_limit_that_cannot_be_enforced_is_refused_unless_less_will_do() {
    let open_files = Resources { open_files: NonZeroU64::new(100), ..Resources::default() };
    assert_eq!(limited("echo ok", open_files).run("").await.unwrap().answer.as_deref(), Some("ok\n"));
    let memory = Resources { memory_mb: NonZeroU64::new(100), ..Resources::default() };
    let error = limited("touch started", memory).run("").await.unwrap_err();
    assert!(matches!(
        error,
        AgentError::Limit { resource: Resource::Memory, how_far: Enforcement::BestEffort(_), .. }
    ));
    // Without a guard there is nobody to keep to any.
    let mut bench = limited("touch started", Resources { unenforced: Unenforced::BestEffort, ..open_files });
    bench.context.guard = None;
    let error = bench.run("").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the limit `open_files` of agent `agent` is unsupported here, and not to be taken for less"
    );
    assert!(!bench.dir.path().join("started").exists());
}

fn children(pid: Pid) -> usize {
    let pid = pid.as_raw_pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_ascii_whitespace().count()
}
