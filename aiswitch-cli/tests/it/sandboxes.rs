//! The sandbox of the tests: its files, and what it does about processes that are left.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::llm::MockLlm;
use crate::sandbox::{KEY, PRESET, Sandbox, holds_within, presets_yaml, processes_with};

const WITHIN: Duration = Duration::from_secs(10);

/// Starts a process which stays until its stdin is closed.
fn start_cat(sandbox: &Sandbox, llm: &MockLlm) -> Child {
    let mut command = sandbox.agent(Path::new("cat"), llm);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    assert!(holds_within(WITHIN, || !sandbox.processes().is_empty()));
    child
}

#[test]
fn the_settings_and_the_preset_name_the_mock_but_not_the_key() {
    let llm = MockLlm::start();
    let sandbox = Sandbox::with_llm(&llm);
    for file in [
        sandbox.aiswitch_home().join("config/presets.yaml"),
        sandbox.home().join(".codex/config.toml"),
        sandbox.home().join(".config/opencode/opencode.json"),
    ] {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(&llm.url()), "{}: {text}", file.display());
        assert!(!text.contains(KEY), "{}: {text}", file.display());
    }
}

#[test]
fn the_presets_are_one_preset_with_plain_and_secret_variables() {
    let yaml = presets_yaml("http://127.0.0.1:1");
    assert!(yaml.starts_with(&format!("presets:\n  {PRESET}:\n    description: ")), "{yaml}");
    assert!(yaml.contains("\n      ANTHROPIC_BASE_URL: \"http://127.0.0.1:1\"\n"), "{yaml}");
    assert!(yaml.contains("\n      ANTHROPIC_API_KEY: env:MOCK_KEY\n"), "{yaml}");
}

#[test]
fn a_process_is_found_by_a_whole_variable_only() {
    let llm = MockLlm::start();
    let sandbox = Sandbox::new();
    let mut child = start_cat(&sandbox, &llm);
    let home = format!("HOME={}", sandbox.home().display());
    assert_eq!(processes_with(&home).len(), 1);
    assert_eq!(processes_with(&home[..home.len() - 1]), []);
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_sandbox_that_is_dropped_too_early_complains_and_ends_what_is_left() {
    let llm = MockLlm::start();
    let sandbox = Sandbox::new();
    let mut child = start_cat(&sandbox, &llm);
    let complaint = catch_unwind(AssertUnwindSafe(|| drop(sandbox))).unwrap_err();
    let complaint = complaint.downcast_ref::<String>().unwrap();
    assert!(complaint.contains("left running") && complaint.contains("cat"), "{complaint}");
    assert!(!child.wait().unwrap().success());
}

#[test]
fn the_command_gets_the_sandbox_and_the_key_and_nothing_else() {
    let sandbox = Sandbox::new();
    let command = sandbox.aiswitch();
    let names: Vec<&str> = command.get_envs().filter_map(|(name, _)| name.to_str()).collect();
    assert_eq!(names, ["AISWITCH_HOME", "HOME", "MOCK_KEY", "PATH", "TERM"]);
    assert_eq!(command.get_current_dir(), Some(&*sandbox.workspace()));
}
