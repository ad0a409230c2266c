//! The conformance peer: serves the test service on stdin and stdout, and tells events on stderr.
//!
//! `conformance_peer [--framing ndjson|content-length] [--role server|client|peer] [--config JSON]
//! [--spawn COMMAND] [--call JSON]...`. `--spawn` starts a shell command that inherits the standard streams after they
//! were taken over. `--call '{"call": METHOD, "params": PARAMS, "timeout_ms": N}'` is what a client or a peer calls, all
//! at once; how each ended is told on stderr as `Outcome`. A client offers no methods.

mod config;
mod service;

use std::time::Duration;

use aiswitch_rpc::{Peer, Router, connect, stdio};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut framing, mut role, mut config) = ("ndjson".to_owned(), config::Role::Server, Value::Null);
    let (mut spawn, mut calls) = (None, Vec::<Value>::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("`{argument}` wants a value"))?;
        match argument.as_str() {
            "--framing" => framing = value,
            "--role" => role = config::role(&value)?,
            "--config" => config = serde_json::from_str(&value)?,
            "--spawn" => spawn = Some(value),
            "--call" => calls.push(serde_json::from_str(&value)?),
            _ => return Err(format!("`{argument}` is not known").into()),
        }
    }
    if role == config::Role::Server && !calls.is_empty() {
        return Err("a server makes no calls: use `--role client` or `--role peer`".into());
    }
    let options = config::options(&framing, role, &config)?;
    let router = if role == config::Role::Client { Router::new() } else { service::service() };
    let router = router.on_event(|event| tell(&format!("{event:?}")));
    let (reader, writer) = stdio()?;
    if let Some(command) = spawn {
        start(&command)?;
    }
    let (peer, connection) = connect(reader, writer, router, options);
    let calls: Vec<_> = calls.into_iter().map(|request| tokio::spawn(call(peer.clone(), request))).collect();
    let outcome = connection.run().await;
    // The end of the connection has ended every call; what came of each is still told.
    for call in calls {
        call.await?;
    }
    if let Err(error) = &outcome {
        tell(&format!("Ended {{ error: {error:?} }}"));
    }
    outcome.map_err(Into::into)
}

async fn call(peer: Peer, request: Value) {
    let Some(method) = request["call"].as_str() else {
        return tell(&format!("Outcome {{ {request} names no method }}"));
    };
    let timeout = request["timeout_ms"].as_u64().map(Duration::from_millis);
    let outcome: Result<Value, _> =
        peer.with_call_timeout(timeout).call_untyped(method, &request["params"]).await;
    tell(&format!("Outcome {{ call: {method:?}, outcome: {outcome:?} }}"));
}

#[expect(clippy::disallowed_methods, reason = "what a stray child does to the streams is under test")]
fn start(command: &str) -> std::io::Result<()> {
    std::process::Command::new("sh").args(["-c", command]).spawn().map(drop)
}

#[expect(clippy::print_stderr, reason = "events are told on stderr")]
fn tell(line: &str) {
    eprintln!("{line}");
}
