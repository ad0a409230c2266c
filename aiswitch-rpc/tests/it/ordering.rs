//! The guarantees of order, as the crate's documentation states them.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use aiswitch_rpc::{ErrorObject, Options, Router};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{by_hand, within};

#[tokio::test]
async fn messages_leave_in_the_order_in_which_they_were_sent() {
    let (peer, connection, mut hand) = by_hand(Router::new(), Options::default());
    let running = tokio::spawn(connection.run());
    for number in 0..300 {
        peer.notify_untyped("n", &[number]).await.unwrap();
    }
    for number in 0..300 {
        assert_eq!(hand.receive().await["params"], json!([number]));
    }
    hand.end().await;
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn notifications_of_a_handler_leave_before_its_answer() {
    let router = Router::new().request_untyped("stream", |_params, context| async move {
        for number in 0..3 {
            context.peer().notify_untyped("piece", &[number]).await.map_err(ErrorObject::internal)?;
            tokio::task::yield_now().await;
        }
        Ok(json!("done"))
    });
    let (_peer, connection, mut hand) = by_hand(router, Options::default());
    let running = tokio::spawn(connection.run());
    hand.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"stream\"}\n").await;
    hand.end().await;
    let lines = hand.receive_rest().await;
    let params: Vec<&Value> = lines.iter().map(|line| &line["params"]).collect();
    assert_eq!(params, [&json!([0]), &json!([1]), &json!([2]), &Value::Null]);
    assert_eq!(lines[3]["result"], "done");
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_sees_the_effect_of_every_notification_before_it_and_of_none_after_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (pushed, taken) = (seen.clone(), seen.clone());
    let router = Router::new()
        .notification_untyped("push", move |params| pushed.lock().unwrap().push(params[0].clone()))
        .request_untyped("take", move |_params, _context| {
            let list = taken.lock().unwrap().clone();
            async move { Ok(Value::Array(list)) }
        });
    let (_peer, connection, mut hand) = by_hand(router, Options::default());
    let running = tokio::spawn(connection.run());
    let mut lines = String::new();
    for number in 0..50 {
        writeln!(lines, "{{\"jsonrpc\":\"2.0\",\"method\":\"push\",\"params\":[{number}]}}").unwrap();
        writeln!(lines, "{{\"jsonrpc\":\"2.0\",\"id\":{number},\"method\":\"take\"}}").unwrap();
    }
    hand.send(lines).await;
    for number in 0..50 {
        assert_eq!(hand.receive().await["result"].as_array().unwrap().len(), number + 1);
    }
    hand.end().await;
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_fast_request_overtakes_a_slow_one() {
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let router = Router::new()
        .request_untyped("slow", move |_params, _context| {
            let opened = opened.clone();
            async move {
                opened.notified().await;
                Ok(json!("slow"))
            }
        })
        .request_untyped("fast", |_params, _context| async move { Ok(json!("fast")) });
    let (_peer, connection, mut hand) = by_hand(router, Options::default());
    let running = tokio::spawn(connection.run());
    hand.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slow\"}\n").await;
    hand.send("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"fast\"}\n").await;
    assert_eq!(hand.receive().await["id"], 2);
    gate.notify_one();
    assert_eq!(hand.receive().await["id"], 1);
    hand.end().await;
    within(running).await.unwrap().unwrap();
}
