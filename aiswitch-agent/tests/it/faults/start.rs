//! Agents that do not start, and a system that has nothing left to start them with.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use aiswitch_agent::{AgentError, AgentSpec, Driver, ErrorKind, Fault, LifeState, LiveAgent, LiveError};
use aiswitch_env::{Ambient, Environment};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

use super::{FAULTY, faulty, faulty_with, pid_of, survives, survives_as_nobody};
use crate::live::{SOON, live};
use crate::support::Bench;

/// Starts an agent that stays, which must fail; gives the kind of the failure and its text, and how often it was tried again.
async fn start_fails(bench: &Bench) -> (ErrorKind, String, u32) {
    let agent: LiveAgent = live(bench, SOON);
    let LiveError::Start { problem, .. } = agent.start().await.unwrap_err() else {
        panic!("it is another error")
    };
    let status = agent.status();
    assert_eq!(status.state, LifeState::Failed);
    (problem.kind, problem.message, status.restarts)
}

#[test]
fn fault_01_what_cannot_be_started_is_refused_at_once_and_not_tried_again() {
    survives(async || {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &[u8], mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            path.display().to_string()
        };
        let not_executable = "is not an executable file";
        let cases = [
            ("/no/such/program".to_owned(), ErrorKind::NotInstalled, "is not installed"),
            ("no-such-program".to_owned(), ErrorKind::NotInstalled, "is not installed"),
            (file("plain", b"#!/bin/sh\n", 0o644), ErrorKind::Config, not_executable),
            (dir.path().display().to_string(), ErrorKind::Config, not_executable),
            (
                file("interpreter", b"#!/no/such/interpreter\n", 0o755),
                ErrorKind::Config,
                "cannot be started: No such file or directory (os error 2)",
            ),
            (
                file("empty", b"", 0o755),
                ErrorKind::Config,
                "cannot be started: Exec format error (os error 8)",
            ),
            (
                file("text", b"touch started\n", 0o755),
                ErrorKind::Config,
                "cannot be started: Exec format error (os error 8)",
            ),
            (
                file("foreign", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xff\xff", 0o755),
                ErrorKind::Config,
                "cannot be started: Exec format error (os error 8)",
            ),
        ];
        for (program, kind, text) in cases {
            let command = vec![program.clone()];
            let mut bench = Bench::new(&AgentSpec { command, ..AgentSpec::new(Driver::Rpc) });
            for _ in ["without a guard", "with one"] {
                let (told, message, restarts) = start_fails(&bench).await;
                assert_eq!((told, restarts), (kind, 0), "{message}");
                assert!(message.contains(&program) && message.ends_with(text), "{message}");
                assert!(!bench.dir.path().join("started").exists());
                bench = bench.guarded();
            }
        }
    });
}

#[test]
fn fault_02_an_agent_that_is_killed_before_it_speaks_is_tried_three_more_times() {
    survives(async || {
        for (exit_code, end) in [(0, "exit code 0"), (42, "exit code 42"), (128 + 9, "signal 9")] {
            let (kind, message, restarts) = start_fails(&faulty_with(Fault::CrashStart, exit_code)).await;
            assert_eq!((kind, restarts), (ErrorKind::Crash, 3));
            assert_eq!(message, format!("it ended with {end} before it answered"));
        }
    });
}

#[test]
fn an_agent_that_speaks_another_protocol_is_refused() {
    const WEB: &str = "echo 'HTTP/1.1 400 Bad Request'; cat >/dev/null";
    // An ACP agent, which greets in its own way.
    const ACP: &str = r#"read line; id=$(printf %s "$line" | sed 's/.*"id":\([0-9]*\),.*/\1/');
        printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":1}}\n' $id; cat >/dev/null"#;
    survives(async || {
        for (script, expected) in [
            (WEB, "it did not answer `agent.initialize` within 1s"),
            ("cat", "peer answered with error -32003: no agent may call `agent.initialize`"),
            (ACP, "result of `agent.initialize` has another shape than expected"),
        ] {
            let command = ["sh", "-c", script].map(str::to_owned).to_vec();
            let mut bench = Bench::new(&AgentSpec { command, ..AgentSpec::new(Driver::Rpc) }).guarded();
            bench.context.limits.start_timeout = Duration::from_secs(1);
            let (kind, message, _) = start_fails(&bench).await;
            assert_eq!((kind, message.as_str()), (ErrorKind::Protocol, expected));
        }
    });
}

