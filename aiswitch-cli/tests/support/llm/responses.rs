//! The `OpenAI` Responses API, read from requests and written as answers.

use serde_json::{Value, json};

use super::ask::{Ask, Item, Reply, Tool, array_field, content_texts, text_field};
use super::usage::{CACHE_READ_TOKENS, OUTPUT_TOKENS, PROMPT_TOKENS, REASONING_TOKENS};

/// Reads the body of a request to `/v1/responses`.
pub(crate) fn read(body: &Value) -> Ask {
    let items = match &body["input"] {
        Value::Array(input) => input.iter().flat_map(items).collect(),
        input => content_texts(input),
    };
    Ask {
        model: text_field(body, "model"),
        stream: body["stream"] == true,
        items,
        tools: array_field(body, "tools")
            .iter()
            .filter(|tool| tool["type"] == "function")
            .filter_map(|tool| {
                Some(Tool { name: text_field(tool, "name")?, schema: tool["parameters"].clone() })
            })
            .collect(),
    }
}

fn items(item: &Value) -> Vec<Item> {
    let is_result = item["type"].as_str().is_some_and(|kind| kind.ends_with("_call_output"));
    match item["role"].as_str() {
        Some("user") => content_texts(&item["content"]),
        Some("assistant") => vec![Item::Answer],
        None if is_result => vec![Item::ToolResult],
        _ => Vec::new(),
    }
}

/// The answer as one JSON document.
pub(crate) fn whole(reply: &Reply, model: &str, id: &str) -> Value {
    let mut response = response(model, id, "completed");
    response["output"] = json!([output_item(reply, id)]);
    response["usage"] = json!({
        "input_tokens": PROMPT_TOKENS,
        "input_tokens_details": {"cached_tokens": CACHE_READ_TOKENS},
        "output_tokens": OUTPUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
        "total_tokens": PROMPT_TOKENS + OUTPUT_TOKENS,
    });
    response
}

/// The answer as server-sent events.
pub(crate) fn stream(reply: &Reply, model: &str, id: &str) -> Vec<String> {
    let item = output_item(reply, id);
    let item_id = &item["id"];
    let mut begun = item.clone();
    begun["status"] = json!("in_progress");
    let mut events =
        vec![json!({"type": "response.created", "response": response(model, id, "in_progress")})];
    if let Reply::Text(pieces) = reply {
        begun["content"] = json!([]);
        events.push(json!({"type": "response.output_item.added", "output_index": 0, "item": begun}));
        let place = json!({"item_id": item_id, "output_index": 0, "content_index": 0});
        let text = pieces.concat();
        let at = |kind: &str, name: &str, value: Value| {
            let mut event = place.clone();
            event["type"] = json!(kind);
            event[name] = value;
            event
        };
        events.push(at("response.content_part.added", "part", output_text("")));
        events.extend(pieces.iter().map(|piece| at("response.output_text.delta", "delta", json!(piece))));
        events.push(at("response.output_text.done", "text", json!(text)));
        events.push(at("response.content_part.done", "part", output_text(&text)));
    } else {
        events.push(json!({"type": "response.output_item.added", "output_index": 0, "item": begun}));
    }
    events.push(json!({"type": "response.output_item.done", "output_index": 0, "item": item}));
    events.push(json!({"type": "response.completed", "response": whole(reply, model, id)}));
    let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
        event["sequence_number"] = json!(number);
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
    });
    numbered.collect()
}

fn response(model: &str, id: &str, status: &str) -> Value {
    json!({
        "id": format!("resp_{id}"),
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": model,
        "output": [],
        "error": null,
        "incomplete_details": null,
        "usage": null,
    })
}

fn output_item(reply: &Reply, id: &str) -> Value {
    match reply {
        Reply::Text(pieces) => json!({
            "type": "message",
            "id": format!("msg_{id}"),
            "role": "assistant",
            "status": "completed",
            "content": [output_text(&pieces.concat())],
        }),
        Reply::ToolCall { name, arguments } => json!({
            "type": "function_call",
            "id": format!("fc_{id}"),
            "call_id": format!("call_{id}"),
            "name": name,
            "arguments": arguments.to_string(),
            "status": "completed",
        }),
    }
}

fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_its_tools_and_results() {
        let ask = read(&json!({
            "model": "m", "stream": true,
            "tools": [{"type": "function", "name": "exec_command", "parameters": {}}, {"type": "web_search"}],
            "input": [
                {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "rules"}]},
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "said"}]},
                {"role": "user", "content": "two"},
                {"type": "function_call", "name": "exec_command"},
                {"type": "function_call_output", "output": "hi"},
            ],
        }));
        assert_eq!((ask.model.as_deref(), ask.stream, ask.tools.len()), (Some("m"), true, 1));
        let user = |text: &str| Item::User(text.to_owned());
        assert_eq!(ask.items, [user("one"), Item::Answer, user("two"), Item::ToolResult]);
    }

    #[test]
    fn a_stream_ends_with_a_completed_response_and_its_usage() {
        let frames = stream(&Reply::Text(vec!["A".to_owned(), "B".to_owned()]), "m", "1");
        let last = frames.last().unwrap();
        assert!(last.starts_with("event: response.completed\ndata: {"), "{last}");
        assert!(last.contains("\"cached_tokens\":200"), "{last}");
        assert!(last.contains("\"text\":\"AB\""), "{last}");
        assert_eq!(frames.iter().filter(|frame| frame.contains("output_text.delta")).count(), 2);
    }

    #[test]
    fn a_tool_call_carries_its_arguments_as_text() {
        let call = Reply::ToolCall { name: "exec_command".to_owned(), arguments: json!({"cmd": "ls"}) };
        assert_eq!(whole(&call, "m", "1")["output"][0]["arguments"], r#"{"cmd":"ls"}"#);
        assert_eq!(stream(&call, "m", "1").len(), 4);
    }
}
