//! The Gemini `generateContent` API, read from requests and written as answers.

use serde_json::{Value, json};

use super::ask::{Ask, Item, Reply, Tool, array_field, content_texts, text_field};
use super::usage::{CACHE_READ_TOKENS, OUTPUT_TOKENS, PROMPT_TOKENS, REASONING_TOKENS};

/// Reads a request to `/v1beta/models/MODEL:METHOD`, where the path names model and method.
pub(crate) fn read(path: &str, body: &Value) -> Ask {
    let (model, method) = path.rsplit('/').next().and_then(|name| name.split_once(':')).unwrap_or((path, ""));
    let declarations =
        array_field(body, "tools").iter().flat_map(|tool| array_field(tool, "functionDeclarations"));
    Ask {
        model: Some(model.to_owned()),
        stream: method == "streamGenerateContent",
        items: array_field(body, "contents").iter().flat_map(items).collect(),
        tools: declarations
            .filter_map(|tool| {
                let schema = tool.get("parametersJsonSchema").unwrap_or(&tool["parameters"]);
                Some(Tool { name: text_field(tool, "name")?, schema: schema.clone() })
            })
            .collect(),
    }
}

fn items(content: &Value) -> Vec<Item> {
    let parts = array_field(content, "parts");
    let has_part = |kind: &str| parts.iter().any(|part| part.get(kind).is_some());
    match content["role"].as_str() {
        Some("model") if has_part("functionCall") => Vec::new(),
        Some("model") => vec![Item::Answer],
        _ => {
            let results = has_part("functionResponse").then_some(Item::ToolResult);
            results.into_iter().chain(content_texts(&content["parts"])).collect()
        }
    }
}

/// The answer as one JSON document.
pub(crate) fn whole(reply: &Reply, model: &str, id: &str) -> Value {
    match reply {
        Reply::Text(pieces) => document(&json!({"text": pieces.concat()}), Some("STOP"), model, id),
        Reply::ToolCall { name, arguments } => {
            document(&json!({"functionCall": {"name": name, "args": arguments}}), Some("STOP"), model, id)
        }
    }
}

/// The answer as server-sent events.
pub(crate) fn stream(reply: &Reply, model: &str, id: &str) -> Vec<String> {
    let documents = match reply {
        Reply::Text(pieces) => {
            let mut documents: Vec<Value> =
                pieces.iter().map(|piece| document(&json!({"text": piece}), None, model, id)).collect();
            documents.push(document(&json!({"text": ""}), Some("STOP"), model, id));
            documents
        }
        Reply::ToolCall { .. } => vec![whole(reply, model, id)],
    };
    documents.into_iter().map(|document| format!("data: {document}\r\n\r\n")).collect()
}

/// The answer to `:countTokens`.
pub(crate) fn token_count() -> Value {
    json!({"totalTokens": PROMPT_TOKENS})
}

/// An error in the words of this API.
pub(crate) fn error(status: u16, message: &str) -> Value {
    let name = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    };
    json!({"error": {"code": status, "message": message, "status": name}})
}

fn document(part: &Value, finish_reason: Option<&str>, model: &str, id: &str) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [part]}});
    if let Some(reason) = finish_reason {
        candidate["finishReason"] = json!(reason);
    }
    json!({
        "candidates": [candidate],
        "modelVersion": model,
        "responseId": id,
        "usageMetadata": {
            "promptTokenCount": PROMPT_TOKENS,
            "cachedContentTokenCount": CACHE_READ_TOKENS,
            "candidatesTokenCount": OUTPUT_TOKENS - REASONING_TOKENS,
            "thoughtsTokenCount": REASONING_TOKENS,
            "totalTokenCount": PROMPT_TOKENS + OUTPUT_TOKENS,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_its_tools_and_results() {
        let ask = read(
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            &json!({
                "tools": [{"functionDeclarations": [
                    {"name": "run_shell_command", "parametersJsonSchema": {"type": "object"}},
                    {"name": "read_file", "parameters": {"type": "OBJECT"}},
                ]}],
                "contents": [
                    {"role": "user", "parts": [{"text": "one"}]},
                    {"role": "model", "parts": [{"text": "said"}]},
                    {"role": "user", "parts": [{"text": "two"}]},
                    {"role": "model", "parts": [{"functionCall": {"name": "run_shell_command"}}]},
                    {"role": "user", "parts": [{"functionResponse": {"name": "run_shell_command"}}]},
                ],
            }),
        );
        assert_eq!((ask.model.as_deref(), ask.stream), (Some("gemini-2.5-flash"), true));
        assert_eq!(ask.tools[0].schema, json!({"type": "object"}));
        assert_eq!(ask.tools[1].schema, json!({"type": "OBJECT"}));
        let user = |text: &str| Item::User(text.to_owned());
        assert_eq!(ask.items, [user("one"), Item::Answer, user("two"), Item::ToolResult]);
    }

    #[test]
    fn only_the_last_event_has_a_finish_reason() {
        let frames = stream(&Reply::Text(vec!["A".to_owned(), "B".to_owned()]), "m", "1");
        let finished: Vec<bool> = frames.iter().map(|frame| frame.contains("finishReason")).collect();
        assert_eq!(finished, [false, false, true]);
        assert!(frames[0].contains("\"candidatesTokenCount\":40"), "{}", frames[0]);
        assert!(frames[0].ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_tool_call_is_a_part_of_the_content() {
        let call =
            Reply::ToolCall { name: "run_shell_command".to_owned(), arguments: json!({"command": "ls"}) };
        let part = &whole(&call, "m", "1")["candidates"][0]["content"]["parts"][0];
        assert_eq!(part["functionCall"]["args"], json!({"command": "ls"}));
    }
}
