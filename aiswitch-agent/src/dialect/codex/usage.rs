//! What a thread and its account have used.

use aiswitch_rpc::protocol::TokenUsage;
use serde::Deserialize;

use crate::dialect::rfc3339;

/// The tokens of a thread or of one request, as Codex counts them.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Tokens {
    #[serde(rename = "inputTokens")]
    input: u64,
    #[serde(rename = "cachedInputTokens")]
    cached: u64,
    #[serde(rename = "cacheWriteInputTokens", default)]
    cache_write: u64,
    #[serde(rename = "outputTokens")]
    output: u64,
    #[serde(rename = "reasoningOutputTokens")]
    reasoning: u64,
}

impl Tokens {
    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_sub(other.input),
            cached: self.cached.saturating_sub(other.cached),
            cache_write: self.cache_write.saturating_sub(other.cache_write),
            output: self.output.saturating_sub(other.output),
            reasoning: self.reasoning.saturating_sub(other.reasoning),
        }
    }

    /// Codex counts the cached parts as input, too.
    pub(super) fn usage(self) -> TokenUsage {
        let cached = self.cached.saturating_add(self.cache_write);
        TokenUsage {
            input_tokens: Some(self.input.saturating_sub(cached)),
            output_tokens: Some(self.output),
            cache_read_tokens: Some(self.cached),
            cache_write_tokens: Some(self.cache_write),
            reasoning_tokens: Some(self.reasoning),
        }
    }
}

/// When the two windows of an account's limits end, and how full they are.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Limits {
    primary: Option<Window>,
    secondary: Option<Window>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    used_percent: i64,
    resets_at: Option<u64>,
}

impl Limits {
    /// When the last of the used-up windows ends.
    pub(super) fn reset_at(&self) -> Option<String> {
        let full = [&self.primary, &self.secondary]
            .into_iter()
            .flatten()
            .filter(|window| window.used_percent >= 100);
        full.filter_map(|window| window.resets_at).max().and_then(rfc3339)
    }
}
