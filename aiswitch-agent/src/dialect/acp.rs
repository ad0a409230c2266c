//! The Agent Client Protocol: what an agent is asked and what it says.
//!
//! JSON-RPC 2.0, one message a line; version 1 of <https://agentclientprotocol.com>. Where agents differ, the
//! figures are those of Gemini CLI 0.61.0, opencode 1.18.33 and Qwen Code 0.24.4.

mod error;
mod usage;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use aiswitch_rpc::ErrorObject;
use aiswitch_rpc::protocol::{
    Denial, ErrorKind, PermissionMode, TaskError, TaskResult, TaskSpec, TaskStatus, TokenUsage,
};
use serde_json::{Value, json};

pub(crate) use self::error::error;
use self::usage::{of_quota, of_usage};
use super::messages::Messages;
use crate::conversation::{Dialect, End, Interrupt, Reply, Stop, settle, unknown};
use crate::permission::{Ask, decide};
use crate::process::Ended;
use crate::{AgentEvent, Decision, Driver, ToolPhase};

/// The version of the protocol that is spoken here.
pub(crate) const VERSION: u64 = 1;

/// Updates of a session that are of no use here.
const UPDATES_IGNORED: &[&str] = &[
    "agent_thought_chunk",
    "user_message_chunk",
    "plan",
    "available_commands_update",
    "current_mode_update",
    "config_option_update",
    "session_info_update",
];

