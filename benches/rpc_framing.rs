//! Decoding and encoding by size, each beside what it is made of; throughput in bytes of the message.
//!
//! `taskset -c 1 cargo bench -p aiswitch-benches --bench rpc_framing`

use std::hint::black_box;

use aiswitch_rpc::codec::{Decoder, Framing, encode_frame};
use aiswitch_rpc::message::{self, JsonRpcMember, Message};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

const FRAME_BYTES_MAX: usize = 4 << 20;
const READ_BYTES: usize = 64 * 1024;
/// So many bytes of messages are decoded in one iteration.
const STREAM_BYTES: usize = 256 * 1024;

#[derive(Serialize, Deserialize)]
struct Item {
    id: u32,
    name: String,
    tags: [String; 3],
}

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'a str,
    id: u64,
    method: &'a str,
    params: P,
}

/// The envelope as a plain derive reads it.
#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: &'a str,
    id: u64,
    method: &'a str,
    #[serde(borrow)]
    params: &'a RawValue,
}

enum Params {
    Text([String; 1]),
    Items(Vec<Item>),
}

fn params(shape: &str, bytes: usize) -> Params {
    if shape == "text" {
        return Params::Text(["x".repeat(bytes.saturating_sub(60))]);
    }
    let tags = || ["alpha".to_owned(), "beta".to_owned(), "gamma".to_owned()];
    let count = u32::try_from(bytes / 64).unwrap_or(1).max(1);
    Params::Items((0..count).map(|id| Item { id, name: format!("item {id}"), tags: tags() }).collect())
}

fn encode_derive(params: &Params, out: &mut Vec<u8>) {
    fn write(params: impl Serialize, out: &mut Vec<u8>) {
        let request = Request { jsonrpc: "2.0", id: 1234, method: "echo", params };
        serde_json::to_writer(out, &request).expect("a request can be written");
    }
    match params {
        Params::Text(text) => write(text, out),
        Params::Items(items) => write(items, out),
    }
}

fn message(shape: &str, bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    encode_derive(&params(shape, bytes), &mut out);
    out.push(b'\n');
    out
}

fn decode_ours(decoder: &mut Decoder, stream: &[u8]) -> usize {
    let mut params_bytes = 0;
    for read in stream.chunks(READ_BYTES) {
        decoder.push(read);
        while let Some(frame) = decoder.next_frame().expect("the stream is good") {
            let content = message::parse(frame, JsonRpcMember::Required).expect("the frame is JSON");
            if let message::Content::One(Message::Request { params: Some(params), .. }) = content {
                params_bytes += params.get().len();
            }
        }
    }
    params_bytes
}

/// What the work consists of at least: find the line, check UTF-8, read the envelope.
fn decode_reference(buffer: &mut Vec<u8>, stream: &[u8]) -> usize {
    let mut params_bytes = 0;
    for read in stream.chunks(READ_BYTES) {
        buffer.extend_from_slice(read);
        let mut from = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[from..]) {
            let line = simdutf8::basic::from_utf8(&buffer[from..from + length]).expect("the line is UTF-8");
            let envelope: Envelope<'_> = serde_json::from_str(line).expect("the line is a request");
            black_box((envelope.jsonrpc, envelope.id, envelope.method));
            params_bytes += envelope.params.get().len();
            from += length + 1;
        }
        buffer.drain(..from);
    }
    params_bytes
}

#[cfg(feature = "peers")]
fn decode_lsp_server(stream: &[u8]) -> usize {
    // As it reads its own stdin: through the standard buffer of 8 KiB.
    let mut stream = std::io::BufReader::new(stream);
    let mut count = 0;
    while let Ok(Some(message)) = lsp_server::Message::read(&mut stream) {
        black_box(message);
        count += 1;
    }
    count
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for shape in ["text", "items"] {
        for bytes in [128, 1024, 64 * 1024, 1024 * 1024] {
            let message = message(shape, bytes);
            let stream = message.repeat((STREAM_BYTES / message.len()).max(1));
            group.throughput(Throughput::Bytes(stream.len() as u64));
            let id = |name: &str| BenchmarkId::new(format!("{shape}/{name}"), bytes);
            group.bench_function(id("aiswitch-rpc"), |bench| {
                let mut decoder = Decoder::new(Framing::Lines, FRAME_BYTES_MAX);
                bench.iter(|| decode_ours(&mut decoder, black_box(&stream)));
            });
            group.bench_function(id("reference"), |bench| {
                let mut buffer = Vec::new();
                bench.iter(|| decode_reference(&mut buffer, black_box(&stream)));
            });
            #[cfg(feature = "peers")]
            {
                let body = &message[..message.len() - 1];
                let framed = [format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
                let stream = framed.repeat((STREAM_BYTES / framed.len()).max(1));
                group.bench_function(id("lsp-server"), |bench| {
                    bench.iter(|| decode_lsp_server(black_box(&stream)));
                });
            }
        }
    }
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for shape in ["text", "items"] {
        for bytes in [128, 1024, 64 * 1024] {
            let params = params(shape, bytes);
            group.throughput(Throughput::Bytes(message(shape, bytes).len() as u64));
            let id = |name: &str| BenchmarkId::new(format!("{shape}/{name}"), bytes);
            let mut out = Vec::new();
            group.bench_function(id("derive"), |bench| {
                bench.iter(|| {
                    out.clear();
                    encode_derive(black_box(&params), &mut out);
                    out.push(b'\n');
                    out.len()
                });
            });
            group.bench_function(id("aiswitch-rpc"), |bench| {
                bench.iter(|| {
                    out.clear();
                    let version = JsonRpcMember::Required;
                    match black_box(&params) {
                        Params::Text(text) => message::write_request(&mut out, version, 1234, "echo", text),
                        Params::Items(items) => {
                            message::write_request(&mut out, version, 1234, "echo", items)
                        }
                    }
                    .expect("a request can be written");
                    out.push(b'\n');
                    out.len()
                });
            });
            let raw = match &params {
                Params::Text(text) => serde_json::value::to_raw_value(text),
                Params::Items(items) => serde_json::value::to_raw_value(items),
            }
            .expect("params can be written");
            group.bench_function(id("aiswitch-rpc, raw params"), |bench| {
                bench.iter(|| {
                    out.clear();
                    let parts = [
                        br#"{"jsonrpc":"2.0","id":1234,"method":"echo","params":"#,
                        black_box(&raw).get().as_bytes(),
                        b"}",
                    ];
                    encode_frame(Framing::Lines, &parts, &mut out);
                    out.len()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
