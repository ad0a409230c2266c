//! Random and mutated frames: nothing panics, memory stays bounded, the next good message is answered.

use aiswitch_rpc::blocking::Connection;
use aiswitch_rpc::codec::{Decoder, encode_frame};
use aiswitch_rpc::message::{Content, JsonRpcMember, parse};
use aiswitch_rpc::{FrameReader, Framing, Options, Router, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

use crate::pieces::decode;
use crate::support::within;

const CASES: &str = include_str!("../data/conformance.jsonl");
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
const FRAME_BYTES_MAX: usize = 64 * 1024;
const MUTANTS: usize = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
const MUTANTS_A_STREAM: usize = 500;

/// A small generator of numbers (xorshift64*): the run is the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits fit") % bound
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let inputs = CASES.lines().filter_map(|line| {
        let case: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        Some(case["input"].as_str()?.as_bytes().to_vec())
    });
    let folders = ["frames", "message", "peer"].map(|target| format!("{CORPUS}/{target}"));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).expect("the corpus is kept"));
    let kept = files.map(|file| std::fs::read(file.expect("a file").path()).expect("it can be read"));
    inputs.chain(kept).chain([b"[".repeat(3000), b"{\"a\":".repeat(3000)]).collect()
}

fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    const TOKENS: [&[u8]; 8] =
        [b"\"id\":", b"null", b"[", b"}", b"\xff", b"\\u0000", b"1e999", b",\"rpc.seal\":[1,\"00000000\"]}"];
    let mut bytes = seed.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u8::try_from(random.below(256)).expect("below 256")),
            2 => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            _ => {
                let end = (at + random.below(20)).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
        }
    }
    bytes
}

fn serve(input: &[u8], framing: Framing) -> Vec<u8> {
    let router = Router::new()
        .request_untyped("echo", |params, _context| async move { Ok(params) })
        .notification_untyped("update", drop);
    let options = Options::default().with_framing(framing).with_frame_bytes_max(FRAME_BYTES_MAX);
    let mut output = Vec::new();
    // How the stream ends is the mutant's matter; that it ends is what counts.
    drop(Connection::new(input, &mut output, router, options).serve());
    output
}

#[test]
fn mutated_lines_never_hide_the_next_good_message() {
    let (seeds, mut random) = (seeds(), Random(0x9e37_79b9_7f4a_7c15));
    for stream in 0..MUTANTS / MUTANTS_A_STREAM {
        let mut input = Vec::new();
        for _ in 0..MUTANTS_A_STREAM {
            let seed = &seeds[random.below(seeds.len())];
            input.extend_from_slice(&mutate(seed, &mut random));
            input.push(b'\n');
        }
        input
            .extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":\"last\",\"method\":\"echo\",\"params\":[1]}\n");
        let output = serve(&input, Framing::Lines);
        assert!(output.ends_with(b"\"id\":\"last\",\"result\":[1]}\n"), "stream {stream}");
    }
}

#[test]
fn mutated_bodies_and_random_bytes_never_panic() {
    let (seeds, mut random) = (seeds(), Random(0x0123_4567_89ab_cdef));
    for _ in 0..MUTANTS / 20 {
        let seed = &seeds[random.below(seeds.len())];
        let framed = [format!("Content-Length: {}\r\n\r\n", seed.len()).as_bytes(), seed].concat();
        serve(&mutate(&framed, &mut random), Framing::ContentLength);
        let noise: Vec<u8> =
            (0..random.below(200)).map(|_| u8::try_from(random.below(256)).expect("below 256")).collect();
        serve(&noise, Framing::Lines);
        serve(&noise, Framing::ContentLength);
    }
}

#[test]
fn the_kept_corpus_ends_by_itself_in_either_framing() {
    let seeds = seeds();
    assert!(seeds.len() > 200, "{} seeds", seeds.len());
    for seed in &seeds {
        for framing in [Framing::Lines, Framing::ContentLength] {
            let output = serve(seed, framing);
            assert!(framing != Framing::Lines || output.is_empty() || output.ends_with(b"\n"));
        }
    }
}

#[test]
fn mutated_bytes_mean_the_same_in_whatever_pieces_they_arrive() {
    let (seeds, mut random) = (seeds(), Random(0x5851_f42d_4c95_7f2d));
    for number in 0..MUTANTS / 20 {
        let mutant = mutate(&seeds[random.below(seeds.len())], &mut random);
        for framing in [Framing::Lines, Framing::ContentLength] {
            let whole = decode(framing, 64, &mutant, mutant.len().max(1));
            let piece_bytes = 1 + random.below(7);
            assert_eq!(decode(framing, 64, &mutant, piece_bytes), whole, "mutant {number}: {mutant:?}");
        }
    }
}

