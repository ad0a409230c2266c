//! Cases in which the peer under test answers: it is a child process on real pipes.

use std::process::Stdio;
use std::time::Duration;

use aiswitch_rpc::FrameReader;
use aiswitch_rpc::codec::{Framing, encode_frame};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::case::{Case, base64, long_text, only_member};
use super::expect::{Expected, Names, expected, is_complete, is_told, take};
use super::prose;
use crate::echo_adapter::example;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long is listened for an output that must not come.
const SILENCE: Duration = Duration::from_millis(60);
const OUTPUT_BYTES_MAX: usize = 64 << 20;
const SENTINEL: &str = r#"{"jsonrpc":"2.0","id":"sentinel","method":"echo","params":[]}"#;

pub(super) fn framing(case: &Case) -> Framing {
    if case.framing == "content-length" { Framing::ContentLength } else { Framing::Lines }
}

/// The child, its streams, and what is known about it.
struct Session {
    child: Child,
    input: Option<mpsc::UnboundedSender<Chunk>>,
    output: FrameReader<ChildStdout>,
    events: JoinHandle<String>,
    names: Names,
    answered: Option<String>,
    rss_before: u64,
    /// What was expected last and may still come.
    optional: Vec<Expected>,
}

pub(super) fn command(case: &Case) -> Command {
    let mut command = Command::new(example("conformance_peer"));
    command.args(["--framing", &case.framing, "--role", &case.role, "--config", &case.config_text()]);
    command
}

/// What the writer of a session is given.
enum Chunk {
    Bytes(Vec<u8>),
    /// Told when everything before it was written.
    Mark(oneshot::Sender<()>),
}

