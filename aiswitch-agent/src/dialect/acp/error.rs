//! The errors that agents answer with over the Agent Client Protocol.

use aiswitch_rpc::ErrorObject;
use aiswitch_rpc::protocol::{ErrorKind, TaskError};
use serde_json::Value;

use crate::dialect::kind_of_status;

/// The protocol's code for "log in first".
const AUTH_REQUIRED: i64 = -32000;

/// What an error of an agent means.
///
/// Gemini CLI uses HTTP statuses as codes; the adapter for Claude Code names the kind in `data.errorKind`; Qwen Code
/// puts the status at the start of `data.details`; opencode has only the provider's text, which is searched for the
/// words that providers use.
pub(crate) fn error(refusal: &ErrorObject) -> TaskError {
    let data = refusal.data.as_ref().unwrap_or(&Value::Null);
    let details = data["details"].as_str();
    let message = match details {
        Some(details) => details.to_owned(),
        None => provider_message(&refusal.message).unwrap_or_else(|| refusal.message.clone()),
    };
    let kind = match (refusal.code, data["errorKind"].as_str()) {
        (AUTH_REQUIRED, _) | (_, Some("authentication" | "auth_required" | "billing")) => ErrorKind::Auth,
        (_, Some("rate_limit")) => ErrorKind::RateLimit,
        (code @ 400..=599, _) => u16::try_from(code).map_or(ErrorKind::Provider, kind_of_status),
        _ => kind_of_text(&message),
    };
    TaskError::new(kind, message)
}

/// The message within a provider's answer that is passed on as JSON text.
fn provider_message(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(value["error"]["message"].as_str()?.to_owned())
}

/// The kind of an error of which only a text is known.
fn kind_of_text(text: &str) -> ErrorKind {
    let status = text.split(' ').next().and_then(|word| word.parse::<u16>().ok());
    if let Some(status) = status.filter(|status| (400..600).contains(status)) {
        return kind_of_status(status);
    }
    let text = text.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["api key", "api-key", "unauthorized", "unauthenticated", "not logged in", "authentication"]) {
        ErrorKind::Auth
    } else if has(&["rate limit", "rate-limit", "too many requests", "quota"]) {
        ErrorKind::RateLimit
    } else if has(&[
        "econnrefused",
        "enotfound",
        "etimedout",
        "fetch failed",
        "unable to connect",
        "connection error",
    ]) {
        ErrorKind::Network
    } else {
        ErrorKind::Provider
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ErrorKind::{Auth, Provider, RateLimit};
    use super::*;

    #[test]
    fn each_agents_way_to_tell_an_error_is_understood() {
        let gemini = ErrorObject::new(401, r#"{"error":{"code":401,"message":"invalid key","status":"X"}}"#);
        let limited = ErrorObject::new(429, "rate limited");
        let qwen = ErrorObject::internal("").with_data(json!({"details": "401 invalid api key"}));
        let opencode = ErrorObject::new(-32603, "Internal error: Incorrect API key provided")
            .with_data(json!({"errorName": "APIError"}));
        let adapter =
            ErrorObject::new(-32603, "Internal error: wait").with_data(json!({"errorKind": "rate_limit"}));
        let login = ErrorObject::new(-32000, "Authentication required");
        let other = ErrorObject::new(-32603, "Internal error: boom");
        let told = [gemini, limited, qwen, opencode, adapter, login, other].map(|refusal| error(&refusal));
        let kinds = told.clone().map(|error| error.kind);
        assert_eq!(kinds, [Auth, RateLimit, Auth, Auth, RateLimit, Auth, Provider]);
        assert_eq!(told[0].message, "invalid key");
        assert_eq!(told[2].message, "401 invalid api key");
    }
}