const LAST: &[u8] = br#"{"jsonrpc":"2.0","id":"last","method":"echo","params":[1]}"#;

/// A stream of mutants, each in a frame of its true length, and a good request behind them.
fn framed_mutants(framing: Framing, seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..MUTANTS_A_STREAM {
        let mutant = mutate(&seeds[random.below(seeds.len())], random);
        encode_frame(framing, &[&mutant], &mut input);
    }
    encode_frame(framing, &[LAST], &mut input);
    input
}

#[test]
fn mutated_bodies_of_true_length_never_hide_the_next_good_message() {
    let (seeds, mut random) = (seeds(), Random(0x2545_f491_4f6c_dd1d));
    for stream in 0..MUTANTS / MUTANTS_A_STREAM / 4 {
        let input = framed_mutants(Framing::ContentLength, &seeds, &mut random);
        let output = serve(&input, Framing::ContentLength);
        assert!(output.ends_with(b"\"id\":\"last\",\"result\":[1]}"), "stream {stream}");
    }
}

#[tokio::test]
async fn the_asynchronous_peer_answers_behind_mutants_in_either_framing() {
    let (seeds, mut random) = (seeds(), Random(0x6a09_e667_f3bc_c909));
    for stream in 0..MUTANTS / MUTANTS_A_STREAM / 8 {
        let framing = [Framing::Lines, Framing::ContentLength][stream % 2];
        let input = framed_mutants(framing, &seeds, &mut random);
        let (near, far) = duplex(FRAME_BYTES_MAX);
        let (reader, writer) = split(near);
        let router = Router::new().request_untyped("echo", |params, _context| async move { Ok(params) });
        let options = Options::default().with_framing(framing).with_frame_bytes_max(FRAME_BYTES_MAX);
        let (_peer, connection) = connect(reader, writer, router, options);
        let (mut answers, mut requests) = split(far);
        let send = async {
            requests.write_all(&input).await.expect("the peer reads on");
            requests.shutdown().await.expect("the peer reads on");
        };
        let mut output = Vec::new();
        let receive = answers.read_to_end(&mut output);
        let (_ended, (), received) = within(async { tokio::join!(connection.run(), send, receive) }).await;
        received.expect("the peer ends its output");
        let last = output.trim_ascii_end();
        assert!(last.ends_with(b"\"id\":\"last\",\"result\":[1]}"), "stream {stream}");
    }
}

#[tokio::test]
async fn the_frame_reader_says_of_mutants_what_the_decoder_says() {
    let (seeds, mut random) = (seeds(), Random(0xbb67_ae85_84ca_a73b));
    for number in 0..MUTANTS / 100 {
        let mutant = mutate(&seeds[random.below(seeds.len())], &mut random);
        for framing in [Framing::Lines, Framing::ContentLength] {
            let mut decoder = Decoder::new(framing, 64);
            let mut decoded = Vec::new();
            decoder.push(&mutant);
            while let Some(frame) = decoder.next_frame().transpose() {
                decoded.push(frame.map(str::to_owned).map_err(|error| error.to_string()));
            }
            if let Some(frame) = decoder.finish().transpose() {
                decoded.push(frame.map(str::to_owned).map_err(|error| error.to_string()));
            }
            let mut reader = FrameReader::new(&mutant[..], framing, 64);
            let mut read = Vec::new();
            while read.len() <= decoded.len()
                && let Some(frame) = reader.next().await.transpose()
            {
                read.push(frame.map(str::to_owned).map_err(|error| error.to_string()));
            }
            assert_eq!(read, decoded, "mutant {number}: {mutant:?}");
        }
    }
}

#[test]
fn a_mutated_message_means_one_thing_and_reading_it_never_panics() {
    let (seeds, mut random) = (seeds(), Random(0x3c6e_f372_fe94_f82b));
    for _ in 0..MUTANTS / 10 {
        let mutant = mutate(&seeds[random.below(seeds.len())], &mut random);
        let text = String::from_utf8_lossy(&mutant);
        for jsonrpc in [JsonRpcMember::Required, JsonRpcMember::Optional] {
            let content = parse(&text, jsonrpc);
            assert!(content.is_err() || serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok());
            if let Ok(Content::Batch(elements)) = content {
                let readable = elements.iter().all(|element| parse(element.get(), jsonrpc).is_ok());
                assert!(readable, "an element of a batch is no JSON: {text}");
            }
        }
    }
}
