//! The stream-json of Claude Code, which Qwen Code speaks too: JSON lines in both directions.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use aiswitch_rpc::protocol::{Denial, ErrorKind, TaskError, TaskResult, TaskStatus, TokenUsage};
use serde_json::{Value, json};

use super::messages::Messages;
use super::{qwen, rfc3339};
use crate::event::{AgentEvent, Decision, ToolPhase, start_of};
use crate::permission::Ask;

mod ending;

use ending::{cost_usd, errors, failed_try, kind_of, usage};

/// How much is told of what a tool does, in characters.
const DETAIL_CHARS_MAX: usize = 200;

/// How often a request may be refused for its credentials. The first time may be a token that has run out,
/// which the program renews by itself; after the second one, more tries would only make the user wait.
const AUTH_TRIES_MAX: u64 = 2;

/// Which program speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    Claude,
    Qwen,
}

/// What a line says.
#[derive(Debug, PartialEq)]
pub(crate) enum Fact {
    /// To be told as it is.
    Event(AgentEvent),
    /// It said which version it is.
    Version(String),
    /// It answered the control request with this id.
    Answered { id: String, answer: Result<Value, String> },
    /// It asks whether it may use a tool.
    Question(Question),
    /// It asks for something that was never offered to it.
    Unsupported { id: String },
    /// It tries on, but nothing can come of it.
    Hopeless(TaskError),
    /// It is done with a prompt.
    Ended(Ending),
}

/// A tool that it wants to use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) tool: String,
    tool_use_id: String,
    input: Value,
    /// A path that the tool would write to, as far as the program can tell.
    written_path: Option<PathBuf>,
}

/// How it ended a prompt.
#[derive(Debug, PartialEq)]
pub(crate) struct Ending {
    /// The answer, or what went wrong.
    pub(crate) outcome: Result<String, Failure>,
    /// The tokens of this prompt alone.
    pub(crate) usage: Option<TokenUsage>,
    /// The cost of this prompt alone.
    pub(crate) cost_usd: Option<f64>,
}

/// What went wrong.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) status: TaskStatus,
    pub(crate) error: TaskError,
}

impl From<TaskError> for Failure {
    fn from(error: TaskError) -> Self {
        let status =
            if error.kind == ErrorKind::RateLimit { TaskStatus::RateLimited } else { TaskStatus::Failed };
        Self { status, error }
    }
}

/// What was said up to now about one task.
#[derive(Debug)]
pub(crate) struct Transcript {
    vendor: Vendor,
    is_resumed: bool,
    /// What the session had used before this task; `None` when that is not known.
    used_before: Option<qwen::Total>,
    /// What the session has used up to its last result.
    used: Option<qwen::Total>,
    session_id: Option<String>,
    model: Option<String>,
    messages: Messages,
    /// What came of the current message in pieces and not yet as a whole.
    unconfirmed: String,
    /// The names of the tools under way, by the id of their use.
    tools: HashMap<String, String>,
    denials: Vec<(String, Denial)>,
    /// What the last failed request failed with, until one succeeds.
    last_error: Option<TaskError>,
    /// The word for the API error that the program gave up on.
    error_word: Option<String>,
    reset_at: Option<String>,
}

impl Transcript {
    pub(crate) fn new(vendor: Vendor, is_resumed: bool) -> Self {
        Self {
            vendor,
            is_resumed,
            used_before: (!is_resumed).then(qwen::Total::default),
            used: None,
            session_id: None,
            model: None,
            messages: Messages::default(),
            unconfirmed: String::new(),
            tools: HashMap::new(),
            denials: Vec::new(),
            last_error: None,
            error_word: None,
            reset_at: None,
        }
    }

    /// Takes a line in, and says what is in it.
    pub(crate) fn hear(&mut self, line: &str) -> Vec<Fact> {
        let Ok(message) = serde_json::from_str::<Value>(line) else { return vec![unknown(line)] };
        let is_main = message["parent_tool_use_id"].is_null();
        match message["type"].as_str() {
            Some("system") => self.system(&message),
            Some("stream_event") if is_main => self.piece(&message["event"]),
            Some("assistant") => self.assistant(&message, is_main),
            Some("user") => self.tool_results(&message),
            Some("control_request") => request(&message),
            Some("control_response") => answered(&message["response"]),
            Some("rate_limit_event") => {
                self.rate_limit(&message["rate_limit_info"]);
                Vec::new()
            }
            Some("result") => self.ended(&message),
            Some(
                "stream_event"
                | "control_cancel_request"
                | "keep_alive"
                | "tool_progress"
                | "tool_use_summary"
                | "auth_status"
                | "prompt_suggestion"
                | "command_lifecycle",
            ) => Vec::new(),
            _ => vec![unknown(line)],
        }
    }

