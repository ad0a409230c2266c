//! The guarantees of cancellation, in each dialect.

use std::time::Duration;

use aiswitch_rpc::{CallError, CancelStyle, ErrorObject, Options, Router};
use serde_json::{Value, json};

use crate::support::{Events, by_hand, within};

fn waiting() -> Router {
    Router::new()
        .request_untyped("wait", |_params, context| async move {
            context.cancelled().await;
            Err(ErrorObject::request_cancelled())
        })
        .request_untyped("echo", |params, _context| async move { Ok(params) })
}

#[tokio::test]
async fn each_dialect_reaches_the_handler_and_is_answered_as_it_says() {
    let dialects = [
        (CancelStyle::Lsp, "$/cancelRequest", "id", true),
        (CancelStyle::Acp, "$/cancel_request", "requestId", true),
        (CancelStyle::Mcp, "notifications/cancelled", "requestId", false),
    ];
    for (style, method, member, is_answered) in dialects {
        let (_peer, connection, mut hand) = by_hand(waiting(), Options::default().with_cancel(style));
        let running = tokio::spawn(connection.run());
        hand.send("{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"wait\"}\n").await;
        let cancel = json!({"jsonrpc": "2.0", "method": method, "params": {member: "a"}});
        hand.send(format!("{cancel}\n")).await;
        hand.send("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"echo\",\"params\":[]}\n").await;
        hand.end().await;
        let answers = hand.receive_rest().await;
        let cancelled = answers.iter().find(|answer| answer["id"] == "a");
        assert_eq!(cancelled.map(|answer| &answer["error"]["code"]), is_answered.then_some(&json!(-32800)));
        assert!(answers.iter().any(|answer| answer["id"] == 2), "{method}: {answers:?}");
        within(running).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_cancel_that_names_nothing_or_nonsense_disturbs_nothing() {
    let (_peer, connection, mut hand) = by_hand(waiting(), Options::default());
    let running = tokio::spawn(connection.run());
    for params in ["", ",\"params\":[]", ",\"params\":{\"id\":{}}", ",\"params\":{\"id\":7}"] {
        hand.send(format!("{{\"jsonrpc\":\"2.0\",\"method\":\"$/cancelRequest\"{params}}}\n")).await;
    }
    hand.send("{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"echo\",\"params\":[1]}\n").await;
    hand.end().await;
    assert_eq!(hand.receive_rest().await, [json!({"jsonrpc": "2.0", "id": 7, "result": [1]})]);
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_call_given_up_is_told_to_the_peer_once_and_its_late_answer_is_an_event() {
    let events = Events::default();
    let (peer, connection, mut hand) = by_hand(events.listen(Router::new()), Options::default());
    let running = tokio::spawn(connection.run());
    let short = peer.with_call_timeout(Some(Duration::from_millis(5)));
    let error = within(short.call_untyped::<Value>("slow", &())).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer to `slow` within 5ms");
    let id = hand.receive().await["id"].clone();
    assert_eq!(hand.receive().await["params"], json!({"id": id}));
    hand.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":1}}\n").repeat(2)).await;
    let call = tokio::spawn(async move { peer.call_untyped::<Value>("next", &()).await });
    let next = hand.receive().await;
    assert_eq!(next["method"], "next");
    hand.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":2}}\n", next["id"])).await;
    assert_eq!(within(call).await.unwrap().unwrap(), json!(2));
    hand.end().await;
    within(running).await.unwrap().unwrap();
    let number = id.as_i64().unwrap();
    assert_eq!(
        events.all(),
        [format!("Late {{ id: Integer({number}) }}"), format!("Unmatched {{ id: Integer({number}) }}")]
    );
}

#[tokio::test]
async fn a_call_that_was_never_sent_is_given_up_without_a_word() {
    let options = Options::default().with_calls_in_flight_max(1);
    let (peer, connection, mut hand) = by_hand(Router::new(), options);
    let running = tokio::spawn(connection.run());
    let first_peer = peer.clone();
    let first = tokio::spawn(async move { first_peer.call_untyped::<Value>("first", &()).await });
    let request = hand.receive().await;
    let short = peer.with_call_timeout(Some(Duration::from_millis(5)));
    let error = within(short.call_untyped::<Value>("second", &())).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
    hand.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":1}}\n", request["id"])).await;
    within(first).await.unwrap().unwrap();
    peer.close();
    assert_eq!(hand.receive_rest().await, Vec::<Value>::new());
    hand.end().await;
    within(running).await.unwrap().unwrap();
}
