//! Decoding and encoding by size, each beside what it is made of; throughput in bytes of the message.
//!
//! `taskset -c 1 cargo bench -p aiswitch-benches --bench rpc_framing`, or the ratios of paired rounds alone:
//! `taskset -c 1 cargo bench -p aiswitch-benches --features peers --bench rpc_framing -- --ratios`

use std::hint::black_box;
use std::time::{Duration, Instant};

use aiswitch_rpc::codec::{Decoder, Framing, encode_frame};
use aiswitch_rpc::message::{self, JsonRpcMember, Message};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
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

/// One way to do the work, by its name; a call does all of it once.
type Contender = (&'static str, Box<dyn FnMut()>);

fn decoders(shape: &str, bytes: usize) -> (usize, Vec<Contender>) {
    let message = message(shape, bytes);
    let stream = message.repeat((STREAM_BYTES / message.len()).max(1));
    let stream_bytes = stream.len();
    let mut decoder = Decoder::new(Framing::Lines, FRAME_BYTES_MAX);
    let mut buffer = Vec::new();
    let copy = stream.clone();
    #[cfg_attr(not(feature = "peers"), expect(unused_mut, reason = "only peers are added"))]
    let mut contenders: Vec<Contender> = vec![
        (
            "reference",
            Box::new(move || {
                black_box(decode_reference(&mut buffer, black_box(&copy)));
            }),
        ),
        (
            "aiswitch-rpc",
            Box::new(move || {
                black_box(decode_ours(&mut decoder, black_box(&stream)));
            }),
        ),
    ];
    #[cfg(feature = "peers")]
    {
        let body = &message[..message.len() - 1];
        let framed = [format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(), body].concat();
        let stream = framed.repeat((STREAM_BYTES / framed.len()).max(1));
        contenders.push((
            "lsp-server",
            Box::new(move || {
                black_box(decode_lsp_server(black_box(&stream)));
            }),
        ));
    }
    (stream_bytes, contenders)
}

fn encode_ours(params: &Params, out: &mut Vec<u8>) {
    let version = JsonRpcMember::Required;
    match params {
        Params::Text(text) => message::write_request(out, version, 1234, "echo", text),
        Params::Items(items) => message::write_request(out, version, 1234, "echo", items),
    }
    .expect("a request can be written");
    out.push(b'\n');
}

fn encoders(shape: &str, bytes: usize) -> (usize, Vec<Contender>) {
    let raw = match &params(shape, bytes) {
        Params::Text(text) => serde_json::value::to_raw_value(text),
        Params::Items(items) => serde_json::value::to_raw_value(items),
    }
    .expect("params can be written");
    let writer = |write: fn(&Params, &mut Vec<u8>)| {
        let (params, mut out) = (params(shape, bytes), Vec::new());
        Box::new(move || {
            out.clear();
            write(black_box(&params), &mut out);
            black_box(out.len());
        })
    };
    let derive = |params: &Params, out: &mut Vec<u8>| {
        encode_derive(params, out);
        out.push(b'\n');
    };
    let mut out = Vec::new();
    let pass_through = move || {
        out.clear();
        let parts = [
            br#"{"jsonrpc":"2.0","id":1234,"method":"echo","params":"#,
            black_box(&raw).get().as_bytes(),
            b"}",
        ];
        encode_frame(Framing::Lines, &parts, &mut out);
        black_box(out.len());
    };
    let contenders: Vec<Contender> = vec![
        ("derive", writer(derive)),
        ("aiswitch-rpc", writer(encode_ours)),
        ("aiswitch-rpc, raw params", Box::new(pass_through)),
    ];
    (message(shape, bytes).len(), contenders)
}

type Contenders = fn(&str, usize) -> (usize, Vec<Contender>);

/// What is measured, by which contenders, at which sizes.
const GROUPS: [(&str, Contenders, &[usize]); 2] = [
    ("decode", decoders, &[128, 1024, 64 * 1024, 1024 * 1024]),
    ("encode", encoders, &[128, 1024, 64 * 1024]),
];

fn all(criterion: &mut Criterion) {
    for (name, contenders, sizes) in GROUPS {
        let mut group = criterion.benchmark_group(name);
        for shape in ["text", "items"] {
            for &bytes in sizes {
                let (total_bytes, contenders) = contenders(shape, bytes);
                group.throughput(Throughput::Bytes(total_bytes as u64));
                for (name, mut run) in contenders {
                    group.bench_function(BenchmarkId::new(format!("{shape}/{name}"), bytes), |bench| {
                        bench.iter(&mut run);
                    });
                }
            }
        }
        group.finish();
    }
}

/// Prints how many times faster than the first contender each other one is: the median of paired rounds.
#[expect(clippy::print_stdout, reason = "a table is what it makes")]
fn ratios() {
    const ROUNDS: usize = 25;
    const ROUND: Duration = Duration::from_millis(4);
    for (group, contenders, sizes) in GROUPS {
        for shape in ["text", "items"] {
            for &bytes in sizes {
                let (_, mut contenders) = contenders(shape, bytes);
                let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
                for _ in 0..ROUNDS {
                    for ((_, run), times) in contenders.iter_mut().zip(&mut rounds) {
                        let (start, mut count) = (Instant::now(), 0_u32);
                        while start.elapsed() < ROUND {
                            (0..16).for_each(|_| run());
                            count += 16;
                        }
                        times.push(start.elapsed().as_secs_f64() / f64::from(count));
                    }
                }
                let row = contenders.iter().zip(&rounds).map(|((name, _), times)| {
                    let mut ratios: Vec<f64> =
                        rounds[0].iter().zip(times).map(|(base, time)| base / time).collect();
                    ratios.sort_by(f64::total_cmp);
                    format!("{name} {:.2}", ratios[ROUNDS / 2])
                });
                println!("{group} {shape} {bytes}: {}", row.collect::<Vec<_>>().join(" | "));
            }
        }
    }
}

criterion_group!(benches, all);

fn main() {
    if std::env::args().any(|argument| argument == "--ratios") {
        ratios();
    } else {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
}
