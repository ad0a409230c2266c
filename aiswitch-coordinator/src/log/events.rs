//! What a run tells, as events of `tracing`: all but the pieces of answers.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use aiswitch_agent::{AgentId, Decision, ToolPhase};
use tracing::{Level, debug, info, warn};

use crate::{AgentReport, Outcome, RunEvent, RunEventKind, RunId, RunReport, RunStatus};

/// How much of the end of what an agent printed on stderr the log has, in bytes; the run's folder has all.
const STDERR_BYTES_MAX: u64 = 64 * 1024;

/// The target of these events.
macro_rules! log {
    ($level:ident, $event:expr, $($rest:tt)+) => {
        match &$event.agent {
            Some(agent) => $level!(target: "aiswitch::run", run = %$event.run, agent = %agent, $($rest)+),
            None => $level!(target: "aiswitch::run", run = %$event.run, $($rest)+),
        }
    };
}

/// Tells an event to whoever listens to `tracing`; secrets are masked in it already.
pub(crate) fn tell(event: &RunEvent) {
    match &event.kind {
        RunEventKind::Waiting { wait } => log!(info, event, lock = %wait.lock, "the run waits for a lock"),
        RunEventKind::RunStarted { agents, .. } => log!(info, event, agents = agents.len(), "the run began"),
        RunEventKind::Started { driver } => log!(info, event, driver = driver.as_str(), "the agent began"),
        RunEventKind::Process { pid } => log!(info, event, pid, "a process of the agent runs"),
        RunEventKind::State { from, to } => log!(info, event, from = %from, to = %to, "the agent is {to}"),
        RunEventKind::Paused { reason } => {
            log!(warn, event, reason = reason.as_str(), "the agent was paused");
        }
        RunEventKind::Resumed { paused_ms } => log!(info, event, paused_ms, "the agent goes on"),
        RunEventKind::Session { session_id, model } => {
            let (session, model) = (session_id.as_deref(), model.as_deref());
            log!(info, event, session, model, "the agent told its session");
        }
        RunEventKind::Tool { name, phase, detail, .. } => tool(event, name, *phase, detail.as_deref()),
        RunEventKind::Permission { tool, question, decision } => {
            let (tool, question) = (tool.as_str(), question.as_deref());
            match decision {
                Decision::Allow => log!(info, event, tool, question, "the agent was allowed a tool"),
                Decision::Deny => log!(warn, event, tool, question, "the agent was denied a tool"),
            }
        }
        RunEventKind::Refused { method, reason } => {
            log!(
                warn,
                event,
                method = method.as_str(),
                reason = reason.as_str(),
                "the agent was refused a method"
            );
        }
        RunEventKind::Usage { usage, .. } => {
            let (input_tokens, output_tokens) = (usage.input_tokens, usage.output_tokens);
            log!(debug, event, input_tokens, output_tokens, "the agent told its usage");
        }
        RunEventKind::Retry { error } => {
            log!(warn, event, error = error.message.as_str(), "a request is tried again");
        }
        RunEventKind::Unknown { line } => {
            log!(debug, event, line = line.as_str(), "the agent printed an unknown line");
        }
        RunEventKind::Alert { alert } => log!(info, event, rule = alert.rule.as_str(), "{alert}"),
        RunEventKind::Warning { message } => log!(warn, event, "{message}"),
        RunEventKind::Ended { report } => ended(event, report),
        RunEventKind::Report { report } => reported(event, report),
        RunEventKind::Output { .. } => {}
    }
}

/// Tells what an agent printed on stderr, from the file that keeps it, in which secrets are masked.
pub(crate) fn tell_stderr(run: RunId, agent: &AgentId, path: &Path) {
    if !tracing::enabled!(target: "aiswitch::stderr", Level::INFO) {
        return;
    }
    // An agent that printed nothing has no such file.
    let printed = end_of(path).unwrap_or_default();
    for line in String::from_utf8_lossy(&printed).lines().filter(|line| !line.trim().is_empty()) {
        info!(target: "aiswitch::stderr", run = %run, agent = %agent, "{line}");
    }
}

/// The last whole lines of a file.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(STDERR_BYTES_MAX);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(STDERR_BYTES_MAX).read_to_end(&mut end)?;
    let half_line = if start > 0 { memchr::memchr(b'\n', &end).map_or(end.len(), |end| end + 1) } else { 0 };
    Ok(end.split_off(half_line))
}

fn tool(event: &RunEvent, tool: &str, phase: ToolPhase, detail: Option<&str>) {
    match phase {
        ToolPhase::Started => log!(info, event, tool, detail, "the agent began a tool"),
        ToolPhase::Completed => log!(debug, event, tool, detail, "a tool of the agent completed"),
        ToolPhase::Failed => log!(warn, event, tool, detail, "a tool of the agent failed"),
        ToolPhase::Denied => log!(warn, event, tool, detail, "a tool of the agent was denied"),
    }
}

fn ended(event: &RunEvent, report: &AgentReport) {
    let (status, duration_ms) = (report.status.to_string(), report.duration_ms);
    let error = report.error.as_ref().map(|error| error.message.as_str());
    if report.status == Outcome::Completed {
        log!(info, event, status = status.as_str(), duration_ms, "the agent ended");
    } else {
        log!(warn, event, status = status.as_str(), duration_ms, error, "the agent ended");
    }
}

fn reported(event: &RunEvent, report: &RunReport) {
    let (status, duration_ms) = (report.status.to_string(), report.duration_ms);
    if report.status == RunStatus::Completed {
        log!(info, event, status = status.as_str(), duration_ms, "the run ended");
    } else {
        log!(warn, event, status = status.as_str(), duration_ms, "the run ended");
    }
}
