//! What providers say about usage in their answers, in one form.
//!
//! What the fields mean differs: Anthropic's input leaves out the cache, that of the others includes it; Gemini counts
//! thinking beside its answer, the others within. Media other than text are counted as text.
//!
//! * Anthropic: <https://platform.claude.com/docs/en/api/messages>, `usage`
//! * `OpenAI`: <https://platform.openai.com/docs/api-reference/responses/object> and `…/chat/object`, `usage`
//! * Gemini: <https://ai.google.dev/api/generate-content>, `usageMetadata`

use serde::Deserialize;

use crate::{Usage, UsageError};

/// Whose answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Anthropic's Messages API.
    Anthropic,
    /// `OpenAI`'s Chat Completions and Responses APIs, and what speaks like them.
    OpenAi,
    /// Google's Gemini API.
    Gemini,
}

/// What an answer says about usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseUsage {
    /// What the provider calls the answer.
    pub message: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// How it was served, where that is another than the ordinary way: `flex`, `priority`, `batch`.
    pub tier: Option<String>,
    /// What it used.
    pub usage: Usage,
}

impl ResponseUsage {
    /// Reads what an answer, as the provider sent it, says about usage.
    ///
    /// # Errors
    /// It is no answer of that provider, says nothing of usage, or its figures contradict each other.
    pub fn read(provider: Provider, json: &[u8]) -> Result<Self, UsageError> {
        let wrong = |source| UsageError::Response { source };
        let read = match provider {
            Provider::Anthropic => {
                Some(serde_json::from_slice::<AnthropicResponse>(json).map_err(wrong)?.read())
            }
            Provider::OpenAi => serde_json::from_slice::<OpenAiResponse>(json).map_err(wrong)?.read(),
            Provider::Gemini => serde_json::from_slice::<GeminiResponse>(json).map_err(wrong)?.read(),
        };
        read.ok_or(UsageError::Contradiction)
    }
}

/// How an answer was served, where that is another than the ordinary way.
pub(crate) fn special(tier: Option<String>) -> Option<String> {
    tier.filter(|tier| !matches!(tier.as_str(), "standard" | "default" | "auto"))
}

#[derive(Deserialize)]
struct AnthropicResponse {
    id: Option<String>,
    model: Option<String>,
    usage: AnthropicUsage,
}

impl AnthropicResponse {
    fn read(self) -> ResponseUsage {
        let Self { id, model, usage } = self;
        let (usage, tier) = usage.read();
        ResponseUsage { message: id, model, tier, usage }
    }
}

/// Anthropic's `usage`, which Claude Code's transcripts have too.
#[derive(Deserialize)]
pub(crate) struct AnthropicUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<AnthropicCacheCreation>,
    output_tokens_details: Option<AnthropicOutputDetails>,
    server_tool_use: Option<AnthropicServerTools>,
    service_tier: Option<String>,
}

#[derive(Deserialize)]
struct AnthropicCacheCreation {
    ephemeral_1h_input_tokens: Option<u64>,
    ephemeral_5m_input_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct AnthropicOutputDetails {
    thinking_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct AnthropicServerTools {
    web_search_requests: Option<u64>,
}

impl AnthropicUsage {
    /// In the one form, beside how it was served.
    pub(crate) fn read(self) -> (Usage, Option<String>) {
        let hour = self.cache_creation.as_ref().and_then(|creation| creation.ephemeral_1h_input_tokens);
        let minutes = self.cache_creation.as_ref().and_then(|creation| creation.ephemeral_5m_input_tokens);
        let parts = match (hour, minutes) {
            (None, None) => None,
            (hour, minutes) => Some(hour.unwrap_or(0).saturating_add(minutes.unwrap_or(0))),
        };
        let usage = Usage {
            input_tokens: Some(self.input_tokens),
            output_tokens: Some(self.output_tokens),
            cache_read_tokens: self.cache_read_input_tokens,
            cache_write_tokens: self.cache_creation_input_tokens.or(parts),
            cache_write_1h_tokens: hour,
            reasoning_tokens: self.output_tokens_details.and_then(|details| details.thinking_tokens),
            web_searches: self.server_tool_use.and_then(|tools| tools.web_search_requests),
        };
        (usage, special(self.service_tier))
    }
}

#[derive(Deserialize)]
struct OpenAiResponse {
    id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    usage: OpenAiUsage,
}

#[derive(Deserialize)]
struct OpenAiUsage {
    #[serde(alias = "prompt_tokens")]
    input_tokens: u64,
    #[serde(alias = "completion_tokens")]
    output_tokens: u64,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<OpenAiInputDetails>,
    #[serde(alias = "completion_tokens_details")]
    output_tokens_details: Option<OpenAiOutputDetails>,
}

#[derive(Default, Deserialize)]
struct OpenAiInputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct OpenAiOutputDetails {
    reasoning_tokens: Option<u64>,
}

impl OpenAiResponse {
    fn read(self) -> Option<ResponseUsage> {
        let Self { id, model, service_tier, usage } = self;
        let OpenAiInputDetails { cached_tokens, cache_write_tokens } =
            usage.input_tokens_details.unwrap_or_default();
        let cached = cached_tokens.unwrap_or(0).checked_add(cache_write_tokens.unwrap_or(0))?;
        let usage = Usage {
            input_tokens: Some(usage.input_tokens.checked_sub(cached)?),
            output_tokens: Some(usage.output_tokens),
            cache_read_tokens: cached_tokens,
            cache_write_tokens,
            reasoning_tokens: usage.output_tokens_details.and_then(|details| details.reasoning_tokens),
            ..Usage::default()
        };
        Some(ResponseUsage { message: id, model, tier: special(service_tier), usage })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiResponse {
    response_id: Option<String>,
    model_version: Option<String>,
    usage_metadata: GeminiUsage,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names are the vendor's")]
struct GeminiUsage {
    prompt_token_count: u64,
    candidates_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
}

impl GeminiResponse {
    fn read(self) -> Option<ResponseUsage> {
        let Self { response_id, model_version, usage_metadata: usage } = self;
        let cached = usage.cached_content_token_count;
        let prompt = usage.prompt_token_count.checked_add(usage.tool_use_prompt_token_count.unwrap_or(0))?;
        let output =
            usage.candidates_token_count.unwrap_or(0).checked_add(usage.thoughts_token_count.unwrap_or(0))?;
        let usage = Usage {
            input_tokens: Some(prompt.checked_sub(cached.unwrap_or(0))?),
            output_tokens: Some(output),
            cache_read_tokens: cached,
            reasoning_tokens: usage.thoughts_token_count,
            ..Usage::default()
        };
        Some(ResponseUsage { message: response_id, model: model_version, tier: None, usage })
    }
}
