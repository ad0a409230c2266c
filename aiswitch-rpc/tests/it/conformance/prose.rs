//! Cases that the file states in words.

use std::collections::HashSet;
use std::process::Stdio;
use std::time::Duration;

use aiswitch_rpc::{CallError, CloseReason, FrameReader, Framing, Options, RequestMethod, Router, connect};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};
use tokio::process::Command;

use super::case::Case;
use super::server::command;
use crate::support::{PATIENCE, pair, within};

/// What a flood must come to; the steps before it see it happen.
const FLOOD: &str = "the sender is not blocked for ever: the implementation reads on, answers up to its outgoing byte cap, \
     then rejects (-32001) or closes with a named error";

/// Runs a case that is stated in words as a whole; `None` when its steps say all.
pub(super) async fn run(case: &Case) -> Option<Result<(), String>> {
    let told = case.steps.iter().find_map(|step| step["assert"].as_str());
    let killed = [
        json!({"call": "m", "as": "c1"}),
        json!({"kill_peer": "SIGKILL"}),
        json!({"outcome": {"c1": {"local_error": "closed"}}}),
    ];
    let is_killing = case.steps == killed;
    let acts = [
        "spawn a process that writes to its fd 1 and outlives it",
        "take over stdio, then run a program with inherited stdin/stdout",
    ];
    let mut done = case.steps.iter().filter_map(|step| step.get("child_does"));
    if let Some(act) = done.find(|act| !acts.iter().any(|known| *act == known)) {
        return Some(Err(format!("the runner does not know how a child does {act}")));
    }
    let outcome = match told {
        Some("ids unique while in flight, integers in [0, 2^53)")
            if case.steps[0] == json!({"calls": 10_000, "method": "m"}) =>
        {
            unique_ids().await
        }
        Some(
            "two implementations send each other 5000 requests of 64 KiB at once; all 10000 are answered within 60 s",
        ) => both_flood().await,
        Some("protocol stream intact; EOF is seen when the child exits") => grandchild(case).await,
        Some("O_NONBLOCK is not set on the inherited open file descriptions") => nonblocking(case).await,
        Some(vector) if vector.starts_with("crc32c(") => checksum(vector),
        _ if is_killing => child_killed().await,
        _ => return None,
    };
    Some(outcome)
}

/// Whether the words of a step say what the steps before it have shown; words that are not known fail.
pub(super) fn holds_by_steps(words: &Value) -> Result<(), String> {
    if words == FLOOD { Ok(()) } else { Err(format!("the runner does not know how to check {words}")) }
}

/// Checks `crc32c('text') = hex` by the definition, which the crate's own code is held to beside it.
fn checksum(vector: &str) -> Result<(), String> {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let parts = vector.strip_prefix("crc32c('").and_then(|rest| rest.split_once("') = "));
    let (text, wanted) = parts.ok_or_else(|| format!("the runner does not know how to check {vector:?}"))?;
    let wanted = u32::from_str_radix(wanted, 16).map_err(|error| format!("{vector}: {error}"))?;
    let found = !text.bytes().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (POLYNOMIAL * (crc & 1)))
    });
    if found == wanted { Ok(()) } else { Err(format!("{vector}: the definition gives {found:08x}")) }
}

async fn unique_ids() -> Result<(), String> {
    const CALLS: usize = 10_000;
    const IN_FLIGHT: usize = 1000;
    let (near, far) = duplex(1 << 20);
    let (reader, writer) = split(near);
    let options = Options::default().with_calls_in_flight_max(IN_FLIGHT);
    let (peer, connection) = connect(reader, writer, Router::new(), options);
    let running = tokio::spawn(connection.run());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let peer = peer.clone();
        calls.spawn(async move { peer.call_untyped::<Value>("m", &()).await });
    }
    let (reader, mut writer) = split(far);
    let mut frames = FrameReader::new(reader, Framing::Lines, 1 << 20);
    for _ in 0..CALLS / IN_FLIGHT {
        let mut ids = HashSet::new();
        for _ in 0..IN_FLIGHT {
            let frame = within(frames.next()).await.map_err(|error| error.to_string())?.ok_or("ended")?;
            let request: Value = serde_json::from_str(frame).map_err(|error| error.to_string())?;
            let id =
                request["id"].as_u64().filter(|&id| id < 1 << 53).ok_or("an id that is no small integer")?;
            if !ids.insert(id) {
                return Err(format!("id {id} is in use twice"));
            }
        }
        for id in ids {
            let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":null}}\n");
            writer.write_all(answer.as_bytes()).await.map_err(|error| error.to_string())?;
        }
    }
    while let Some(call) = within(calls.join_next()).await {
        call.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    }
    running.abort();
    Ok(())
}

