//! The real agent CLIs, each alone, answered by the mock LLM with the settings of the sandbox.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::agents;
use crate::llm::{Api, Ended, MockLlm};
use crate::sandbox::{Sandbox, holds_within};

const ENDED_WITHIN: Duration = Duration::from_mins(1);
const PROMPT: &str = "Say hello [[mock text=HELLO chunks=1]]";

/// Runs a command to its end and returns what it printed on stdout.
fn stdout_of(sandbox: &Sandbox, command: &mut Command) -> String {
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| sandbox.home().join(name));
    let create = |path| File::create(path).unwrap();
    let mut child = command.stdout(create(&stdout)).stderr(create(&stderr)).spawn().unwrap();
    let ended = holds_within(ENDED_WITHIN, || child.try_wait().unwrap().is_some());
    if !ended {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let printed = fs::read_to_string(stdout).unwrap();
    assert!(ended, "not ended within {ENDED_WITHIN:?}: {printed}\n{}", fs::read_to_string(stderr).unwrap());
    printed
}

/// Runs one agent with a prompt that asks for one word, and looks for the line that holds it.
fn says_hello(agent: &str, api: Api, word: &str, command_line: &[&str]) {
    if agents::folder_with(&[agent]).is_none() {
        return;
    }
    let llm = MockLlm::start();
    let sandbox = Sandbox::with_llm(&llm);
    let mut command = sandbox.agent(Path::new(command_line[0]), &llm);
    let printed = stdout_of(&sandbox, command.args(&command_line[1..]));
    assert!(printed.contains(word), "no {word} in {printed}");
    let requests = llm.requests();
    let asked = requests.iter().find(|request| request.api == Some(api) && request.tools > 0);
    let asked = asked.unwrap_or_else(|| panic!("no request to {api:?} in {requests:#?}"));
    assert_eq!(asked.ended, Some(Ended::Answered(200)));
    assert!(asked.auth_header.is_some(), "{asked:#?}");
}

#[test]
fn claude_is_answered() {
    let command_line = ["claude", "-p", PROMPT, "--output-format", "stream-json", "--verbose"];
    says_hello("claude", Api::Anthropic, r#""result":"HELLO""#, &command_line);
}

#[test]
fn codex_is_answered() {
    let command_line = ["codex", "exec", "--json", "--skip-git-repo-check", PROMPT];
    says_hello("codex", Api::Responses, r#""text":"HELLO""#, &command_line);
}

#[test]
fn gemini_is_answered() {
    let command_line = ["gemini", "--output-format", "stream-json", "-p", PROMPT];
    says_hello("gemini", Api::Gemini, r#""content":"HELLO""#, &command_line);
}

#[test]
fn qwen_is_answered() {
    let Some(folder) = agents::folder_with(&["qwen"]) else { return };
    // Its launcher would leave the agent running if it had to be killed.
    let script = folder.join("../@qwen-code/qwen-code/cli.js");
    let script = script.to_str().unwrap();
    let command_line =
        ["node", "--expose-gc", script, "--auth-type", "openai", "--output-format", "stream-json", PROMPT];
    says_hello("qwen", Api::Chat, r#""result":"HELLO""#, &command_line);
}

#[test]
fn opencode_is_answered() {
    let command_line = ["opencode", "run", "--format", "json", "--title", "t", PROMPT];
    says_hello("opencode", Api::Chat, r#""text":"HELLO""#, &command_line);
}
