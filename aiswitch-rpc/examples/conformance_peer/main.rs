//! The conformance peer: serves the test service on stdin and stdout, and tells events on stderr.
//!
//! `conformance_peer [--framing ndjson|content-length] [--role server|client|peer] [--config JSON]
//! [--spawn COMMAND]`; the last starts a shell command that inherits the standard streams after they were taken over.

mod config;
mod service;

use aiswitch_rpc::{Router, connect, stdio};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut framing, mut role, mut config) = ("ndjson".to_owned(), config::Role::Server, Value::Null);
    let mut spawn = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("`{argument}` wants a value"))?;
        match argument.as_str() {
            "--framing" => framing = value,
            "--role" => role = config::role(&value)?,
            "--config" => config = serde_json::from_str(&value)?,
            "--spawn" => spawn = Some(value),
            _ => return Err(format!("`{argument}` is not known").into()),
        }
    }
    let options = config::options(&framing, role, &config)?;
    let router = if role == config::Role::Client { Router::new() } else { service::service() };
    let router = router.on_event(|event| tell(&format!("{event:?}")));
    let (reader, writer) = stdio()?;
    if let Some(command) = spawn {
        start(&command)?;
    }
    let (_peer, connection) = connect(reader, writer, router, options);
    let outcome = connection.run().await;
    if let Err(error) = &outcome {
        tell(&format!("Ended {{ error: {error:?} }}"));
    }
    outcome.map_err(Into::into)
}

#[expect(clippy::disallowed_methods, reason = "what a stray child does to the streams is under test")]
fn start(command: &str) -> std::io::Result<()> {
    std::process::Command::new("sh").args(["-c", command]).spawn().map(drop)
}

#[expect(clippy::print_stderr, reason = "events are told on stderr")]
fn tell(line: &str) {
    eprintln!("{line}");
}
