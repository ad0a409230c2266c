//! `aiswitch run` with the real agent CLIs: right answers, right figures, honest ends, nothing left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::agents;
use crate::harness::configure;
use crate::llm::{Api, Ended, MockLlm};
use crate::sandbox::{PRESET, Sandbox, holds_within};

/// How long one run may take; opencode and qwen need seconds to start, and more on a busy machine.
const RUN_WITHIN: Duration = Duration::from_mins(2);

/// `aiswitch run` under the preset of the mock.
pub(crate) fn run(sandbox: &Sandbox, agents: &str, prompt: &str) -> Command {
    let mut command = sandbox.aiswitch();
    command.args(["run", "--preset", PRESET, "-a", agents, "-p", prompt]);
    command
}

pub(crate) fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The part of one agent in a report.
pub(crate) fn part<'r>(report: &'r Value, agent: &str) -> &'r Value {
    let parts = report["agents"].as_array().unwrap();
    parts.iter().find(|part| part["id"] == agent).unwrap_or_else(|| panic!("no {agent} in {report:#}"))
}

/// A mock and a sandbox for these agents; `None` where one of them cannot be run.
pub(crate) fn set_up(agents: &[&str]) -> Option<(MockLlm, Sandbox)> {
    agents::folder_with(agents)?;
    let llm = MockLlm::start();
    let sandbox = Sandbox::with_llm(&llm);
    Some((llm, sandbox))
}

/// The usage of some answers of the mock, with what this agent's interface does not tell left out.
fn usage(agent: &str, answers: usize) -> Value {
    let of = |tokens: usize| json!(tokens * answers);
    let (input, output, cache_read, cache_write, reasoning) = match agent {
        "claude" => (of(700), of(50), of(200), of(100), of(10)),
        "codex" => (of(800), of(50), of(200), of(0), of(10)),
        "gemini" => (of(1000), of(40), Value::Null, Value::Null, Value::Null),
        "opencode" => (of(800), of(50), of(200), Value::Null, of(10)),
        _ => (of(800), of(50), of(200), Value::Null, Value::Null),
    };
    json!({"input_tokens": input, "output_tokens": output, "cache_read_tokens": cache_read,
           "cache_write_tokens": cache_write, "cache_write_1h_tokens": null, "reasoning_tokens": reasoning,
           "web_searches": null})
}

