//! The sandbox: what an agent may not touch, it cannot, and what it may, it can.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use aiswitch_agent::{
    AgentError, AgentEvent, AgentSpec, Driver, Guard, PermissionMode, Sandbox, Supervision,
};
use aiswitch_env::{Ambient, Environment};

use crate::support::Bench;

/// A command in a sandbox, with a home that has keys, and a working folder with code, in the bench's folder.
fn walled(script: &str, sandbox: Sandbox) -> Bench {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let mut bench = Bench::new(&AgentSpec { sandbox, command, ..AgentSpec::new(Driver::Command) }).guarded();
    let home = home(&bench);
    let work = bench.dir.path().join("work");
    for folder in ["home/.ssh", "home/.codex", "home/plain", "work/src", "work/.git/hooks", "state"] {
        fs::create_dir_all(bench.dir.path().join(folder)).unwrap();
    }
    for file in [home.join(".ssh/id"), home.join("plain/file"), work.join("src/a"), work.join("top")] {
        fs::write(file, "text").unwrap();
    }
    fs::write(bench.dir.path().join("state/key"), "text").unwrap();
    fs::write(home.join(".codex/auth"), "text").unwrap();
    let variables = [("PATH", "/usr/bin:/bin".to_owned()), ("HOME", home.display().to_string())];
    let ambient = Ambient::from_vars(variables.map(|(name, value)| (name.into(), value.into())));
    bench.context.environment = Environment::compose(&ambient, &[], None).unwrap();
    bench.context.hidden = vec![bench.dir.path().join("state")];
    bench
}

fn home(bench: &Bench) -> PathBuf {
    bench.dir.path().join("home")
}

/// What a script prints that tries each of these, `yes` or `no` a line.
async fn tried(tries: &[&str], sandbox: Sandbox) -> Vec<String> {
    let script: Vec<String> = tries
        .iter()
        .map(|attempt| format!("if ( {attempt} ) >/dev/null 2>&1; then echo yes; else echo no; fi"))
        .collect();
    let bench = walled(&script.join("\n"), sandbox);
    let mut task = bench.task("");
    task.cwd = bench.dir.path().join("work");
    let result = bench.agent.run(task, bench.context.clone()).await.unwrap();
    assert_eq!(bench.alive(), Vec::<String>::new());
    result.answer.unwrap_or_else(|| panic!("{:?}", result.error)).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn each_sandbox_keeps_what_it_says_and_no_more() {
    let tries = [
        // What each of them leaves.
        "cat src/a top >/dev/null && ls /usr >/dev/null",
        "echo x >$TMPDIR/new && rm $TMPDIR/new",
        "echo x >/dev/null",
        // The working folder.
        "echo x >src/new && echo x >>top",
        // What others obey there, there already or not yet.
        "echo x >.git/hooks/pre-commit",
        "echo x >.mcp.json",
        "mv .git .git2",
        // The home, keys, other agents, the state of aiswitch, other places.
        "echo x >>../home/plain/file",
        "cat ../home/.ssh/id",
        "ln -s ../../home/.ssh/id src/link; cat src/link",
        "cat ../home/.codex/auth",
        "cat ../state/key",
        "echo x >/tmp/aiswitch-test-of-a-sandbox",
        "kill -0 $PPID",
    ];
    let yes = |count: usize| (0..tries.len()).map(move |i| if i < count { "yes" } else { "no" });
    assert_eq!(tried(&tries, Sandbox::Standard).await, yes(4).collect::<Vec<_>>());
    assert_eq!(tried(&tries, Sandbox::Offline).await, yes(4).collect::<Vec<_>>());
    assert_eq!(tried(&tries, Sandbox::ReadOnly).await, yes(3).collect::<Vec<_>>());
    // The attempts are ones that work where nothing keeps them; without a sandbox there is no folder in `TMPDIR`.
    let mut free = tried(&tries[2..12], Sandbox::None).await;
    free.dedup();
    assert_eq!(free, ["yes"]);
}

#[tokio::test]
async fn offline_has_no_tcp_and_standard_has() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{}", listener.local_addr().unwrap().port());
    let connect = format!("bash -c '{connect}'");
    for (sandbox, expected) in
        [(Sandbox::Standard, "yes"), (Sandbox::ReadOnly, "yes"), (Sandbox::Offline, "no")]
    {
        assert_eq!(tried(&[&connect], sandbox).await, [expected], "{sandbox}");
    }
}

