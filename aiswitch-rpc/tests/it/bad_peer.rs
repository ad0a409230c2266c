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

#[tokio::test]
async fn values_nested_100_000_deep_are_refused_and_the_next_message_is_answered() {
    const DEPTH: usize = 100_000;
    let (open, close) = ("[".repeat(DEPTH), "]".repeat(DEPTH));
    let cases = [
        (
            format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"echo\",\"params\":{open}{close}}}"),
            json!(7),
            -32602,
        ),
        (
            format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"echo\",\"params\":[],\"x\":{open}{close}}}"),
            json!(7),
            0,
        ),
        (open.clone(), Value::Null, -32700),
        ("{\"a\":".repeat(DEPTH), Value::Null, -32700),
    ];
    for (line, id, code) in cases {
        let (_peer, connection, mut hand) = by_hand(echo(), Options::default());
        let running = tokio::spawn(connection.run());
        hand.send(format!("{line}\n{PING}")).await;
        let answer = hand.receive().await;
        assert_eq!(answer["id"], id);
        assert_eq!(answer["error"]["code"].as_i64().unwrap_or(0), code);
        assert_eq!(hand.receive().await, pong());
        hand.end().await;
        within(running).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_batch_of_nested_arrays_is_answered_as_one() {
    let (_peer, connection, mut hand) = by_hand(echo(), Options::default());
    let running = tokio::spawn(connection.run());
    hand.send(format!("{}{}\n{PING}", "[".repeat(100_000), "]".repeat(100_000))).await;
    assert_eq!(hand.receive().await[0]["error"]["code"], -32600);
    assert_eq!(hand.receive().await, pong());
    hand.end().await;
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn invalid_utf8_anywhere_in_a_message_costs_that_message_alone() {
    let (_peer, connection, mut hand) = by_hand(echo(), Options::default());
    let running = tokio::spawn(connection.run());
    for place in 0..PING.len() {
        let mut line = PING.as_bytes().to_vec();
        line.insert(place, 0xff);
        hand.send([&line, PING.as_bytes()].concat()).await;
        assert_eq!(hand.receive().await["error"]["code"], -32700, "{place}");
        assert_eq!(hand.receive().await, pong(), "{place}");
    }
    hand.end().await;
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn duplicate_members_are_not_guessed_at() {
    let (_peer, connection, mut hand) = by_hand(echo(), Options::default());
    let running = tokio::spawn(connection.run());
    for line in [
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"echo\",\"params\":[]}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"method\":\"echo\",\"params\":[]}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[],\"params\":[]}",
    ] {
        hand.send(format!("{line}\n")).await;
        let answer = hand.receive().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32600)), "{line}");
    }
    hand.end().await;
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_that_came_before_the_peer_closed_its_input_is_still_heard() {
    let (our_writer, their_reader) = tokio::net::unix::pipe::pipe().unwrap();
    let (their_writer, our_reader) = tokio::net::unix::pipe::pipe().unwrap();
    let (peer, connection) = aiswitch_rpc::connect(our_reader, our_writer, Router::new(), Options::default());
    let running = tokio::spawn(connection.run());
    let caller = peer.clone();
    let call = tokio::spawn(async move { caller.call_untyped::<Value>("m", &()).await });
    let mut frames = aiswitch_rpc::FrameReader::new(their_reader, aiswitch_rpc::Framing::Lines, 1024);
    let request: Value = serde_json::from_str(within(frames.next()).await.unwrap().unwrap()).unwrap();
    drop(frames);
    peer.notify_untyped("into the void", &()).await.unwrap();
    let mut their_writer = their_writer;
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":5}}\n", request["id"]);
    tokio::io::AsyncWriteExt::write_all(&mut their_writer, answer.as_bytes()).await.unwrap();
    assert_eq!(within(call).await.unwrap().unwrap(), json!(5));
    let late = within(peer.call_untyped::<Value>("late", &())).await.unwrap_err();
    assert!(matches!(late, CallError::Closed { reason: CloseReason::WriteFailed(_), .. }), "{late}");
    drop(their_writer);
    let error = within(running).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectionError::Write { .. }), "{error}");
}

#[tokio::test]
async fn values_are_decoded_up_to_the_nesting_limit_and_no_deeper() {
    let router = Router::new().request_untyped("sink", |_params, _context| async move { Ok(Value::Null) });
    let (_peer, connection, mut hand) = by_hand(router, Options::default());
    let running = tokio::spawn(connection.run());
    for depth in [aiswitch_rpc::NESTING_MAX, aiswitch_rpc::NESTING_MAX + 1] {
        let params = "[".repeat(depth) + &"]".repeat(depth);
        hand.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sink\",\"params\":{params}}}\n"))
            .await;
        let answer = hand.receive().await;
        assert_eq!(answer.get("result").is_some(), depth == aiswitch_rpc::NESTING_MAX, "{depth}");
    }
    hand.end().await;
    within(running).await.unwrap().unwrap();
}
