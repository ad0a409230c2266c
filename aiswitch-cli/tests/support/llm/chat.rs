//! The `OpenAI` Chat Completions API, read from requests and written as answers.

use serde_json::{Value, json};

use super::ask::{Ask, Item, Reply, Tool, array_field, content_texts, text_field};
use super::usage::{CACHE_READ_TOKENS, OUTPUT_TOKENS, PROMPT_TOKENS, REASONING_TOKENS};

/// Reads the body of a request to `/v1/chat/completions`.
pub(crate) fn read(body: &Value) -> Ask {
    Ask {
        model: text_field(body, "model"),
        stream: body["stream"] == true,
        items: array_field(body, "messages").iter().flat_map(items).collect(),
        tools: array_field(body, "tools")
            .iter()
            .map(|tool| &tool["function"])
            .filter_map(|tool| {
                Some(Tool { name: text_field(tool, "name")?, schema: tool["parameters"].clone() })
            })
            .collect(),
    }
}

fn items(message: &Value) -> Vec<Item> {
    match message["role"].as_str() {
        Some("user") => content_texts(&message["content"]),
        Some("tool") => vec![Item::ToolResult],
        Some("assistant") if array_field(message, "tool_calls").is_empty() => vec![Item::Answer],
        _ => Vec::new(),
    }
}

/// The answer as one JSON document.
pub(crate) fn whole(reply: &Reply, model: &str, id: &str) -> Value {
    let message = match reply {
        Reply::Text(pieces) => json!({"role": "assistant", "content": pieces.concat()}),
        Reply::ToolCall { name, arguments } => {
            json!({"role": "assistant", "content": null, "tool_calls": [tool_call(name, arguments, id)]})
        }
    };
    json!({
        "id": format!("chatcmpl-{id}"),
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(reply)}],
        "usage": usage(),
    })
}

/// The answer as server-sent events.
pub(crate) fn stream(reply: &Reply, model: &str, id: &str) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": format!("chatcmpl-{id}"),
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
            "choices": choices,
            "usage": usage,
        });
        format!("data: {chunk}\n\n")
    };
    let delta =
        |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Value::Null);
    let mut frames = vec![delta(json!({"role": "assistant", "content": ""}))];
    match reply {
        Reply::Text(pieces) => frames.extend(pieces.iter().map(|piece| delta(json!({"content": piece})))),
        Reply::ToolCall { name, arguments } => {
            let mut call = tool_call(name, arguments, id);
            call["index"] = json!(0);
            frames.push(delta(json!({"tool_calls": [call]})));
        }
    }
    let finish = json!([{"index": 0, "delta": {}, "finish_reason": finish_reason(reply)}]);
    frames.extend([chunk(finish, Value::Null), chunk(json!([]), usage()), "data: [DONE]\n\n".to_owned()]);
    frames
}

/// An error in the words of both `OpenAI` APIs.
pub(crate) fn error(status: u16, message: &str) -> Value {
    let kind = match status {
        401 => "invalid_api_key",
        429 => "rate_limit_exceeded",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": message, "type": kind, "code": kind, "param": null}})
}

fn usage() -> Value {
    json!({
        "prompt_tokens": PROMPT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHE_READ_TOKENS},
        "completion_tokens": OUTPUT_TOKENS,
        "completion_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
        "total_tokens": PROMPT_TOKENS + OUTPUT_TOKENS,
    })
}

fn tool_call(name: &str, arguments: &Value, id: &str) -> Value {
    json!({
        "id": format!("call_{id}"),
        "type": "function",
        "function": {"name": name, "arguments": arguments.to_string()},
    })
}

fn finish_reason(reply: &Reply) -> &'static str {
    match reply {
        Reply::Text(_) => "stop",
        Reply::ToolCall { .. } => "tool_calls",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_its_tools_and_results() {
        let ask = read(&json!({
            "model": "m", "stream": true,
            "tools": [{"type": "function", "function": {"name": "bash", "parameters": {}}}],
            "messages": [
                {"role": "system", "content": "rules"},
                {"role": "user", "content": "one"},
                {"role": "assistant", "content": "said"},
                {"role": "user", "content": [{"type": "text", "text": "two"}]},
                {"role": "assistant", "content": "now", "tool_calls": [{}]},
                {"role": "tool", "content": "hi"},
            ],
        }));
        assert_eq!((ask.model.as_deref(), ask.stream, ask.tools.len()), (Some("m"), true, 1));
        let user = |text: &str| Item::User(text.to_owned());
        assert_eq!(ask.items, [user("one"), Item::Answer, user("two"), Item::ToolResult]);
    }

    #[test]
    fn a_stream_ends_with_its_usage_and_the_done_mark() {
        let frames = stream(&Reply::Text(vec!["A".to_owned(), "B".to_owned()]), "m", "1");
        let [.., finish, usage, done] = &frames[..] else { panic!("{frames:?}") };
        assert!(finish.contains("\"finish_reason\":\"stop\""), "{finish}");
        assert!(usage.contains("\"cached_tokens\":200"), "{usage}");
        assert_eq!(done, "data: [DONE]\n\n");
        assert_eq!(frames.len(), 6);
    }

    #[test]
    fn a_tool_call_is_whole_in_both_forms() {
        let call = Reply::ToolCall { name: "bash".to_owned(), arguments: json!({"command": "ls"}) };
        let choice = &whole(&call, "m", "1")["choices"][0];
        assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], r#"{"command":"ls"}"#);
        assert_eq!(choice["finish_reason"], "tool_calls");
        assert!(stream(&call, "m", "1")[1].contains("\"index\":0"));
    }
}
