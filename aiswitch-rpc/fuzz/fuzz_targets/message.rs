//! Any text: reading it as a message never panics, in either mode.
#![no_main]

use aiswitch_rpc::message::{Content, JsonRpcMember, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for jsonrpc in [JsonRpcMember::Required, JsonRpcMember::Optional] {
        if let Ok(Content::Batch(elements)) = parse(text, jsonrpc) {
            for element in elements {
                drop(parse(element.get(), jsonrpc));
            }
        }
    }
});
