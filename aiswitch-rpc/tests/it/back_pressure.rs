//! The guarantees of back-pressure: nothing grows without bound, nobody waits in a ring.

use std::time::Duration;

use aiswitch_rpc::{CallError, CloseReason, ConnectionError, Options, Router};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{by_hand, pair, within};

fn echo() -> Router {
    Router::new().request_untyped("echo", |params, _context| async move { Ok(params) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_may_send_64_times_16_kib_at_once() {
    let ((left, left_run), (right, right_run)) = pair(echo(), echo(), Options::default());
    let sides = [tokio::spawn(left_run.run()), tokio::spawn(right_run.run())];
    let text = "x".repeat(16 * 1024);
    let mut calls = JoinSet::new();
    for number in 0..128 {
        let (peer, text) = (if number % 2 == 0 { left.clone() } else { right.clone() }, text.clone());
        calls.spawn(async move { peer.call_untyped::<[String; 1]>("echo", &[text]).await.unwrap()[0].len() });
    }
    while let Some(length) = within(calls.join_next()).await {
        assert_eq!(length.unwrap(), text.len());
    }
    left.close();
    right.close();
    for side in sides {
        within(side).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_reads_nothing_makes_the_sender_wait_and_is_not_waited_for_by_others() {
    let options = Options::default().with_outgoing_bytes_soft(10_000);
    let (slow, slow_run, _slow_hand) = by_hand(Router::new(), options);
    let (quick, quick_run, mut quick_hand) = by_hand(Router::new(), Options::default());
    let running = [tokio::spawn(slow_run.run()), tokio::spawn(quick_run.run())];
    let sent = tokio::spawn(async move {
        for number in 0.. {
            let params = ["x".repeat(1000)];
            let notified = slow.notify_untyped("n", &params);
            if tokio::time::timeout(Duration::from_millis(100), notified).await.is_err() {
                return number;
            }
        }
        0
    });
    let sent = within(sent).await.unwrap();
    // What the stream takes (64 KiB), the queue, and one message more.
    assert!((60..90).contains(&sent), "{sent}");
    quick.notify_untyped("n", &()).await.unwrap();
    assert_eq!(quick_hand.receive().await["method"], "n");
    for side in running {
        side.abort();
    }
}

#[tokio::test]
async fn a_peer_that_asks_and_never_reads_is_refused_and_then_dropped() {
    let options = Options::default().with_outgoing_bytes_max(100_000);
    let (peer, connection, mut hand) = by_hand(echo(), options);
    let running = tokio::spawn(connection.run());
    let call = tokio::spawn(async move { peer.call_untyped::<Value>("pending", &()).await });
    hand.receive().await;
    let line = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[\"{}\"]}}\n",
        "x".repeat(1000)
    );
    while !running.is_finished() {
        hand.send_or_stop(&line).await;
    }
    let error = within(running).await.unwrap().unwrap_err();
    assert!(matches!(error, ConnectionError::OutgoingFull { bytes_max: 100_000 }), "{error}");
    let error = within(call).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::OutgoingFull, .. }), "{error}");
}

#[tokio::test]
async fn requests_over_the_limit_are_refused_at_once_and_the_rest_goes_on() {
    let router = echo().request_untyped("wait", |_params, context| async move {
        context.cancelled().await;
        Ok(json!("cancelled"))
    });
    let (_peer, connection, mut hand) = by_hand(router, Options::default().with_requests_in_flight_max(2));
    let running = tokio::spawn(connection.run());
    for id in 1..=3 {
        hand.send(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"wait\"}}\n")).await;
    }
    let refused = hand.receive().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(3), &json!(-32001)));
    assert_eq!(refused["error"]["data"]["retryable"], true);
    for id in 1..=2 {
        hand.send(format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"$/cancelRequest\",\"params\":{{\"id\":{id}}}}}\n"
        ))
        .await;
        assert_eq!(hand.receive().await, json!({"jsonrpc": "2.0", "id": id, "result": "cancelled"}));
    }
    hand.end().await;
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn answers_that_are_not_taken_at_the_end_are_waited_for_only_so_long() {
    let options = Options::default().with_drain_timeout(Duration::from_millis(20));
    let router = Router::new().request_untyped("never", |_params, _context| std::future::pending());
    let (_peer, connection, mut hand) = by_hand(router, options);
    let running = tokio::spawn(connection.run());
    hand.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"never\"}\n").await;
    hand.end().await;
    let error = within(running).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "answers could not be delivered within 20ms");
}