/// Waits in a sandbox, beside which another agent tries what it can see of it.
async fn seen_by_another(sandbox: Sandbox) -> Vec<String> {
    let mut victim = walled("sleep 300", sandbox);
    let mut task = victim.task("");
    task.cwd = victim.dir.path().join("work");
    let mut run = victim.agent.run(task, victim.context.clone());
    let pid = loop {
        tokio::select! {
            _ = &mut run => unreachable!("it does not end"),
            Some((_, event)) = victim.events.recv() => if let AgentEvent::Started { pid } = event {
                break pid;
            },
        }
    };
    let seen = tried(
        &[
            &format!("tr '\\0' '\\n' </proc/{pid}/environ | grep -q ^AISWITCH_RUN="),
            &format!("kill -0 {pid}"),
            &format!("ls /proc/{pid}/fd/0 && cat /proc/{pid}/maps"),
        ],
        sandbox,
    )
    .await;
    victim.context.cancel.cancel();
    run.await.unwrap();
    seen
}

#[tokio::test]
async fn agents_in_sandboxes_cannot_read_each_others_environment_or_signal_each_other() {
    for sandbox in [Sandbox::Standard, Sandbox::ReadOnly, Sandbox::Offline] {
        assert_eq!(seen_by_another(sandbox).await, ["no", "no", "no"], "{sandbox}");
    }
    // The attempts are ones that work where nothing keeps them.
    assert_eq!(seen_by_another(Sandbox::None).await, ["yes", "yes", "yes"]);
}

#[tokio::test]
async fn the_temporary_folder_of_a_sandbox_goes_with_the_agent() {
    let mut bench =
        walled("mkdir -p $TMPDIR/a/b && echo x >$TMPDIR/a/b/c && echo $TMPDIR", Sandbox::Standard);
    let folder = bench.run("").await.unwrap().answer.unwrap();
    assert!(folder.starts_with("/tmp/aiswitch-"), "{folder}");
    assert!(!fs::exists(folder.trim()).unwrap());
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_put_up_is_no_start() {
    let mut bench = walled("echo never", Sandbox::Standard);
    bench.context.guard = None;
    let error = bench.run("").await.unwrap_err();
    assert_eq!(error.to_string(), "the sandbox `standard` of agent `agent` cannot be put up here");
    let mut bench = walled("echo never", Sandbox::Standard);
    bench.context.hidden.push(bench.dir.path().to_owned());
    assert!(matches!(bench.run("").await.unwrap_err(), AgentError::SandboxPath { .. }));
}

#[tokio::test]
async fn codex_is_refused_where_its_own_sandbox_would_have_to_keep_the_mode() {
    let spec = AgentSpec { sandbox: Sandbox::Standard, ..AgentSpec::command(["sh"]) };
    let bench = Bench::new(&AgentSpec { driver: Driver::Codex, ..spec });
    let mut task = bench.task("");
    task.mode = PermissionMode::ReadOnly;
    let error = bench.agent.launch(&task, &bench.context.environment).unwrap_err();
    assert!(matches!(error, AgentError::SandboxConflict { .. }), "{error:?}");
    task.mode = PermissionMode::Write;
    assert!(bench.agent.launch(&task, &bench.context.environment).unwrap().is_some());
}

#[tokio::test]
async fn what_sandboxes_keep_here_is_found_out_by_doing() {
    let guard = Guard::by_program(env!("CARGO_BIN_EXE_aiswitch-guard"));
    let with = Supervision::probe(Some(&guard)).await;
    let sandboxes = with.promises.iter().filter(|promise| promise.what.contains("sandbox"));
    assert!(sandboxes.clone().count() == 3, "{with:?}");
    assert!(sandboxes.clone().all(|promise| promise.how_far.to_string() == "enforced"), "{with:?}");
}