/// The params of `initialize`: files and terminals are the agent's own affair.
pub(crate) fn initialize(version: &str) -> Value {
    json!({
        "protocolVersion": VERSION,
        "clientInfo": {"name": "aiswitch", "version": version},
        "clientCapabilities": {"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false},
    })
}

/// The version that an agent tells of itself.
pub(crate) fn agent_version(greeting: &Value) -> Option<&str> {
    super::version_in(greeting["agentInfo"]["version"].as_str()?)
}

/// The method that opens a task's session, and its params; `None` when it cannot go on with one.
pub(crate) fn open_session(task: &TaskSpec, greeting: &Value) -> Option<(&'static str, Value)> {
    let mut params = json!({"cwd": task.cwd, "mcpServers": []});
    match &task.session_id {
        Some(session_id) => {
            params["sessionId"] = json!(session_id);
            (greeting["agentCapabilities"]["loadSession"] == true).then_some(("session/load", params))
        }
        None => Some(("session/new", params)),
    }
}

/// The session's id: the one that was asked for, or the new one.
pub(crate) fn session_id(task: &TaskSpec, opened: &Value) -> Option<String> {
    task.session_id.clone().or_else(|| opened["sessionId"].as_str().map(str::to_owned))
}

/// The call that makes a session ask before it acts; `None` when it does so already.
///
/// An agent may open its sessions in a mode that decides by itself; "default" is the mode that asks in Gemini CLI,
/// Qwen Code and the adapter for Claude Code. One that offers no such mode asks as it is set up.
pub(crate) fn set_mode(task: &TaskSpec, session_id: &str, opened: &Value) -> Option<(&'static str, Value)> {
    let modes = &opened["modes"];
    let wanted = match task.mode {
        PermissionMode::ReadOnly => ["read-only", "default"].as_slice(),
        PermissionMode::Write => ["default"].as_slice(),
        PermissionMode::Yolo => return None,
    };
    let offered: Vec<&str> =
        modes["availableModes"].as_array()?.iter().filter_map(|mode| mode["id"].as_str()).collect();
    let mode = wanted.iter().find(|mode| offered.contains(mode))?;
    let params = json!({"sessionId": session_id, "modeId": mode});
    (modes["currentModeId"].as_str() != Some(mode)).then_some(("session/set_mode", params))
}

/// The call that chooses a session's model; `None` when the agent offers no choice.
pub(crate) fn set_model(model: &str, session_id: &str, opened: &Value) -> Option<(&'static str, Value)> {
    if let Some(option) = model_option(opened) {
        let params = json!({"sessionId": session_id, "configId": option["id"], "value": model});
        return Some(("session/set_config_option", params));
    }
    let params = json!({"sessionId": session_id, "modelId": model});
    opened["models"].is_object().then_some(("session/set_model", params))
}

fn model_option(opened: &Value) -> Option<&Value> {
    opened["configOptions"]
        .as_array()?
        .iter()
        .find(|option| option["category"] == "model" || option["id"] == "model")
}

fn model_of(opened: &Value) -> Option<String> {
    let current =
        model_option(opened).map_or(&opened["models"]["currentModelId"], |option| &option["currentValue"]);
    current.as_str().map(str::to_owned)
}

/// What an agent says about one prompt.
#[derive(Debug)]
pub(crate) struct Turn {
    driver: Driver,
    mode: PermissionMode,
    cwd: PathBuf,
    session_id: String,
    model: Option<String>,
    /// Whether the prompt was given: what comes before is the session's past.
    is_prompted: bool,
    is_cancelled: bool,
    messages: Messages,
    /// The message that the last piece belonged to, where the agent says so.
    message_id: Option<String>,
    tools: HashMap<String, Tool>,
    usage: Option<TokenUsage>,
    /// The cost of the session before this prompt, in dollars; `None` when it is not known.
    cost_before: Option<f64>,
    cost: Option<f64>,
    denials: Vec<Denial>,
    end: Option<End>,
}

/// One use of a tool.
#[derive(Clone, Debug, Default)]
struct Tool {
    kind: Option<String>,
    title: Option<String>,
    is_denied: bool,
    has_ended: bool,
}

impl Tool {
    /// Takes in what a message says about it.
    fn learn(&mut self, said: &Value) {
        let text = |name: &str| said[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        self.kind = text("kind").or(self.kind.take());
        self.title = text("title").or(self.title.take());
    }

    /// The protocol has no names of tools: their kind tells most.
    fn name(&self) -> String {
        match self.kind.as_deref() {
            None | Some("other") => self.title.clone().unwrap_or_else(|| "tool".to_owned()),
            Some(kind) => kind.to_owned(),
        }
    }
}

impl Turn {
    /// A prompt in a session that was opened for a task; `model` where the task chose one.
    pub(crate) fn new(driver: Driver, task: &TaskSpec, session_id: String, opened: &Value) -> Self {
        Self {
            driver,
            mode: task.mode,
            cwd: task.cwd.clone(),
            session_id,
            model: task.model.clone().or_else(|| model_of(opened)),
            is_prompted: false,
            is_cancelled: false,
            messages: Messages::default(),
            message_id: None,
            tools: HashMap::new(),
            usage: None,
            cost_before: task.session_id.is_none().then_some(0.0),
            cost: None,
            denials: Vec::new(),
            end: None,
        }
    }

    /// What the prompt cost.
    ///
    /// A sum that did not grow is not known: agents say 0 also of a model without a price.
    fn cost_usd(&self) -> Option<f64> {
        let cost = self.cost? - self.cost_before?;
        (cost > 0.0).then_some(cost)
    }

    fn update(&mut self, update: &Value) -> Vec<AgentEvent> {
        let kind = update["sessionUpdate"].as_str().unwrap_or_default();
        if !self.is_prompted {
            if kind == "usage_update" {
                self.cost_before = dollars(update);
            }
            return Vec::new();
        }
        match kind {
            "agent_message_chunk" => self.chunk(update),
            "tool_call" | "tool_call_update" => self.tool(update),
            "usage_update" => {
                self.cost = dollars(update).or(self.cost);
                Vec::new()
            }
            other if UPDATES_IGNORED.contains(&other) => Vec::new(),
            other => vec![unknown(other, update)],
        }
    }

    fn chunk(&mut self, update: &Value) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        let message_id = update["messageId"].as_str();
        if message_id.is_some() && message_id != self.message_id.as_deref() {
            self.messages.begin();
            self.message_id = message_id.map(str::to_owned);
        }
        let text = update["content"]["text"].as_str().unwrap_or_default();
        events.extend(self.messages.push(text).map(|text| AgentEvent::Output { text }));
        if let Some(request) = of_usage(&update["_meta"]["usage"]) {
            let usage = self.usage.unwrap_or_default().plus(request);
            self.usage = Some(usage);
            events.push(AgentEvent::Usage { usage, cost_usd: None });
        }
        events
    }

    fn tool(&mut self, update: &Value) -> Vec<AgentEvent> {
        let Some(id) = update["toolCallId"].as_str() else { return vec![unknown("tool_call", update)] };
        let is_new = !self.tools.contains_key(id);
        let tool = self.tools.entry(id.to_owned()).or_default();
        tool.learn(update);
        let mut phases = Vec::new();
        if is_new {
            // What the agent says next is another message than what it said before.
            self.messages.begin();
            phases.push(ToolPhase::Started);
        }
        match update["status"].as_str() {
            Some("completed") if !tool.has_ended => phases.push(ToolPhase::Completed),
            Some("failed") if !tool.has_ended && tool.is_denied => phases.push(ToolPhase::Denied),
            Some("failed") if !tool.has_ended => phases.push(ToolPhase::Failed),
            _ => {}
        }
        tool.has_ended |= matches!(update["status"].as_str(), Some("completed" | "failed"));
        let (name, detail) = (tool.name(), tool.title.clone());
        let event = |phase| AgentEvent::Tool {
            id: Some(id.to_owned()),
            name: name.clone(),
            phase,
            detail: detail.clone(),
        };
        phases.into_iter().map(event).collect()
    }

    /// Answers `session/request_permission`.
    fn permit(&mut self, params: &Value) -> (Reply, Vec<AgentEvent>) {
        if self.is_cancelled {
            return (Ok(json!({"outcome": {"outcome": "cancelled"}})), Vec::new());
        }
        let call = &params["toolCall"];
        let id = call["toolCallId"].as_str().unwrap_or_default();
        let mut events = if self.tools.contains_key(id) { Vec::new() } else { self.tool(call) };
        let tool = self.tools.entry(id.to_owned()).or_default();
        tool.learn(call);
        let decision = allows(self.mode, &self.cwd, tool.kind.as_deref(), call);
        let name = tool.name();
        let (kinds, outcome) = match decision {
            Decision::Allow => (["allow_once", "allow_always"], "selected"),
            Decision::Deny => (["reject_once", "reject_always"], "selected"),
        };
        if decision == Decision::Deny {
            tool.is_denied = true;
            self.denials
                .push(Denial { tool: name.clone(), reason: Some(format!("the mode is `{}`", self.mode)) });
        }
        events.push(AgentEvent::Permission { tool: name, question: tool.title.clone(), decision });
        let options: &[Value] = params["options"].as_array().map_or(&[], Vec::as_slice);
        let option = kinds.iter().find_map(|kind| options.iter().find(|option| option["kind"] == *kind));
        let answer = match option {
            Some(option) => json!({"outcome": {"outcome": outcome, "optionId": option["optionId"]}}),
            None => json!({"outcome": {"outcome": "cancelled"}}),
        };
        (Ok(answer), events)
    }

    /// The tokens of the whole prompt, as the reply tells them.
    fn tokens(&self, reply: &Value) -> Option<TokenUsage> {
        // opencode tells those of its last request only, which are all only when no tool ran between two requests.
        if self.driver == Driver::Opencode && self.tools.values().any(|tool| !tool.is_denied) {
            return None;
        }
        of_usage(&reply["usage"]).or_else(|| of_quota(&reply["_meta"]["quota"])).or(self.usage)
    }

    fn done(&mut self, reply: &Value) -> End {
        self.usage = self.tokens(reply);
        if let Some(model) = reply["_meta"]["quota"]["model_usage"][0]["model"].as_str() {
            self.model = Some(model.to_owned());
        }
        match reply["stopReason"].as_str() {
            Some("end_turn") => End::Completed,
            Some("cancelled") => End::Interrupted,
            Some("refusal") => {
                End::Failed(TaskError::new(ErrorKind::Provider, "the model refused to answer"))
            }
            Some(reason) => {
                End::Failed(TaskError::new(ErrorKind::Provider, format!("it stopped early: {reason}")))
            }
            None => End::Failed(TaskError::new(ErrorKind::Protocol, "it did not say why it stopped")),
        }
    }
}

impl Dialect for Turn {
    fn prompt(&mut self, prompt: &str) -> Value {
        self.is_prompted = true;
        json!({"sessionId": self.session_id, "prompt": [{"type": "text", "text": prompt}]})
    }

    fn session(&self) -> AgentEvent {
        AgentEvent::Session { session_id: Some(self.session_id.clone()), model: self.model.clone() }
    }

    fn into_result(self, outcome: Result<(), Stop>, ended: &Ended) -> TaskResult {
        let result = TaskResult {
            answer: self.messages.answer(),
            cost_usd: self.cost_usd(),
            session_id: Some(self.session_id),
            model: self.model,
            usage: self.usage,
            denials: self.denials,
            ..TaskResult::new(TaskStatus::Failed)
        };
        settle(result, outcome, self.end, ended)
    }

    fn hear(&mut self, method: &str, params: &Value) -> Vec<AgentEvent> {
        match method {
            "session/update" if params["sessionId"].as_str() != Some(&self.session_id) => Vec::new(),
            "session/update" => self.update(&params["update"]),
            other => vec![unknown(other, params)],
        }
    }

    fn answer(&mut self, method: &str, params: &Value) -> (Reply, Vec<AgentEvent>) {
        match method {
            "session/request_permission" => self.permit(params),
            other => (Err(ErrorObject::method_not_found(other)), vec![unknown(other, params)]),
        }
    }

    fn replied(&mut self, reply: Reply) -> Vec<AgentEvent> {
        match reply {
            Ok(reply) => {
                self.end = Some(self.done(&reply));
                let cost_usd = self.cost_usd();
                self.usage.map(|usage| AgentEvent::Usage { usage, cost_usd }).into_iter().collect()
            }
            Err(refusal) => {
                self.end = Some(End::Failed(error(&refusal)));
                Vec::new()
            }
        }
    }

    fn interrupt(&mut self) -> Option<Interrupt> {
        self.is_cancelled = true;
        Some(Interrupt::Notify { method: "session/cancel", params: json!({"sessionId": self.session_id}) })
    }

    fn is_over(&self) -> bool {
        self.end.is_some()
    }
}

/// Decides about a tool call: an edit is allowed when each of its files may be changed.
fn allows(mode: PermissionMode, cwd: &Path, kind: Option<&str>, call: &Value) -> Decision {
    match kind {
        Some("read" | "search" | "think") => decide(mode, cwd, Ask::Read),
        Some("edit" | "delete" | "move") => {
            let list = |name: &str| call[name].as_array().map_or(&[][..], Vec::as_slice).iter();
            let mut paths =
                list("locations").chain(list("content")).filter_map(|it| it["path"].as_str()).peekable();
            if paths.peek().is_none() {
                return decide(mode, cwd, Ask::Edit(None));
            }
            match paths
                .map(|path| decide(mode, cwd, Ask::Edit(Some(Path::new(path)))))
                .find(|it| *it == Decision::Deny)
            {
                Some(denied) => denied,
                None => Decision::Allow,
            }
        }
        _ => decide(mode, cwd, Ask::Other),
    }
}

/// The cost of the session up to now, in dollars.
fn dollars(update: &Value) -> Option<f64> {
    (update["cost"]["currency"] == "USD").then(|| update["cost"]["amount"].as_f64()).flatten()
}

#[cfg(test)]
mod tests;
