//! How long the import of 100,000 lines of transcripts takes, beside a plain parse of the same lines.
//!
//! ```sh
//! cargo run --release -p aiswitch-tokens --example import
//! ```
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use aiswitch_tokens::{Import, PriceList, SqliteUsageStore, TranscriptKind, UsageQuery, UsageStore};
use serde_json::{Value, json};

/// How many files, and how many lines each has.
const FILES: usize = 250;
const LINES: usize = 400;

/// Of so many lines two say what was asked and what a tool said; three tell of two answers, one of them twice.
const LINES_PER_TURN: usize = 5;

/// How much text a line carries, in bytes.
const TEXT_BYTES: usize = 600;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut bytes = 0;
    let files: Vec<_> = (0..FILES)
        .map(|file| {
            let path = folder.path().join(format!("session-{file}.jsonl"));
            let text = transcript(file);
            bytes += text.len();
            fs::write(&path, text).map(|()| path)
        })
        .collect::<Result<_, _>>()?;
    println!("{} lines in {FILES} files, {} MB", FILES * LINES, bytes / 1_000_000);

    let started = Instant::now();
    let parsed: usize = files.iter().map(|path| parse(path)).sum::<Result<_, Box<dyn Error>>>()?;
    let plain = started.elapsed();
    println!("parsed by serde_json alone:  {:>6} ms, {parsed} lines", plain.as_millis());

    let store = SqliteUsageStore::at(folder.path().join("usage.db"));
    let prices = PriceList::default();
    let started = Instant::now();
    let mut import = Import::new(&store, &prices);
    for path in &files {
        import.read(path, TranscriptKind::Claude, |_| true)?;
    }
    let tracked = import.finish()?;
    let ours = started.elapsed();
    println!("read, priced, kept on disk and summed up: {:>4} ms, {tracked:?}", ours.as_millis());
    println!("that is {:.2} of the plain parse", ours.as_secs_f64() / plain.as_secs_f64());

    let (started, mut sums) = (Instant::now(), 0);
    store.sums(&UsageQuery::default(), &mut |_| {
        sums += 1;
        true
    })?;
    println!("the first report over all of it: {:.1} ms, {sums} sums", started.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn parse(path: &Path) -> Result<usize, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    let mut lines = 0;
    for line in text.lines() {
        let value: Value = serde_json::from_str(line)?;
        lines += usize::from(value.is_object());
    }
    Ok(lines)
}

/// Lines as Claude Code writes them.
fn transcript(file: usize) -> String {
    let text = "It reads the file, changes \"one\" line and runs the tests. ".repeat(TEXT_BYTES / 58);
    let line = |number: usize| {
        let (turn, place) = (number / LINES_PER_TURN, number % LINES_PER_TURN);
        let at = format!(
            "2026-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
            1 + file % 11,
            1 + file % 28,
            turn % 24,
            place,
            file % 60
        );
        let message = match place {
            0 => json!({"role": "user", "content": text}),
            1 => {
                json!({"role": "user", "content": [{"tool_use_id": format!("toolu_{number}"), "type": "tool_result", "content": text}]})
            }
            _ => json!({
                "id": format!("msg_{file}_{turn}_{}", place / 4), "model": "claude-sonnet-4-5-20250929", "role": "assistant",
                "type": "message", "content": [{"type": "text", "text": text}], "stop_reason": null,
                "usage": {
                    "input_tokens": number, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 20_000,
                    "cache_creation": {"ephemeral_1h_input_tokens": 0, "ephemeral_5m_input_tokens": 100},
                    "output_tokens": 10 * place, "service_tier": "standard",
                },
            }),
        };
        json!({
            "parentUuid": format!("{file}-{number}"), "isSidechain": false, "cwd": "/home/me/repo", "gitBranch": "main",
            "sessionId": format!("session-{file}"), "version": "2.0.47", "timestamp": at,
            "type": if place < 2 { "user" } else { "assistant" }, "message": message, "uuid": format!("{file}-{number}"),
        })
    };
    (0..LINES).fold(String::new(), |text, number| text + &line(number).to_string() + "\n")
}
