//! The peer is the handle through which an application calls the other side.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
#[cfg(feature = "tokio")]
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::calls::{Answer, Calls};
use crate::codec::{Framing, encode};
use crate::error::{CallError, CloseReason};
use crate::message::{self, Content, JsonRpcMember, Message};
use crate::method::{NotificationMethod, RequestMethod};
use crate::options::Options;
use crate::seal;
use crate::waiters::Waiters;

/// What is written before the body of a call: version and id.
const CALL_HEAD_BYTES_MAX: usize = 64;

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
    waiters: Waiters,
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

    fn wake_driver(&mut self) {
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
    fn push(&self, state: &mut State, parts: &[&[u8]]) {
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
    async fn send<T>(&self, calls: usize, open: impl Fn(&Self, &mut State) -> T) -> Result<T, CloseReason> {
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

/// A peer is the other side of a connection, as this side sees it: something to call and to notify.
///
/// Clones are cheap and stand for the same connection, which must be driven by
/// [`Connection::run`](crate::Connection::run).
#[derive(Clone, Debug)]
pub struct Peer {
    shared: Arc<Shared>,
    #[cfg(feature = "tokio")]
    call_timeout: Option<Duration>,
}

impl Peer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            #[cfg(feature = "tokio")]
            call_timeout: shared.options.call_timeout,
            shared,
        }
    }

    /// The same peer with another limit for the time that a call waits for its answer.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn with_call_timeout(&self, call_timeout: Option<Duration>) -> Self {
        Self { shared: self.shared.clone(), call_timeout }
    }

    /// Calls a method and waits for its result.
    ///
    /// Messages are sent in the order in which calls and notifications are first polled. While the outgoing queue
    /// or the table of calls is full, the call waits before it is sent.
    ///
    /// # Errors
    /// See [`CallError`]; every call ends, at the latest with [`CallError::Closed`] when the connection ends.
    ///
    /// # Panics
    /// With a call timeout, outside of a tokio runtime whose timer is enabled. (Without the feature `tokio` there
    /// is no timer and a call waits until the connection closes.)
    ///
    /// # Cancel safety
    /// Dropping the future gives the call up and tells the peer so, as [`Options::cancel`](crate::Options::cancel) says.
    pub async fn call<M: RequestMethod>(&self, params: &M::Params) -> Result<M::Result, CallError> {
        self.call_untyped(M::NAME, params).await
    }

    /// Calls a method by name; like [`Peer::call`] otherwise.
    ///
    /// # Errors
    /// As for [`Peer::call`].
    ///
    /// # Panics
    /// As for [`Peer::call`].
    ///
    /// # Cancel safety
    /// As for [`Peer::call`].
    pub async fn call_untyped<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, CallError> {
        let body = self.body(method, params)?;
        #[cfg(feature = "tracing")]
        let span = tracing::debug_span!("rpc_call", method, body_bytes = body.len());
        let answer = self.answer(method, body);
        #[cfg(feature = "tracing")]
        let answer = tracing::Instrument::instrument(answer, span);
        #[cfg(feature = "tokio")]
        let answer = async {
            let Some(timeout) = self.call_timeout else { return answer.await };
            let timed_out = |_elapsed| CallError::TimedOut { method: method.to_owned(), timeout };
            tokio::time::timeout(timeout, answer).await.map_err(timed_out)?
        };
        decode(method, self.shared.options.jsonrpc, answer.await?)
    }

    async fn answer(&self, method: &str, body: Vec<u8>) -> Result<Answer, CallError> {
        let number = self
            .shared
            .send(1, |shared, state| {
                let number = state.calls.open();
                let mut head = Vec::with_capacity(CALL_HEAD_BYTES_MAX);
                message::write_call_start(&mut head, shared.options.jsonrpc, Some(number));
                shared.push(state, &[&head, &body]);
                number
            })
            .await
            .map_err(|reason| CallError::Closed { method: method.to_owned(), reason })?;
        drop(body);
        Ok(Pending { shared: &self.shared, number, is_over: false }.await)
    }

    /// Sends a notification; nothing comes back.
    ///
    /// It is queued when the future ends; while the outgoing queue is full, it waits.
    ///
    /// # Errors
    /// When the params cannot be sent or the connection is closed.
    ///
    /// # Cancel safety
    /// Dropped before it ends, nothing was sent.
    pub async fn notify<N: NotificationMethod>(&self, params: &N::Params) -> Result<(), CallError> {
        self.notify_untyped(N::NAME, params).await
    }

    /// Sends a notification by name; like [`Peer::notify`] otherwise.
    ///
    /// # Errors
    /// As for [`Peer::notify`].
    ///
    /// # Cancel safety
    /// As for [`Peer::notify`].
    pub async fn notify_untyped(&self, method: &str, params: &impl Serialize) -> Result<(), CallError> {
        let body = self.body(method, params)?;
        self.shared
            .send(0, |shared, state| {
                let mut head = Vec::with_capacity(CALL_HEAD_BYTES_MAX);
                message::write_call_start(&mut head, shared.options.jsonrpc, None);
                shared.push(state, &[&head, &body]);
            })
            .await
            .map_err(|reason| CallError::Closed { method: method.to_owned(), reason })
    }

    /// Begins a batch.
    pub fn batch(&self) -> Batch {
        Batch { peer: self.clone(), messages: Vec::new() }
    }

    /// Ends this side's output: further calls are refused, what is queued is sent, answers to requests of the peer
    /// that are worked on too, then the writer is shut down and dropped so that the peer sees the end.
    ///
    /// Answers to calls that were made before are still received.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Draining(CloseReason::ClosedHere);
            state.wake_driver();
            state.waiters.wake_all();
        }
    }

    /// The part of a call that stands behind its id; written before the lock is taken.
    fn body(&self, method: &str, params: &impl Serialize) -> Result<Vec<u8>, CallError> {
        let mut body = Vec::with_capacity(128);
        message::write_call_body(&mut body, method, params)?;
        let bytes_max = self.shared.options.outgoing_frame_bytes_max;
        if body.len() + CALL_HEAD_BYTES_MAX > bytes_max {
            return Err(CallError::TooLarge { method: method.to_owned(), bytes_max });
        }
        Ok(body)
    }
}

