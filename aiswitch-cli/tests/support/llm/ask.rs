//! An ask is what one request to a provider wants, in words that fit all four APIs.

use serde_json::{Map, Value, json};

/// What a request asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ask {
    pub(crate) model: Option<String>,
    /// Whether the answer is to come as server-sent events.
    pub(crate) stream: bool,
    pub(crate) items: Vec<Item>,
    pub(crate) tools: Vec<Tool>,
}

/// One part of the conversation so far; calls of tools are left out, their results are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    User(String),
    ToolResult,
    /// Something the model said without calling a tool, which ends a turn.
    Answer,
}

/// A tool that the agent offers to the model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tool {
    pub(crate) name: String,
    /// The JSON Schema of its arguments.
    pub(crate) schema: Value,
}

/// What the model says: text in pieces, or one call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Text(Vec<String>),
    ToolCall { name: String, arguments: Value },
}

/// The names under which the agent CLIs offer a shell.
const SHELL_NAMES: [&str; 5] = ["Bash", "bash", "run_shell_command", "exec_command", "shell_command"];

impl Ask {
    /// The user's words of the current turn, which begins after the answer to the turn before it.
    pub(crate) fn prompts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.turn().iter().filter_map(|item| match item {
            Item::User(text) => Some(text.as_str()),
            Item::ToolResult | Item::Answer => None,
        })
    }

    /// How many turns of the conversation are answered.
    pub(crate) fn answers(&self) -> usize {
        self.items.iter().filter(|item| **item == Item::Answer).count()
    }

    /// Whether the agent has run a tool in the current turn.
    pub(crate) fn has_tool_result(&self) -> bool {
        self.turn().contains(&Item::ToolResult)
    }

    /// The call that runs a command with the shell tool of the agent, when it offers one.
    pub(crate) fn shell_call(&self, command: &str) -> Option<Reply> {
        let tool = self.tools.iter().find(|tool| SHELL_NAMES.contains(&tool.name.as_str()))?;
        Some(Reply::ToolCall { name: tool.name.clone(), arguments: shell_arguments(&tool.schema, command) })
    }

    fn turn(&self) -> &[Item] {
        // An agent whose answer was cut short sends it back without a new prompt: its turn goes on.
        let end = self.items.iter().rposition(|item| *item != Item::Answer).map_or(0, |last| last + 1);
        let items = &self.items[..end];
        let start = items.iter().rposition(|item| *item == Item::Answer).map_or(0, |last| last + 1);
        &items[start..]
    }
}

/// Fills the arguments of a shell tool: the command, and something for whatever else is required.
fn shell_arguments(schema: &Value, command: &str) -> Value {
    let properties = &schema["properties"];
    let command_name = if properties["cmd"].is_null() { "command" } else { "cmd" };
    let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
    let mut arguments: Map<String, Value> = required
        .iter()
        .filter_map(Value::as_str)
        .map(|name| (name.to_owned(), any_value(&properties[name])))
        .collect();
    arguments.insert(command_name.to_owned(), json!(command));
    Value::Object(arguments)
}

fn any_value(schema: &Value) -> Value {
    // Gemini writes the names of types in capitals.
    match schema["type"].as_str().map(str::to_ascii_lowercase).as_deref() {
        Some("boolean") => json!(false),
        Some("integer" | "number") => json!(1),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("mock"),
    }
}

/// A field that may hold text.
pub(crate) fn text_field(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}

/// The elements of a field that may hold an array.
pub(crate) fn array_field<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[][..], Vec::as_slice)
}

/// The texts of a message content that is either one string or a list of parts with a `text` each.
pub(crate) fn content_texts(content: &Value) -> Vec<Item> {
    match content {
        Value::String(text) => vec![Item::User(text.clone())],
        Value::Array(parts) => {
            parts.iter().filter_map(|part| text_field(part, "text")).map(Item::User).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Item {
        Item::User(text.to_owned())
    }

    fn ask(items: Vec<Item>, tools: Vec<Tool>) -> Ask {
        Ask { model: None, stream: true, items, tools }
    }

    #[test]
    fn a_turn_begins_after_the_last_answer() {
        let ask = ask(vec![user("one"), Item::ToolResult, Item::Answer, user("two"), user("three")], vec![]);
        assert_eq!(ask.prompts().collect::<Vec<_>>(), ["two", "three"]);
        assert!(!ask.has_tool_result());
    }

    #[test]
    fn a_turn_goes_on_after_an_answer_that_was_cut_short() {
        let ask = ask(vec![user("one"), Item::Answer, user("two"), Item::Answer, Item::Answer], vec![]);
        assert_eq!(ask.prompts().collect::<Vec<_>>(), ["two"]);
    }

    #[test]
    fn the_shell_is_called_with_all_that_its_schema_requires() {
        let schema = json!({
            "properties": {"cmd": {"type": "string"}, "why": {"type": "STRING"}, "wait": {"type": "boolean"}},
            "required": ["cmd", "why", "wait"],
        });
        let ask = ask(vec![], vec![Tool { name: "exec_command".to_owned(), schema }]);
        let arguments = json!({"cmd": "ls", "why": "mock", "wait": false});
        assert_eq!(
            ask.shell_call("ls"),
            Some(Reply::ToolCall { name: "exec_command".to_owned(), arguments })
        );
    }

    #[test]
    fn an_agent_without_a_shell_gets_no_call() {
        let read = Tool { name: "Read".to_owned(), schema: json!({}) };
        assert_eq!(ask(vec![], vec![read]).shell_call("ls"), None);
    }
}
