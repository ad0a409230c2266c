//! What a run does while the machine is short of memory: fewer starts, and pauses.

use aiswitch_agent::MemoryReading;
use tokio::time::Instant;

use super::Run;
use super::pause::Hold;
use crate::RunEvent;
use crate::pressure::{Act, Pressure, Reason, act};

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    /// Whether a further agent may start: while memory is short or an alert says so, one does only when no other works.
    pub(super) fn has_room(&mut self) -> bool {
        if self.parts.is_empty() {
            return true;
        }
        let reason = match self.throttled_by() {
            _ if self.gauge.level() > Pressure::Enough => "memory was short".to_owned(),
            Some(rule) => format!("alert `{rule}` fired"),
            None => return true,
        };
        self.warn(format!("agents waited for their start while {reason}"));
        false
    }

    /// Looks how short memory is, and pauses an agent or has one go on.
    pub(super) fn mind_memory(&mut self) {
        let reading = MemoryReading::read(&self.start.proc);
        if self.gauge.take(&self.start.pressure, reading) > Pressure::Enough {
            let unused = self.pool.weed(&[], Instant::now());
            self.retire(unused);
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
                slot.can_be_paused() && slot.holds.iter().all(|hold| *hold == Hold::Memory)
            })
            .collect();
        let paused: Vec<bool> = at_work.iter().map(|index| self.slots[*index].paused_at.is_some()).collect();
        match act(level, &paused) {
            Some(Act::Pause(at)) => self.pause(at_work[at], Hold::Memory, Reason(reading).to_string()),
            Some(Act::Resume(at)) => self.resume(at_work[at], |hold| *hold == Hold::Memory),
            None => {}
        }
    }
}