fn completes(agent: &str) {
    let Some((llm, sandbox)) = set_up(&[agent]) else { return };
    let output = run(&sandbox, agent, "Say hello [[mock text=HELLO]]").arg("--json").output().unwrap();
    let report = report(&output);
    let part = part(&report, agent);
    assert_eq!((&part["status"], &part["answer"]), (&json!("completed"), &json!("HELLO")), "{report:#}");
    // Qwen asks more than once for one prompt, and counts it.
    let answers = llm.requests().iter().filter(|request| request.ended == Some(Ended::Answered(200))).count();
    assert_eq!(part["usage"], usage(agent, if agent == "qwen" { answers } else { 1 }), "{report:#}");
    assert!(part["session_id"].is_string() && part["pid"].is_u64(), "{report:#}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn claude_and_codex_answer_side_by_side_with_the_right_figures() {
    let Some((_llm, sandbox)) = set_up(&["claude", "codex"]) else { return };
    let output =
        run(&sandbox, "claude,codex", "Say hello [[mock text=HELLO]]").arg("--json").output().unwrap();
    let report = report(&output);
    assert_eq!((&report["status"], output.status.code()), (&json!("completed"), Some(0)), "{report:#}");
    for agent in ["claude", "codex"] {
        assert_eq!(part(&report, agent)["answer"], "HELLO", "{report:#}");
        assert_eq!(part(&report, agent)["usage"], usage(agent, 1), "{report:#}");
    }
    assert_eq!(part(&report, "claude")["cost"], json!({"usd": 0.00434, "source": "reported"}), "{report:#}");
    // Codex tells no cost: 800 tokens at $5, 200 at $0.50 and 50 at $30 a million.
    assert_eq!(part(&report, "codex")["cost"], json!({"usd": 0.0056, "source": "computed"}), "{report:#}");
    assert_eq!(report["totals"]["cost"], json!({"usd": 0.00994, "unpriced": 0}), "{report:#}");
}

#[test]
fn claude_completes() {
    completes("claude");
}

#[test]
fn codex_completes() {
    completes("codex");
}

#[test]
fn codex_goes_where_the_preset_leads_with_the_presets_key_whoever_is_logged_in() {
    let Some((llm, sandbox)) = set_up(&["codex"]) else { return };
    let folder = sandbox.home().join(".codex");
    fs::write(folder.join("config.toml"), "openai_base_url = \"http://127.0.0.1:9/v1\"\n").unwrap();
    fs::write(folder.join("auth.json"), json!({"OPENAI_API_KEY": "sk-of-another-login"}).to_string())
        .unwrap();
    let presets = json!({"presets": {"gateway": {"variables":
        {"CODEX_API_KEY": "env:GATEWAY_KEY", "OPENAI_BASE_URL": format!("{}/v1", llm.url())}}}});
    configure(&sandbox, "presets.yaml", &presets.to_string());
    let mut command = sandbox.aiswitch();
    command.args([
        "run",
        "--preset",
        "gateway",
        "-a",
        "codex",
        "--json",
        "-p",
        "Say hello [[mock text=HELLO]]",
    ]);
    let report = report(&command.env("GATEWAY_KEY", "sk-of-the-gateway").output().unwrap());
    assert_eq!(part(&report, "codex")["answer"], "HELLO", "{report:#}");
    assert!(llm.requests().iter().any(|request| request.ended == Some(Ended::Answered(200))));
}

#[test]
fn gemini_completes() {
    completes("gemini");
}

#[test]
fn qwen_completes() {
    completes("qwen");
}

#[test]
fn opencode_completes() {
    completes("opencode");
}

#[test]
fn gemini_opencode_and_qwen_stream_side_by_side() {
    let Some((_llm, sandbox)) = set_up(&["gemini", "opencode", "qwen"]) else { return };
    let prompt = "Count [[mock text=\"one two three four\" chunks=4 slow=0.05]]";
    let output = run(&sandbox, "gemini,opencode,qwen", prompt)
        .args(["--output-format", "stream-json"])
        .output()
        .unwrap();
    let events: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let last = events.last().unwrap();
    assert_eq!(last["type"], "report", "{last:#}");
    for agent in ["gemini", "opencode", "qwen"] {
        let pieces: Vec<&str> = events
            .iter()
            .filter(|event| event["agent"] == agent && event["type"] == "output")
            .map(|event| event["text"].as_str().unwrap())
            .collect();
        assert!(pieces.len() > 1, "{agent} did not stream: {pieces:?}");
        assert_eq!(pieces.concat(), "one two three four", "{agent}");
    }
    assert_eq!(output.status.code(), Some(0), "{last:#}");
}

#[test]
fn one_agent_is_refused_and_one_stalls_and_the_third_answer_is_kept() {
    let Some((_llm, sandbox)) = set_up(&["claude", "codex"]) else { return };
    let prompt = "go [[mock for=anthropic status=401]] [[mock for=responses stall=60]]";
    let output =
        run(&sandbox, "claude,codex,echo", prompt).args(["--json", "--timeout", "5s"]).output().unwrap();
    let report = report(&output);
    let claude = part(&report, "claude");
    assert_eq!(
        (&claude["status"], &claude["error"]["kind"]),
        (&json!("failed"), &json!("auth")),
        "{report:#}"
    );
    assert!(claude["error"]["hint"].as_str().unwrap().contains("/login"), "{report:#}");
    assert_eq!(part(&report, "codex")["status"], "timed_out", "{report:#}");
    assert_eq!(part(&report, "echo")["answer"], prompt, "{report:#}");
    assert_eq!((&report["status"], output.status.code()), (&json!("partial"), Some(4)), "{report:#}");
    // The sandbox fails the test when a process is left.
}

/// What an agent does with a tool call that writes a file, in a mode.
fn tool(agent: &str, mode: &str) -> (Value, Output, bool) {
    let (_llm, sandbox) = set_up(&[agent]).unwrap();
    let prompt = "Write [[mock tool=\"echo hi > hi.txt\" text=DONE]]";
    let output = run(&sandbox, agent, prompt).args(["--json", "--mode", mode]).output().unwrap();
    let written = sandbox.workspace().join("hi.txt").exists();
    (part(&report(&output), agent).clone(), output, written)
}

fn keeps_to_its_mode(agent: &str) {
    if agents::folder_with(&[agent]).is_none() {
        return;
    }
    let (part, output, written) = tool(agent, "read-only");
    assert!(!written, "{agent} wrote in read-only: {part:#}");
    // Qwen is not even offered the tool, so it has nothing to be denied.
    let (status, code, denials) = if agent == "qwen" { ("completed", 0, 0) } else { ("denied", 5, 1) };
    assert_eq!((&part["status"], output.status.code()), (&json!(status), Some(code)), "{part:#}");
    assert_eq!(part["denials"].as_array().map(Vec::len), Some(denials), "{part:#}");
    for mode in ["write", "yolo"] {
        let (part, output, written) = tool(agent, mode);
        assert!(written, "{agent} did not write in {mode}: {part:#}");
        assert_eq!((&part["status"], &part["answer"]), (&json!("completed"), &json!("DONE")), "{part:#}");
        assert_eq!(output.status.code(), Some(0), "{part:#}");
    }
}

#[test]
fn claude_keeps_to_its_mode() {
    keeps_to_its_mode("claude");
}

#[test]
fn codex_keeps_to_its_mode() {
    keeps_to_its_mode("codex");
}

#[test]
fn gemini_keeps_to_its_mode() {
    keeps_to_its_mode("gemini");
}

#[test]
fn qwen_keeps_to_its_mode() {
    keeps_to_its_mode("qwen");
}

#[test]
fn opencode_keeps_to_its_mode() {
    keeps_to_its_mode("opencode");
}

/// Waits for a line of output that fulfils a condition.
fn wait_for_event(
    child: &mut Child,
    mut wanted: impl FnMut(&Value) -> bool,
) -> BufReader<std::process::ChildStdout> {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the run ended without the event");
        if wanted(&serde_json::from_str(&line).unwrap()) {
            return lines;
        }
    }
}

