//! The line of those who wait for room in the outgoing queue, first come, first served.

use std::collections::BTreeMap;
use std::task::Waker;

/// Who waits, in the order of arrival.
///
/// Whoever makes room wakes the first; the first, once served or gone, wakes the next. So no wake-up is lost.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    last_ticket: u64,
    line: BTreeMap<u64, Waker>,
}

impl Waiters {
    /// Whether the holder of `ticket`, or a newcomer, is next.
    pub(crate) fn is_next(&self, ticket: Option<u64>) -> bool {
        match self.line.first_key_value() {
            None => true,
            Some((&first, _)) => ticket == Some(first),
        }
    }

    /// Stands in line, at the place of `ticket` or at the end; gives the ticket.
    pub(crate) fn wait(&mut self, ticket: Option<u64>, waker: &Waker) -> u64 {
        let ticket = ticket.unwrap_or_else(|| {
            self.last_ticket += 1;
            self.last_ticket
        });
        self.line.insert(ticket, waker.clone());
        ticket
    }

    /// Leaves the line and wakes the next.
    pub(crate) fn leave(&mut self, ticket: u64) {
        if self.line.remove(&ticket).is_some() {
            self.wake_first();
        }
    }

    /// Wakes the first in line.
    pub(crate) fn wake_first(&self) {
        if let Some((_, waker)) = self.line.first_key_value() {
            waker.wake_by_ref();
        }
    }

    /// Wakes all: there is nothing left to wait for.
    pub(crate) fn wake_all(&self) {
        for waker in self.line.values() {
            waker.wake_by_ref();
        }
    }
}
