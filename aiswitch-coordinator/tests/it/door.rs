//! What is refused before anything starts.

use std::error::Error;
use std::time::Duration;

use aiswitch_coordinator::{
    AGENTS_MAX, Assignment, CancellationToken, Coordinator, Home, PROMPT_BYTES_MAX, Plan, RunError,
};

use crate::support::{coordinator, echo, id, plan};

/// The error of a run that is refused, with its causes; no agent may be started and no event told.
async fn refused(coordinator: &Coordinator, plan: Plan) -> String {
    let mut events = 0;
    let error =
        coordinator.run(plan, CancellationToken::new(), |_| events += 1).await.expect_err("it is refused");
    assert_eq!(events, 0);
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn each_bad_plan_is_refused_and_named() {
    let known = coordinator([echo("claude"), echo("codex")]);
    let one = || plan("hello", &["claude"]);
    for (bad, expected) in [
        (plan("hello", &[]), "the plan names no agent"),
        (plan(" \n\t", &["claude"]), "the prompt is empty"),
        (plan("a\0b", &["claude"]), "the prompt holds a NUL byte at byte 1"),
        (plan("hello", &["claude", "claude"]), "two agents are called `claude`"),
        (plan("hello", &["cluade"]), "agent `cluade` is not known"),
        (
            plan("hello", &[])
                .with_assignment(Assignment::new(id("claude")).with_preset("work".parse().unwrap())),
            "preset `work` is not known",
        ),
        (one().with_timeout(Duration::ZERO), "a time-out of zero leaves agent `claude` no time at all"),
        (one().with_idle_timeout(Duration::ZERO), "a time-out of zero leaves agent `claude` no time at all"),
        (
            Plan { cwd: "/no/such/folder".into(), ..one() },
            "the working folder `/no/such/folder` cannot be used: No such file or directory (os error 2)",
        ),
        (
            Plan { cwd: "/dev/null".into(), ..one() },
            "the working folder `/dev/null` cannot be used: not a directory",
        ),
    ] {
        assert_eq!(refused(&known, bad).await, expected);
    }
}

#[tokio::test]
async fn a_mistyped_agent_has_a_nearest_name() {
    let known = coordinator([echo("claude"), echo("codex")]);
    let error = known.execute_parallel(plan("hello", &["cluade"])).await.expect_err("it is refused");
    let RunError::UnknownAgent { name, nearest } = error else { panic!("{error}") };
    assert_eq!((name, nearest), (id("cluade"), Some(id("claude"))));
}

#[tokio::test]
async fn a_prompt_of_the_largest_size_is_taken_and_one_byte_more_is_not() {
    let known = coordinator([echo("claude")]);
    let largest = "x".repeat(PROMPT_BYTES_MAX);
    let report = known.execute_parallel(plan(&largest, &["claude"])).await.expect("it runs");
    assert_eq!(report.agents[0].answer.as_ref(), Some(&largest));
    let larger = largest + "x";
    let expected = "the prompt has 1048577 bytes, and at most 1048576 can be given to an agent";
    assert_eq!(refused(&known, plan(&larger, &["claude"])).await, expected);
}

#[tokio::test]
async fn more_agents_than_the_limit_are_refused() {
    let names: Vec<String> = (0..=AGENTS_MAX).map(|n| format!("a{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let text = refused(&coordinator([]), plan("hello", &names)).await;
    assert_eq!(text, "the plan names 1001 agents, and one run may have 1000");
}

#[tokio::test]
async fn two_registered_agents_with_one_name_are_refused() {
    let twice = coordinator([echo("claude"), echo("claude")]);
    assert_eq!(refused(&twice, plan("hello", &["claude"])).await, "two agents are called `claude`");
}

#[tokio::test]
async fn a_home_that_cannot_be_written_is_refused() {
    // Also root cannot make folders in these two places.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let (in_file, in_proc) = (file.join("home"), std::path::PathBuf::from("/proc/home"));
    for (root, cause) in [
        (&in_file, format!("cannot look at `{}`: Not a directory", in_file.display())),
        (&in_proc, "cannot make the folder `/proc/home/state`: No such file or directory".to_owned()),
    ] {
        let text = refused(&coordinator([echo("a")]).with_home(Home::new(root)), plan("hello", &["a"])).await;
        let expected = format!("the home `{}` cannot be used: {cause}", root.display());
        assert!(text.starts_with(&expected), "{text}");
    }
}

#[tokio::test]
async fn a_refused_plan_leaves_nothing_in_the_home() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path().join("home"));
    refused(&coordinator([echo("a")]).with_home(home.clone()), plan("", &["a"])).await;
    assert!(!home.root().exists());
}

#[tokio::test]
async fn a_run_whose_state_cannot_be_written_leaves_no_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path());
    // A folder stands where the file is to be.
    std::fs::create_dir_all(home.runs_file().join("in the way")).expect("a folder");
    let text = refused(&coordinator([echo("a")]).with_home(home.clone()), plan("hello", &["a"])).await;
    assert!(text.contains("runs.db"), "{text}");
    assert_eq!(home.runs_dir().read_dir().expect("it was made").count(), 0);
}
