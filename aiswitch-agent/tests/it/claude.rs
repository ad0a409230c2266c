//! The driver of Claude Code and Qwen Code with small programs in their place.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use aiswitch_agent::{
    AgentError, AgentEvent, AgentSpec, Decision, Denial, Driver, ErrorKind, Limits, PermissionMode,
    TaskResult, TaskStatus,
};
use aiswitch_env::{Ambient, Environment};
use serde_json::{Value, json};

use crate::support::{Bench, PATIENCE, wait_for};

/// Answers what it is asked first.
const GREET: &str = r#"
reply() { echo '{"type":"control_response","response":{"subtype":"success","request_id":"'"$1"'","response":'"$2"'}}'; }
read -r line; reply initialize '{"claude_code_version":"2.1.330"}'
"#;

/// Says that it is done, and waits for the end of its input.
const DONE: &str = r#"
echo '{"type":"result","is_error":false,"result":"DONE","usage":{"input_tokens":7,"output_tokens":5}}'
cat > /dev/null
"#;

/// An agent whose program is this shell script behind the greeting.
fn greeted(script: &str) -> Bench {
    bench(&format!("{GREET}{script}"))
}

fn bench(script: &str) -> Bench {
    let command = ["sh", "-c", script, "claude"].map(str::to_owned).to_vec();
    Bench::new(&AgentSpec { command, ..AgentSpec::new(Driver::Claude) })
}

fn error(result: &TaskResult) -> (TaskStatus, ErrorKind, &str) {
    let error = result.error.as_ref().unwrap();
    (result.status, error.kind, &error.message)
}

/// The lines of a file as JSON.
fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn run_read_only(bench: &mut Bench) -> TaskResult {
    let mut task = bench.task("look");
    task.mode = PermissionMode::ReadOnly;
    let run = bench.agent.run(task, bench.context.clone());
    let result = tokio::time::timeout(PATIENCE, run).await.unwrap().unwrap();
    assert_eq!(bench.left(), Vec::<String>::new());
    result
}

/// Runs until a file is there, then cancels.
async fn run_and_cancel(bench: &mut Bench, when: &str) -> TaskResult {
    let (file, cancel) = (bench.dir.path().join(when), bench.context.cancel.clone());
    let cancel = async {
        wait_for(&file).await;
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(bench.run("work"), cancel);
    result.unwrap()
}

#[tokio::test]
async fn the_prompt_goes_over_stdin_and_the_answer_comes_back() {
    let mut bench =
        greeted(&format!("read -r line; printf '%s\\n' \"$line\" > prompt; echo \"$*\" > args; {DONE}"));
    let result = bench.run("say \"hi\"\nand bye").await.unwrap();
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Completed, Some("DONE")));
    let prompt = lines(&bench.dir.path().join("prompt"));
    assert_eq!(prompt[0]["message"]["content"], json!([{"type": "text", "text": "say \"hi\"\nand bye"}]));
    assert!(!bench.log("args").contains("hi"), "{}", bench.log("args"));
    let usage = result.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.cache_read_tokens), (Some(7), None));
    let told = bench.told();
    assert!(matches!(told.as_slice(), [AgentEvent::Started { .. }, AgentEvent::Usage { .. }]), "{told:?}");
}

#[tokio::test]
async fn a_large_prompt_passes_while_the_program_prints_before_it_reads() {
    let chatter =
        r#"{"type":"keep_alive","filler":"0123456789012345678901234567890123456789012345678901234567890"}"#;
    let script = format!("yes '{chatter}' | head -n 20000; read -r line; echo ${{#line}} > size; {DONE}");
    let mut bench = greeted(&script);
    let result = bench.run(&"x".repeat(1_000_000)).await.unwrap();
    assert_eq!(result.status, TaskStatus::Completed, "{result:?}");
    assert!(bench.log("size").trim().parse::<usize>().unwrap() > 1_000_000);
}

#[tokio::test]
async fn a_version_that_is_too_old_is_named_with_its_repair() {
    let mut bench = bench(&GREET.replace("2.1.330", "1.0.3"));
    let result = bench.run("work").await.unwrap();
    let message = "`sh` 1.0.3 is too old, 2.1.110 or newer is needed";
    assert_eq!(error(&result), (TaskStatus::Failed, ErrorKind::Config, message));
    let hint = result.error.unwrap().hint;
    assert_eq!(hint.as_deref(), Some("update it with: npm install -g @anthropic-ai/claude-code"));
}

#[tokio::test]
async fn a_program_that_ends_before_it_answers_has_crashed() {
    let mut bench = greeted("read -r line; echo boom >&2; exit 0");
    let result = bench.run("work").await.unwrap();
    let message = "it ended with exit code 0 before it answered: boom";
    assert_eq!(error(&result), (TaskStatus::Failed, ErrorKind::Crash, message));
}

