//! Any bytes in any pieces: the decoder says the same about them as about the whole.
#![no_main]

use aiswitch_rpc::codec::{Decoder, Framing};
use libfuzzer_sys::fuzz_target;

const FRAME_BYTES_MAX: usize = 64;

fn said(framing: Framing, bytes: &[u8], piece_bytes: usize) -> Vec<String> {
    let mut decoder = Decoder::new(framing, FRAME_BYTES_MAX);
    let mut said = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => said.push(frame.to_owned()),
                Ok(None) => break,
                Err(error) => said.push(error.to_string()),
            }
        }
    }
    said.push(format!("{:?}", decoder.finish()));
    said
}

fuzz_target!(|bytes: &[u8]| {
    for framing in [Framing::Lines, Framing::ContentLength] {
        assert_eq!(said(framing, bytes, 1), said(framing, bytes, bytes.len().max(1)));
    }
});