/// Interrupts a run once every agent has said something, and returns its report and exit code.
fn interrupted(sandbox: &Sandbox, agents: &[&str], prompt: &str, event_type: &str) -> (Value, Option<i32>) {
    let mut child = run(sandbox, &agents.join(","), prompt)
        .args(["--mode", "write", "--output-format", "stream-json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut silent: Vec<&str> = agents.to_vec();
    let lines = wait_for_event(&mut child, |event| {
        if event["type"] == event_type {
            silent.retain(|agent| event["agent"] != *agent);
        }
        silent.is_empty()
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let last = lines.lines().last().unwrap().unwrap();
    let mut status = None;
    assert!(holds_within(RUN_WITHIN, || {
        status = child.try_wait().unwrap();
        status.is_some()
    }));
    (serde_json::from_str(&last).unwrap(), status.unwrap().code())
}

#[test]
fn an_interrupt_while_all_stream_cancels_them_and_still_reports() {
    let all = ["claude", "codex", "gemini", "qwen", "opencode"];
    let Some((_llm, sandbox)) = set_up(&all) else { return };
    let (event, code) = interrupted(&sandbox, &all, "Count [[mock chunks=600 slow=0.2]]", "output");
    assert_eq!((&event["type"], code), (&json!("report"), Some(130)), "{event:#}");
    let report = &event["report"];
    assert_eq!(report["status"], "cancelled", "{report:#}");
    for agent in all {
        let part = part(report, agent);
        assert_eq!(part["status"], "cancelled", "{report:#}");
        assert!(part["answer"].as_str().unwrap().starts_with("tick 1"), "{report:#}");
    }
}

#[test]
fn an_interrupt_while_a_tool_runs_leaves_no_tool() {
    // One by one: Codex leaves a tool alone after 10 s, so it must not have to wait for slower ones.
    for agent in ["claude", "codex", "gemini", "qwen", "opencode"] {
        let Some((_llm, sandbox)) = set_up(&[agent]) else { return };
        let (event, code) =
            interrupted(&sandbox, &[agent], "Wait [[mock tool=\"tail -f /dev/null\" text=DONE]]", "tool");
        assert_eq!((&event["type"], code), (&json!("report"), Some(130)), "{event:#}");
        assert_eq!(part(&event["report"], agent)["status"], "cancelled", "{event:#}");
        // The sandbox fails the test when a tool is left.
    }
}

#[test]
fn a_providers_errors_are_told_apart() {
    for (agent, directive, status, kind) in [
        ("claude", "status=429", "rate_limited", "rate_limit"),
        ("claude", "status=500", "failed", "provider"),
        ("claude", "status=400", "failed", "provider"),
        ("codex", "status=401", "failed", "auth"),
        ("codex", "status=429", "rate_limited", "rate_limit"),
        ("codex", "status=500", "failed", "provider"),
        ("gemini", "status=401", "failed", "auth"),
        ("gemini", "status=429", "rate_limited", "rate_limit"),
        ("gemini", "status=500", "failed", "provider"),
        ("qwen", "status=401", "failed", "auth"),
        ("opencode", "status=401", "failed", "auth"),
    ] {
        let Some((_llm, sandbox)) = set_up(&[agent]) else { return };
        let output =
            run(&sandbox, agent, &format!("go [[mock {directive}]]")).arg("--json").output().unwrap();
        let report = report(&output);
        let part = part(&report, agent);
        let found = (&part["status"], &part["error"]["kind"], output.status.code());
        assert_eq!(found, (&json!(status), &json!(kind), Some(1)), "{agent} {directive}: {report:#}");
    }
}

#[test]
fn each_step_of_a_sequential_run_is_given_the_answers_before_it() {
    let Some((llm, sandbox)) = set_up(&["claude", "codex"]) else { return };
    let prompt = "go [[mock for=anthropic text=FIRST]] [[mock for=responses text=SECOND]]";
    let output = run(&sandbox, "claude,codex", prompt).args(["--sequential", "--json"]).output().unwrap();
    let report = report(&output);
    assert_eq!(part(&report, "codex")["answer"], "SECOND", "{report:#}");
    let apis: Vec<_> =
        llm.requests().iter().filter(|request| request.tools > 0).filter_map(|request| request.api).collect();
    assert_eq!(apis, [Api::Anthropic, Api::Responses]);
}

/// Two parts of one agent, one after the other, have one process and a conversation each.
fn starts_once(agent: &str) {
    let Some((_llm, sandbox)) = set_up(&[agent]) else { return };
    let mut command = run(&sandbox, &format!("{agent}*2"), "Say hello [[mock text=HELLO]]");
    let report = report(&command.args(["--json", "--sequential"]).output().unwrap());
    let parts = report["agents"].as_array().unwrap();
    for part in parts {
        assert_eq!((&part["status"], &part["answer"]), (&json!("completed"), &json!("HELLO")), "{report:#}");
        assert_eq!(part["usage"], usage(agent, 1), "{report:#}");
    }
    assert_eq!(parts[0]["pid"], parts[1]["pid"], "{report:#}");
    assert_ne!(parts[0]["session_id"], parts[1]["session_id"], "{report:#}");
    let (first, second) = (&parts[0]["duration_ms"], &parts[1]["duration_ms"]);
    println!("{agent}: {first} ms with the start of its program, {second} ms without");
}

#[test]
fn codex_is_started_once_for_a_sequence() {
    starts_once("codex");
}

#[test]
fn gemini_is_started_once_for_a_sequence() {
    starts_once("gemini");
}

#[test]
fn opencode_is_started_once_for_a_sequence() {
    starts_once("opencode");
}

#[test]
fn a_secret_of_the_preset_is_in_no_file_and_no_output() {
    let Some((_llm, sandbox)) = set_up(&["claude", "codex"]) else { return };
    let prompt = "go [[mock tool=\"env\" text=DONE]]";
    let output = run(&sandbox, "claude,codex", prompt)
        .args(["--mode", "yolo", "--output-format", "stream-json"])
        .output()
        .unwrap();
    let key = crate::sandbox::KEY;
    for bytes in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(bytes).contains(key), "{}", String::from_utf8_lossy(bytes));
    }
    let mut files = vec![sandbox.aiswitch_home()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_no_key(&path, key);
        }
    }
}

fn assert_no_key(path: &Path, key: &str) {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    assert!(!text.contains(key), "{} holds the key", path.display());
}
