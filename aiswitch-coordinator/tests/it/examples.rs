//! The examples as whole programs.
#![expect(clippy::disallowed_methods, reason = "an example is a program")]

use std::path::PathBuf;
use std::process::Command;

/// The program of an example, which `cargo test` builds beside this one.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program has a file");
    let program =
        own.parent().and_then(|deps| deps.parent()).expect("it is in target").join("examples").join(name);
    assert!(program.is_file(), "build it with: cargo build --example {name}");
    program
}

#[test]
fn two_agents_answer_side_by_side_and_one_after_the_other() {
    let ran =
        Command::new(example("two_agents")).env_clear().env("TMPDIR", "/tmp").output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert_eq!((ran.status.code(), err.as_ref()), (Some(0), ""));
    let expected =
        "cat completed: say what you see\ncount completed: 4\n## cat\n\nsay what you see\n\n## count\n\n";
    assert!(out.starts_with(expected), "{out}");
    let source = include_str!("../../examples/two_agents.rs");
    assert!(source.lines().count() <= 40);
}
