//! How fast a stream is masked with 50 secrets: text as agents print it, and text that is full of near misses; beside it, how
//! fast the same bytes are only copied.
//!
//! `cargo run --release -p aiswitch-env --example redact_throughput`
#![expect(clippy::print_stdout, reason = "the figures are what the example is for")]

use std::hint::black_box;
use std::time::Instant;

use aiswitch_env::{Redactor, Secret};

const SECRETS: usize = 50;
const PIECE_BYTES: u32 = 64 * 1024;
const ROUNDS: u32 = 4096;

/// Letters and digits that look random and are the same in each run.
fn key(seed: usize, length: usize) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut state = seed as u64 + 1;
    let letters = (0..length).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[(state >> 33) as usize % LETTERS.len()])
    });
    letters.collect()
}

fn measure(what: &str, redactor: &Redactor, line: &str) {
    let piece: Vec<u8> = line.bytes().cycle().take(PIECE_BYTES as usize).collect();
    let (mut stream, mut out) = (redactor.stream(), Vec::new());
    let start = Instant::now();
    for _ in 0..ROUNDS {
        out.clear();
        stream.push(black_box(&piece), &mut out);
        black_box(&out);
    }
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = f64::from(PIECE_BYTES) * f64::from(ROUNDS) / 1e6;
    println!("{what}: {:.0} MB/s", megabytes / seconds);
}

/// What no masking can be faster than: each byte read and written once.
fn copy() {
    let piece = vec![b'x'; PIECE_BYTES as usize];
    let mut out = Vec::with_capacity(piece.len());
    let start = Instant::now();
    for _ in 0..ROUNDS {
        out.clear();
        out.extend_from_slice(black_box(&piece));
        black_box(&out);
    }
    let megabytes = f64::from(PIECE_BYTES) * f64::from(ROUNDS) / 1e6;
    println!("the limit, a copy: {:.0} MB/s", megabytes / start.elapsed().as_secs_f64());
}

fn main() {
    let secrets: Vec<Secret> =
        (0..SECRETS).map(|n| Secret::new(format!("sk-ant-api03-{}", key(n, 80)))).collect();
    let redactor = Redactor::new(&secrets);
    let json = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I will look at src/main.rs first."}]}}"#;
    measure("JSON lines", &redactor, &format!("{json}\n"));
    measure("base64", &redactor, &key(1_000, 10_000));
    copy();
    measure("near misses", &redactor, "sk-ant-api03 sk-ant-api03-");
}
