//! What holds an agent's processes together beside its guard: a namespace of process numbers, a control group.

use std::fs;
use std::io::Write;
use std::num::{NonZeroU32, NonZeroU64};

use aiswitch_agent::{
    AgentError, Cgroups, Controllers, Enforcement, ErrorKind, Guard, Hold, Resource, Resources, Supervision,
    TaskStatus, Tier, Unenforced,
};
use rustix::process::{Signal, getpriority_process, kill_process};

use crate::guard::{best_effort, limited, when_ready};
use crate::support::Bench;

/// An agent that is held by a tier; `None`, which is said, where this machine does not have it.
async fn held_by(tier: Tier, bench: Bench) -> Option<Bench> {
    let mut bench = bench.guarded();
    match bench.context.guard.as_ref().unwrap().in_tier(tier).await {
        Ok(guard) => bench.context.guard = Some(guard),
        Err(error) => {
            // Past the capture of test output, which would hide it; a closed stderr hides it rightly.
            drop(writeln!(std::io::stderr(), "skipped: {}", aiswitch_agent::chain(&error)));
            return None;
        }
    }
    Some(bench)
}

/// Leaves a process behind that nobody can find by its mark, in a session of its own.
const BARE: &str =
    "env -i setsid sh -c ': >bare; exec sleep 300' & until [ -e bare ]; do :; done; : >ready; sleep 300";

#[tokio::test]
async fn an_agent_in_each_tier_is_given_and_told_what_it_is_without() {
    const ALL: &str = "env | grep -v -e ^PWD= -e ^AISWITCH_RUN= | sort; ls /proc/self/fd; cat; exit 3";
    let prompt = "x".repeat(100_000);
    let expected = Bench::script(ALL).guarded().run(&prompt).await.unwrap();
    for tier in [Tier::PidNamespace, Tier::Cgroup] {
        let Some(mut bench) = held_by(tier, Bench::script(ALL)).await else { continue };
        assert_eq!(bench.run(&prompt).await.unwrap(), expected, "{tier}");
        let Some(mut bench) = held_by(tier, Bench::script("kill -SEGV $$")).await else { continue };
        assert_eq!(bench.run("").await.unwrap().error.unwrap().message, "it ended with signal 11", "{tier}");
        let Some(mut bench) = held_by(tier, Bench::script("echo early; (sleep 0.01; echo late) &")).await
        else {
            continue;
        };
        assert_eq!(bench.run("").await.unwrap().answer.as_deref(), Some("early\nlate\n"), "{tier}");
    }
}

#[tokio::test]
async fn what_cannot_be_started_in_a_namespace_is_named_as_without() {
    let spec = aiswitch_agent::AgentSpec::command(["/dev/null/program"]);
    let Some(mut bench) = held_by(Tier::PidNamespace, Bench::new(&spec)).await else { return };
    assert!(matches!(bench.run("").await.unwrap_err(), AgentError::NotInstalled { .. }));
    let file = bench.dir.path().join("program");
    fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let spec = aiswitch_agent::AgentSpec::command([file.display().to_string()]);
    let Some(mut other) = held_by(Tier::PidNamespace, Bench::new(&spec)).await else { return };
    let error = other.run("").await.unwrap_err();
    assert!(
        matches!(&error, AgentError::Spawn { source, .. } if source.raw_os_error() == Some(2)),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_agent_in_a_namespace_sees_its_own_processes_alone_and_is_known_outside() {
    let script =
        "echo $$; set -- /proc/[0-9]*; echo $#; grep ^NSpid: /proc/self/status | wc -w; : >ready; sleep 300";
    let Some(mut bench) = held_by(Tier::PidNamespace, Bench::script(script)).await else { return };
    let (result, pid) = when_ready(&mut bench, |bench, pid| {
        bench.context.cancel.cancel();
        pid
    })
    .await;
    assert_eq!(result.status, TaskStatus::Cancelled);
    let answer = result.answer.unwrap();
    // The second process of its namespace; the first one and itself; one number a process.
    assert_eq!(answer, "2\n2\n2\n");
    assert!(pid > 2, "{pid}");
}

#[tokio::test]
async fn a_guard_that_is_killed_takes_all_of_its_namespace_with_it() {
    // What has no mark is found by nobody: it is the kernel that ends it, so it is so without a caller too.
    let Some(mut bench) = held_by(Tier::PidNamespace, Bench::script(BARE)).await else { return };
    let (result, ()) = when_ready(&mut bench, |bench, _| {
        kill_process(bench.guard().unwrap(), Signal::KILL).unwrap();
    })
    .await;
    assert_eq!(result.error.unwrap().kind, ErrorKind::Crash);
}

#[tokio::test]
async fn a_control_group_goes_with_its_agent_also_when_the_guard_is_killed() {
    let Some(mut bench) = held_by(Tier::Cgroup, Bench::script(BARE)).await else { return };
    let root = Cgroups::own().unwrap().root().to_owned();
    let groups = |bench: &Bench| {
        let prefix = format!("aiswitch-{}", bench.context.marker);
        let names = fs::read_dir(&root).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with(&prefix)).count()
    };
    let (_, during) = when_ready(&mut bench, |bench, _| {
        bench.context.cancel.cancel();
        groups(bench)
    })
    .await;
    assert_eq!((during, groups(&bench)), (1, 0));

    // What has no mark is found by its group, also when the guard is killed.
    let mut bench = held_by(Tier::Cgroup, Bench::script(BARE)).await.unwrap();
    let (result, ()) = when_ready(&mut bench, |bench, _| {
        kill_process(bench.guard().unwrap(), Signal::KILL).unwrap();
    })
    .await;
    assert_eq!((result.error.unwrap().kind, groups(&bench)), (ErrorKind::Crash, 0));
}

/// A folder as the kernel has them for control groups, with these controllers for the groups in it.
fn tree(controllers: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("cgroup.controllers"), "cpu io memory pids").unwrap();
    fs::write(root.path().join("cgroup.subtree_control"), controllers).unwrap();
    root
}

