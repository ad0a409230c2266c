//! The audit lines of one run, written beside its loop.

use aiswitch_agent::{AgentId, Decision, PermissionMode};
use tokio::task::{JoinError, JoinSet};

use super::{Actor, Audit, AuditDecision, AuditEntry, Channel};
use crate::chain;
use crate::error::HomeError;
use crate::{RunEventKind, RunId};

/// How many lines one run may write; the journal has what comes later.
const LINES_MAX: usize = 1000;

/// The audit lines of one run, of which some wait while others are written.
#[derive(Debug)]
pub(crate) struct RunAudit {
    audit: Audit,
    run: RunId,
    mode: PermissionMode,
    /// How many more there may be.
    left: usize,
    waiting: Vec<AuditEntry>,
    writing: JoinSet<Result<(), HomeError>>,
}

impl RunAudit {
    pub(crate) fn new(audit: Audit, run: RunId, mode: PermissionMode) -> Self {
        Self { audit, run, mode, left: LINES_MAX, waiting: Vec::new(), writing: JoinSet::new() }
    }

    /// Takes note of what an agent was refused, and of what it was allowed beyond looking.
    pub(crate) fn note(&mut self, agent: &AgentId, event: &RunEventKind) {
        let (action, detail, decision) = match event {
            RunEventKind::Refused { method, reason } => (method, Some(reason), AuditDecision::Denied),
            RunEventKind::Permission { tool, question, decision: Decision::Allow }
                if self.mode != PermissionMode::ReadOnly =>
            {
                (tool, question.as_ref(), AuditDecision::Allowed)
            }
            _ => return,
        };
        let Some(left) = self.left.checked_sub(1) else { return };
        self.left = left;
        let detail = match left {
            0 => Some("what this run decides from here on stands in its journal alone".to_owned()),
            _ => detail.cloned(),
        };
        self.waiting.push(AuditEntry {
            actor: Actor::Agent(agent.clone()),
            channel: Channel::Adapter,
            action: action.clone(),
            object: self.run.to_string(),
            decision,
            detail,
        });
        self.write();
    }

    /// Waits until some lines are written, and starts with those that wait; `None` when there are none.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub(crate) async fn written(&mut self) -> Option<Result<(), String>> {
        let written = self.writing.join_next().await?;
        self.write();
        Some(match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(error) => Err(JoinError::to_string(&error)),
        })
    }

    fn write(&mut self) {
        if self.writing.is_empty() && !self.waiting.is_empty() {
            let (audit, lines) = (self.audit.clone(), std::mem::take(&mut self.waiting));
            self.writing.spawn(async move { audit.append(lines).await });
        }
    }
}
