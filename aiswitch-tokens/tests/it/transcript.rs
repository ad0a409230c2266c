//! The transcripts of agent CLIs, as these wrote them.

use aiswitch_tokens::{Transcript, TranscriptCount, TranscriptKind, Usage, UsageRecord, read_transcript};

const CLAUDE: &str = include_str!("../transcripts/claude.jsonl");
const CODEX: &str = include_str!("../transcripts/codex.jsonl");

fn read(kind: TranscriptKind, text: &str) -> (Vec<UsageRecord>, TranscriptCount) {
    let mut transcript = Transcript::new(kind);
    let records = text.lines().filter_map(|line| transcript.line(line.as_bytes())).collect();
    (records, transcript.count())
}

#[test]
fn a_claude_transcript_tells_each_answer_by_its_id_and_the_prompt_without_the_cache() {
    let (records, count) = read(TranscriptKind::Claude, CLAUDE);
    assert!(count.told >= 1 && count.unreadable == 0, "{count:?}");
    let first = &records[0];
    assert_eq!((first.key.source.as_str(), first.agent.as_str()), ("anthropic", "claude"));
    assert_eq!(first.model.as_deref(), Some("claude-sonnet-4-5-20250929"));
    let usage = Usage {
        input_tokens: Some(700),
        output_tokens: Some(50),
        cache_read_tokens: Some(200),
        cache_write_tokens: Some(100),
        cache_write_1h_tokens: Some(0),
        reasoning_tokens: None,
        web_searches: None,
    };
    assert_eq!(first.usage, Some(usage));
}

#[test]
fn a_codex_transcript_tells_each_request_once_and_its_fork_the_same_again() {
    let (records, count) = read(TranscriptKind::Codex, CODEX);
    assert!(count.told >= 1 && count.unreadable == 0, "{count:?}");
    let first = &records[0];
    assert_eq!((first.agent.as_str(), first.model.is_some(), first.session.is_some()), ("codex", true, true));
    let usage = Usage {
        input_tokens: Some(800),
        output_tokens: Some(50),
        cache_read_tokens: Some(200),
        cache_write_tokens: Some(0),
        reasoning_tokens: Some(10),
        ..Usage::default()
    };
    assert_eq!(first.usage, Some(usage));
    let session = first.session.clone().unwrap();
    let meta = format!(
        r#"{{"timestamp":"2026-11-23T09:00:00Z","type":"session_meta","payload":{{"id":"other","forked_from_id":"{session}"}}}}"#
    );
    let fork = format!("{meta}\n{CODEX}");
    let (replayed, _) = read(TranscriptKind::Codex, &fork);
    let keys = |records: &[UsageRecord]| records.iter().map(|record| record.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&replayed), keys(&records));
    assert_eq!(replayed[0].session.as_deref(), Some("other"));
}

#[test]
fn half_a_line_and_figures_that_are_none_are_counted_and_cost_no_other_line() {
    let good = CLAUDE.lines().find(|line| line.contains("\"usage\":{")).unwrap();
    let wrong = [
        good[..good.len() - 20].to_owned(),
        good.replace("\"output_tokens\":50", "\"output_tokens\":-5"),
        good.replace("\"output_tokens\":50", "\"output_tokens\":1e400"),
        good.replace("\"output_tokens\":50", "\"output_tokens\":18446744073709551615"),
    ];
    let text = format!("{}\n{good}\nnot json\n", wrong.join("\n"));
    let (records, count) = read(TranscriptKind::Claude, &text);
    assert_eq!((records.len(), count), (1, TranscriptCount { lines: 6, told: 5, unreadable: 4 }));
    let own = good.replace("claude-sonnet-4-5-20250929", "<synthetic>");
    assert_eq!(read(TranscriptKind::Claude, &own).1, TranscriptCount { lines: 1, told: 0, unreadable: 0 });
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let path = std::path::Path::new("/no/such/transcript.jsonl");
    let told = read_transcript(path, TranscriptKind::Claude, drop).unwrap_err().to_string();
    assert_eq!(told, "transcript `/no/such/transcript.jsonl` cannot be read");
}