/// A batch: several calls and notifications in one message, in the order in which they were added.
///
/// A peer may refuse batches; each call then ends with that error only if the peer says for which id. On a sealed
/// connection the messages are sent one by one.
#[derive(Debug)]
#[must_use = "a batch is sent by `send`"]
pub struct Batch {
    peer: Peer,
    /// The method of a call, or `None` for a notification, and the body.
    messages: Vec<(Option<String>, Vec<u8>)>,
}

impl Batch {
    /// Adds a call.
    ///
    /// # Errors
    /// When the params cannot be sent.
    pub fn call(mut self, method: &str, params: &impl Serialize) -> Result<Self, CallError> {
        self.messages.push((Some(method.to_owned()), self.peer.body(method, params)?));
        Ok(self)
    }

    /// Adds a notification.
    ///
    /// # Errors
    /// When the params cannot be sent.
    pub fn notify(mut self, method: &str, params: &impl Serialize) -> Result<Self, CallError> {
        self.messages.push((None, self.peer.body(method, params)?));
        Ok(self)
    }

    /// Sends the batch and waits for all answers; they come in the order of the calls.
    ///
    /// An empty batch sends nothing.
    ///
    /// # Errors
    /// When the batch is over the frame limit, has more calls than may be in flight, or the connection is closed.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the calls that are not answered yet.
    pub async fn send(self) -> Result<Vec<Result<Box<RawValue>, CallError>>, CallError> {
        const NAME: &str = "batch";
        let Options { jsonrpc, outgoing_frame_bytes_max, calls_in_flight_max, .. } = self.peer.shared.options;
        let methods: Vec<&str> = self.messages.iter().filter_map(|(method, _)| method.as_deref()).collect();
        let bytes: usize = self.messages.iter().map(|(_, body)| body.len() + CALL_HEAD_BYTES_MAX).sum();
        if self.messages.is_empty() {
            return Ok(Vec::new());
        }
        if bytes > outgoing_frame_bytes_max {
            return Err(CallError::TooLarge { method: NAME.to_owned(), bytes_max: outgoing_frame_bytes_max });
        }
        if methods.len() > calls_in_flight_max {
            return Err(CallError::TooManyCalls { calls: methods.len(), calls_in_flight_max });
        }
        let sent = self.peer.shared.send(methods.len(), |shared, state| self.queue(shared, state)).await;
        let numbers = sent.map_err(|reason| CallError::Closed { method: NAME.to_owned(), reason })?;
        let shared = &*self.peer.shared;
        let pending: Vec<Pending<'_>> =
            numbers.into_iter().map(|number| Pending { shared, number, is_over: false }).collect();
        let mut answers = Vec::with_capacity(pending.len());
        for (call, method) in pending.into_iter().zip(methods) {
            answers.push(decode(method, jsonrpc, call.await));
        }
        Ok(answers)
    }