async fn write_all(mut stdin: ChildStdin, mut chunks: mpsc::UnboundedReceiver<Chunk>) {
    while let Some(chunk) = chunks.recv().await {
        match chunk {
            Chunk::Bytes(bytes) => {
                if stdin.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Chunk::Mark(mark) => drop(mark.send(())),
        }
    }
}

fn start(case: &Case) -> Session {
    let mut child = command(case)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("`cargo test -p aiswitch-rpc` builds the conformance peer");
    let (input, chunks) = mpsc::unbounded_channel();
    tokio::spawn(write_all(child.stdin.take().expect("piped"), chunks));
    let mut stderr = child.stderr.take().expect("piped");
    let events = tokio::spawn(async move {
        let mut text = String::new();
        stderr.read_to_string(&mut text).await.map(|_| text).unwrap_or_default()
    });
    let output = FrameReader::new(child.stdout.take().expect("piped"), framing(case), OUTPUT_BYTES_MAX);
    let names = Names::default();
    Session {
        child,
        input: Some(input),
        output,
        events,
        names,
        answered: None,
        rss_before: 0,
        optional: Vec::new(),
    }
}

pub(super) async fn run(case: &Case) -> Result<(), String> {
    let mut session = start(case);
    if case.steps.iter().any(|step| step.get("rss_growth_max").is_some()) {
        session.ping(case).await?;
        session.rss_before = session.rss().ok_or("the peer is gone")?;
    }
    for step in &case.steps {
        session.step(case, step).await?;
    }
    session.end(case).await
}

impl Session {
    fn send(&mut self, bytes: impl Into<Vec<u8>>) {
        if let Some(input) = &self.input {
            // A peer that is gone shows in its missing output.
            drop(input.send(Chunk::Bytes(bytes.into())));
        }
    }

    fn rss(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
    }

    async fn next(&mut self, patience: Duration) -> Result<Option<String>, String> {
        match tokio::time::timeout(patience, self.output.next()).await {
            Err(_) => Err("no output in time".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(frame)) => Ok(frame.map(str::to_owned)),
        }
    }

    async fn step(&mut self, case: &Case, step: &Value) -> Result<(), String> {
        let (name, value) = only_member(step)?;
        match name.as_str() {
            "bytes" => {
                let bytes = value.as_array().into_iter().flatten().filter_map(Value::as_u64);
                let bytes: Vec<u8> = bytes.filter_map(|byte| u8::try_from(byte).ok()).collect();
                self.send(bytes);
            }
            "send" => {
                let text = long_text(value).ok_or("nothing to send")?;
                self.send(self.names.fill(&text));
            }
            "send_b64" => self.send(base64(value.as_str().unwrap_or_default())?),
            "send_bytewise" => {
                for byte in value.as_str().unwrap_or_default().bytes() {
                    self.send([byte]);
                    tokio::task::yield_now().await;
                }
            }
            "send_chunked" => {
                let text = long_text(&value[0]).ok_or("nothing to send")?;
                let chunk_bytes =
                    value[1].as_u64().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(1);
                for chunk in text.as_bytes().chunks(chunk_bytes) {
                    self.send(chunk);
                }
            }
            "send_repeat" => {
                let count = value[1].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
                self.send(value[0].as_str().unwrap_or_default().repeat(count));
            }
            "send_generated" => self.send(generated(case, value)),
            "wait_ms" => {
                tokio::time::sleep(Duration::from_millis(value.as_u64().unwrap_or(0))).await;
            }
            "rss_growth_max" => self.check_memory(value.as_u64().unwrap_or(0)).await?,
            "close" => self.input = None,
            "answer_all" => self.answered = value.as_str().map(str::to_owned),
            "send_many" => self.send_many(value).await?,
            "expect" => self.expect(case, value).await?,
            "assert" => prose::holds_by_steps(value)?,
            other => return Err(format!("step `{other}` is not known")),
        }
        Ok(())
    }

    async fn expect(&mut self, case: &Case, list: &Value) -> Result<(), String> {
        let mut expected = expected(list)?;
        if expected.is_empty() {
            return match self.next(SILENCE).await {
                Ok(Some(frame)) => Err(format!("unexpected output {frame}")),
                _ => Ok(()),
            };
        }
        while !is_complete(&expected) {
            let missing = || {
                let outputs: Vec<String> = expected.iter().map(|one| one.output.to_string()).collect();
                let all = outputs.join(" ");
                format!("expected {}", &all[..all.floor_char_boundary(300)])
            };
            let frame = self.next(ANSWER_TIMEOUT).await.map_err(|error| format!("{error}; {}", missing()))?;
            let frame = frame.ok_or_else(|| format!("the output ended; {}", missing()))?;
            if !self.answer(&frame) {
                Self::check_version(case, &frame)?;
                take(&mut expected, case.is_strict, &frame, &mut self.names)?;
            }
        }
        self.optional = expected;
        Ok(())
    }

    fn check_version(case: &Case, frame: &str) -> Result<(), String> {
        let wanted = if case.config["jsonrpc"] == "optional" { Value::Null } else { json!("2.0") };
        let found: Value = serde_json::from_str(frame).map_err(|error| format!("{frame}: {error}"))?;
        let messages = found.as_array().cloned().unwrap_or_else(|| vec![found]);
        match messages.iter().find(|message| message["jsonrpc"] != wanted) {
            Some(message) => Err(format!("wrong `jsonrpc` in {message}")),
            None => Ok(()),
        }
    }

    /// Answers a request of the peer, where the case wants that.
    fn answer(&mut self, frame: &str) -> bool {
        let Some(method) = &self.answered else { return false };
        let Ok(request) = serde_json::from_str::<Value>(frame) else { return false };
        if request["method"].as_str() != Some(method) {
            return false;
        }
        self.send(format!("{}\n", json!({"jsonrpc": "2.0", "id": request["id"], "result": null})));
        true
    }

    /// Waits until the peer has taken everything that was sent.
    async fn sent(&self, patience: Duration) -> Result<(), String> {
        let Some(input) = &self.input else { return Ok(()) };
        let (mark, is_reached) = oneshot::channel();
        input.send(Chunk::Mark(mark)).map_err(|_closed| "the peer closed its input")?;
        match tokio::time::timeout(patience, is_reached).await {
            Ok(_) => Ok(()),
            Err(_) => Err("the peer does not read on".to_owned()),
        }
    }

    async fn check_memory(&mut self, growth_max: u64) -> Result<(), String> {
        self.sent(ANSWER_TIMEOUT).await?;
        let now = self.rss().ok_or("the peer is gone")?;
        let growth = now.saturating_sub(self.rss_before);
        if growth > growth_max { Err(format!("memory grew by {growth} bytes")) } else { Ok(()) }
    }

    /// Sends without reading, then reads what came of it.
    async fn send_many(&mut self, value: &Value) -> Result<(), String> {
        let count = value["count"].as_u64().unwrap_or(0);
        let line = value["line"].as_str().unwrap_or_default();
        for number in 0..count {
            self.names.bind("i", json!(number));
            self.send(format!("{}\n", self.names.fill(line)));
        }
        self.sent(Duration::from_secs(value["deadline_s"].as_u64().unwrap_or(10))).await?;
        for _ in 0..count {
            let Some(frame) = self.next(ANSWER_TIMEOUT).await? else { return Ok(()) };
            let answer: Value = serde_json::from_str(&frame).map_err(|error| error.to_string())?;
            if answer.get("result").is_none() && answer["error"]["code"] != -32001 {
                return Err(format!("unexpected output {frame}"));
            }
        }
        Ok(())
    }

    /// Sees that the peer is there and has nothing else to say than what is expected, if often enough.
    async fn ping(&mut self, case: &Case) -> Result<(), String> {
        let mut bytes = Vec::new();
        encode_frame(framing(case), &[SENTINEL.as_bytes()], &mut bytes);
        self.send(bytes);
        loop {
            let frame =
                self.next(ANSWER_TIMEOUT).await.map_err(|error| format!("no longer open: {error}"))?;
            let frame = frame.ok_or("no longer open: the output ended")?;
            if frame.contains("\"sentinel\"") {
                return Ok(());
            }
            take(&mut self.optional, case.is_strict, &frame, &mut self.names)?;
        }
    }

    async fn end(mut self, case: &Case) -> Result<(), String> {
        let is_sealed = case.config.get("integrity").is_some_and(|integrity| integrity != "off");
        if !case.ends_closed && !is_sealed {
            self.ping(case).await?;
        }
        if !case.ends_closed {
            self.input = None;
        }
        if let Some(frame) = self.next(ANSWER_TIMEOUT).await? {
            return Err(format!("one output too many: {frame}"));
        }
        let status = tokio::time::timeout(ANSWER_TIMEOUT, self.child.wait()).await;
        match status {
            Ok(Ok(status)) if status.code().is_some() => {}
            other => return Err(format!("the peer did not end by itself: {other:?}")),
        }
        let events = self.events.await.map_err(|error| error.to_string())?;
        match case.events.iter().find(|event| !is_told(event, &events)) {
            Some(event) => Err(format!("event `{event}` is not among {events:?}")),
            None => Ok(()),
        }
    }
}

/// A request of a given size: its params are one long string.
fn generated(case: &Case, value: &Value) -> Vec<u8> {
    let head = format!(r#"{{"jsonrpc":"2.0","id":{},"method":{},"params":["#, value["id"], value["method"]);
    let bytes = value["bytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
    let text = "x".repeat(bytes.saturating_sub(head.len() + 4));
    let mut out = Vec::new();
    encode_frame(framing(case), &[head.as_bytes(), b"\"", text.as_bytes(), b"\"]}"], &mut out);
    out
}
