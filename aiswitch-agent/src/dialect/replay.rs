//! Recorded talks with real programs, played to a dialect.

use aiswitch_rpc::ErrorObject;
use aiswitch_rpc::protocol::{PermissionMode, TaskSpec};
use serde_json::Value;

use crate::AgentEvent;
use crate::conversation::{Dialect, Reply};
use crate::process::{Ended, Exit};

/// A recorded talk.
pub(crate) struct Talk(Vec<(bool, Value)>);

impl Talk {
    /// A talk of one line a message: `{"dir":">","msg":…}` was sent, `"<"` was heard.
    pub(crate) fn read(lines: &str) -> Self {
        let read = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["dir"] == "<", line["msg"].clone())
        };
        Self(lines.lines().map(read).collect())
    }

    /// The result of the first call of one of these methods.
    pub(crate) fn result(&self, methods: &[&str]) -> &Value {
        let id = self.call(methods);
        let is_result = |(is_heard, message): &&(bool, Value)| {
            *is_heard && message.get("method").is_none() && message["id"] == *id
        };
        &self.0.iter().find(is_result).unwrap().1["result"]
    }

    fn call(&self, methods: &[&str]) -> &Value {
        let is_call = |(is_heard, message): &&(bool, Value)| {
            !is_heard && methods.iter().any(|it| message["method"] == *it)
        };
        &self.0.iter().find(is_call).unwrap().1["id"]
    }

    /// Plays what came behind the prompt; gives all events and the answers to its questions.
    pub(crate) fn play(&self, dialect: &mut impl Dialect, prompt: &str) -> (Vec<AgentEvent>, Vec<Reply>) {
        let prompt = self.call(&[prompt]);
        let (mut events, mut answers) = (Vec::new(), Vec::new());
        let is_prompt = |(is_heard, message): &(bool, Value)| !is_heard && message["id"] == *prompt;
        let heard = self.0.iter().skip_while(|line| !is_prompt(line)).filter(|(is_heard, _)| *is_heard);
        for (_, message) in heard {
            assert!(!dialect.is_over(), "the program speaks on: {message}");
            match (message["method"].as_str(), message.get("id")) {
                (Some(method), Some(_)) => {
                    let (answer, told) = dialect.answer(method, &message["params"]);
                    answers.push(answer);
                    events.extend(told);
                }
                (Some(method), None) => events.extend(dialect.hear(method, &message["params"])),
                (None, _) if message["id"] == *prompt => events.extend(dialect.replied(reply(message))),
                (None, _) => {}
            }
        }
        (events, answers)
    }
}

fn reply(message: &Value) -> Reply {
    match message.get("error") {
        Some(error) => {
            let text = error["message"].as_str().unwrap().to_owned();
            Err(ErrorObject {
                code: error["code"].as_i64().unwrap(),
                message: text,
                data: error.get("data").cloned(),
            })
        }
        None => Ok(message["result"].clone()),
    }
}

/// A task in the folder of the recorded talks.
pub(crate) fn task(mode: PermissionMode, session_id: Option<&str>) -> TaskSpec {
    TaskSpec {
        id: "task".parse().unwrap(),
        prompt: String::new(),
        cwd: "/workspace".into(),
        mode,
        model: None,
        session_id: session_id.map(str::to_owned),
    }
}

/// The end of a program that ended well.
pub(crate) fn ended() -> Ended {
    Ended { exit: Exit::Code(0), stderr_tail: String::new() }
}

/// The answer as it was streamed.
pub(crate) fn streamed(events: &[AgentEvent]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        AgentEvent::Output { text } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}
