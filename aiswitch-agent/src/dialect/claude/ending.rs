//! What a prompt came to: the kind of its error, its tokens and its cost.

use aiswitch_rpc::protocol::{ErrorKind, TaskError, TokenUsage};
use serde_json::Value;

use super::text;
use crate::dialect::kind_of_status;

/// What a request failed with that is tried again.
pub(super) fn failed_try(message: &Value) -> TaskError {
    let word = message["error"].as_str();
    let status = message["error_status"].as_u64();
    // A request without any answer has neither a status nor a word for it.
    let kind =
        if status.is_none() && word == Some("unknown") { ErrorKind::Network } else { kind_of(word, status) };
    let message = match status {
        Some(status) => format!("{} (HTTP {status})", word.unwrap_or("unknown")),
        None => "no answer from the provider".to_owned(),
    };
    TaskError::new(kind, message)
}

/// The kind of an API error, by the program's word for it or the HTTP status.
pub(super) fn kind_of(word: Option<&str>, status: Option<u64>) -> ErrorKind {
    match word {
        Some(
            "authentication_failed"
            | "oauth_org_not_allowed"
            | "account_on_hold"
            | "verification_required"
            | "cloud_credential_error",
        ) => ErrorKind::Auth,
        Some("rate_limit") => ErrorKind::RateLimit,
        Some("model_not_found") => ErrorKind::Config,
        _ => status.and_then(|status| u16::try_from(status).ok()).map_or(ErrorKind::Provider, kind_of_status),
    }
}

pub(super) fn errors(message: &Value) -> String {
    let errors: Vec<&str> =
        message["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if errors.is_empty() { text(&message["subtype"]) } else { errors.join("; ") }
}

/// Whether an answer was cut short, of which only the usage by model may tell.
fn is_cut_short(message: &Value) -> bool {
    message["terminal_reason"].as_str().is_some_and(|reason| reason.starts_with("aborted"))
}

/// The tokens of the last prompt: what `usage` tells leaves out side requests and interrupted answers.
pub(super) fn usage(message: &Value) -> Option<TokenUsage> {
    let models =
        message["model_usage_since_last_result"].as_object().into_iter().flat_map(|models| models.values());
    let by_model = models.map(|model| TokenUsage {
        input_tokens: model["inputTokens"].as_u64(),
        output_tokens: model["outputTokens"].as_u64(),
        cache_read_tokens: model["cacheReadInputTokens"].as_u64(),
        cache_write_tokens: model["cacheCreationInputTokens"].as_u64(),
        reasoning_tokens: model["thinkingTokens"].as_u64(),
    });
    by_model.reduce(TokenUsage::plus).or_else(|| {
        let usage = message["usage"].as_object().filter(|_| !is_cut_short(message))?;
        let number = |key: &str| usage.get(key).and_then(Value::as_u64);
        Some(TokenUsage {
            input_tokens: number("input_tokens"),
            output_tokens: number("output_tokens"),
            cache_read_tokens: number("cache_read_input_tokens"),
            cache_write_tokens: number("cache_creation_input_tokens"),
            reasoning_tokens: message["usage"]["output_tokens_details"]["thinking_tokens"].as_u64(),
        })
    })
}

/// The cost of the last prompt; `total_cost_usd` is that of the whole session, however often it was resumed.
pub(super) fn cost_usd(message: &Value, is_resumed: bool) -> Option<f64> {
    match message["model_usage_since_last_result"].as_object() {
        Some(models) if models.is_empty() && is_cut_short(message) => None,
        Some(models) => models.values().try_fold(0.0, |sum, model| Some(sum + model["costUSD"].as_f64()?)),
        None if is_resumed => None,
        None => message["total_cost_usd"].as_f64(),
    }
}
