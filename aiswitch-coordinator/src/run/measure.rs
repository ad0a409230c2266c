//! What was measured in a run, on its way into the store and its view.

use aiswitch_metrics::Stored;
use tokio::task::JoinError;

use super::{Run, panic_message};
use crate::sampling::{Written, told};
use crate::state::told_of;
use crate::{RunEvent, chain, clock};

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    /// Looks at what the agents take of the machine, and keeps the state files new.
    pub(super) fn look(&mut self) {
        let now = clock::now();
        let is_sample_due = self.sampling.is_due();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let (Some(pid), None) = (slot.heard.pid, &slot.report) else { continue };
            let memory_bytes = self.sampling.look(place, pid, now);
            slot.heard.memory_bytes_peak = slot.heard.memory_bytes_peak.max(memory_bytes);
            if is_sample_due {
                self.sampling.add_agent(place, slot.heard.usage, slot.paused_at.is_some(), now);
            }
        }
        (0..self.slots.len()).for_each(|index| self.add_reported(index));
        if is_sample_due {
            self.sampling.add_system(now);
        }
        self.sampling.write(false, now);
        if self.state_changed && self.saves.is_empty() {
            self.save(None);
        }
    }

    /// Adds what an agent has reported of itself since the last time.
    pub(super) fn add_reported(&mut self, index: usize) {
        let agent = self.start.ready.agents[index].id();
        if let Some(sample) = self.slots[index].heard.reported.sample(agent, clock::now()) {
            self.sampling.add(sample);
        }
    }

    pub(super) fn sampled(&mut self, written: Result<Written, JoinError>) {
        let (stored, judged) = match written {
            Ok(Written { stored, judged }) => (stored.map_err(|error| chain(&error)), Some(judged)),
            Err(error) => (Err(panic_message(error)), None),
        };
        let problem = match stored {
            Ok(stored) => {
                if stored != Stored::default() {
                    self.show_metrics();
                }
                told(stored.rejected)
            }
            Err(error) => Some(format!("what the agents took of the machine is not kept: {error}")),
        };
        if let Some(problem) = problem {
            self.warn(problem);
        }
        if let Some(judged) = judged {
            self.judged(judged);
        }
    }

    /// Starts writing the view of what was measured, if the run is kept.
    fn show_metrics(&mut self) {
        let (Some(state), Some(metrics)) = (self.start.state.clone(), self.start.metrics.clone()) else {
            return;
        };
        self.saves.spawn(async move { Ok(told_of(state.show_metrics(metrics).await)) });
    }
}
