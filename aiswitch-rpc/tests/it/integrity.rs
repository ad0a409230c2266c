//! Sealed connections: agreed upon or not, and what tampering leads to.

use aiswitch_rpc::{CallError, CloseReason, ConnectionError, Integrity, IntegrityFault, Options, Router};
use serde_json::{Value, json};

use crate::support::{Events, by_hand, pair, within};

fn echo() -> Router {
    Router::new().request_untyped("echo", |params, _context| async move { Ok(params) })
}

fn options(integrity: Integrity) -> Options {
    Options::default().with_integrity(integrity)
}

#[tokio::test]
async fn two_peers_that_agree_seal_every_message() {
    let ((peer, client), (_, server)) = pair(Router::new(), echo(), options(Integrity::Require));
    let work = async {
        for number in 0..100 {
            assert_eq!(peer.call_untyped::<[i32; 1]>("echo", &[number]).await.unwrap(), [number]);
        }
        peer.close();
    };
    let ((), client, server) = within(async { tokio::join!(work, client.run(), server.run()) }).await;
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn a_plain_peer_is_spoken_to_plainly_unless_the_seal_is_required() {
    for integrity in [Integrity::Offer, Integrity::Require] {
        let (peer, connection, mut hand) = by_hand(Router::new(), options(integrity));
        let running = tokio::spawn(connection.run());
        let call = tokio::spawn(async move { peer.call_untyped::<Value>("m", &()).await });
        let offer = hand.receive().await;
        assert_eq!(
            (&offer["method"], &offer["params"]["alg"]),
            (&json!("rpc.integrity"), &json!(["crc32c"]))
        );
        hand.send(format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{},\"error\":{{\"code\":-32601,\"message\":\"x\"}}}}\n",
            offer["id"]
        ))
        .await;
        if integrity == Integrity::Offer {
            let request = hand.receive().await;
            assert_eq!((&request["method"], request.get("rpc.seal")), (&json!("m"), None));
            hand.end().await;
            within(running).await.unwrap().unwrap();
        } else {
            let error = within(running).await.unwrap().unwrap_err();
            let fault = IntegrityFault::Declined;
            assert!(
                matches!(error, ConnectionError::Integrity { fault: found } if found == fault),
                "{error}"
            );
        }
        let error = within(call).await.unwrap().unwrap_err();
        assert!(matches!(error, CallError::Closed { .. }), "{error}");
    }
}

/// Seals by hand, with nothing of the crate: CRC-32C bit by bit.
fn seal(message: &str, number: u64) -> String {
    let open = message.strip_suffix('}').unwrap();
    let signed = format!("{open},\"rpc.seal\":[{number},\"");
    let mut crc = u32::MAX;
    for byte in signed.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    format!("{signed}{:08x}\"]}}\n", !crc)
}

#[tokio::test]
async fn loss_reordering_replay_and_tampering_each_end_the_connection_with_their_name() {
    let ping = |id: u64| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"echo\",\"params\":[{id}]}}");
    let (one, two, three) = (seal(&ping(1), 1), seal(&ping(2), 2), seal(&ping(3), 3));
    let gap = |expected, found| IntegrityFault::Gap { expected, found };
    let cases = [
        ("loss", [one.clone(), three.clone()].concat(), 1, gap(2, 3)),
        ("reordering", [two.clone(), one.clone()].concat(), 0, gap(1, 2)),
        ("replay", [one.clone(), one.clone()].concat(), 1, gap(2, 1)),
        ("tampering", one.replace("[1]", "[9]"), 0, IntegrityFault::Checksum),
        ("a foreign line", [one.clone(), "printed\n".to_owned()].concat(), 1, IntegrityFault::Missing),
        ("a message without seal", format!("{}\n", ping(1)), 0, IntegrityFault::Missing),
    ];
    for (name, lines, answers, fault) in cases {
        let events = Events::default();
        let (_peer, connection, mut hand) = by_hand(events.listen(echo()), options(Integrity::Accept));
        let running = tokio::spawn(connection.run());
        let offer = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"rpc.integrity\",\
                     \"params\":{\"v\":1,\"alg\":[\"md5\",\"crc32c\"]}}\n";
        hand.send(offer).await;
        assert_eq!(hand.receive().await["result"], json!({"v": 1, "alg": "crc32c"}), "{name}");
        hand.send(lines).await;
        for number in 1..=answers {
            assert_eq!(hand.receive().await["rpc.seal"][0], number, "{name}");
        }
        assert_eq!(hand.receive().await["error"]["code"], -32010, "{name}");
        assert_eq!(hand.receive_rest().await, Vec::<Value>::new(), "{name}");
        let error = within(running).await.unwrap().unwrap_err();
        assert!(
            matches!(error, ConnectionError::Integrity { fault: found } if found == fault),
            "{name}: {error:?}"
        );
        assert_eq!(events.all(), [format!("Integrity {{ fault: {fault:?} }}")], "{name}");
    }
}

#[tokio::test]
async fn a_tampered_answer_ends_the_call() {
    let (peer, connection, mut hand) = by_hand(Router::new(), options(Integrity::Offer));
    let running = tokio::spawn(connection.run());
    let call = tokio::spawn(async move { peer.call_untyped::<Value>("m", &()).await });
    let offer = hand.receive().await;
    hand.send(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"v\":1,\"alg\":\"crc32c\"}}}}\n",
        offer["id"]
    ))
    .await;
    let request = hand.receive().await;
    assert_eq!(request["rpc.seal"][0], 1);
    let answer = seal(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":1}}", request["id"]), 1);
    hand.send(answer.replace("\"result\":1", "\"result\":2")).await;
    let error = within(call).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::Integrity, .. }), "{error}");
    assert_eq!(hand.receive().await["error"]["code"], -32010);
    within(running).await.unwrap().unwrap_err();
}
