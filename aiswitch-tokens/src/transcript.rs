//! The transcripts that agent CLIs leave on disk, as usage.
//!
//! * Claude Code: `~/.claude/projects/*/*.jsonl`; the usage of an answer stands in each line of it, and the same answer in
//!   the files of sessions that went on from it. The answer's id makes it one.
//! * Codex: `~/.codex/sessions/**/rollout-*.jsonl`; a line tells the session's running total after each request. A forked
//!   session repeats the lines of the one it came from. The session that all came from and the total make a request one.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use jiff::Timestamp;
use memchr::memmem;
use serde::Deserialize;

use crate::response::AnthropicUsage;
use crate::{Cost, Usage, UsageError, UsageKey, UsageRecord};

/// The longest line that is read; a longer one is passed over and counted.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Whose transcript it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranscriptKind {
    /// Claude Code's.
    Claude,
    /// Codex's.
    Codex,
}

impl TranscriptKind {
    /// The agent's label in the records.
    pub const fn agent(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
        }
    }
}

/// What a transcript held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranscriptCount {
    /// How many lines.
    pub lines: u64,
    /// How many of them told of usage.
    pub told: u64,
    /// How many of those could not be read, such as half a line at the end, or figures that are none.
    pub unreadable: u64,
}

/// What a line tells.
enum Told {
    /// Nothing of usage.
    Nothing,
    /// Usage; `None` if it cannot be read.
    Usage(Option<Box<UsageRecord>>),
}

/// A transcript that is read line by line.
#[derive(Debug)]
pub struct Transcript {
    kind: TranscriptKind,
    root: Option<String>,
    session: Option<String>,
    model: Option<String>,
    count: TranscriptCount,
}

impl Transcript {
    /// The beginning of a transcript.
    pub fn new(kind: TranscriptKind) -> Self {
        Self { kind, root: None, session: None, model: None, count: TranscriptCount::default() }
    }

    /// What a line tells of usage, if it does.
    pub fn line(&mut self, line: &[u8]) -> Option<UsageRecord> {
        self.count.lines += 1;
        let told = match self.kind {
            TranscriptKind::Claude => claude(line),
            TranscriptKind::Codex => self.codex(line),
        };
        let record = match told {
            Told::Nothing => return None,
            Told::Usage(record) => record.filter(|record| record.check().is_ok()),
        };
        self.count.told += 1;
        self.count.unreadable += u64::from(record.is_none());
        record.map(|record| *record)
    }

    /// What was read until now.
    pub fn count(&self) -> TranscriptCount {
        self.count
    }

    fn codex(&mut self, line: &[u8]) -> Told {
        let has = |needle: &str| memmem::find(line, needle.as_bytes()).is_some();
        if has("\"token_count\"") {
            return match serde_json::from_slice::<CodexLine<'_>>(line) {
                Ok(CodexLine { timestamp, payload: CodexPayload { info: Some(info), .. } }) => {
                    Told::Usage(self.codex_record(timestamp, &info).map(Box::new))
                }
                // Limits alone are told in lines of this kind too.
                Ok(_) => Told::Nothing,
                Err(_) => Told::Usage(None),
            };
        }
        if has("\"session_meta\"") || has("\"turn_context\"") {
            let Ok(CodexLine { payload, .. }) = serde_json::from_slice(line) else { return Told::Nothing };
            let session = payload.id.or(payload.session_id);
            if self.session.is_none() {
                self.session.clone_from(&session);
                self.root = payload.forked_from_id.or(session);
            }
            self.model = payload.model.or(self.model.take());
        }
        Told::Nothing
    }

    fn codex_record(&self, timestamp: &str, info: &CodexInfo) -> Option<UsageRecord> {
        let CodexUsage {
            input_tokens,
            cached_input_tokens,
            cache_write_input_tokens,
            output_tokens,
            reasoning_output_tokens,
            ..
        } = info.last_token_usage?;
        let (cached, written) = (cached_input_tokens.unwrap_or(0), cache_write_input_tokens.unwrap_or(0));
        let usage = Usage {
            // Its input is the whole prompt, read from a cache or not.
            input_tokens: Some(input_tokens.checked_sub(cached)?.checked_sub(written)?),
            output_tokens: Some(output_tokens),
            cache_read_tokens: cached_input_tokens,
            cache_write_tokens: cache_write_input_tokens,
            reasoning_tokens: reasoning_output_tokens,
            ..Usage::default()
        };
        let total = info.total_token_usage?;
        let root = self.root.as_deref()?;
        let message = format!("{root}:{}+{}", total.input_tokens, total.output_tokens);
        Some(UsageRecord {
            key: UsageKey { source: "codex".into(), message },
            at: timestamp.parse().ok()?,
            agent: TranscriptKind::Codex.agent().into(),
            model: self.model.clone(),
            preset: None,
            task: None,
            run: None,
            session: self.session.clone(),
            tier: None,
            requests: Some(1),
            usage: Some(usage),
            cost: Cost::default(),
        })
    }
}

