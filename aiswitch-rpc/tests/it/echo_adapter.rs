//! The reference adapter as a real child process.
#![expect(clippy::disallowed_methods, reason = "a test of a child process must start one")]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use aiswitch_rpc::protocol::{
    AgentInitialize, AgentShutdown, AgentShutdownParams, Capabilities, InitializeParams, PROTOCOL_VERSION,
    Party, PermissionMode, TaskAssign, TaskOutput, TaskSpec, TaskStatus,
};
use aiswitch_rpc::{Options, Router, connect};
use tokio::process::Command;

use crate::support::within;

/// An example of this crate, which Cargo has built beside the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("tests lie in `deps`");
    folder.join("examples").join(name)
}

/// Speaks the whole protocol with an adapter: initialize, one task, shutdown, exit.
pub(crate) async fn run_a_task(mut command: Command) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the adapter can be started");
    let pieces = Arc::new(Mutex::new(String::new()));
    let heard = pieces.clone();
    let router = Router::new().notification::<TaskOutput>(move |output| {
        heard.lock().unwrap().push_str(&output.text);
    });
    let (reader, writer) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let (peer, connection) = connect(reader, writer, router, Options::default());
    let running = tokio::spawn(connection.run());
    let client = Party { name: "test".to_owned(), version: "0".to_owned() };
    let params = InitializeParams {
        protocol_version: PROTOCOL_VERSION,
        client,
        capabilities: Capabilities::default(),
    };
    let agent = within(peer.call::<AgentInitialize>(&params)).await.unwrap();
    assert_eq!((agent.protocol_version, agent.capabilities.streaming), (PROTOCOL_VERSION, true));
    let task = TaskSpec {
        id: "t1".parse().unwrap(),
        prompt: "say \"hé\u{2028}llo\"\n".to_owned(),
        cwd: "/".into(),
        mode: PermissionMode::ReadOnly,
        model: None,
        session_id: None,
    };
    let result = within(peer.call::<TaskAssign>(&task)).await.unwrap();
    assert_eq!((result.status, result.answer.as_ref()), (TaskStatus::Completed, Some(&task.prompt)));
    assert_eq!(*pieces.lock().unwrap(), task.prompt);
    within(peer.call::<AgentShutdown>(&AgentShutdownParams::default())).await.unwrap();
    peer.close();
    within(running).await.unwrap().unwrap();
    let status = within(child.wait()).await.unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn the_rust_adapter_runs_a_task() {
    run_a_task(Command::new(example("echo_adapter"))).await;
}

#[tokio::test]
async fn the_python_adapter_runs_a_task() {
    let is_there = Command::new("python3").arg("--version").output().await;
    if is_there.is_err() {
        eprintln!("skipped: `python3` is not installed; install it with `apt-get install python3`");
        return;
    }
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/echo_adapter.py"));
    run_a_task(command).await;
}
