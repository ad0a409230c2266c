//! Cases in which the peer under test calls: it lives here, and the case plays the other side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiswitch_rpc::codec::encode_frame;
use aiswitch_rpc::{CallError, ConnectionError, FrameReader, Peer, Router, connect};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::task::JoinHandle;

use super::case::{Case, base64, known_members, long_text, only_member};
use super::expect::{Names, expected, is_complete, is_told, take};
use super::server::framing;

#[path = "../../../examples/conformance_peer/config.rs"]
mod config;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_millis(60);
const PIPE_BYTES: usize = 1 << 20;

type Call = JoinHandle<Result<Value, CallError>>;

/// The caller under test, and the other side as the case plays it.
struct Session {
    peer: Peer,
    running: JoinHandle<Result<(), ConnectionError>>,
    events: Arc<Mutex<Vec<String>>>,
    output: FrameReader<ReadHalf<DuplexStream>>,
    input: Option<WriteHalf<DuplexStream>>,
    calls: HashMap<String, Call>,
    call_count: u32,
    last_request: String,
    wants_number: bool,
    names: Names,
}

pub(super) async fn run(case: &Case) -> Result<(), String> {
    let options = config::options(&case.framing, config::role(&case.role)?, &case.config)?;
    let events = Arc::new(Mutex::new(Vec::new()));
    let (told, notified) = (events.clone(), events.clone());
    let router = Router::new()
        .on_event(move |event| told.lock().unwrap().push(format!("{event:?}")))
        .fallback_notification(move |method, _params| notified.lock().unwrap().push(method));
    let (near, far) = duplex(PIPE_BYTES);
    let (reader, writer) = split(near);
    let (peer, connection) = connect(reader, writer, router, options);
    let (far_reader, far_writer) = split(far);
    let mut session = Session {
        peer,
        running: tokio::spawn(connection.run()),
        events,
        output: FrameReader::new(far_reader, framing(case), PIPE_BYTES),
        input: Some(far_writer),
        calls: HashMap::new(),
        call_count: 0,
        last_request: String::new(),
        wants_number: case.steps.iter().any(|step| step.to_string().contains("\"decode\"")),
        names: Names::default(),
    };
    for step in &case.steps {
        session.step(case, step).await?;
    }
    session.end(case).await
}

