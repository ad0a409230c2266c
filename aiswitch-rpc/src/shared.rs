//! What the peers of one connection and the connection itself share: the outgoing queue, the calls, how far it has come.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use serde_json::value::RawValue;

use crate::calls::Calls;
use crate::codec::{Framing, encode};
use crate::error::CloseReason;
use crate::message;
use crate::options::Options;
use crate::seal;
use crate::waiters::Waiters;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Messages go both ways.
    Open,
    /// No further calls are taken; what is queued is sent, then the output ends.
    Draining(CloseReason),
    /// Nothing moves any more.
    Closed(CloseReason),
}

/// What the application and the connection share, under one short lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) outbox: Vec<u8>,
    /// The number of the next sealed message, if messages are sealed.
    pub(crate) seal: Option<u64>,
    /// Messages that wait until it is known whether they are to be sealed.
    pub(crate) held: Option<Vec<Vec<u8>>>,
    /// How many bytes the connection has taken from the outbox and not yet written.
    pub(crate) writing_bytes: usize,
    pub(crate) calls: Calls,
    pub(crate) phase: Phase,
    /// Whether there is still a writer that takes what is queued.
    pub(crate) has_output: bool,
    pub(crate) driver: Option<Waker>,
    pub(crate) waiters: Waiters,
}

impl State {
    pub(crate) fn queued_bytes(&self) -> usize {
        let held_bytes: usize = self.held.iter().flatten().map(Vec::len).sum();
        self.outbox.len() + self.writing_bytes + held_bytes
    }

    /// Queues one message, sealed if that was agreed upon; while it is being negotiated, the message is held back.
    pub(crate) fn queue(&mut self, framing: Framing, parts: &[&[u8]]) {
        if let Some(held) = &mut self.held {
            return held.push(parts.concat());
        }
        encode(framing, parts, self.seal, &mut self.outbox);
        if let Some(number) = &mut self.seal {
            *number += 1;
        }
    }

    /// Queues one message of the negotiation itself: never sealed, never held back.
    pub(crate) fn queue_plain(&mut self, framing: Framing, parts: &[&[u8]]) {
        encode(framing, parts, None, &mut self.outbox);
    }

    pub(crate) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

/// The meeting place of [`Peer`]s and their connection.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) options: Options,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        let state = State {
            outbox: Vec::new(),
            seal: None,
            held: None,
            writing_bytes: 0,
            calls: Calls::new(),
            phase: Phase::Open,
            has_output: true,
            driver: None,
            waiters: Waiters::default(),
        };
        Self { state: Mutex::new(state), options }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // No code of the application runs under the lock, so a poisoned state is whole all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues one message and wakes the connection, which may be asleep.
    pub(crate) fn push(&self, state: &mut State, parts: &[&[u8]]) {
        state.queue(self.options.framing, parts);
        state.wake_driver();
    }

    /// Offers the peer to seal messages; gives the number of that call.
    pub(crate) fn offer_seal(&self) -> u64 {
        let mut state = self.lock();
        let number = state.calls.open();
        let mut offer = Vec::new();
        message::write_call_start(&mut offer, self.options.jsonrpc, Some(number));
        let params = RawValue::from_string(seal::OFFER.to_owned()).expect("the offer is JSON");
        message::write_call_body(&mut offer, seal::METHOD, &params).expect("the offer is an object");
        state.queue(self.options.framing, &[&offer]);
        state.held = Some(Vec::new());
        number
    }

    /// The offer was answered: what was held back is sent.
    pub(crate) fn end_offer(&self, number: u64, is_accepted: bool) {
        let mut state = self.lock();
        state.calls.forget(number);
        state.seal = is_accepted.then_some(1);
        for message in state.held.take().unwrap_or_default() {
            state.queue(self.options.framing, &[&message]);
        }
        state.waiters.wake_first();
    }

    /// Tells that of the bytes taken from the outbox so many are left to be written.
    pub(crate) fn written(&self, left_bytes: usize) {
        let mut state = self.lock();
        state.writing_bytes = left_bytes;
        state.waiters.wake_first();
    }

    /// No answer can come any more: ends the calls that wait and takes no further ones.
    pub(crate) fn end_of_input(&self, reason: CloseReason) {
        let mut state = self.lock();
        state.calls.close(reason);
        if state.phase == Phase::Open {
            state.phase = Phase::Draining(reason);
        }
        state.waiters.wake_all();
    }

    /// Nothing can be sent any more; answers may still come.
    #[cfg(feature = "tokio")]
    pub(crate) fn end_of_output(&self, reason: CloseReason) {
        let mut state = self.lock();
        state.phase = Phase::Draining(reason);
        state.has_output = false;
        state.outbox = Vec::new();
        state.writing_bytes = 0;
        state.waiters.wake_all();
    }

    /// Nothing moves any more.
    pub(crate) fn end(&self, reason: CloseReason) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Closed(_)) {
            return;
        }
        state.phase = Phase::Closed(reason);
        state.has_output = false;
        state.outbox = Vec::new();
        state.calls.close(reason);
        state.waiters.wake_all();
    }

    /// Queues messages of the application as soon as there is room for them; `open` runs under the lock.
    ///
    /// # Cancel safety
    /// Dropped before it ends, nothing was queued.
    pub(crate) async fn send<T>(
        &self,
        calls: usize,
        open: impl Fn(&Self, &mut State) -> T,
    ) -> Result<T, CloseReason> {
        let mut place = Place { shared: self, ticket: None };
        poll_fn(|context| {
            let mut state = self.lock();
            match state.phase {
                Phase::Open => {}
                // Handlers that still work for a peer which ended its output may report how they fare.
                Phase::Draining(CloseReason::EndOfInput | CloseReason::HalfFrame) if calls == 0 => {}
                Phase::Draining(reason) | Phase::Closed(reason) => return Poll::Ready(Err(reason)),
            }
            let has_room = state.waiters.is_next(place.ticket)
                && state.held.is_none()
                && state.calls.in_flight() + calls <= self.options.calls_in_flight_max
                && state.queued_bytes() <= self.options.outgoing_bytes_soft;
            if has_room {
                return Poll::Ready(Ok(open(self, &mut state)));
            }
            place.ticket = Some(state.waiters.wait(place.ticket, context.waker()));
            Poll::Pending
        })
        .await
    }
}

/// A place in the line of those who wait for room.
struct Place<'a> {
    shared: &'a Shared,
    ticket: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.lock().waiters.leave(ticket);
        }
    }
}