#[test]
fn what_the_kernel_limits_is_what_the_group_hands_on() {
    let all = Cgroups::open(tree("cpu memory pids").path()).unwrap();
    assert_eq!(all.controllers(), Controllers { memory: true, processes: true, cpu: true });
    // This one takes what is asked of it; the last word stays in a file that is no kernel's.
    let asked = tree("");
    Cgroups::open(asked.path()).unwrap();
    assert_eq!(fs::read_to_string(asked.path().join("cgroup.subtree_control")).unwrap(), "+cpu");
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(Cgroups::open(empty.path()).unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn each_limit_is_enforced_tried_or_not_there_as_its_tier_says() {
    let none = Controllers::default();
    let all = Controllers { memory: true, processes: true, cpu: true };
    let of = |tier, controllers| {
        Resource::ALL.map(|resource| match resource.how_far(Hold { tier, controllers }) {
            Enforcement::Enforced => 'e',
            Enforcement::BestEffort(_) => 'b',
            Enforcement::Unsupported => 'u',
        })
    };
    // Memory, CPU, processes, open files, time, idle time, output.
    assert_eq!(of(Tier::Cgroup, all), ['e'; 7]);
    for tier in [Tier::Cgroup, Tier::PidNamespace, Tier::Guard] {
        assert_eq!(of(tier, none), ['b', 'b', 'b', 'e', 'e', 'e', 'e'], "{tier}");
    }
    assert_eq!(of(Tier::Group, none), ['u', 'u', 'u', 'u', 'e', 'e', 'e']);
}

#[tokio::test]
async fn a_cpu_limit_without_a_controller_is_kept_by_giving_way() {
    let limits = Resources { cpu_percent: NonZeroU32::new(50), ..best_effort() };
    let mut bench = limited("nice", limits);
    // Beside whatever these tests were started with, up to the most there is.
    let given = (getpriority_process(None).unwrap() + 10).min(19);
    assert_eq!(bench.run("").await.unwrap().answer, Some(format!("{given}\n")));
    let error =
        limited("nice", Resources { unenforced: Unenforced::Refuse, ..limits }).run("").await.unwrap_err();
    assert!(matches!(error, AgentError::Limit { resource: Resource::Cpu, .. }), "{error:?}");
}

#[tokio::test]
async fn what_an_agent_prints_is_limited_by_its_spec() {
    let limits = Resources { output_mb: NonZeroU64::new(1), ..Resources::default() };
    let mut bench = limited("head -c 1000000 /dev/zero", limits);
    assert_eq!(bench.run("").await.unwrap().answer.unwrap().len(), 1_000_000);
    let mut bench = limited("head -c 2000000 /dev/zero; sleep 300", limits);
    assert_eq!(bench.run("").await.unwrap().error.unwrap().kind, ErrorKind::Limit);
}

#[tokio::test]
async fn the_tiers_of_a_machine_are_tried_out() {
    let guard = Guard::by_program(env!("CARGO_BIN_EXE_aiswitch-guard"));
    let found = Supervision::probe(Some(&guard)).await;
    assert_eq!(
        found.tried.iter().map(|tried| tried.tier).collect::<Vec<_>>(),
        [Tier::PidNamespace, Tier::Cgroup]
    );
    let works = |tier| found.tried.iter().any(|tried| tried.tier == tier && tried.problem.is_none());
    let strongest = guard.in_strongest().await.hold().tier;
    let expected = match (works(Tier::PidNamespace), works(Tier::Cgroup)) {
        (true, _) => Tier::PidNamespace,
        (false, true) => Tier::Cgroup,
        (false, false) => Tier::Guard,
    };
    assert_eq!(strongest, expected);
    let error = guard.in_tier(Tier::Group).await.unwrap_err();
    assert_eq!(error.to_string(), "the processes of agent `probe` cannot be held together by `group` here");
    // Control groups that go away before the agent starts.
    let root = tree("memory");
    let mut bench = Bench::script("echo never").guarded();
    let cgroups = Cgroups::open(root.path()).unwrap();
    bench.context.guard = Some(guard.with_cgroups(cgroups));
    drop(root);
    let error = bench.run("").await.unwrap_err();
    assert!(matches!(error, AgentError::Hold { tier: Tier::Cgroup, .. }), "{error:?}");
}
