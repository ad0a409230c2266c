//! Calls and notifications between two peers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiswitch_rpc::{CallError, CloseReason, ErrorObject, Options, RequestMethod, Router};
use serde_json::{Value, json};

use crate::support::{by_hand, pair, within};

struct Add;
impl RequestMethod for Add {
    const NAME: &'static str = "add";
    type Params = (i64, i64);
    type Result = i64;
}

fn server() -> Router {
    Router::new()
        .request::<Add>(|(left, right), _context| async move { Ok(left + right) })
        .request_untyped("echo", |params, _context| async move { Ok(params) })
        .request_untyped("fail", |_params, _context| async move {
            Err(ErrorObject::new(-32000, "boom").with_data(json!({"k": 1})))
        })
        .request_untyped("ask_back", |params, context| async move {
            context.peer().call_untyped("echo", &params).await.map_err(ErrorObject::internal)
        })
        .request_untyped("wait", |_params, context| async move {
            context.cancelled().await;
            Err(ErrorObject::request_cancelled())
        })
}

#[tokio::test]
async fn a_typed_call_is_answered() {
    let ((peer, client), (_, server)) = pair(Router::new(), server(), Options::default());
    let work = async {
        assert_eq!(peer.call::<Add>(&(40, 2)).await.unwrap(), 42);
        peer.close();
    };
    let ((), client, server) = within(async { tokio::join!(work, client.run(), server.run()) }).await;
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn an_error_keeps_code_message_and_data() {
    let ((peer, client), (_, server)) = pair(Router::new(), server(), Options::default());
    let work = async {
        let error = peer.call_untyped::<Value>("fail", &()).await.unwrap_err();
        let CallError::Rpc { code, message, data } = error else { panic!("{error}") };
        assert_eq!((code, message.as_str(), data), (-32000, "boom", Some(json!({"k": 1}))));
        let error = peer.call_untyped::<Value>("nope", &()).await.unwrap_err();
        assert!(matches!(error, CallError::Rpc { code: -32601, .. }), "{error}");
        let error = peer.call_untyped::<Value>("add", &["x"]).await.unwrap_err();
        assert!(matches!(error, CallError::Rpc { code: -32602, .. }), "{error}");
        peer.close();
    };
    let ((), client, server) = within(async { tokio::join!(work, client.run(), server.run()) }).await;
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn a_handler_can_call_back_while_it_is_called() {
    let echo = Router::new().request_untyped("echo", |params, _context| async move { Ok(params) });
    let ((peer, client), (_, server)) = pair(echo, server(), Options::default());
    let work = async {
        assert_eq!(peer.call_untyped::<Value>("ask_back", &json!([7])).await.unwrap(), json!([7]));
        peer.close();
    };
    let ((), client, server) = within(async { tokio::join!(work, client.run(), server.run()) }).await;
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn many_calls_run_at_once_and_more_than_the_limit_wait_their_turn() {
    let options = Options::default().with_calls_in_flight_max(4);
    let ((peer, client), (_, server)) = pair(Router::new(), server(), options);
    let work = async {
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..200_i64 {
            let peer = peer.clone();
            calls.spawn(async move { (peer.call::<Add>(&(number, 1)).await.unwrap(), number + 1) });
        }
        while let Some(call) = calls.join_next().await {
            let (sum, expected) = call.unwrap();
            assert_eq!(sum, expected);
        }
        peer.close();
    };
    let ((), client, server) = within(async { tokio::join!(work, client.run(), server.run()) }).await;
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn notifications_arrive_in_order_and_before_later_requests() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let pushed = seen.clone();
    let taken = seen.clone();
    let router = Router::new()
        .notification_untyped("push", move |params| pushed.lock().unwrap().push(params[0].clone()))
        .request_untyped("take", move |_params, _context| {
            let list = taken.lock().unwrap().clone();
            async move { Ok(Value::Array(list)) }
        });
    let ((peer, client), (_, server)) = pair(Router::new(), router, Options::default());
    let work = async {
        for number in 0..1000 {
            peer.notify_untyped("push", &[number]).await.unwrap();
        }
        let list: Vec<i32> = peer.call_untyped("take", &()).await.unwrap();
        assert_eq!(list, (0..1000).collect::<Vec<_>>());
        peer.close();
    };
    let ((), client, server) = within(async { tokio::join!(work, client.run(), server.run()) }).await;
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn a_timed_out_call_is_cancelled_at_the_peer() {
    let (peer, connection, mut hand) = by_hand(Router::new(), Options::default());
    let running = tokio::spawn(connection.run());
    let short = peer.with_call_timeout(Some(Duration::from_millis(10)));
    let error = within(short.call_untyped::<Value>("slow", &())).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error}");
    let request = hand.receive().await;
    let cancel = hand.receive().await;
    assert_eq!(cancel["method"], "$/cancelRequest");
    assert_eq!(cancel["params"]["id"], request["id"]);
    hand.end().await;
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dropped_call_reaches_the_handler_as_a_cancellation() {
    let cancelled = Arc::new(tokio::sync::Notify::new());
    let told = cancelled.clone();
    let router = Router::new().request_untyped("wait", move |_params, context: aiswitch_rpc::Context| {
        let told = told.clone();
        async move {
            context.cancelled().await;
            told.notify_one();
            Err::<Value, _>(ErrorObject::request_cancelled())
        }
    });
    let ((peer, client), (_, server)) = pair(Router::new(), router, Options::default());
    let client = tokio::spawn(client.run());
    let server = tokio::spawn(server.run());
    let call_peer = peer.clone();
    let call = tokio::spawn(async move { call_peer.call_untyped::<Value>("wait", &()).await });
    // A later call that is answered shows that the first one has arrived.
    let error = within(peer.call_untyped::<Value>("nope", &())).await.unwrap_err();
    assert!(matches!(error, CallError::Rpc { code: -32601, .. }));
    call.abort();
    within(cancelled.notified()).await;
    peer.close();
    within(client).await.unwrap().unwrap();
    within(server).await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_end_when_the_peer_goes() {
    let (peer, connection, mut hand) = by_hand(Router::new(), Options::default());
    let running = tokio::spawn(connection.run());
    let caller = peer.clone();
    let call = tokio::spawn(async move { caller.call_untyped::<Value>("slow", &()).await });
    hand.receive().await;
    hand.end().await;
    let error = within(call).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::EndOfInput, .. }), "{error}");
    within(running).await.unwrap().unwrap();
    let error = within(peer.call_untyped::<Value>("later", &())).await.unwrap_err();
    assert!(matches!(error, CallError::Closed { .. }), "{error}");
}

#[tokio::test]
async fn calls_end_when_the_connection_is_dropped() {
    let (peer, connection, _hand) = by_hand(Router::new(), Options::default());
    let call = tokio::spawn(async move { peer.call_untyped::<Value>("slow", &()).await });
    tokio::task::yield_now().await;
    drop(connection);
    let error = within(call).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::Dropped, .. }), "{error}");
}

