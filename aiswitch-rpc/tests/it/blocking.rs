//! The blocking peer, on real pipes.

use std::io::{PipeReader, PipeWriter, pipe};
use std::thread;

use aiswitch_rpc::blocking::Connection;
use aiswitch_rpc::{CallError, CloseReason, ConnectionError, ErrorObject, FrameError, Options, Router};
use serde_json::{Value, json};

type PipeConnection = Connection<PipeReader, PipeWriter>;

fn ends(left: Router, options: &Options) -> (PipeConnection, PipeReader, PipeWriter) {
    let (left_read, right_write) = pipe().unwrap();
    let (right_read, left_write) = pipe().unwrap();
    (Connection::new(left_read, left_write, left, options.clone()), right_read, right_write)
}

fn server() -> Router {
    Router::new().request_untyped("echo", |params, _context| async move { Ok(params) }).request_untyped(
        "ask_back",
        |params, context| async move {
            context.peer().call_untyped("echo", &params).await.map_err(ErrorObject::internal)
        },
    )
}

#[test]
fn calls_go_both_ways_on_one_thread_a_side() {
    let (mut client, read, write) = ends(server(), &Options::default());
    let server = thread::spawn(move || Connection::new(read, write, server(), Options::default()).serve());
    assert_eq!(client.call_untyped::<Value>("echo", &[1]).unwrap(), json!([1]));
    assert_eq!(client.call_untyped::<Value>("ask_back", &["x"]).unwrap(), json!(["x"]));
    client.notify_untyped("nobody_listens", &()).unwrap();
    let error = client.call_untyped::<Value>("nope", &()).unwrap_err();
    assert!(matches!(error, CallError::Rpc { code: -32601, .. }), "{error}");
    drop(client);
    server.join().unwrap().unwrap();
}

#[test]
fn a_call_ends_when_the_peer_goes() {
    let (mut client, read, write) = ends(Router::new(), &Options::default());
    drop((read, write));
    let error = client.call_untyped::<Value>("echo", &[1]).unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::WriteFailed(_), .. }), "{error}");
    let (mut client, read, write) = ends(Router::new(), &Options::default());
    drop(write);
    let error = client.call_untyped::<Value>("echo", &[1]).unwrap_err();
    assert!(matches!(error, CallError::Closed { reason: CloseReason::EndOfInput, .. }), "{error}");
    drop(read);
}

#[test]
fn half_a_line_at_the_end_is_answered_and_told() {
    let input = &b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[1]}\n{\"id\""[..];
    let mut output = Vec::new();
    let error = Connection::new(input, &mut output, server(), Options::default()).serve().unwrap_err();
    assert!(
        matches!(error, ConnectionError::Frame { source: FrameError::HalfFrame { bytes: 5 } }),
        "{error}"
    );
    let output = String::from_utf8(output).unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1]}");
    assert!(lines[1].starts_with("{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700"), "{output}");
    assert_eq!(lines.len(), 2);
}