/// A child is killed while its own child keeps the pipe open: whoever supervises it drops the connection.
async fn child_killed() -> Result<(), String> {
    let mut child = Command::new("sh")
        .args(["-c", "sleep 60 & echo $! >&2; wait"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stderr = FrameReader::new(child.stderr.take().expect("piped"), Framing::Lines, 64);
    let grandchild = within(stderr.next()).await.map_err(|error| error.to_string())?.map(str::to_owned);
    let (reader, writer) = (child.stdout.take().expect("piped"), child.stdin.take().expect("piped"));
    let (peer, connection) = connect(reader, writer, Router::new(), Options::default());
    let call = tokio::spawn(async move { peer.call_untyped::<Value>("m", &()).await });
    let supervision = tokio::spawn(async move {
        tokio::select! {
            ended = connection.run() => panic!("the pipe is still open: {ended:?}"),
            status = child.wait() => status,
        }
    });
    tokio::task::yield_now().await;
    let grandchild = grandchild.ok_or("no grandchild")?;
    let parent = format!("/proc/{grandchild}/status");
    let parent = std::fs::read_to_string(parent).map_err(|error| error.to_string())?;
    let parent =
        parent.lines().find_map(|line| line.strip_prefix("PPid:")).map(str::trim).ok_or("no parent")?;
    kill(parent).await?;
    let outcome = within(call).await.map_err(|error| error.to_string())?;
    within(supervision).await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    kill(&grandchild).await?;
    match outcome {
        Err(CallError::Closed { reason: CloseReason::Dropped, .. }) => Ok(()),
        other => Err(format!("the call ended with {other:?}")),
    }
}

async fn kill(pid: &str) -> Result<(), String> {
    let status = Command::new("kill").args(["-KILL", pid]).status().await;
    status.map(drop).map_err(|error| error.to_string())
}

struct EchoRaw;
impl RequestMethod for EchoRaw {
    const NAME: &'static str = "echo";
    type Params = Box<RawValue>;
    type Result = Box<RawValue>;
}

async fn both_flood() -> Result<(), String> {
    // Unoptimised code needs about ten times as long for the same bytes.
    const CALLS: usize = if cfg!(debug_assertions) { 500 } else { 5000 };
    let echo = || Router::new().request::<EchoRaw>(|params, _context| async move { Ok(params) });
    let ((left, left_run), (right, right_run)) = pair(echo(), echo(), Options::default());
    let running = [tokio::spawn(left_run.run()), tokio::spawn(right_run.run())];
    let params = RawValue::from_string(json!(["x".repeat(64 * 1024)]).to_string()).expect("it is JSON");
    let params: &'static RawValue = Box::leak(params);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..2 * CALLS {
        let peer = if number % 2 == 0 { left.clone() } else { right.clone() };
        calls.spawn(async move { peer.call_untyped::<Box<RawValue>>("echo", &params).await });
    }
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    for number in 0..2 * CALLS {
        match tokio::time::timeout_at(deadline, calls.join_next()).await {
            Ok(Some(Ok(Ok(_)))) => {}
            Ok(other) => return Err(format!("call {number}: {other:?}")),
            Err(_) => return Err(format!("{number} answers in 60 s")),
        }
    }
    for side in running {
        side.abort();
    }
    Ok(())
}

async fn grandchild(case: &Case) -> Result<(), String> {
    let mut child = command(case)
        .args(["--spawn", "echo stray; echo $$ >&2; exec sleep 60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stderr = FrameReader::new(child.stderr.take().expect("piped"), Framing::Lines, 1024);
    let stray = within(stderr.next()).await.map_err(|error| error.to_string())?.map(str::to_owned);
    let pid = within(stderr.next()).await.map_err(|error| error.to_string())?.map(str::to_owned);
    let mut stdin = child.stdin.take().expect("piped");
    let ping = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[1]}\n";
    stdin.write_all(ping).await.map_err(|error| error.to_string())?;
    drop(stdin);
    let mut output = String::new();
    let mut stdout = child.stdout.take().expect("piped");
    let read = tokio::time::timeout(PATIENCE, stdout.read_to_string(&mut output)).await;
    kill(&pid.ok_or("no grandchild")?).await?;
    within(child.wait()).await.map_err(|error| error.to_string())?;
    if read.is_err() {
        return Err("the end of the output is not seen while the grandchild lives".to_owned());
    }
    if stray.as_deref() != Some("stray") || output != "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1]}\n" {
        return Err(format!("stray {stray:?}, output {output:?}"));
    }
    Ok(())
}

/// A shell that shares its streams with the peer looks at them after the peer has used them.
async fn nonblocking(case: &Case) -> Result<(), String> {
    const O_NONBLOCK: u32 = 0o4000;
    let peer = command(case);
    let program = peer.as_std().get_program().to_string_lossy().into_owned();
    let script = format!("{program} >&3; cat /proc/self/fdinfo/0 /proc/self/fdinfo/3 >&2");
    let mut child = Command::new("sh")
        .args(["-c", &format!("exec 3>&1; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    drop(child.stdin.take());
    let output = within(child.wait_with_output()).await.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let flags: Vec<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix("flags:"))
        .filter_map(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .collect();
    match flags[..] {
        [input, output] if (input | output) & O_NONBLOCK == 0 => Ok(()),
        _ => Err(format!("flags {flags:?} in {text:?}")),
    }
}