    fn queue(&self, shared: &Shared, state: &mut State) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut message = Vec::new();
        for (method, body) in &self.messages {
            let number = method.is_some().then(|| state.calls.open());
            numbers.extend(number);
            if state.seal.is_none() {
                message.push(if message.is_empty() { b'[' } else { b',' });
            }
            message::write_call_start(&mut message, shared.options.jsonrpc, number);
            message.extend_from_slice(body);
            if state.seal.is_some() {
                shared.push(state, &[&message]);
                message.clear();
            }
        }
        if !message.is_empty() {
            shared.push(state, &[&message, b"]"]);
        }
        numbers
    }
}

/// A call that was sent and waits for its answer.
struct Pending<'a> {
    shared: &'a Shared,
    number: u64,
    is_over: bool,
}

impl Future for Pending<'_> {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut state = self.shared.lock();
        let answer = state.calls.poll(self.number, context);
        if answer.is_ready() {
            state.waiters.wake_first();
            drop(state);
            self.is_over = true;
        }
        answer
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.shared.lock();
        if state.calls.abandon(self.number) && state.phase == Phase::Open {
            let options = &self.shared.options;
            if let Some(cancel) = message::cancel_notification(options.jsonrpc, options.cancel, self.number) {
                self.shared.push(&mut state, &[&cancel]);
            }
        }
        state.waiters.wake_first();
    }
}

fn decode<R: DeserializeOwned>(method: &str, jsonrpc: JsonRpcMember, answer: Answer) -> Result<R, CallError> {
    let error = match answer {
        Answer::Frame { frame, result_from } => {
            match serde_json::from_str(&frame[result_from..frame.len() - 1]) {
                Ok(result) => return Ok(result),
                Err(_) => return decode(method, jsonrpc, reread(&frame, jsonrpc)),
            }
        }
        Answer::Result(text) => match serde_json::from_str(&text) {
            Ok(result) => return Ok(result),
            Err(source) => {
                let raw = RawValue::from_string(text).expect("the text was read as one JSON value before");
                CallError::Decode { method: method.to_owned(), raw, source }
            }
        },
        Answer::Error(error) => CallError::rpc(error),
        Answer::Invalid(reason) => CallError::InvalidResponse { method: method.to_owned(), reason },
        Answer::TooLarge { bytes_max } => CallError::TooLarge { method: method.to_owned(), bytes_max },
        Answer::Closed(reason) => CallError::Closed { method: method.to_owned(), reason },
    };
    Err(error)
}

/// Reads a frame the long way that seemed to be a canonical response.
fn reread(frame: &str, jsonrpc: JsonRpcMember) -> Answer {
    match message::parse(frame, jsonrpc) {
        Ok(Content::One(Message::Response { outcome: Ok(result), .. })) => {
            Answer::Result(result.get().to_owned())
        }
        Ok(Content::One(Message::Response { outcome: Err(error), .. })) => Answer::Error(error),
        Ok(Content::One(Message::InvalidResponse { reason, .. })) => Answer::Invalid(reason),
        Ok(_) => Answer::Invalid("`method` stands beside `result`"),
        Err(_) => Answer::Invalid("not JSON"),
    }
}