#[tokio::test]
async fn a_program_that_ends_while_it_retries_failed_with_what_it_retried() {
    let retry = r#"{"type":"system","subtype":"api_retry","attempt":1,"max_retries":9,"error_status":500,"error":"server_error"}"#;
    let mut bench = greeted(&format!("read -r line; echo '{retry}'; exit 1"));
    let result = bench.run("work").await.unwrap();
    assert_eq!(error(&result).1, ErrorKind::Provider);
    assert!(matches!(bench.told().as_slice(), [AgentEvent::Started { .. }, AgentEvent::Retry { .. }]));
}

#[tokio::test]
async fn a_refused_argument_is_a_fault_of_the_configuration() {
    let mut bench = bench("echo \"error: unknown option '--nope'\" >&2; exit 1");
    let result = bench.run("work").await.unwrap();
    assert_eq!(error(&result), (TaskStatus::Failed, ErrorKind::Config, "error: unknown option '--nope'"));
}

#[tokio::test]
async fn a_program_that_does_not_answer_at_the_start_is_given_up() {
    let mut bench = bench("exec sleep 300");
    bench.context.limits = Limits { start_timeout: Duration::from_secs(1), ..bench.context.limits };
    let result = bench.run("work").await.unwrap();
    assert_eq!(error(&result), (TaskStatus::Failed, ErrorKind::Timeout, "it did not get ready within 1 s"));
}

#[tokio::test]
async fn each_kind_of_broken_line_ends_the_agent_and_is_named() {
    for (print, expected) in [
        ("head -c 3000 /dev/zero | tr '\\0' x; echo; cat", "over the limit of 2000 bytes"),
        ("printf '{\"a\":\"\\377\"}\\n'; cat", "frame is not UTF-8 after byte 6"),
        ("printf '{\"type\":\"res'", "stream ended inside a frame, after 12 bytes of it"),
    ] {
        let mut bench = greeted(&format!("read -r line; {print}"));
        bench.context.limits.frame_bytes_max = 2000;
        let result = bench.run("work").await.unwrap();
        let (status, kind, message) = error(&result);
        assert_eq!((status, kind), (TaskStatus::Failed, ErrorKind::Protocol));
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn more_output_than_allowed_ends_the_agent() {
    let mut bench = greeted("read -r line; yes '{\"type\":\"keep_alive\"}'");
    bench.context.limits.output_bytes_max = 100_000;
    let result = bench.run("work").await.unwrap();
    assert_eq!(error(&result), (TaskStatus::Failed, ErrorKind::Limit, "it printed more than an agent may"));
}

#[tokio::test]
async fn an_end_without_an_answer_is_a_failure() {
    let mut bench = greeted(&format!("read -r line; {}", DONE.replace("DONE", "")));
    let result = bench.run("work").await.unwrap();
    let message = "it ended well but without an answer";
    assert_eq!(error(&result), (TaskStatus::Failed, ErrorKind::Empty, message));
}

#[tokio::test]
async fn a_line_that_nobody_knows_is_told_and_the_task_goes_on() {
    let mut bench = greeted(&format!("read -r line; echo 'warning: hot'; {DONE}"));
    assert_eq!(bench.run("work").await.unwrap().status, TaskStatus::Completed);
    assert!(bench.told().contains(&AgentEvent::Unknown { line: "warning: hot".into() }));
}

/// Tells its rules, then asks whether it may run a command, and notes all that it is told.
const ASKING: &str = r#"
heard() { read -r line; printf '%s\n' "$line" >> heard; }
heard; reply get_settings '{"effective":{"permissions":{"allow":["Bash(touch *)"]}}}'
heard; reply apply_flag_settings '{}'
heard
echo '{"type":"control_request","request_id":"q1","request":{"subtype":"can_use_tool","tool_name":"Bash","tool_use_id":"t1","input":{"command":"touch a"}}}'
heard
"#;

#[tokio::test]
async fn read_only_has_all_that_is_allowed_asked_and_denies_it() {
    let mut bench = greeted(&format!("{ASKING}{DONE}"));
    let result = run_read_only(&mut bench).await;
    let reason = Some("the mode is `read-only`".to_owned());
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Denied, Some("DONE")));
    assert_eq!(result.denials, [Denial { tool: "Bash".into(), reason }]);
    let heard = lines(&bench.dir.path().join("heard"));
    assert_eq!(heard[1]["request"]["settings"]["permissions"], json!({"ask": ["Bash(touch *)"]}));
    assert_eq!(heard[2]["type"], "user");
    let denied = json!({"behavior": "deny", "message": "denied: the mode is `read-only`"});
    assert_eq!(heard[3]["response"]["response"], denied);
    let permission = AgentEvent::Permission {
        tool: "Bash".into(),
        question: Some("touch a".into()),
        decision: Decision::Deny,
    };
    assert!(bench.told().contains(&permission));
}

