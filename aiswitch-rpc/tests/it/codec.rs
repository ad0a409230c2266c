//! The decoder on every way in which bytes may arrive.

use aiswitch_rpc::codec::{Decoder, Framing, encode_frame};
use aiswitch_rpc::{FrameError, FrameReader};

use crate::pieces::decode;

fn decode_in_all_pieces(framing: Framing, frame_bytes_max: usize, bytes: &[u8]) -> Vec<String> {
    let whole = decode(framing, frame_bytes_max, bytes, bytes.len().max(1));
    for piece_bytes in 1..bytes.len() {
        assert_eq!(decode(framing, frame_bytes_max, bytes, piece_bytes), whole, "pieces of {piece_bytes}");
    }
    whole
}

#[test]
fn lines_are_found_in_any_pieces() {
    let said = decode_in_all_pieces(Framing::Lines, 99, b"\xef\xbb\xbf{\"a\":1}\r\n\n  \n[2]\n3");
    assert_eq!(said, ["{\"a\":1}", "[2]", "3"]);
}

#[test]
fn bodies_are_found_in_any_pieces() {
    let bytes = b"Content-Length: 2\r\n\r\n{}content-length:0\r\n\r\nX-A: b\nContent-Length: 4\n\n[\n1]";
    assert_eq!(decode_in_all_pieces(Framing::ContentLength, 99, bytes), ["{}", "[\n1]"]);
}

#[test]
fn a_line_at_the_limit_passes_and_one_byte_more_does_not() {
    let said = decode_in_all_pieces(Framing::Lines, 4, b"1234\r\n12345\n1\n");
    assert_eq!(said, ["1234", "! frame of 5 bytes is over the limit of 4 bytes", "1"]);
}

#[test]
fn a_line_that_is_far_too_long_is_dropped_and_the_next_one_read() {
    // One gigabyte; a tenth of it where the code is not optimised.
    const PIECES: usize = if cfg!(debug_assertions) { 1600 } else { 16_000 };
    const PIECE_BYTES: usize = 64 * 1024;
    let piece = vec![b'x'; PIECE_BYTES];
    let mut decoder = Decoder::new(Framing::Lines, 1000);
    let mut is_refused = false;
    for _ in 0..PIECES {
        decoder.push(&piece);
        assert!(matches!(decoder.next_frame(), Ok(None)));
    }
    decoder.push(b"\n{}\n");
    if let Err(FrameError::TooLong { bytes, bytes_max }) = decoder.next_frame() {
        is_refused = true;
        assert_eq!((bytes, bytes_max), ((PIECES * PIECE_BYTES) as u64, 1000));
    }
    assert!(is_refused);
    assert_eq!(decoder.refused_prefix().len(), 1000);
    assert_eq!(decoder.next_frame().unwrap(), Some("{}"));
    assert!(decoder.space().len() < 300_000, "memory is bounded");
}

#[test]
fn half_a_line_at_the_end_is_an_error_and_half_a_body_too() {
    assert_eq!(
        decode(Framing::Lines, 99, b"1\n{\"id\":", 3),
        ["1", "! stream ended inside a frame, after 6 bytes of it"]
    );
    assert_eq!(
        decode(Framing::ContentLength, 99, b"Content-Length: 9\r\n\r\n{}", 3),
        ["! stream ended inside a frame, after 2 bytes of it"]
    );
}

#[test]
fn invalid_utf8_is_told_with_its_place_and_the_next_line_is_read() {
    assert_eq!(decode(Framing::Lines, 99, b"ab\xff\n1\n", 9), ["! frame is not UTF-8 after byte 2", "1"]);
}

#[test]
fn a_wrong_length_loses_the_framing() {
    for header in ["-1", "abc", "+5", "0x10", "", "5\r\nContent-Length: 6", "99999999999999999999999"] {
        let said =
            decode(Framing::ContentLength, 99, format!("Content-Length: {header}\r\n\r\n{{}}").as_bytes(), 7);
        assert_eq!(said.len(), 1, "{header}: {said:?}");
        assert!(said[0].starts_with("! framing lost"), "{header}: {said:?}");
    }
}

#[test]
fn a_length_that_lies_about_gigabytes_allocates_nothing() {
    let mut decoder = Decoder::new(Framing::ContentLength, 4096);
    decoder.push(b"Content-Length: 9999999999\r\n\r\nabc");
    assert!(matches!(decoder.next_frame(), Ok(None)));
    assert!(decoder.space().len() < 100_000);
    assert!(matches!(decoder.finish(), Err(FrameError::TooLong { bytes: 3, bytes_max: 4096 })));
}

#[test]
fn an_encoded_line_holds_no_line_feed() {
    let mut out = Vec::new();
    encode_frame(Framing::Lines, &[b"{\n\"a\":", b"1}\n"], &mut out);
    assert_eq!(out, b"{ \"a\":1} \n");
}

#[tokio::test]
async fn a_frame_reader_goes_on_after_a_bad_line() {
    let bytes = b"{\"a\":1}\n\xff\nxxxxxxxxxxxxxxxxxxxxxxxxxx\n2\n{\"half";
    let mut frames = FrameReader::new(&bytes[..], Framing::Lines, 16);
    assert_eq!(frames.next().await.unwrap(), Some("{\"a\":1}"));
    assert!(matches!(frames.next().await, Err(FrameError::InvalidUtf8 { valid_up_to: 0 })));
    assert!(matches!(frames.next().await, Err(FrameError::TooLong { bytes: 26, bytes_max: 16 })));
    assert_eq!(frames.next().await.unwrap(), Some("2"));
    assert!(matches!(frames.next().await, Err(FrameError::HalfFrame { bytes: 6 })));
    assert_eq!(frames.next().await.unwrap(), None);
}
