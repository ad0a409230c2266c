//! One agent's place in the run.

use aiswitch_agent::Pace;
use aiswitch_env::{Environment, Redactor, RedactorStream};
use aiswitch_tokens::ReservationId;
use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pause::Hold;
use crate::AgentReport;
use crate::heard::Heard;

/// One agent's place in the run.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) redactor: Redactor,
    /// Masks its answer, of which a secret may come in several pieces.
    pub(super) output: RedactorStream,
    pub(super) heard: Heard,
    pub(super) started: Option<(Instant, DateTime<Utc>)>,
    pub(super) restarts: u32,
    /// What pauses and what cancels its part, once it has started.
    pub(super) pace: Option<Pace>,
    pub(super) cancel: Option<CancellationToken>,
    /// Why it alone was cancelled.
    pub(super) cancelled_for: Option<String>,
    /// Why it is paused.
    pub(super) holds: Vec<Hold>,
    pub(super) paused_at: Option<Instant>,
    pub(super) paused_ms: u64,
    /// Why it was paused last.
    pub(super) paused_for: String,
    pub(super) report: Option<AgentReport>,
    /// What was set aside for it.
    pub(super) reserved: Option<ReservationId>,
    /// Why a quota keeps it from starting.
    pub(super) denied: Option<String>,
}

impl Slot {
    /// The place of an agent that has not started.
    pub(super) fn new(environment: &Environment) -> Self {
        let redactor = environment.redactor();
        let output = redactor.stream();
        Self {
            redactor,
            output,
            heard: Heard::default(),
            started: None,
            restarts: 0,
            pace: None,
            cancel: None,
            cancelled_for: None,
            holds: Vec::new(),
            paused_at: None,
            paused_ms: 0,
            paused_for: String::new(),
            report: None,
            reserved: None,
            denied: None,
        }
    }

    /// Whether its part began, and neither ended nor is to stop.
    pub(super) fn is_at_work(&self) -> bool {
        self.pace.is_some()
            && self.report.is_none()
            && self.cancel.as_ref().is_some_and(|cancel| !cancel.is_cancelled())
    }

    /// Whether it has processes that can be paused.
    pub(super) fn can_be_paused(&self) -> bool {
        self.is_at_work() && self.heard.pid.is_some()
    }

    /// Cancels its part alone.
    pub(super) fn cancel_for(&mut self, reason: String) {
        self.cancelled_for.get_or_insert(reason);
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
    }
}
