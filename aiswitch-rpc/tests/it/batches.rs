//! Batches that go out; those that come in are in the conformance cases.

use aiswitch_rpc::{CallError, Integrity, Options, Router};
use serde_json::{Value, json};

use crate::support::{by_hand, pair, within};

fn server() -> Router {
    Router::new().request_untyped("echo", |params, _context| async move { Ok(params) })
}

#[tokio::test]
async fn a_batch_is_one_array_and_its_answers_come_in_the_order_of_the_calls() {
    let (peer, connection, mut hand) = by_hand(Router::new(), Options::default());
    let running = tokio::spawn(connection.run());
    let batch = peer.batch().call("a", &[1]).unwrap().notify("n", &()).unwrap().call("b", &()).unwrap();
    let sent = tokio::spawn(batch.send());
    let request = hand.receive().await;
    assert_eq!((&request[0]["method"], &request[0]["params"]), (&json!("a"), &json!([1])));
    assert_eq!(request[1], json!({"jsonrpc": "2.0", "method": "n"}));
    assert_eq!(request.as_array().unwrap().len(), 3);
    hand.send(format!(
        "[{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":1,\"message\":\"x\"}}}},\
         {{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":7}}]\n",
        request[2]["id"], request[0]["id"]
    ))
    .await;
    let answers = within(sent).await.unwrap().unwrap();
    assert_eq!(answers[0].as_ref().unwrap().get(), "7");
    assert!(matches!(answers[1], Err(CallError::Rpc { code: 1, .. })));
    hand.end().await;
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn two_peers_exchange_batches_sealed_or_not() {
    for integrity in [Integrity::Off, Integrity::Offer] {
        let ((peer, client), (_, server)) =
            pair(Router::new(), server(), Options::default().with_integrity(integrity));
        let work = async {
            let mut batch = peer.batch();
            for number in 0..20 {
                batch = batch.call("echo", &[number]).unwrap();
            }
            let answers = batch.send().await.unwrap();
            for (number, answer) in answers.into_iter().enumerate() {
                assert_eq!(answer.unwrap().get(), format!("[{number}]"));
            }
            peer.close();
        };
        let ((), client, server) = within(async { tokio::join!(work, client.run(), server.run()) }).await;
        client.unwrap();
        server.unwrap();
    }
}

#[tokio::test]
async fn a_batch_with_more_calls_than_may_be_in_flight_is_refused() {
    let options = Options::default().with_calls_in_flight_max(1);
    let (peer, _connection, _hand) = by_hand(Router::new(), options);
    let batch = peer.batch().call("a", &()).unwrap().call("b", &()).unwrap();
    let error = within(batch.send()).await.unwrap_err();
    assert!(matches!(error, CallError::TooManyCalls { calls: 2, calls_in_flight_max: 1 }), "{error}");
    assert!(within(peer.batch().send()).await.unwrap().is_empty());
    let error = peer.batch().call("a", &Value::Bool(true)).unwrap_err();
    assert!(matches!(error, CallError::BareParams { .. }), "{error}");
}
