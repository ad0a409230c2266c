//! What Qwen Code says in other words than Claude Code.

use aiswitch_rpc::protocol::{ErrorKind, TaskError, TokenUsage};
use serde_json::Value;

use super::claude::Failure;
use super::kind_of_status;

/// The slash command that has a session say what it has used, without a request to the model.
pub(crate) const TOTAL_COMMAND: &str = "stats";

/// What a session has used in all: side requests count, and it goes on when the session is resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "each name carries its unit")]
pub(crate) struct Total {
    /// With the cached ones.
    prompt_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
}

impl Total {
    /// What a result says; `None` when it does not tell all of it.
    pub(crate) fn of(result: &Value) -> Option<Self> {
        let usage = &result["usage"];
        Some(Self {
            prompt_tokens: usage["input_tokens"].as_u64()?,
            cached_tokens: usage["cache_read_input_tokens"].as_u64()?,
            output_tokens: usage["output_tokens"].as_u64()?,
        })
    }

    /// What was used since an earlier total; `None` when the session counts anew, and when nothing was
    /// counted, since requests that fail or are cut short never are.
    pub(crate) fn since(self, before: Self) -> Option<TokenUsage> {
        if self == before {
            return None;
        }
        let prompt_tokens = self.prompt_tokens.checked_sub(before.prompt_tokens)?;
        let cached_tokens = self.cached_tokens.checked_sub(before.cached_tokens)?;
        Some(TokenUsage {
            input_tokens: Some(prompt_tokens.checked_sub(cached_tokens)?),
            output_tokens: Some(self.output_tokens.checked_sub(before.output_tokens)?),
            cache_read_tokens: Some(cached_tokens),
            cache_write_tokens: None,
            reasoning_tokens: None,
        })
    }
}

/// Whether the answer to `supported_commands` names the command that tells the total.
pub(crate) fn can_tell_total(answer: &Value) -> bool {
    answer["commands"].as_array().is_some_and(|commands| commands.iter().any(|name| name == TOTAL_COMMAND))
}

/// What stands before the text of a failed request, also where it comes as a message of the model.
const API_ERROR: &str = "[API Error: ";

/// Whether a piece of a message is the text of a failed request.
pub(crate) fn is_error(piece: &str) -> bool {
    piece.starts_with(API_ERROR)
}

/// What went wrong, as far as the text of a result says.
pub(crate) fn failure(result: &Value) -> Option<Failure> {
    if result["is_error"] != true {
        return None;
    }
    let text = result["error"]["message"].as_str().or_else(|| result["subtype"].as_str()).unwrap_or_default();
    let text = text.strip_prefix(API_ERROR).and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    Some(Failure::from(TaskError::new(kind_of(text), text.to_owned())))
}

/// What failed before a retry. A wait is announced only for rate limits.
pub(crate) fn retry(data: &Value) -> TaskError {
    let (kind, message) =
        match (data["attempt"].as_u64(), data["maxRetries"].as_u64(), data["delayMs"].as_u64()) {
            (Some(tries), Some(tries_max), Some(delay_ms)) => {
                (ErrorKind::RateLimit, format!("rate limit; retry {tries} of {tries_max} in {delay_ms} ms"))
            }
            _ => (ErrorKind::Provider, "the provider's answer broke off; retry".to_owned()),
        };
    TaskError::new(kind, message)
}

fn kind_of(text: &str) -> ErrorKind {
    let status = text.split(' ').next().and_then(|word| word.parse().ok());
    match status {
        Some(status @ 400..=599) => kind_of_status(status),
        _ if text.starts_with("Connection error") => ErrorKind::Network,
        _ if text.starts_with("No auth type") || text.starts_with("Missing API key") => ErrorKind::Auth,
        _ => ErrorKind::Provider,
    }
}