#[tokio::test]
async fn answers_in_flight_are_still_sent_after_the_peer_ended_its_output() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = gate.clone();
    let router = Router::new().request_untyped("slow", move |_params, _context| {
        let opened = opened.clone();
        async move {
            opened.notified().await;
            Ok(json!("done"))
        }
    });
    let (_peer, connection, mut hand) = by_hand(router, Options::default());
    let running = tokio::spawn(connection.run());
    hand.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slow\"}\n").await;
    hand.end().await;
    gate.notify_one();
    assert_eq!(hand.receive_rest().await, [json!({"jsonrpc": "2.0", "id": 1, "result": "done"})]);
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn params_that_are_a_bare_value_are_refused_before_they_are_sent() {
    let (peer, _connection, _hand) = by_hand(Router::new(), Options::default());
    let error = within(peer.call_untyped::<Value>("m", &1)).await.unwrap_err();
    assert!(matches!(error, CallError::BareParams { .. }), "{error}");
    assert_eq!(error.to_string(), "params of `m` are a bare value; JSON-RPC allows an array or an object");
}

#[tokio::test]
async fn the_lenient_mode_leaves_the_version_out_and_does_not_ask_for_it() {
    let options = Options::default().with_jsonrpc(aiswitch_rpc::JsonRpcMember::Optional);
    let (peer, connection, mut hand) = by_hand(Router::new(), options);
    let running = tokio::spawn(connection.run());
    let call = tokio::spawn(async move { peer.call_untyped::<i32>("m", &[1]).await });
    let request = hand.receive().await;
    assert_eq!(request, json!({"id": request["id"], "method": "m", "params": [1]}));
    hand.send(format!("{{\"id\":{},\"result\":5}}\n", request["id"])).await;
    assert_eq!(within(call).await.unwrap().unwrap(), 5);
    hand.end().await;
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_id_of_a_call_does_not_follow_from_those_before_it() {
    let mut steps = std::collections::HashSet::new();
    for _ in 0..3 {
        let (peer, connection, mut hand) = by_hand(Router::new(), Options::default());
        let running = tokio::spawn(connection.run());
        let mut last = 0;
        for _ in 0..20 {
            let caller = peer.clone();
            let call = tokio::spawn(async move { caller.call_untyped::<Value>("m", &()).await });
            let id = hand.receive().await["id"].as_i64().unwrap();
            assert!((0..1 << 53).contains(&id));
            assert!(steps.insert(id - last), "the step from {last} to {id} was seen before");
            last = id;
            hand.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":1}}\n")).await;
            within(call).await.unwrap().unwrap();
        }
        hand.end().await;
        within(running).await.unwrap().unwrap();
    }
}
