//! Any bytes in any pieces: the decoder says the same about them as about the whole.
#![no_main]

#[path = "../../tests/it/pieces.rs"]
mod pieces;

use aiswitch_rpc::codec::Framing;
use libfuzzer_sys::fuzz_target;

const FRAME_BYTES_MAX: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    for framing in [Framing::Lines, Framing::ContentLength] {
        assert_eq!(
            pieces::decode(framing, FRAME_BYTES_MAX, bytes, 1),
            pieces::decode(framing, FRAME_BYTES_MAX, bytes, bytes.len().max(1))
        );
    }
});
