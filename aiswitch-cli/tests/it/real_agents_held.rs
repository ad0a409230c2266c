//! The real agent CLIs in each sandbox and in a namespace: they work, and what they may not touch stays as it is.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::configure;
use crate::real_agents_run::{part, report, run, set_up};

/// A tool call that writes into a folder of the workspace and at its top.
const WRITES: &str = "Write [[mock tool=\"echo hi > src/hi.txt; echo hi > top.txt\" text=DONE]]";

/// What an agent made of that: its part of the report, and whether the two files are there.
fn written(agent: &str, sandbox: &str, supervision: &str) -> Option<(Value, [bool; 2])> {
    let (_llm, place) = set_up(&[agent])?;
    configure(&place, "coordination.yaml", &format!("supervision: {supervision}\n"));
    fs::create_dir(place.workspace().join("src")).unwrap();
    let output = run(&place, agent, WRITES)
        .args(["--json", "--mode", "write", "--sandbox", sandbox])
        .output()
        .unwrap();
    let is_there = |file: &str| Path::new(&place.workspace()).join(file).exists();
    Some((part(&report(&output), agent).clone(), ["src/hi.txt", "top.txt"].map(is_there)))
}

fn works_in_each(agent: &str) {
    for (sandbox, supervision, expected) in [
        ("standard", "guard", [true, false]),
        ("read-only", "guard", [false, false]),
        ("none", "pid_namespace", [true, true]),
        ("standard", "pid_namespace", [true, false]),
    ] {
        let Some((part, written)) = written(agent, sandbox, supervision) else { return };
        assert_eq!((&part["answer"], &part["held_by"]), (&json!("DONE"), &json!(supervision)), "{part:#}");
        assert_eq!(written, expected, "{sandbox}, {supervision}: {part:#}");
    }
}

#[test]
fn claude_works_in_each_sandbox_and_in_a_namespace() {
    works_in_each("claude");
}

#[test]
fn codex_works_in_each_sandbox_and_in_a_namespace() {
    works_in_each("codex");
}

#[test]
fn gemini_works_in_each_sandbox_and_in_a_namespace() {
    works_in_each("gemini");
}

#[test]
fn opencode_works_in_each_sandbox_and_in_a_namespace() {
    works_in_each("opencode");
}
