//! The Anthropic Messages API, read from requests and written as answers.

use serde_json::{Value, json};

use super::ask::{Ask, Item, Reply, Tool, array_field, content_texts, text_field};
use super::usage::{CACHE_READ_TOKENS, CACHE_WRITE_TOKENS, OUTPUT_TOKENS, PROMPT_TOKENS, REASONING_TOKENS};

/// Reads the body of a request to `/v1/messages`.
pub(crate) fn read(body: &Value) -> Ask {
    Ask {
        model: text_field(body, "model"),
        stream: body["stream"] == true,
        items: array_field(body, "messages").iter().flat_map(items).collect(),
        tools: array_field(body, "tools")
            .iter()
            .filter_map(|tool| {
                Some(Tool { name: text_field(tool, "name")?, schema: tool["input_schema"].clone() })
            })
            .collect(),
    }
}

fn items(message: &Value) -> Vec<Item> {
    let blocks = array_field(message, "content");
    let has_block = |kind: &str| blocks.iter().any(|block| block["type"] == kind);
    match message["role"].as_str() {
        Some("user") => {
            let results = has_block("tool_result").then_some(Item::ToolResult);
            results.into_iter().chain(content_texts(&message["content"])).collect()
        }
        Some("assistant") if !has_block("tool_use") => vec![Item::Answer],
        _ => Vec::new(),
    }
}

/// The answer as one JSON document.
pub(crate) fn whole(reply: &Reply, model: &str, id: &str) -> Value {
    let block = match reply {
        Reply::Text(pieces) => json!({"type": "text", "text": pieces.concat()}),
        Reply::ToolCall { name, arguments } => {
            json!({"type": "tool_use", "id": tool_id(id), "name": name, "input": arguments})
        }
    };
    let mut message = message(model, id);
    message["content"] = json!([block]);
    message["stop_reason"] = json!(stop_reason(reply));
    message["usage"]["output_tokens"] = json!(OUTPUT_TOKENS);
    message["usage"]["output_tokens_details"] = json!({"thinking_tokens": REASONING_TOKENS});
    message
}

/// The answer as server-sent events.
pub(crate) fn stream(reply: &Reply, model: &str, id: &str) -> Vec<String> {
    let (block, deltas) = match reply {
        Reply::Text(pieces) => (
            json!({"type": "text", "text": ""}),
            pieces.iter().map(|piece| json!({"type": "text_delta", "text": piece})).collect::<Vec<_>>(),
        ),
        Reply::ToolCall { name, arguments } => (
            json!({"type": "tool_use", "id": tool_id(id), "name": name, "input": {}}),
            vec![json!({"type": "input_json_delta", "partial_json": arguments.to_string()})],
        ),
    };
    let mut events = vec![
        json!({"type": "message_start", "message": message(model, id)}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
    ];
    events.extend(
        deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": 0, "delta": delta})),
    );
    events.extend([
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason(reply), "stop_sequence": null},
            "usage": {
                "output_tokens": OUTPUT_TOKENS,
                "output_tokens_details": {"thinking_tokens": REASONING_TOKENS},
            },
        }),
        json!({"type": "message_stop"}),
    ]);
    events
        .into_iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
        .collect()
}

/// The answer to `/v1/messages/count_tokens`.
pub(crate) fn token_count() -> Value {
    json!({"input_tokens": PROMPT_TOKENS})
}

/// An error in the words of this API.
pub(crate) fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

fn message(model: &str, id: &str) -> Value {
    json!({
        "id": format!("msg_{id}"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {
            "input_tokens": PROMPT_TOKENS - CACHE_READ_TOKENS - CACHE_WRITE_TOKENS,
            "cache_creation_input_tokens": CACHE_WRITE_TOKENS,
            "cache_read_input_tokens": CACHE_READ_TOKENS,
            "cache_creation": {
                "ephemeral_5m_input_tokens": CACHE_WRITE_TOKENS,
                "ephemeral_1h_input_tokens": 0,
            },
            "output_tokens": 1,
            "service_tier": "standard",
        },
    })
}

fn tool_id(id: &str) -> String {
    format!("toolu_{id}")
}

fn stop_reason(reply: &Reply) -> &'static str {
    match reply {
        Reply::Text(_) => "end_turn",
        Reply::ToolCall { .. } => "tool_use",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_its_tools_and_results() {
        let ask = read(&json!({
            "model": "m", "stream": true,
            "tools": [{"name": "Bash", "input_schema": {"type": "object"}}, {"type": "web_search"}],
            "messages": [
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": [{"type": "text", "text": "said"}]},
                {"role": "user", "content": [{"type": "text", "text": "two"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "now"}, {"type": "tool_use"}]},
                {"role": "user", "content": [{"type": "tool_result", "content": "hi"}]},
            ],
        }));
        assert_eq!((ask.model.as_deref(), ask.stream, ask.tools.len()), (Some("m"), true, 1));
        let user = |text: &str| Item::User(text.to_owned());
        assert_eq!(ask.items, [user("one"), Item::Answer, user("two"), Item::ToolResult]);
    }

    #[test]
    fn a_stream_ends_with_its_usage_and_a_stop() {
        let frames = stream(&Reply::Text(vec!["A".to_owned(), "B".to_owned()]), "m", "1");
        assert_eq!(frames.len(), 7);
        assert!(frames[0].starts_with("event: message_start\ndata: {"), "{}", frames[0]);
        assert!(frames[0].contains("\"input_tokens\":700"), "{}", frames[0]);
        assert!(frames[2].contains("\"text\":\"A\""), "{}", frames[2]);
        assert!(frames[5].contains("\"output_tokens\":50"), "{}", frames[5]);
        assert_eq!(frames[6], "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    #[test]
    fn a_tool_call_is_whole_in_both_forms() {
        let call = Reply::ToolCall { name: "Bash".to_owned(), arguments: json!({"command": "ls"}) };
        let document = whole(&call, "m", "1");
        assert_eq!(document["content"][0]["input"], json!({"command": "ls"}));
        assert_eq!(document["stop_reason"], "tool_use");
        assert!(stream(&call, "m", "1")[2].contains(r#""partial_json":"{\"command\":\"ls\"}""#));
    }
}