    /// Notes that a question was answered with no.
    pub(crate) fn deny(&mut self, question: &Question, reason: String) {
        let denial = Denial { tool: question.tool.clone(), reason: Some(reason) };
        self.denials.push((question.tool_use_id.clone(), denial));
    }

    /// Begins the task here: what the session has used and said up to now is not part of it.
    pub(crate) fn start_here(&mut self) {
        self.used_before = self.used;
        self.messages = Messages::default();
    }

    /// What is known without an ending.
    pub(crate) fn result(self, status: TaskStatus) -> TaskResult {
        TaskResult {
            answer: self.messages.answer(),
            session_id: self.session_id,
            model: self.model,
            error: self.last_error,
            denials: self.denials.into_iter().map(|(_, denial)| denial).collect(),
            ..TaskResult::new(status)
        }
    }

    fn system(&mut self, message: &Value) -> Vec<Fact> {
        match message["subtype"].as_str() {
            Some("init") => self.init(message),
            Some("api_retry") => {
                let mut error = failed_try(message);
                self.last_error = Some(error.clone());
                if error.kind == ErrorKind::Auth && message["attempt"].as_u64() >= Some(AUTH_TRIES_MAX) {
                    return vec![Fact::Hopeless(error)];
                }
                let number = |key: &str| message[key].as_u64().unwrap_or_default();
                write!(error.message, "; retry {} of {}", number("attempt"), number("max_retries"))
                    .expect("a string takes all that is written to it");
                vec![Fact::Event(AgentEvent::Retry { error })]
            }
            Some("retry") => {
                let error = qwen::retry(&message["data"]);
                self.last_error = Some(error.clone());
                vec![Fact::Event(AgentEvent::Retry { error })]
            }
            Some("permission_denied") => {
                let denial =
                    Denial { tool: text(&message["tool_name"]), reason: optional(&message["message"]) };
                self.denials.push((text(&message["tool_use_id"]), denial));
                Vec::new()
            }
            // The other ones tell how the program is doing, and grow in number with each of its versions.
            _ => Vec::new(),
        }
    }

    fn init(&mut self, message: &Value) -> Vec<Fact> {
        let session_id = optional(&message["session_id"]);
        let model = optional(&message["model"]);
        let mut facts: Vec<Fact> = ["claude_code_version", "qwen_code_version"]
            .into_iter()
            .filter_map(|key| optional(&message[key]).map(Fact::Version))
            .collect();
        if session_id != self.session_id || model != self.model {
            self.session_id.clone_from(&session_id);
            self.model.clone_from(&model);
            facts.push(Fact::Event(AgentEvent::Session { session_id, model }));
        }
        facts
    }

