//! Any program as an agent, and the end of its processes.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use aiswitch_agent::{
    AgentError, AgentEvent, AgentSpec, ErrorKind, Limits, PermissionMode, TaskError, TaskResult, TaskStatus,
    sweep,
};

use crate::support::{Bench, environment, wait_for};

fn error(result: &TaskResult) -> (ErrorKind, &str) {
    let error: &TaskError = result.error.as_ref().unwrap();
    (error.kind, &error.message)
}

#[tokio::test]
async fn a_program_reads_the_prompt_and_its_output_is_the_answer() {
    let mut bench = Bench::new(&AgentSpec::command(["cat"]));
    let result = bench.run("grüße\nzwei").await.unwrap();
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Completed, Some("grüße\nzwei")));
    let told = bench.told();
    assert!(matches!(told.as_slice(), [AgentEvent::Started { .. }, AgentEvent::Output { .. }]), "{told:?}");
    assert_eq!(bench.log("stdout.log"), "grüße\nzwei");
}

#[tokio::test]
async fn a_prompt_larger_than_a_pipe_passes_while_the_program_answers() {
    let mut bench = Bench::new(&AgentSpec::command(["cat"]));
    let prompt = "x".repeat(1_000_000);
    assert_eq!(bench.run(&prompt).await.unwrap().answer, Some(prompt));
}

#[tokio::test]
async fn a_program_that_does_not_read_its_input_may_still_answer() {
    let mut bench = Bench::script("exec <&-; echo fine");
    let result = bench.run(&"x".repeat(1_000_000)).await.unwrap();
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Completed, Some("fine\n")));
}

#[tokio::test]
async fn an_exit_code_is_a_failure_that_quotes_the_last_line_of_stderr() {
    let mut bench = Bench::script("echo half; echo one >&2; echo two >&2; exit 3");
    let result = bench.run("").await.unwrap();
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Failed, Some("half\n")));
    assert_eq!(error(&result), (ErrorKind::Provider, "it ended with exit code 3: two"));
    assert_eq!(bench.log("stderr.log"), "one\ntwo\n");
}

#[tokio::test]
async fn a_signal_is_a_crash() {
    let mut bench = Bench::script("kill -SEGV $$");
    assert_eq!(error(&bench.run("").await.unwrap()), (ErrorKind::Crash, "it ended with signal 11"));
}

#[tokio::test]
async fn invalid_utf8_fails_and_says_where() {
    let mut bench = Bench::script(r"printf 'ab\377c'");
    let result = bench.run("").await.unwrap();
    assert_eq!(result.answer.as_deref(), Some("ab\u{fffd}c"));
    assert_eq!(error(&result), (ErrorKind::Protocol, "its answer is not UTF-8 at byte 2"));
}

#[tokio::test]
async fn output_without_end_is_stopped_at_the_limit() {
    let mut bench = Bench::script("while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done");
    bench.context.limits = Limits { output_bytes_max: 100_000, ..bench.context.limits };
    let mut events = std::mem::replace(&mut bench.events, tokio::sync::mpsc::channel(1).1);
    let listener = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let result = bench.run("").await.unwrap();
    assert_eq!(error(&result), (ErrorKind::Limit, "it printed more than an agent may"));
    listener.abort();
}

#[tokio::test]
async fn a_flood_on_stderr_blocks_nobody() {
    let mut bench = Bench::script("head -c 3000000 /dev/zero | tr '\\0' e >&2; echo done");
    assert_eq!(bench.run("").await.unwrap().answer.as_deref(), Some("done\n"));
    assert_eq!(bench.log("stderr.log").len(), 3_000_000);
}

#[tokio::test]
async fn a_cancelled_program_keeps_what_it_answered_and_goes_at_sigterm() {
    let mut bench = Bench::script("echo part; touch ready; exec sleep 300");
    // Longer than the test may take: SIGTERM has to be enough.
    bench.context.limits.stop_grace = Duration::from_hours(1);
    let (cancel, ready) = (bench.context.cancel.clone(), bench.dir.path().join("ready"));
    let (result, ()) = tokio::join!(bench.run(""), async {
        wait_for(&ready).await;
        cancel.cancel();
    });
    let result = result.unwrap();
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Cancelled, Some("part\n")));
}

