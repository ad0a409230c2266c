//! Pauses of agents, which several reasons may ask for at once.

use tokio::time::Instant;

use super::{Run, Slot};
use crate::{RunEvent, RunEventKind, clock};

/// Why an agent is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Memory is short.
    Memory,
    /// An alert fires.
    Alert {
        /// The place of its watch.
        watch: usize,
        /// How long it may pause the agent.
        until: Instant,
    },
}

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    /// Pauses an agent, or notes one more reason why it is.
    pub(super) fn pause(&mut self, index: usize, hold: Hold, reason: String) {
        let slot = &mut self.slots[index];
        let Some(pace) = slot.pace.as_ref().filter(|_| slot.can_be_paused()) else { return };
        slot.holds.push(hold);
        if slot.paused_at.is_some() {
            return;
        }
        pace.pause();
        slot.paused_at = Some(Instant::now());
        slot.paused_for.clone_from(&reason);
        self.tell(Some(index), RunEventKind::Paused { reason });
    }

    /// Takes reasons back, and has the agent go on if no other is left.
    pub(super) fn resume(&mut self, index: usize, is_over: impl Fn(&Hold) -> bool) {
        let slot = &mut self.slots[index];
        slot.holds.retain(|hold| !is_over(hold));
        if slot.paused_at.is_none() || !slot.holds.is_empty() {
            return;
        }
        if let Some(pace) = &slot.pace {
            pace.resume();
        }
        let paused_ms = self.end_pause(index);
        self.tell(Some(index), RunEventKind::Resumed { paused_ms });
    }

    /// Pauses once more what is paused: somebody else may have continued it, or it has started more.
    pub(super) fn keep_paused(&self) {
        for slot in self.slots.iter().filter(|slot| slot.paused_at.is_some() && slot.is_at_work()) {
            if let Some(pace) = &slot.pace {
                pace.pause();
            }
        }
    }

    /// Has the report name an agent that was paused.
    pub(super) fn tell_of_pauses(&mut self, index: usize) {
        let Slot { paused_ms, paused_for, .. } = &self.slots[index];
        if *paused_ms > 0 {
            let (s, tenths) = (paused_ms / 1000, paused_ms % 1000 / 100);
            self.warn(format!("agent `{}` was paused for {s}.{tenths} s: {paused_for}", self.id(index)));
        }
    }

    /// Counts a pause that is over, and says how long it was, in milliseconds.
    pub(super) fn end_pause(&mut self, index: usize) -> u64 {
        let slot = &mut self.slots[index];
        slot.holds.clear();
        let paused_ms = slot.paused_at.take().map_or(0, clock::ms_since);
        slot.paused_ms += paused_ms;
        paused_ms
    }
}
