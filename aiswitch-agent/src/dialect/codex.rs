//! `codex app-server`: what it is asked and what it says.
//!
//! JSON-RPC without the `jsonrpc` member, one message a line. Method and field names are those of
//! `codex app-server generate-json-schema` of Codex 0.169.0.

use std::collections::HashMap;
use std::path::PathBuf;

use aiswitch_rpc::ErrorObject;
use aiswitch_rpc::protocol::{
    Denial, ErrorKind, PermissionMode, TaskError, TaskResult, TaskSpec, TaskStatus, TokenUsage,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::kind_of_status;
use super::messages::Messages;
use crate::conversation::{Dialect, End, Interrupt, Reply, Stop, settle, unknown};
use crate::permission::{Ask, decide};
use crate::process::Ended;
use crate::{AgentEvent, Decision, Sandbox, ToolPhase};

mod usage;

use usage::{Limits, Tokens};

/// The variable with the key that Codex uses when nobody is logged in.
pub(crate) const KEY: &str = "CODEX_API_KEY";

/// The variable with the base URL that goes with the key; Codex itself does not heed it.
pub(crate) const BASE_URL: &str = "OPENAI_BASE_URL";

/// Where Codex finds its provider unless its config says otherwise.
const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// The first part of the names of all notifications that are known, be they of use here or not.
const NAMESPACES: &[&str] = &[
    "account",
    "app",
    "autoApprovalReview",
    "command",
    "externalAgentConfig",
    "fs",
    "fuzzyFileSearch",
    "hook",
    "item",
    "mcpServer",
    "model",
    "modelProvider",
    "process",
    "project",
    "remoteControl",
    "serverRequest",
    "skills",
    "thread",
    "turn",
    "windows",
    "windowsSandbox",
];

/// Notifications without a namespace that are of no use here.
const PLAIN: &[&str] = &["warning", "guardianWarning", "deprecationNotice", "configWarning"];

/// Items that are no use of a tool.
const NO_TOOLS: &[&str] = &[
    "userMessage",
    "hookPrompt",
    "agentMessage",
    "plan",
    "reasoning",
    "functionCallOutput",
    "enteredReviewMode",
    "exitedReviewMode",
    "contextCompaction",
    "subAgentActivity",
];

/// The params of `initialize`.
pub(crate) fn initialize(version: &str) -> Value {
    json!({
        "clientInfo": {"name": "aiswitch", "title": "aiswitch", "version": version},
        // The granular approval policy is refused without it.
        "capabilities": {"experimentalApi": true},
    })
}

/// The version in the reply to `initialize`: `aiswitch/0.169.0 (Debian 12.0.0; x86_64) …`.
pub(crate) fn version(reply: &Value) -> Option<&str> {
    super::version_in(reply["userAgent"].as_str()?)
}

/// Whether `account/read` says that nobody is logged in although the provider asks for it.
pub(crate) fn needs_login(reply: &Value) -> bool {
    reply["requiresOpenaiAuth"] == true && reply["account"].is_null()
}

/// Has a thread use the key of [`KEY`], as `codex exec` does and the app-server does not.
///
/// The thread gets a provider of its own for it, so that no key passes through here and none is kept on disk. A preset
/// that says where it leads is heeded before Codex's own config.
pub(crate) fn use_key(params: &mut Value, base_url: Option<&str>, config: &Value) {
    let own = || config["config"]["openai_base_url"].as_str();
    let base_url = base_url.or_else(own).unwrap_or(OPENAI_BASE_URL);
    let provider = json!({"name": "OpenAI", "base_url": base_url, "env_key": KEY, "wire_api": "responses"});
    params["modelProvider"] = json!("openai-key");
    params["config"] = json!({"model_providers.openai-key": provider});
}

/// The method that opens a thread for a task, and its params.
///
/// Every command runs in the sandbox of the mode. What fails there is asked about ("retry without sandbox?") and is
/// then declined, so that a denial shows: with the policy `on-request` such a command leaves no trace in the events,
/// and with `untrusted` every second look at a file is asked about and runs without a sandbox once it is allowed.
pub(crate) fn open_thread(task: &TaskSpec, outer: Sandbox) -> (&'static str, Value) {
    let (sandbox, policy) = match task.mode {
        PermissionMode::ReadOnly => ("read-only", asking()),
        PermissionMode::Write => ("workspace-write", asking()),
        PermissionMode::Yolo => ("danger-full-access", json!("never")),
    };
    // Its commands would fail in a sandbox within a sandbox.
    let sandbox = if outer == Sandbox::None { sandbox } else { "danger-full-access" };
    let mut params = json!({"cwd": task.cwd, "approvalPolicy": policy, "sandbox": sandbox});
    if let Some(model) = &task.model {
        params["model"] = json!(model);
    }
    match &task.session_id {
        Some(thread_id) => {
            params["threadId"] = json!(thread_id);
            params["excludeTurns"] = json!(true);
            ("thread/resume", params)
        }
        None => ("thread/start", params),
    }
}

/// The policy under which a command that fails in the sandbox is asked about.
fn asking() -> Value {
    json!({"granular": {
        "mcp_elicitations": true, "request_permissions": true, "rules": true, "sandbox_approval": true,
        "skill_approval": true,
    }})
}

/// What Codex says about one turn.
#[derive(Debug)]
pub(crate) struct Turn {
    mode: PermissionMode,
    cwd: PathBuf,
    thread_id: String,
    model: Option<String>,
    /// The turn, once it is known.
    id: Option<String>,
    messages: Messages,
    /// The thread's tokens before this turn; `None` for a resumed thread that has not said it yet.
    before: Option<Tokens>,
    usage: Option<TokenUsage>,
    denials: Vec<Denial>,
    /// The items whose use was denied already.
    denied: Vec<String>,
    /// The files that a change of files is about, by item.
    changes: HashMap<String, String>,
    /// The last error that was tried again.
    retried: Option<TaskError>,
    /// When the account's limits end, as seconds since 1970.
    limits: Limits,
    end: Option<End>,
}

impl Turn {
    /// A turn of a thread that was opened for a task.
    pub(crate) fn new(task: &TaskSpec, opened: &Value) -> Option<Self> {
        Some(Self {
            mode: task.mode,
            cwd: task.cwd.clone(),
            thread_id: opened["thread"]["id"].as_str()?.to_owned(),
            model: opened["model"].as_str().map(str::to_owned),
            id: None,
            messages: Messages::default(),
            before: task.session_id.is_none().then(Tokens::default),
            usage: None,
            denials: Vec::new(),
            denied: Vec::new(),
            changes: HashMap::new(),
            retried: None,
            limits: Limits::default(),
            end: None,
        })
    }

    /// Whether a message is about this thread, not about that of a helper.
    fn is_own_thread(&self, params: &Value) -> bool {
        params["threadId"].as_str() == Some(&self.thread_id)
    }

    /// Whether a message is about this turn.
    fn is_ours(&self, params: &Value) -> bool {
        let turn = params["turnId"].as_str();
        self.is_own_thread(params) && turn.is_some() && turn == self.id.as_deref()
    }

    fn count(&mut self, params: &Value) -> Vec<AgentEvent> {
        let read = |name: &str| Tokens::deserialize(&params["tokenUsage"][name]).ok();
        let (Some(total), Some(last)) = (read("total"), read("last")) else { return Vec::new() };
        if !self.is_own_thread(params) {
            return Vec::new();
        }
        if !self.is_ours(params) {
            // A resumed thread says its old total again, under the old turn.
            self.before = Some(total);
            return Vec::new();
        }
        let before = *self.before.get_or_insert_with(|| total.minus(last));
        let usage = total.minus(before).usage();
        self.usage = Some(usage);
        vec![AgentEvent::Usage { usage, cost_usd: None }]
    }

    fn item_started(&mut self, item: &Value) -> Vec<AgentEvent> {
        let kind = item["type"].as_str().unwrap_or_default();
        if kind == "agentMessage" {
            self.messages.begin();
        }
        if kind == "fileChange" {
            self.changes
                .extend(item["id"].as_str().map(|id| (id.to_owned(), detail(item).unwrap_or_default())));
        }
        tool_event(item, ToolPhase::Started)
    }

    fn item_completed(&mut self, item: &Value) -> Vec<AgentEvent> {
        if item["type"] == "agentMessage" {
            let rest = self.messages.complete(item["text"].as_str().unwrap_or_default());
            return rest.map(|text| AgentEvent::Output { text }).into_iter().collect();
        }
        let phase = match item["status"].as_str() {
            Some("failed") => ToolPhase::Failed,
            Some("declined") => ToolPhase::Denied,
            _ => ToolPhase::Completed,
        };
        if phase == ToolPhase::Denied {
            self.deny(&item["id"], item["type"].as_str().unwrap_or_default());
        }
        tool_event(item, phase)
    }

    /// Keeps a denial, once for every item.
    fn deny(&mut self, item: &Value, tool: &str) {
        if let Some(id) = item.as_str() {
            if self.denied.iter().any(|denied| denied == id) {
                return;
            }
            self.denied.push(id.to_owned());
        }
        self.denials
            .push(Denial { tool: tool.to_owned(), reason: Some(format!("the mode is `{}`", self.mode)) });
    }

    fn error(&self, error: &Value) -> TaskError {
        let message = error["message"].as_str().unwrap_or("it gave no reason").to_owned();
        let info = &error["codexErrorInfo"];
        let status =
            info.as_object().and_then(|info| info.values().find_map(|more| more["httpStatusCode"].as_u64()));
        let kind = match (info.as_str(), status.and_then(|status| u16::try_from(status).ok())) {
            (_, Some(status)) => kind_of_status(status),
            (Some("unauthorized"), _) => ErrorKind::Auth,
            (Some("usageLimitExceeded" | "rateLimitExceeded"), _) => ErrorKind::RateLimit,
            (Some("modelNotFound"), _) => ErrorKind::Config,
            // The end of a row of failed tries is "other": the tries said what it was.
            (Some("other"), _) => self.retried.as_ref().map_or(ErrorKind::Provider, |retried| retried.kind),
            (None, None) if info.is_object() => ErrorKind::Network,
            _ => ErrorKind::Provider,
        };
        let reset_at = (kind == ErrorKind::RateLimit).then(|| self.limits.reset_at()).flatten();
        TaskError { kind, message, hint: None, reset_at }
    }

    fn failed(&mut self, params: &Value) -> Vec<AgentEvent> {
        if params["willRetry"] != true || !self.is_ours(params) {
            // The end of the turn says it again.
            return Vec::new();
        }
        let mut error = self.error(&params["error"]);
        if let Some(details) = params["error"]["additionalDetails"].as_str() {
            error.message = format!("{}: {details}", error.message);
        }
        self.retried = Some(error.clone());
        vec![AgentEvent::Retry { error }]
    }

    fn ended(&mut self, turn: &Value) {
        self.end = Some(match turn["status"].as_str() {
            Some("completed") => End::Completed,
            Some("interrupted") => End::Interrupted,
            _ => End::Failed(self.error(&turn["error"])),
        });
    }

    /// Answers one of the two questions that are answered with a decision.
    fn approve(&mut self, tool: &str, params: &Value) -> (Reply, Vec<AgentEvent>) {
        let decision = decide(self.mode, &self.cwd, Ask::Beyond);
        let changes = params["itemId"].as_str().and_then(|id| self.changes.get(id));
        let question = params["command"].as_str().or(changes.map(String::as_str));
        let question = match (question, params["reason"].as_str()) {
            (Some(question), Some(reason)) => Some(format!("{question} ({reason})")),
            (question, reason) => question.or(reason).map(str::to_owned),
        };
        let word = match decision {
            Decision::Allow => "accept",
            Decision::Deny => {
                self.deny(&params["itemId"], tool);
                "decline"
            }
        };
        let event = AgentEvent::Permission { tool: tool.to_owned(), question, decision };
        (Ok(json!({"decision": word})), vec![event])
    }

    /// Answers a question that only a person could answer otherwise.
    fn refuse(&mut self, tool: &str, params: &Value, reply: Reply) -> (Reply, Vec<AgentEvent>) {
        self.deny(&params["itemId"], tool);
        let question = params["reason"].as_str().or(params["message"].as_str()).map(str::to_owned);
        (reply, vec![AgentEvent::Permission { tool: tool.to_owned(), question, decision: Decision::Deny }])
    }
}

impl Dialect for Turn {
    fn prompt(&mut self, prompt: &str) -> Value {
        json!({"threadId": self.thread_id, "input": [{"type": "text", "text": prompt}]})
    }

    fn session(&self) -> AgentEvent {
        AgentEvent::Session { session_id: Some(self.thread_id.clone()), model: self.model.clone() }
    }

    fn into_result(self, outcome: Result<(), Stop>, ended: &Ended) -> TaskResult {
        let result = TaskResult {
            answer: self.messages.answer(),
            session_id: Some(self.thread_id),
            model: self.model,
            usage: self.usage,
            denials: self.denials,
            ..TaskResult::new(TaskStatus::Failed)
        };
        settle(result, outcome, self.end, ended)
    }

    fn hear(&mut self, method: &str, params: &Value) -> Vec<AgentEvent> {
        match method {
            "turn/started" if self.is_own_thread(params) && self.id.is_none() => {
                self.id = params["turn"]["id"].as_str().map(str::to_owned);
            }
            "turn/completed" if self.id.is_some() && params["turn"]["id"].as_str() == self.id.as_deref() => {
                self.ended(&params["turn"]);
            }
            "item/started" if self.is_ours(params) => return self.item_started(&params["item"]),
            "item/completed" if self.is_ours(params) => return self.item_completed(&params["item"]),
            "item/agentMessage/delta" if self.is_ours(params) => {
                let shown = self.messages.push(params["delta"].as_str().unwrap_or_default());
                return shown.map(|text| AgentEvent::Output { text }).into_iter().collect();
            }
            "thread/tokenUsage/updated" => return self.count(params),
            "account/rateLimits/updated" => {
                self.limits = Limits::deserialize(&params["rateLimits"]).unwrap_or_default();
            }
            "error" => return self.failed(params),
            "model/rerouted" if self.is_ours(params) => {
                self.model = params["toModel"].as_str().map(str::to_owned).or(self.model.take());
                return vec![self.session()];
            }
            other if PLAIN.contains(&other) => {}
            other => {
                let known = other.split_once('/').is_some_and(|(first, _)| NAMESPACES.contains(&first));
                if !known {
                    return vec![unknown(other, params)];
                }
            }
        }
        Vec::new()
    }

    fn answer(&mut self, method: &str, params: &Value) -> (Reply, Vec<AgentEvent>) {
        match method {
            "item/commandExecution/requestApproval" => self.approve("commandExecution", params),
            "item/fileChange/requestApproval" => self.approve("fileChange", params),
            "item/permissions/requestApproval" => {
                self.refuse("permissions", params, Ok(json!({"permissions": {}, "scope": "turn"})))
            }
            "mcpServer/elicitation/request" => {
                self.refuse("mcpServer", params, Ok(json!({"action": "decline", "content": null})))
            }
            "item/tool/requestUserInput" => {
                self.refuse("requestUserInput", params, Ok(json!({"answers": {}})))
            }
            other => (Err(ErrorObject::method_not_found(other)), vec![unknown(other, params)]),
        }
    }

    fn replied(&mut self, reply: Reply) -> Vec<AgentEvent> {
        match reply {
            // It may come behind the turn's first notifications.
            Ok(started) => {
                let turn_id = started["turn"]["id"].as_str().map(str::to_owned);
                self.id = self.id.take().or(turn_id);
            }
            Err(error) => {
                self.end = Some(End::Failed(TaskError::new(ErrorKind::Config, error.message)));
            }
        }
        Vec::new()
    }

    fn interrupt(&mut self) -> Option<Interrupt> {
        let params = json!({"threadId": self.thread_id, "turnId": self.id.as_ref()?});
        Some(Interrupt::Call { method: "turn/interrupt", params })
    }

    fn is_over(&self) -> bool {
        self.end.is_some()
    }
}

/// How far the tool of an item is; nothing for an item that is no tool.
fn tool_event(item: &Value, phase: ToolPhase) -> Vec<AgentEvent> {
    match item["type"].as_str() {
        Some(kind) if !NO_TOOLS.contains(&kind) => {
            let id = item["id"].as_str().map(str::to_owned);
            vec![AgentEvent::Tool { id, name: kind.to_owned(), phase, detail: detail(item) }]
        }
        _ => Vec::new(),
    }
}

/// What a tool does, in a line.
fn detail(item: &Value) -> Option<String> {
    let text = |name: &str| item[name].as_str().map(str::to_owned);
    match item["type"].as_str()? {
        "commandExecution" => text("command"),
        "fileChange" => {
            let paths: Vec<&str> =
                item["changes"].as_array()?.iter().filter_map(|it| it["path"].as_str()).collect();
            Some(paths.join(" "))
        }
        "mcpToolCall" => Some(format!("{}.{}", text("server")?, text("tool")?)),
        _ => text("query").or(text("path")).or(text("tool")),
    }
}

#[cfg(test)]
mod tests;