#[tokio::test]
async fn a_hostile_tree_that_ignores_sigterm_and_left_the_group_is_gone_after_a_stop() {
    let hostile = "trap '' TERM; setsid sh -c \"trap '' TERM; touch far; while :; do sleep 1; done\" & \
                   sh -c \"trap '' TERM; while :; do sleep 1; done\" & \
                   while [ ! -e far ]; do :; done; touch ready; while :; do sleep 1; done";
    let mut bench = Bench::script(hostile);
    bench.context.limits.stop_grace = Duration::from_millis(100);
    let (cancel, ready) = (bench.context.cancel.clone(), bench.dir.path().join("ready"));
    let (result, ()) = tokio::join!(bench.run(""), async {
        wait_for(&ready).await;
        cancel.cancel();
    });
    // `run` has checked that nothing is left.
    assert_eq!(result.unwrap().status, TaskStatus::Cancelled);
}

#[tokio::test]
async fn dropping_the_run_kills_all_of_it_at_once() {
    let bench = Bench::script("setsid sleep 300 & touch ready; sleep 300");
    let run = bench.agent.run(bench.task(""), bench.context.clone());
    let ready = bench.dir.path().join("ready");
    tokio::select! {
        _ = run => unreachable!("the program sleeps"),
        () = wait_for(&ready) => {}
    }
    let gone = async {
        while !bench.left().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn what_a_finished_program_left_behind_is_found_by_its_run() {
    let mut bench = Bench::script("setsid sleep 300 >/dev/null 2>&1 </dev/null & echo done");
    let task = bench.task("");
    assert_eq!(bench.agent.run(task, bench.context.clone()).await.unwrap().status, TaskStatus::Completed);
    assert_eq!(bench.left().len(), 1);
    let run = bench.context.marker.split(':').next().unwrap().to_owned();
    assert_eq!(sweep(&run), 1);
    bench.told();
    let gone = async {
        while !bench.left().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn the_child_knows_its_environment_and_nothing_else() {
    let mut bench = Bench::new(&AgentSpec::command(["env"]));
    bench.context.environment = environment(&[("A_KEY", "sk-0123456789")]);
    let answer = bench.run("").await.unwrap().answer.unwrap();
    let mut names: Vec<&str> = answer.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["AISWITCH_RUN", "A_KEY", "PATH"]);
    assert!(!bench.log("stdout.log").contains("sk-0123456789"), "the raw log is masked");
    assert!(bench.log("stdout.log").contains("A_KEY=[REDACTED]"));
}

#[tokio::test]
async fn what_cannot_be_started_is_named() {
    async fn check(spec: &AgentSpec, expected: &str) {
        let error: AgentError = Bench::new(spec).run("x").await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("not-a-program");
    std::fs::write(&file, "text").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (file, folder) = (file.display().to_string(), dir.path().display().to_string());

    check(&AgentSpec::command(["no-such-program"]), "`no-such-program` of agent `agent` is not installed")
        .await;
    check(&AgentSpec::command([&file]), &format!("`{file}` of agent `agent` is not an executable file"))
        .await;
    check(&AgentSpec::command([&folder]), &format!("`{folder}` of agent `agent` is not an executable file"))
        .await;
    check(&AgentSpec::command([""; 0]), "agent `agent` has no command").await;
}

#[tokio::test]
async fn a_task_that_cannot_be_done_as_asked_is_refused_before_anything_starts() {
    let mut bench = Bench::script("touch started");
    let ok = bench.task("x");
    let refused = [
        (
            aiswitch_agent::TaskSpec { mode: PermissionMode::ReadOnly, ..ok.clone() },
            "cannot keep to the mode `read-only`",
        ),
        (
            aiswitch_agent::TaskSpec { model: Some("m".into()), ..ok.clone() },
            "cannot be told which model to use",
        ),
        (aiswitch_agent::TaskSpec { prompt: "a\0b".into(), ..ok.clone() }, "holds a NUL byte"),
        (
            aiswitch_agent::TaskSpec { cwd: "/no/such/folder".into(), ..ok },
            "the working folder `/no/such/folder`",
        ),
    ];
    for (task, expected) in refused {
        let error = bench.agent.run(task, bench.context.clone()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(bench.told(), []);
    assert!(!bench.dir.path().join("started").exists());
}