#[tokio::test]
async fn a_program_that_cannot_be_kept_to_read_only_is_given_no_prompt() {
    let refuse = r#"echo '{"type":"control_response","response":{"subtype":"error","request_id":"get_settings","error":"unsupported"}}'"#;
    let mut bench =
        greeted(&format!("read -r line; {refuse}; read -r line && printf '%s\\n' \"$line\" > heard"));
    let result = run_read_only(&mut bench).await;
    let message = "it cannot be kept to the mode `read-only`: it does not tell its permission rules";
    assert_eq!(error(&result), (TaskStatus::Failed, ErrorKind::Config, message));
    assert!(!bench.dir.path().join("heard").exists());
}

const CUT_SHORT: &str = r#"
echo '{"type":"assistant","message":{"content":[{"type":"text","text":"half an ans"}]}}'
touch working; read -r line; printf '%s\n' "$line" > heard
echo '{"type":"result","is_error":true,"terminal_reason":"aborted_streaming"}'
cat > /dev/null
"#;

#[tokio::test]
async fn a_cancelled_program_is_asked_to_stop_and_its_answer_is_kept() {
    let mut bench = greeted(&format!("read -r line; {CUT_SHORT}"));
    let result = run_and_cancel(&mut bench, "working").await;
    assert_eq!((result.status, result.answer.as_deref()), (TaskStatus::Cancelled, Some("half an ans")));
    assert_eq!((result.error, result.usage), (None, None));
    assert_eq!(lines(&bench.dir.path().join("heard"))[0]["request"], json!({"subtype": "interrupt"}));
}

#[tokio::test]
async fn a_program_that_does_not_stop_is_killed_with_all_that_it_started() {
    let mut bench =
        greeted("trap '' TERM; setsid sleep 300 & read -r line; touch working; while :; do sleep 1; done");
    bench.context.limits.stop_grace = Duration::from_millis(200);
    let result = run_and_cancel(&mut bench, "working").await;
    assert_eq!((result.status, result.answer), (TaskStatus::Cancelled, None));
}

#[tokio::test]
async fn refused_credentials_are_not_tried_ten_times() {
    let refused = r#"{"type":"system","subtype":"api_retry","attempt":2,"max_retries":10,"error_status":401,"error":"authentication_failed"}"#;
    let mut bench = greeted(&format!("read -r line; echo '{refused}'; {CUT_SHORT}"));
    let result = bench.run("work").await.unwrap();
    let message = "authentication_failed (HTTP 401)";
    assert_eq!(error(&result), (TaskStatus::Failed, ErrorKind::Auth, message));
    assert_eq!(lines(&bench.dir.path().join("heard"))[0]["request"], json!({"subtype": "interrupt"}));
}

fn program(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn the_launcher_of_qwen_is_never_started() {
    let bench = Bench::new(&AgentSpec::new(Driver::Qwen));
    let root = bench.dir.path().canonicalize().unwrap();
    let (bin, package) = (root.join("bin"), root.join("lib/node_modules/@qwen-code/qwen-code"));
    program(&bin.join("node"), "");
    program(&package.join("cli-entry.js"), "");
    symlink(package.join("cli-entry.js"), bin.join("qwen")).unwrap();
    let path = [("PATH".into(), bin.clone().into())];
    let environment = Environment::compose(&Ambient::from_vars(path), &[], None).unwrap();
    let mut task = bench.task("work");
    task.mode = PermissionMode::ReadOnly;
    task.session_id = Some("s1".into());

    let missing = bench.agent.launch(&task, &environment).unwrap_err();
    assert!(matches!(missing, AgentError::Launcher { .. }), "{missing:?}");

    let script = package.join("cli.js");
    program(&script, "");
    let launch = bench.agent.launch(&task, &environment).unwrap().unwrap();
    assert_eq!(launch.program, bin.join("node"));
    assert_eq!(launch.args[..2], ["--expose-gc".to_owned(), script.display().to_string()]);
    assert!(launch.args.iter().any(|arg| arg.contains("run_shell_command")), "{:?}", launch.args);
    assert_eq!(launch.args.last().map(String::as_str), Some("--resume=s1"));

    std::fs::remove_file(bin.join("qwen")).unwrap();
    program(&bin.join("qwen"), "#!/bin/sh\n");
    let shim = bench.agent.launch(&task, &environment).unwrap().unwrap();
    let found = Path::new(&shim.args[1]).canonicalize().unwrap();
    assert_eq!(found, script, "the shim of a package manager is no link");
}