/// Reads a transcript and hands out what it tells of usage, in its order.
///
/// # Errors
/// The file cannot be read.
pub fn read_transcript(
    path: &Path,
    kind: TranscriptKind,
    mut each: impl FnMut(UsageRecord),
) -> Result<TranscriptCount, UsageError> {
    let unreadable = |source| UsageError::Transcript { path: path.to_owned(), source };
    let mut lines = BufReader::with_capacity(256 * 1024, File::open(path).map_err(unreadable)?);
    let mut transcript = Transcript::new(kind);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
        if line.len() > LINE_BYTES_MAX {
            transcript.count.lines += 1;
            transcript.count.unreadable += 1;
        } else if let Some(record) = transcript.line(&line) {
            each(record);
        }
        line.clear();
    }
    Ok(transcript.count())
}

#[derive(Deserialize)]
struct ClaudeLine<'a> {
    #[serde(borrow, default)]
    timestamp: Option<&'a str>,
    #[serde(rename = "sessionId", default)]
    session: Option<String>,
    #[serde(rename = "costUSD", default)]
    cost_usd: Option<f64>,
    #[serde(borrow)]
    message: ClaudeMessage<'a>,
}

#[derive(Deserialize)]
struct ClaudeMessage<'a> {
    #[serde(borrow, default)]
    id: Option<&'a str>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Option<AnthropicUsage>,
}

fn claude(line: &[u8]) -> Told {
    if memmem::find(line, b"\"usage\":{").is_none() || memmem::find(line, b"\"type\":\"assistant\"").is_none()
    {
        return Told::Nothing;
    }
    let Ok(ClaudeLine { timestamp, session, cost_usd, message }) = serde_json::from_slice(line) else {
        return Told::Usage(None);
    };
    let Some(usage) = message.usage else { return Told::Nothing };
    // What the program made up itself, such as the text of an error, was no request.
    let Some(model) = message.model.filter(|model| model != "<synthetic>") else { return Told::Nothing };
    let (usage, tier) = usage.read();
    let record = || {
        Some(UsageRecord {
            key: UsageKey { source: "anthropic".into(), message: message.id?.into() },
            at: timestamp?.parse::<Timestamp>().ok()?,
            agent: TranscriptKind::Claude.agent().into(),
            model: Some(model),
            preset: None,
            task: None,
            run: None,
            session,
            tier,
            requests: Some(1),
            usage: Some(usage),
            cost: Cost::reported(cost_usd),
        })
    };
    Told::Usage(record().map(Box::new))
}

#[derive(Deserialize)]
struct CodexLine<'a> {
    #[serde(borrow)]
    timestamp: &'a str,
    payload: CodexPayload,
}

#[derive(Deserialize)]
struct CodexPayload {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    session_id: Option<String>,
    #[serde(default)]
    forked_from_id: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    info: Option<CodexInfo>,
}

#[derive(Deserialize)]
struct CodexInfo {
    #[serde(default)]
    total_token_usage: Option<CodexUsage>,
    #[serde(default)]
    last_token_usage: Option<CodexUsage>,
}

#[derive(Clone, Copy, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names are the vendor's")]
struct CodexUsage {
    input_tokens: u64,
    #[serde(default)]
    cached_input_tokens: Option<u64>,
    #[serde(default)]
    cache_write_input_tokens: Option<u64>,
    output_tokens: u64,
    #[serde(default)]
    reasoning_output_tokens: Option<u64>,
}
