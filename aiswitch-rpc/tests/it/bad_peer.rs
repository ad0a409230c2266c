//! Peers that send nonsense, and what is disturbed by it: nothing else.

use aiswitch_rpc::{CallError, CloseReason, ConnectionError, FrameError, OnMalformed, Options, Router};
use serde_json::{Value, json};

use crate::support::{Events, by_hand, within};

fn echo() -> Router {
    Router::new().request_untyped("echo", |params, _context| async move { Ok(params) }).request_untyped(
        "panic",
        |params: Value, _context| async move {
            assert!(params.is_string(), "on purpose: params are never a string");
            Ok(params)
        },
    )
}

const PING: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[1]}\n";

fn pong() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": [1]})
}

#[tokio::test]
async fn a_stray_print_is_an_event_and_the_next_message_is_answered() {
    let events = Events::default();
    let options = Options::default().with_on_malformed(OnMalformed::Report);
    let (_peer, connection, mut hand) = by_hand(events.listen(echo()), options);
    let running = tokio::spawn(connection.run());
    hand.send(format!("Server listening...\n{PING}")).await;
    assert_eq!(hand.receive().await, pong());
    hand.end().await;
    within(running).await.unwrap().unwrap();
    assert_eq!(events.all(), ["Noise { line: \"Server listening...\" }"]);
}

#[tokio::test]
async fn a_line_that_is_too_long_or_not_utf8_is_an_event_of_its_own() {
    let events = Events::default();
    let options = Options::default().with_frame_bytes_max(100).with_on_malformed(OnMalformed::Report);
    let (_peer, connection, mut hand) = by_hand(events.listen(echo()), options);
    let running = tokio::spawn(connection.run());
    hand.send([b"x".repeat(200).as_slice(), b"\n\xff\n", PING.as_bytes()].concat()).await;
    assert_eq!(hand.receive().await, pong());
    hand.end().await;
    within(running).await.unwrap().unwrap();
    assert_eq!(
        events.all(),
        [
            "BadFrame { error: TooLong { bytes: 200, bytes_max: 100 } }",
            "BadFrame { error: InvalidUtf8 { valid_up_to: 0 } }"
        ]
    );
}

#[tokio::test]
async fn half_a_line_at_the_end_ends_the_call_and_the_connection_with_that_reason() {
    let events = Events::default();
    let (peer, connection, mut hand) = by_hand(events.listen(Router::new()), Options::default());
    let running = tokio::spawn(connection.run());
    let call = tokio::spawn(async move { peer.call_untyped::<Value>("m", &()).await });
    let request = hand.receive().await;
    hand.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"resu", request["id"])).await;
    hand.end().await;
    let error = within(call).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::HalfFrame, .. }), "{error}");
    let error = within(running).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectionError::Frame { source: FrameError::HalfFrame { .. } }), "{error}");
    assert_eq!(events.all().len(), 1);
}

#[tokio::test]
async fn a_panicking_handler_is_answered_and_hurts_nobody() {
    let events = Events::default();
    let (_peer, connection, mut hand) = by_hand(events.listen(echo()), Options::default());
    let running = tokio::spawn(connection.run());
    hand.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"panic\"}}\n{PING}")).await;
    let answer = hand.receive().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(9), &json!(-32603)));
    assert_eq!(hand.receive().await, pong());
    hand.end().await;
    within(running).await.unwrap().unwrap();
    assert_eq!(events.all(), ["HandlerPanicked { method: \"panic\" }"]);
}

#[tokio::test]
async fn answers_to_nothing_are_events_and_are_not_answered() {
    let events = Events::default();
    let (_peer, connection, mut hand) = by_hand(events.listen(echo()), Options::default());
    let running = tokio::spawn(connection.run());
    hand.send("{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":1}\n{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":1}\n")
        .await;
    hand.send("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"x\"}}\n").await;
    hand.send(PING).await;
    assert_eq!(hand.receive().await, pong());
    hand.end().await;
    within(running).await.unwrap().unwrap();
    let events = events.all();
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(events[0].starts_with("Unmatched"), "{events:?}");
    assert!(events[1].starts_with("InvalidMessage"), "{events:?}");
    assert!(events[2].starts_with("PeerError"), "{events:?}");
}