impl Session {
    async fn next(&mut self, patience: Duration) -> Result<String, String> {
        match tokio::time::timeout(patience, self.output.next()).await {
            Err(_) => Err("no output in time".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(None)) => Err("the output ended".to_owned()),
            Ok(Ok(Some(frame))) => Ok(frame.to_owned()),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let input = self.input.as_mut().ok_or("the input is closed")?;
        input.write_all(bytes).await.map_err(|error| error.to_string())
    }

    async fn step(&mut self, case: &Case, step: &Value) -> Result<(), String> {
        if step.get("call").is_some() {
            return self.call(step).await;
        }
        let (name, value) = only_member(step)?;
        match name.as_str() {
            "send" => {
                let text = self.names.fill(&long_text(value).ok_or("nothing to send")?);
                self.send(text.as_bytes()).await
            }
            "send_b64" => self.send(&base64(value.as_str().unwrap_or_default())?).await,
            "bytes" => {
                let bytes = value.as_array().into_iter().flatten().filter_map(Value::as_u64);
                let bytes: Vec<u8> = bytes.filter_map(|byte| u8::try_from(byte).ok()).collect();
                self.send(&bytes).await
            }
            "send_generated_response" => {
                let bytes =
                    value["bytes"].as_u64().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
                let id = self.names.fill(value["id"].as_str().unwrap_or("null"));
                let head = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":""#);
                let text = "x".repeat(bytes.saturating_sub(head.len() + 2));
                let mut out = Vec::new();
                encode_frame(framing(case), &[head.as_bytes(), text.as_bytes(), b"\"}"], &mut out);
                self.send(&out).await
            }
            "close" => {
                self.input = None;
                self.output = FrameReader::new(split(duplex(1).0).0, framing(case), 1);
                Ok(())
            }
            "drop" => {
                let call = self.calls.remove(value.as_str().unwrap_or_default()).ok_or("no such call")?;
                call.abort();
                Ok(())
            }
            "wait_ms" => {
                tokio::time::sleep(Duration::from_millis(value.as_u64().unwrap_or(0))).await;
                Ok(())
            }
            "outcome" => self.outcome(value).await,
            "expect" => self.expect(case, value).await,
            "assert" if value.as_str().is_some_and(|text| text == "request carries no rpc.seal") => {
                if self.last_request.contains("rpc.seal") {
                    Err("the request is sealed".to_owned())
                } else {
                    Ok(())
                }
            }
            "assert" => Err(format!("the runner does not know how to check {value}")),
            other => Err(format!("step `{other}` is not known")),
        }
    }

    async fn call(&mut self, step: &Value) -> Result<(), String> {
        known_members(step, &["call", "as", "params", "timeout_ms"])?;
        let timeout = step["timeout_ms"].as_u64().map(Duration::from_millis);
        let peer = self.peer.with_call_timeout(timeout);
        let method = step["call"].as_str().unwrap_or_default().to_owned();
        let params = step["params"].clone();
        let wants_number = self.wants_number;
        let call = tokio::spawn(async move {
            if wants_number {
                let number: Option<serde_json::Number> = peer.call_untyped(&method, &params).await?;
                Ok(number.map_or(Value::Null, Value::Number))
            } else {
                peer.call_untyped(&method, &params).await
            }
        });
        self.call_count += 1;
        let name = step["as"].as_str().map_or_else(|| format!("c{}", self.call_count), str::to_owned);
        self.calls.insert(name, call);
        self.last_request = self.next(ANSWER_TIMEOUT).await?;
        let request: Value = serde_json::from_str(&self.last_request).map_err(|error| error.to_string())?;
        self.names.bind(&self.call_count.to_string(), request["id"].clone());
        Ok(())
    }

    async fn outcome(&mut self, outcomes: &Value) -> Result<(), String> {
        for (name, wanted) in outcomes.as_object().into_iter().flatten() {
            let call = self.calls.remove(name).ok_or_else(|| format!("no call {name}"))?;
            let outcome = tokio::time::timeout(ANSWER_TIMEOUT, call).await;
            let outcome = outcome.map_err(|_elapsed| format!("call {name} is never settled"))?;
            let outcome = outcome.map_err(|error| error.to_string())?;
            if !is_outcome(wanted, &outcome) {
                return Err(format!("call {name} ended with {outcome:?} instead of {wanted}"));
            }
        }
        Ok(())
    }

    async fn expect(&mut self, case: &Case, list: &Value) -> Result<(), String> {
        let mut expected = expected(list)?;
        if expected.is_empty() {
            return match self.next(SILENCE).await {
                Ok(frame) => Err(format!("unexpected output {frame}")),
                Err(_) => Ok(()),
            };
        }
        while !is_complete(&expected) {
            let frame =
                self.next(ANSWER_TIMEOUT).await.map_err(|error| format!("{error}; expected {list}"))?;
            take(&mut expected, case.is_strict, &frame, &mut self.names)?;
        }
        Ok(())
    }

    async fn end(mut self, case: &Case) -> Result<(), String> {
        if !case.ends_closed {
            if self.running.is_finished() {
                return Err("the connection has ended".to_owned());
            }
            self.input = None;
            drop(self.output);
        }
        let ended = tokio::time::timeout(ANSWER_TIMEOUT, self.running).await;
        drop(ended.map_err(|_elapsed| "the connection does not end")?);
        let events = self.events.lock().unwrap().join("\n");
        match case.events.iter().find(|event| !is_told(event, &events)) {
            Some(event) => Err(format!("event `{event}` is not among {events:?}")),
            None => Ok(()),
        }
    }
}

fn is_outcome(wanted: &Value, outcome: &Result<Value, CallError>) -> bool {
    match outcome {
        Ok(result) => wanted.get("ok") == Some(result),
        Err(CallError::Rpc { code, message, data }) => {
            let error = &wanted["rpc_error"];
            error["code"] == *code
                && error.get("message").is_none_or(|wanted| wanted == message)
                && error.get("data").is_none_or(|wanted| Some(wanted) == data.as_ref())
        }
        Err(error) => wanted["local_error"] == local_error(error),
    }
}

fn local_error(error: &CallError) -> Value {
    json!(match error {
        CallError::TimedOut { .. } => "timeout",
        CallError::InvalidResponse { .. } => "invalid_response",
        CallError::Closed { .. } => "closed",
        CallError::TooLarge { .. } => "too_large",
        CallError::Decode { .. } => "decode",
        _ => "other",
    })
}