    /// A piece of a message that is being written.
    fn piece(&mut self, event: &Value) -> Vec<Fact> {
        match (event["type"].as_str(), event["delta"]["type"].as_str()) {
            (Some("message_start"), _) => {
                self.messages.begin();
                self.unconfirmed.clear();
                Vec::new()
            }
            (Some("content_block_delta"), Some("text_delta")) => {
                let text = text(&event["delta"]["text"]);
                self.unconfirmed.push_str(&text);
                self.tell(&text).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// A whole message, or a whole block of one: its text was told in pieces before, or not at all.
    fn assistant(&mut self, message: &Value, is_main: bool) -> Vec<Fact> {
        if message["is_api_error_message"] == true {
            self.error_word = optional(&message["error"]);
            return Vec::new();
        }
        self.last_error = None;
        let mut facts = Vec::new();
        for block in message["message"]["content"].as_array().into_iter().flatten() {
            match block["type"].as_str() {
                Some("text") if is_main => {
                    let whole = text(&block["text"]);
                    if let Some(rest) = self.unconfirmed.strip_prefix(whole.as_str()) {
                        self.unconfirmed = rest.to_owned();
                    } else {
                        let told = std::mem::take(&mut self.unconfirmed);
                        if told.is_empty() || !whole.starts_with(&told) {
                            self.messages.begin();
                        }
                        facts.extend(self.tell(whole.strip_prefix(told.as_str()).unwrap_or(&whole)));
                    }
                }
                Some("tool_use") => facts.extend(self.tool_use(block)),
                _ => {}
            }
        }
        facts
    }

    fn tell(&mut self, piece: &str) -> Option<Fact> {
        if self.vendor == Vendor::Qwen && qwen::is_error(piece) {
            return None;
        }
        self.messages.push(piece).map(|text| Fact::Event(AgentEvent::Output { text }))
    }

    fn tool_use(&mut self, block: &Value) -> Option<Fact> {
        let (id, name) = (text(&block["id"]), text(&block["name"]));
        let detail = detail(&block["input"]);
        let is_known = self.tools.insert(id.clone(), name.clone()).is_some();
        let event = AgentEvent::Tool { id: Some(id), name, phase: ToolPhase::Started, detail };
        (!is_known).then_some(Fact::Event(event))
    }

    fn tool_results(&mut self, message: &Value) -> Vec<Fact> {
        let blocks = message["message"]["content"].as_array().into_iter().flatten();
        let mut facts = Vec::new();
        for block in blocks.filter(|block| block["type"] == "tool_result") {
            let id = text(&block["tool_use_id"]);
            let Some(name) = self.tools.remove(&id) else { continue };
            let phase = if self.denials.iter().any(|(denied, _)| *denied == id) {
                ToolPhase::Denied
            } else if block["is_error"] == true {
                ToolPhase::Failed
            } else {
                ToolPhase::Completed
            };
            facts.push(Fact::Event(AgentEvent::Tool { id: Some(id), name, phase, detail: None }));
        }
        facts
    }

    fn rate_limit(&mut self, info: &Value) {
        if info["status"] == "rejected" {
            self.reset_at = info["resetsAt"].as_u64().and_then(rfc3339);
        }
    }

    fn ended(&mut self, message: &Value) -> Vec<Fact> {
        self.session_id = self.session_id.take().or_else(|| optional(&message["session_id"]));
        for denial in message["permission_denials"].as_array().into_iter().flatten() {
            let id = text(&denial["tool_use_id"]);
            if !self.denials.iter().any(|(known, _)| *known == id) {
                self.denials.push((id, Denial { tool: text(&denial["tool_name"]), reason: None }));
            }
        }
        let (failure, usage, cost_usd) = match self.vendor {
            Vendor::Claude => (self.failure(message), usage(message), cost_usd(message, self.is_resumed)),
            Vendor::Qwen => {
                self.used = qwen::Total::of(message);
                let usage = self.used.zip(self.used_before).and_then(|(used, before)| used.since(before));
                (qwen::failure(message), usage, None)
            }
        };
        let outcome = match failure {
            Some(failure) => Err(failure),
            None => Ok(text(&message["result"])),
        };
        vec![Fact::Ended(Ending { outcome, usage, cost_usd })]
    }

    /// What went wrong; `subtype` is "success" also for API errors, so that it does not count.
    fn failure(&self, message: &Value) -> Option<Failure> {
        if message["is_error"] != true {
            return None;
        }
        let whole = optional(&message["result"]).unwrap_or_else(|| errors(message));
        let word = self.error_word.as_deref();
        let kind = match (message["terminal_reason"].as_str(), word, message["api_error_status"].as_u64()) {
            (Some("max_turns" | "budget_exhausted"), ..) => ErrorKind::Limit,
            _ if whole.starts_with("No conversation found") => ErrorKind::Config,
            _ if message["api_error"] == "connection_failed" => ErrorKind::Network,
            (_, word, status) => kind_of(word, status),
        };
        let reset_at = self.reset_at.clone().filter(|_| kind == ErrorKind::RateLimit);
        let failure = Failure::from(TaskError { kind, message: whole, hint: None, reset_at });
        let is_over_budget = message["terminal_reason"] == "budget_exhausted";
        Some(if is_over_budget { Failure { status: TaskStatus::OverBudget, ..failure } } else { failure })
    }
}

impl Question {
    /// What it asks for, in the words of the permission modes.
    pub(crate) fn ask(&self) -> Ask<'_> {
        match self.tool.as_str() {
            "Read" | "Glob" | "Grep" | "LS" | "NotebookRead" | "TodoWrite" | "read_file"
            | "read_many_files" | "grep_search" | "glob" | "list_directory" | "todo_write" => Ask::Read,
            "Edit" | "MultiEdit" | "Write" | "NotebookEdit" | "edit" | "write_file" | "notebook_edit" => {
                let mut paths = ["file_path", "notebook_path"].iter();
                Ask::Edit(paths.find_map(|key| self.input[key].as_str()).map(Path::new))
            }
            _ => self.written_path.as_deref().map_or(Ask::Other, |path| Ask::Edit(Some(path))),
        }
    }

    /// What the tool would do, in a line.
    pub(crate) fn detail(&self) -> Option<String> {
        detail(&self.input)
    }

    /// The line that answers it.
    pub(crate) fn answer(&self, decision: Decision, reason: &str) -> String {
        let answer = match decision {
            Decision::Allow => json!({"behavior": "allow", "updatedInput": self.input}),
            Decision::Deny => json!({"behavior": "deny", "message": reason}),
        };
        let response = json!({"subtype": "success", "request_id": self.id, "response": answer});
        json!({"type": "control_response", "response": response}).to_string()
    }
}

/// The line that gives a prompt.
pub(crate) fn prompt(text: &str) -> String {
    let content = json!([{"type": "text", "text": text}]);
    let message = json!({"role": "user", "content": content});
    json!({"type": "user", "session_id": "", "message": message, "parent_tool_use_id": null}).to_string()
}

/// The line of a control request of ours.
pub(crate) fn control(id: &str, request: &Value) -> String {
    json!({"type": "control_request", "request_id": id, "request": request}).to_string()
}

/// The line that turns down what was never offered.
pub(crate) fn unsupported(id: &str) -> String {
    let response = json!({"subtype": "error", "request_id": id, "error": "not supported"});
    json!({"type": "control_response", "response": response}).to_string()
}

/// The settings that have every tool asked for which the user's own settings would let through unasked.
///
/// A rule to ask comes before a rule to allow, and commands in the program's own sandbox may still write.
pub(crate) fn ask_always(settings: &Value) -> Option<Value> {
    let effective = &settings["effective"];
    let rules = effective["permissions"]["allow"].as_array().filter(|rules| !rules.is_empty());
    let has_sandbox = effective["sandbox"]["enabled"] == true;
    (rules.is_some() || has_sandbox).then(|| {
        json!({
            "permissions": {"ask": rules.cloned().unwrap_or_default()},
            "sandbox": {"autoAllowBashIfSandboxed": false},
        })
    })
}

/// The version in the answer to `initialize`.
pub(crate) fn version(answer: &Value) -> Option<String> {
    optional(&answer["claude_code_version"])
}

/// What a program that ends at once says on stderr about its arguments.
pub(crate) fn refusal(stderr: &str) -> Option<TaskError> {
    const STARTS: [&str; 3] = ["error: unknown option", "Unknown argument", "No saved session found"];
    let message =
        stderr.lines().map(str::trim).find(|line| STARTS.iter().any(|start| line.starts_with(start)))?;
    Some(TaskError::new(ErrorKind::Config, message.to_owned()))
}

fn request(message: &Value) -> Vec<Fact> {
    let id = text(&message["request_id"]);
    let request = &message["request"];
    if request["subtype"] != "can_use_tool" {
        return vec![Fact::Unsupported { id }];
    }
    let rules = request["permission_suggestions"].as_array().into_iter().flatten();
    let mut rules = rules.flat_map(|suggestion| suggestion["rules"].as_array().into_iter().flatten());
    // A command that only reads there is told with a rule that would let it read.
    let is_read = rules.any(|rule| rule["toolName"] == "Read");
    vec![Fact::Question(Question {
        id,
        tool: text(&request["tool_name"]),
        tool_use_id: text(&request["tool_use_id"]),
        input: request["input"].clone(),
        written_path: request["blocked_path"].as_str().filter(|_| !is_read).map(PathBuf::from),
    })]
}

fn answered(response: &Value) -> Vec<Fact> {
    let answer = match response["subtype"].as_str() {
        Some("success") => Ok(response["response"].clone()),
        _ => Err(text(&response["error"])),
    };
    vec![Fact::Answered { id: text(&response["request_id"]), answer }]
}

/// What a tool does, in a line: the first of the inputs that say so.
fn detail(input: &Value) -> Option<String> {
    const KEYS: [&str; 9] =
        ["command", "file_path", "notebook_path", "path", "pattern", "query", "url", "skill", "description"];
    let whole = KEYS.iter().find_map(|key| input[key].as_str())?;
    Some(whole.lines().next()?.chars().take(DETAIL_CHARS_MAX).collect())
}

fn unknown(line: &str) -> Fact {
    Fact::Event(AgentEvent::Unknown { line: start_of(line) })
}

fn optional(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
