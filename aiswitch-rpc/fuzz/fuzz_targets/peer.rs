//! Any input to a whole peer, sealed or not: it ends by itself and every line that it writes is one line.
#![no_main]

use aiswitch_rpc::blocking::Connection;
use aiswitch_rpc::{Integrity, Options, Router};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let router = Router::new()
        .request_untyped("echo", |params, _context| async move { Ok(params) })
        .notification_untyped("update", drop);
    let options = Options::default().with_frame_bytes_max(4096).with_integrity(Integrity::Accept);
    let mut output = Vec::new();
    drop(Connection::new(input, &mut output, router, options).serve());
    assert!(output.is_empty() || output.ends_with(b"\n"));
});
