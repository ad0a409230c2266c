//! What an agent tells while it works, kept and told on with secrets masked.

use aiswitch_agent::{AgentEvent, Denial, TaskError, TokenUsage};
use aiswitch_env::{Redactor, RedactorStream};
use aiswitch_tokens::{Cost, Usage};

use crate::RunEventKind;
use crate::figures::Reported;

/// How much of what an agent says is kept for the case that it ends without an answer, in bytes.
const PARTIAL_BYTES_MAX: usize = 1024 * 1024;

/// What an agent told until now.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) pid: Option<u32>,
    pub(crate) session_id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) text: String,
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: Cost,
    pub(crate) unknown_lines: u64,
    pub(crate) memory_bytes_peak: Option<u64>,
    pub(crate) reported: Reported,
}

impl Heard {
    /// Takes note of an event.
    pub(crate) fn note(&mut self, event: &AgentEvent, redactor: &Redactor) {
        match event {
            AgentEvent::Measured { values } => self.reported.take(values, redactor),
            AgentEvent::Started { pid } => self.pid = Some(*pid),
            AgentEvent::Session { session_id, model } => {
                self.session_id = session_id.clone().or(self.session_id.take());
                self.model = model.clone().or(self.model.take());
            }
            AgentEvent::Output { text } => {
                let left = PARTIAL_BYTES_MAX.saturating_sub(self.text.len());
                self.text.push_str(&text[..text.floor_char_boundary(left)]);
            }
            AgentEvent::Usage { usage, cost_usd } => {
                self.usage = Some(usage_of(*usage));
                self.cost = Cost::reported(*cost_usd);
            }
            AgentEvent::Unknown { .. } => self.unknown_lines += 1,
            _ => {}
        }
    }
}

/// What an agent's event is for the run.
pub(crate) enum Told {
    /// To be told on.
    Event(RunEventKind),
    /// A warning.
    LogLost { reason: String },
    /// Nothing: it is of a kind that this version does not know, or could be the start of a secret.
    Nothing,
}

/// What an agent's event is for the run, with secrets masked; `output` masks its answer, which comes in pieces.
pub(crate) fn kind_of(event: AgentEvent, redactor: &Redactor, output: &mut RedactorStream) -> Told {
    let masked = |text: String| redactor.redact(&text).into_owned();
    Told::Event(match event {
        AgentEvent::Started { pid } => RunEventKind::Process { pid },
        AgentEvent::Session { session_id, model } => {
            RunEventKind::Session { session_id: session_id.map(masked), model: model.map(masked) }
        }
        AgentEvent::Output { text } => match output.push_text(&text) {
            text if text.is_empty() => return Told::Nothing,
            text => RunEventKind::Output { text },
        },
        AgentEvent::Tool { id, name, phase, detail } => {
            RunEventKind::Tool { id: id.map(masked), name: masked(name), phase, detail: detail.map(masked) }
        }
        AgentEvent::Permission { tool, question, decision } => {
            RunEventKind::Permission { tool: masked(tool), question: question.map(masked), decision }
        }
        AgentEvent::Refused { method, reason } => {
            RunEventKind::Refused { method: masked(method), reason: masked(reason) }
        }
        AgentEvent::Usage { usage, cost_usd } => {
            RunEventKind::Usage { usage: usage_of(usage), cost: Cost::reported(cost_usd) }
        }
        AgentEvent::Retry { error } => RunEventKind::Retry { error: masked_error(error, redactor) },
        AgentEvent::Unknown { line } => RunEventKind::Unknown { line: masked(line) },
        AgentEvent::State { from, to } => RunEventKind::State { from, to },
        AgentEvent::LogLost { reason } => return Told::LogLost { reason },
        _ => return Told::Nothing,
    })
}

pub(crate) fn masked_error(error: TaskError, redactor: &Redactor) -> TaskError {
    let masked = |text: &str| redactor.redact(text).into_owned();
    TaskError { message: masked(&error.message), hint: error.hint.as_deref().map(masked), ..error }
}

pub(crate) fn masked_denial(denial: &Denial, redactor: &Redactor) -> Denial {
    let masked = |text: &str| redactor.redact(text).into_owned();
    Denial { tool: masked(&denial.tool), reason: denial.reason.as_deref().map(masked) }
}

/// What an agent said in its protocol, as records keep it.
pub(crate) fn usage_of(usage: TokenUsage) -> Usage {
    Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cache_read_tokens: usage.cache_read_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        ..Usage::default()
    }
}