#[test]
fn an_environment_over_the_kernels_limit_is_refused() {
    survives(async || {
        let variables = [("PATH", "/bin:/usr/bin".to_owned()), ("LONG", "x".repeat(200_000))];
        let ambient = Ambient::from_vars(variables.map(|(name, value)| (name.into(), value.into())));
        let mut bench = faulty(Fault::Garbage);
        bench.context.environment = Environment::compose(&ambient, &["LONG"], None).unwrap();
        for _ in ["with a guard", "without one"] {
            let (kind, message, restarts) = start_fails(&bench).await;
            assert_eq!((kind, restarts), (ErrorKind::Config, 0));
            assert!(message.ends_with("cannot be started: Argument list too long (os error 7)"), "{message}");
            bench.context.guard = None;
        }
    });
}

/// Has the process do with so little of something that nothing can be started, and then with enough again.
async fn runs_short(resource: Resource, enough: Rlimit, errno: i32) {
    for guarded in [true, false] {
        let mut bench = faulty(Fault::Garbage);
        bench.context.output_dir = None;
        if !guarded {
            bench.context.guard = None;
        }
        setrlimit(resource, Rlimit { current: Some(1), ..enough }).unwrap();
        let failed = bench.agent.run(bench.task("behave"), bench.context.clone()).await;
        setrlimit(resource, enough).unwrap();
        let error = failed.unwrap_err();
        let (AgentError::Spawn { source, .. } | AgentError::Guard { source, .. }) = &error else {
            panic!("{error:?}")
        };
        assert_eq!((source.raw_os_error(), error.kind()), (Some(errno), ErrorKind::Limit), "{error:?}");
        assert_eq!(bench.run("behave").await.unwrap().answer.as_deref(), Some("behave"));
    }
}

#[test]
fn fault_31_with_no_file_left_a_start_fails_and_the_next_one_does_not() {
    survives(async || {
        let enough = getrlimit(Resource::Nofile);
        runs_short(Resource::Nofile, enough, 24).await;
    });
}

#[test]
fn fault_32_with_no_process_left_a_start_fails_and_the_next_one_does_not() {
    survives_as_nobody(async || {
        let enough = getrlimit(Resource::Nproc);
        runs_short(Resource::Nproc, enough, 11).await;
    });
}

#[test]
fn fault_44_an_agent_whose_folder_is_gone_goes_on_but_is_not_started_again() {
    survives(async || {
        let mut bench = faulty(Fault::Garbage);
        bench.context.output_dir = None;
        let agent = live(&bench, SOON);
        agent.start().await.unwrap();
        let process = pid_of(&mut bench);
        fs::remove_dir_all(bench.dir.path()).unwrap();
        assert_eq!(super::ask(&bench, &agent, "behave").await.answer.as_deref(), Some("behave"));
        kill_process(process, Signal::KILL).unwrap();
        let mut status = agent.watch();
        let failed = status.wait_for(|status| status.state == LifeState::Failed);
        tokio::time::timeout(crate::support::PATIENCE, failed).await.unwrap().unwrap();
        let problem = agent.status().problem.unwrap();
        let dir = bench.dir.path().display();
        assert_eq!(problem.kind, ErrorKind::Config);
        assert_eq!(
            problem.message,
            format!(
                "the working folder `{dir}` of agent `agent` cannot be used: No such file or directory (os error 2)"
            )
        );
    });
}

#[test]
fn fault_42_a_program_that_is_replaced_is_the_new_one_from_the_next_start_on() {
    survives(async || {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let replace = |with: &str| {
            let next = dir.path().join("next");
            fs::write(&next, format!("#!/bin/sh\n{with}\n")).unwrap();
            fs::set_permissions(&next, Permissions::from_mode(0o755)).unwrap();
            fs::rename(next, &program).unwrap();
        };
        replace(&format!("exec {FAULTY} garbage"));
        let command = vec![program.display().to_string()];
        let bench = Bench::new(&AgentSpec { command, ..AgentSpec::new(Driver::Rpc) }).guarded();
        let agent = live(&bench, SOON);
        agent.start().await.unwrap();
        replace("exit 3");
        assert_eq!(super::ask(&bench, &agent, "behave").await.answer.as_deref(), Some("behave"));
        let LiveError::Start { problem, .. } = agent.restart().await.unwrap_err() else {
            panic!("another error")
        };
        assert_eq!(problem.message, "it ended with exit code 3 before it answered");
        replace(&format!("exec {FAULTY} nul"));
        agent.start().await.unwrap();
        assert_eq!(super::ask(&bench, &agent, "x").await.answer.as_deref(), Some("nul"));
        agent.stop().await.unwrap();
    });
}
