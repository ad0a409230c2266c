//! What a decoder says about bytes that arrive in pieces; the fuzz target `frames` calls it too.

use aiswitch_rpc::codec::{Decoder, Framing};

/// What a decoder says about bytes that arrive in pieces of one size.
pub(crate) fn decode(
    framing: Framing,
    frame_bytes_max: usize,
    bytes: &[u8],
    piece_bytes: usize,
) -> Vec<String> {
    let mut decoder = Decoder::new(framing, frame_bytes_max);
    let mut said = Vec::new();
    for piece in bytes.chunks(piece_bytes) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => said.push(frame.to_owned()),
                Ok(None) => break,
                Err(error) => said.push(format!("! {error}")),
            }
        }
    }
    match decoder.finish() {
        Ok(Some(frame)) => said.push(frame.to_owned()),
        Ok(None) => {}
        Err(error) => said.push(format!("! {error}")),
    }
    said
}
