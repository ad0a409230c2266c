//! What a run does while the machine is short of memory: fewer starts, and pauses.

use aiswitch_agent::MemoryReading;
use tokio::time::Instant;

use super::{Run, Slot};
use crate::pressure::{Act, Pressure, Reason, act};
use crate::{RunEvent, RunEventKind, clock};

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    /// Whether a further agent may start: while memory is short, one does only when no other works.
    pub(super) fn has_memory(&mut self) -> bool {
        if self.gauge.level() == Pressure::Enough || self.parts.is_empty() {
            return true;
        }
        self.warn("agents waited for their start while memory was short".to_owned());
        false
    }

    /// Looks how short memory is, and pauses an agent or has one go on.
    pub(super) fn mind_memory(&mut self) {
        let reading = MemoryReading::read(&self.start.proc);
        if self.gauge.take(&self.start.pressure, reading) > Pressure::Enough {
            let unused = self.pool.weed(&[], Instant::now());
            self.retire(unused);
        }
        // What is paused may have been continued by somebody else, or have started more.
        for slot in &self.slots {
            if let (Some(pace), Some(_), None) = (&slot.pace, slot.paused_at, &slot.report) {
                pace.pause();
            }
        }
        self.pause_or_resume(self.gauge.level(), reading);
    }

    /// Has one go on when nobody else works any more.
    pub(super) fn keep_one_going(&mut self) {
        self.pause_or_resume(Pressure::Short, MemoryReading::default());
    }

    fn pause_or_resume(&mut self, level: Pressure, reading: MemoryReading) {
        let at_work: Vec<usize> = (0..self.slots.len())
            .filter(|index| {
                let slot = &self.slots[*index];
                slot.pace.is_some() && slot.heard.pid.is_some() && slot.report.is_none()
            })
            .collect();
        let paused: Vec<bool> = at_work.iter().map(|index| self.slots[*index].paused_at.is_some()).collect();
        match act(level, &paused) {
            Some(Act::Pause(at)) => self.pause(at_work[at], reading),
            Some(Act::Resume(at)) => self.resume(at_work[at]),
            None => {}
        }
    }

    fn pause(&mut self, index: usize, reading: MemoryReading) {
        let slot = &mut self.slots[index];
        let Some(pace) = &slot.pace else { return };
        pace.pause();
        slot.paused_at = Some(Instant::now());
        let reason = Reason(reading).to_string();
        slot.paused_for.clone_from(&reason);
        self.tell(Some(index), RunEventKind::Paused { reason });
    }

    fn resume(&mut self, index: usize) {
        let paused_ms = self.end_pause(index);
        if let Some(pace) = &self.slots[index].pace {
            pace.resume();
        }
        self.tell(Some(index), RunEventKind::Resumed { paused_ms });
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
        let paused_ms = slot.paused_at.take().map_or(0, clock::ms_since);
        slot.paused_ms += paused_ms;
        paused_ms
    }
}
