//! Dispatch takes the frames of the peer one by one: it starts handlers, settles calls and queues answers.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde_json::json;
use serde_json::value::RawValue;

use crate::calls::{Answer, Settled};
use crate::canonical::{Canonical, canonical};
use crate::codec::{Decoder, Framing};
use crate::error::{CloseReason, ConnectionError, FrameError};
use crate::message::{self, Content, ErrorObject, Id, JsonRpcMember, Message, RefusedFrame, error_code};
use crate::options::{CancelStyle, Integrity, MALFORMED_REPLIES_MAX, OnMalformed, Options};
use crate::peer::{Peer, Phase, Shared};
use crate::router::{self, CancelFlag, Event, Input, Refused, Router};
use crate::seal::{self, IntegrityFault, check_seal};
use crate::tasks::Tasks;

/// The most bytes of a noise line that an event carries.
const NOISE_BYTES_MAX: usize = 4096;
/// How a peer begins that frames its messages in the other way.
const FRAMING_HINT: &str = "content-length";

/// Where the answer to a request goes.
#[derive(Clone, Copy, Debug)]
enum ReplyTo {
    Stream,
    Batch(usize),
}

/// A request that is to be worked on.
struct Request<'a> {
    id: Id,
    method: &'a str,
    input: Input<'a>,
    to: ReplyTo,
}

/// A request that is being worked on.
struct Job {
    id: Id,
    to: ReplyTo,
    method: String,
    cancel: Arc<CancelFlag>,
}

/// The answers to a batch, collected until all of them are there.
#[derive(Default)]
struct Batch {
    missing: usize,
    replies: Vec<Vec<u8>>,
}

type HandlerFuture = dyn Future<Output = Result<Vec<u8>, ErrorObject>> + Send;

/// How one poll of a handler went; a panic is an outcome.
enum Polled {
    Pending(Pin<Box<HandlerFuture>>),
    Ended(Result<Vec<u8>, ErrorObject>),
    Panicked,
    Refused(Refused),
}

/// The part of a connection that knows what messages mean, and touches no stream.
pub(crate) struct Dispatch {
    router: Router,
    shared: Arc<Shared>,
    tasks: Tasks<HandlerFuture, Job>,
    in_flight: HashMap<Id, Arc<CancelFlag>>,
    batches: Vec<Option<Batch>>,
    malformed_in_a_row: u32,
    is_overfull: bool,
    /// The call by which this side offered to seal messages, until it is answered.
    offer: Option<u64>,
    /// The number of the peer's next message, if messages are sealed.
    next_seal: Option<u64>,
}

impl Dispatch {
    pub(crate) fn new(router: Router, shared: Arc<Shared>) -> Self {
        let offer = matches!(shared.options.integrity, Integrity::Offer | Integrity::Require)
            .then(|| shared.offer_seal());
        Self {
            router,
            shared,
            offer,
            next_seal: None,
            tasks: Tasks::new(),
            in_flight: HashMap::new(),
            batches: Vec::new(),
            malformed_in_a_row: 0,
            is_overfull: false,
        }
    }

    fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(crate) fn has_work(&self) -> bool {
        self.tasks.len() > 0
    }

    /// Whether an answer had to be dropped because the outgoing queue is at its limit.
    pub(crate) fn is_overfull(&self) -> bool {
        self.is_overfull
    }

    /// Drops all handlers; nobody is left to be answered.
    pub(crate) fn abandon_work(&mut self) {
        self.tasks.clear();
        self.in_flight.clear();
    }

    /// Lets handlers go on that can; `true` when at least one ended.
    pub(crate) fn poll_work(&mut self, context: &Context<'_>) -> bool {
        let mut has_ended = false;
        while let Poll::Ready((job, outcome)) = self.tasks.poll_next(context, poll_contained) {
            has_ended = true;
            self.in_flight.remove(&job.id);
            let outcome = outcome.unwrap_or_else(|Panic| Err(self.panicked(&job.method)));
            let is_unwanted = self.options().cancel == CancelStyle::Mcp && job.cancel.is_set();
            self.reply(job.to, &job.id, (!is_unwanted).then_some(outcome));
        }
        has_ended
    }

    /// Takes all frames that the decoder has; at the end of the stream the last one too.
    ///
    /// An error means that no further frame can be had.
    pub(crate) fn frames(
        &mut self,
        decoder: &mut Decoder,
        is_end: bool,
        context: &mut Context<'_>,
    ) -> Result<(), (CloseReason, ConnectionError)> {
        while !self.is_overfull {
            let frame = if is_end { decoder.finish() } else { decoder.next_frame() };
            match frame {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if let Err(fault) = self.frame(frame, context) {
                        self.abandon_work();
                        return Err((CloseReason::Integrity, ConnectionError::Integrity { fault }));
                    }
                }
                Err(source) if is_end || matches!(source, FrameError::Header { .. }) => {
                    let reason = if is_end { CloseReason::HalfFrame } else { CloseReason::FramingLost };
                    self.bad_frame(source.clone(), decoder.refused_prefix());
                    return Err((reason, ConnectionError::Frame { source }));
                }
                Err(error) => self.bad_frame(error, decoder.refused_prefix()),
            }
        }
        Ok(())
    }

    /// Takes one frame.
    ///
    /// An error means that the peer's messages are not intact: no further frame may be taken.
    fn frame(&mut self, frame: &str, context: &mut Context<'_>) -> Result<(), IntegrityFault> {
        let open = match self.next_seal {
            None => frame.strip_suffix('}'),
            Some(number) => {
                self.next_seal = Some(number + 1);
                Some(check_seal(frame, number).inspect_err(|fault| self.tampered(*fault))?)
            }
        };
        let head = match (self.options().jsonrpc, self.offer) {
            (JsonRpcMember::Required, None) => open.and_then(canonical),
            _ => None,
        };
        if let (Some(open), Some(head)) = (open, head)
            && self.canonical(&head, open, context)
        {
            self.malformed_in_a_row = 0;
            return Ok(());
        }
        match message::parse(frame, self.options().jsonrpc) {
            Ok(Content::One(Message::Response { id, outcome })) if self.is_answer_to_offer(&id) => {
                return self.offer_answered(outcome.is_ok_and(seal::is_accepted));
            }
            Ok(Content::One(
                Message::InvalidResponse { id: Some(id), .. } | Message::InvalidRequest { id, .. },
            )) if self.is_answer_to_offer(&id) => return self.offer_answered(false),
            Ok(Content::One(message)) => self.message(message, ReplyTo::Stream, context),
            Ok(Content::Batch(elements)) => self.batch(&elements, context),
            Err(error) => self.not_json(frame, &error),
        }
        Ok(())
    }

    fn is_answer_to_offer(&self, id: &Id) -> bool {
        self.offer.is_some() && self.offer == id.call_number()
    }

    fn offer_answered(&mut self, is_accepted: bool) -> Result<(), IntegrityFault> {
        let Some(number) = self.offer.take() else { return Ok(()) };
        self.shared.end_offer(number, is_accepted);
        self.next_seal = is_accepted.then_some(1);
        if !is_accepted && self.options().integrity == Integrity::Require {
            self.router.tell(|| Event::Integrity { fault: IntegrityFault::Declined });
            return Err(IntegrityFault::Declined);
        }
        Ok(())
    }

    /// Answers an offer of the peer to seal messages: the answer itself is not sealed yet.
    fn answer_offer(&mut self, id: &Id, params: Option<&RawValue>) {
        let is_acceptable = seal::is_acceptable(params) && self.next_seal.is_none();
        let answer = if is_acceptable { seal::ACCEPT } else { seal::DECLINE };
        let [head, result, tail] = self.encode_reply(id, Ok(answer.as_bytes().to_vec()));
        let mut state = self.shared.lock();
        state.queue_plain(self.options().framing, &[&head, &result, &tail]);
        // Where both sides made an offer, the answer of the peer is still to come, and is not sealed either.
        if is_acceptable && self.offer.is_none() {
            state.seal = Some(1);
            drop(state);
            self.next_seal = Some(1);
        }
    }

    fn tampered(&mut self, fault: IntegrityFault) {
        self.router.tell(|| Event::Integrity { fault });
        let error = ErrorObject::new(error_code::INTEGRITY, format!("Integrity: {fault}"));
        self.reply(ReplyTo::Stream, &Id::Null, Some(Err(error)));
    }

    fn not_json(&mut self, frame: &str, error: &serde_json::Error) {
        self.router.tell(|| Event::Noise { line: cut(frame, NOISE_BYTES_MAX).to_owned() });
        let mut answer = ErrorObject::new(error_code::PARSE_ERROR, format!("Parse error: {error}"));
        if cut(frame.trim_ascii_start(), FRAMING_HINT.len()).eq_ignore_ascii_case(FRAMING_HINT) {
            answer.data = Some(json!({"hint": "this side reads one message a line, without headers"}));
        }
        self.malformed(ReplyTo::Stream, &Id::Null, &answer);
    }

    /// Takes the error that stands for a frame which could not be had.
    fn bad_frame(&mut self, error: FrameError, refused_prefix: &str) {
        match &error {
            FrameError::TooLong { bytes_max, .. } => {
                let bytes_max = *bytes_max;
                let answer =
                    ErrorObject::new(error_code::INVALID_REQUEST, "Invalid Request: message is too long")
                        .with_data(json!({"frame_bytes_max": bytes_max}));
                match message::parse_refused_prefix(refused_prefix) {
                    RefusedFrame::Request(id) => self.reply(ReplyTo::Stream, &id, Some(Err(answer))),
                    RefusedFrame::Response(id) => {
                        self.settle(&id, Answer::TooLarge { bytes_max });
                    }
                    RefusedFrame::Unknown => self.malformed(ReplyTo::Stream, &Id::Null, &answer),
                }
            }
            FrameError::Noise { line } => {
                let line = line.clone();
                return self.router.tell(|| Event::Noise { line });
            }
            FrameError::HalfFrame { .. } if self.options().framing == Framing::ContentLength => {}
            _ => {
                let answer = ErrorObject::new(error_code::PARSE_ERROR, format!("Parse error: {error}"));
                self.malformed(ReplyTo::Stream, &Id::Null, &answer);
            }
        }
        self.router.tell(|| Event::BadFrame { error });
    }

    /// Takes a frame in canonical form; `false` when it must be read the long way.
    fn canonical(&mut self, head: &Canonical<'_>, open: &str, context: &mut Context<'_>) -> bool {
        match *head {
            Canonical::Response { id, result_from } => {
                let mut state = self.shared.lock();
                if !state.calls.is_waiting(id) {
                    return false;
                }
                state.calls.settle(id, Answer::Frame { frame: [open, "}"].concat(), result_from });
                true
            }
            Canonical::Notification { method, params } => {
                Some(method) != self.options().cancel.method()
                    && self.notification(method, Input::Text(params)).is_ok()
            }
            Canonical::Request { id, method, params } => {
                let id = Id::Integer(id);
                method != seal::METHOD
                    && self.router.start_request(method).is_some()
                    && self.refusal(&id).is_none()
                    && self.start(
                        Request { id, method, input: Input::Text(params), to: ReplyTo::Stream },
                        context,
                    )
            }
        }
    }

    fn batch(&mut self, elements: &[&RawValue], context: &mut Context<'_>) {
        let batch_max = self.options().batch_max;
        if elements.len() > batch_max {
            let reason = if batch_max == 0 { "batches are not taken" } else { "batch has too many elements" };
            let message = Message::InvalidRequest { id: Id::Null, reason, has_method: false };
            return self.message(message, ReplyTo::Stream, context);
        }
        let place = self.batches.iter().position(Option::is_none).unwrap_or_else(|| {
            self.batches.push(None);
            self.batches.len() - 1
        });
        // One more than there are elements, so that the batch is not sent before the last one was taken.
        self.batches[place] = Some(Batch { missing: elements.len() + 1, replies: Vec::new() });
        for element in elements {
            let message = match message::parse(element.get(), self.options().jsonrpc) {
                Ok(Content::One(message)) => message,
                Ok(Content::Batch(_)) | Err(_) => Message::InvalidRequest {
                    id: Id::Null,
                    reason: "message is not an object",
                    has_method: false,
                },
            };
            let wants_reply = matches!(message, Message::Request { .. } | Message::InvalidRequest { .. });
            self.message(message, ReplyTo::Batch(place), context);
            if !wants_reply {
                self.end_batch_element(place, None);
            }
        }
        self.end_batch_element(place, None);
    }

    fn message(&mut self, message: Message<'_>, to: ReplyTo, context: &mut Context<'_>) {
        match message {
            Message::Request { id, method, params } => {
                self.malformed_in_a_row = 0;
                let is_offer = method == seal::METHOD && self.options().integrity != Integrity::Off;
                if is_offer && matches!(to, ReplyTo::Stream) {
                    self.answer_offer(&id, params);
                } else if let Some(refusal) = self.refusal(&id) {
                    let id = if refusal.code == error_code::INVALID_REQUEST { Id::Null } else { id };
                    self.reply(to, &id, Some(Err(refusal)));
                } else {
                    self.start(Request { id, method: &method, input: Input::Raw(params), to }, context);
                }
            }
            Message::Notification { method, params } => {
                self.malformed_in_a_row = 0;
                if Some(&*method) == self.options().cancel.method() {
                    self.cancel(params);
                } else if let Err(Refused::Params(error)) = self.notification(&method, Input::Raw(params)) {
                    self.router.tell(|| Event::InvalidNotification { method: method.into_owned(), error });
                }
            }
            Message::Response { id, outcome } => {
                self.malformed_in_a_row = 0;
                self.response(id, outcome);
            }
            Message::InvalidRequest { id, reason, has_method } => {
                if !has_method && self.settle(&id, Answer::Invalid(reason)) == Settled::Matched {
                    return self.reply(to, &id, None);
                }
                let answer =
                    ErrorObject::new(error_code::INVALID_REQUEST, format!("Invalid Request: {reason}"));
                if has_method && id != Id::Null {
                    self.reply(to, &id, Some(Err(answer)));
                } else {
                    self.malformed(to, &id, &answer);
                }
                self.router.tell(|| Event::InvalidMessage { reason, id });
            }
            Message::InvalidResponse { id, reason } => {
                let id = id.unwrap_or(Id::Null);
                if self.settle(&id, Answer::Invalid(reason)) != Settled::Matched {
                    self.router.tell(|| Event::InvalidMessage { reason, id });
                }
            }
        }
    }

    fn cancel(&self, params: Option<&RawValue>) {
        let id = message::cancelled_id(self.options().cancel, params);
        if let Some(flag) = id.and_then(|id| self.in_flight.get(&id)) {
            flag.set();
        }
    }

    fn response(&self, id: Id, outcome: Result<&RawValue, ErrorObject>) {
        let answer = match outcome {
            Ok(result) => Answer::Result(result.get().to_owned()),
            Err(error) if id == Id::Null => return self.router.tell(|| Event::PeerError { error }),
            Err(error) => Answer::Error(error),
        };
        match self.settle(&id, answer) {
            Settled::Matched => {}
            Settled::Late => self.router.tell(|| Event::Late { id }),
            Settled::Unmatched => self.router.tell(|| Event::Unmatched { id }),
        }
    }

    fn settle(&self, id: &Id, answer: Answer) -> Settled {
        match id.call_number() {
            Some(number) => self.shared.lock().calls.settle(number, answer),
            None => Settled::Unmatched,
        }
    }

    fn notification(&self, method: &str, input: Input<'_>) -> Result<(), Refused> {
        let Some(run) = self.router.run_notification(method) else {
            if let Input::Text(_) = input {
                return Err(Refused::Text);
            }
            self.router.tell(|| Event::UnknownNotification { method: method.to_owned() });
            return Ok(());
        };
        catch_unwind(AssertUnwindSafe(|| run(method, input))).unwrap_or_else(|_| {
            self.router.tell(|| Event::HandlerPanicked { method: method.to_owned() });
            Ok(())
        })
    }

    /// Why a request is not taken, if it is not.
    fn refusal(&self, id: &Id) -> Option<ErrorObject> {
        if self.in_flight.contains_key(id) {
            let error = ErrorObject::new(error_code::INVALID_REQUEST, "Invalid Request: id is in use");
            return Some(error.with_data(json!({"id": id.to_value()})));
        }
        let overloaded = |reason: &str| {
            let error = ErrorObject::new(error_code::OVERLOADED, format!("Overloaded: {reason}"));
            Some(error.with_data(json!({"reason": "overloaded", "retryable": true})))
        };
        if self.tasks.len() >= self.options().requests_in_flight_max {
            return overloaded("too many requests in flight");
        }
        let state = self.shared.lock();
        if state.phase != Phase::Open {
            return overloaded("the connection is closing");
        }
        if state.queued_bytes() > self.options().outgoing_bytes_max / 2 {
            return overloaded("answers are not read");
        }
        None
    }

    /// Starts a handler and lets it run as far as it gets; `false` when its frame must be read the long way.
    fn start(&mut self, request: Request<'_>, context: &mut Context<'_>) -> bool {
        let cancel = Arc::new(CancelFlag::default());
        let polled = self.first_poll(&request, &cancel, context);
        let Request { id, method, to, .. } = request;
        let outcome = match polled {
            Polled::Refused(Refused::Text) => return false,
            Polled::Refused(Refused::Params(error)) => Err(error),
            Polled::Panicked => Err(self.panicked(method)),
            Polled::Ended(outcome) => outcome,
            Polled::Pending(future) => {
                self.in_flight.insert(id.clone(), cancel.clone());
                self.tasks.insert(future, Job { id, to, method: method.to_owned(), cancel });
                return true;
            }
        };
        self.reply(to, &id, Some(outcome));
        true
    }

    fn first_poll(
        &self,
        request: &Request<'_>,
        cancel: &Arc<CancelFlag>,
        context: &mut Context<'_>,
    ) -> Polled {
        let Request { method, input, .. } = *request;
        let Some(start) = self.router.start_request(method) else {
            return Polled::Ended(Err(ErrorObject::method_not_found(method)));
        };
        let handler_context = router::Context::new(Peer::new(self.shared.clone()), cancel.clone());
        catch_unwind(AssertUnwindSafe(|| {
            let mut future = match start(method, input, handler_context) {
                Ok(future) => future,
                Err(refused) => return Polled::Refused(refused),
            };
            #[cfg(feature = "tracing")]
            {
                let params_bytes = input.bytes();
                let span = tracing::debug_span!("rpc_request", method, id = %request.id, params_bytes);
                future = Box::pin(tracing::Instrument::instrument(future, span));
            }
            match future.as_mut().poll(context) {
                Poll::Ready(outcome) => Polled::Ended(outcome),
                Poll::Pending => Polled::Pending(future),
            }
        }))
        .unwrap_or(Polled::Panicked)
    }

    fn panicked(&self, method: &str) -> ErrorObject {
        self.router.tell(|| Event::HandlerPanicked { method: method.to_owned() });
        ErrorObject::internal("the handler panicked")
    }

    /// Answers something that is no request, if that is wanted and has not been done too often.
    fn malformed(&mut self, to: ReplyTo, id: &Id, error: &ErrorObject) {
        let is_reply_wanted = self.options().on_malformed == OnMalformed::Reply
            && self.malformed_in_a_row < MALFORMED_REPLIES_MAX;
        if let ReplyTo::Stream = to {
            self.malformed_in_a_row = self.malformed_in_a_row.saturating_add(1);
        }
        self.reply(to, id, is_reply_wanted.then(|| Err(error.clone())));
    }

    /// Queues an answer; `None` ends a request without one.
    fn reply(&mut self, to: ReplyTo, id: &Id, outcome: Option<Result<Vec<u8>, ErrorObject>>) {
        let reply = outcome.map(|outcome| self.encode_reply(id, outcome));
        match to {
            ReplyTo::Batch(place) => self.end_batch_element(place, reply.map(|parts| parts.concat())),
            ReplyTo::Stream => {
                if let Some([head, result, tail]) = reply {
                    self.push(&[&head, &result, &tail]);
                }
            }
        }
    }

    fn encode_reply(&self, id: &Id, outcome: Result<Vec<u8>, ErrorObject>) -> [Vec<u8>; 3] {
        let Options { jsonrpc, outgoing_frame_bytes_max: bytes_max, .. } = *self.options();
        let mut head = Vec::with_capacity(64);
        let error = match outcome {
            Ok(result) => {
                message::write_result_start(&mut head, jsonrpc, id);
                if head.len() + result.len() < bytes_max {
                    return [head, result, b"}".to_vec()];
                }
                head.clear();
                ErrorObject::internal(format_args!("the result is over the limit of {bytes_max} bytes"))
            }
            Err(error) => error,
        };
        message::write_error(&mut head, jsonrpc, id, &error);
        [head, Vec::new(), Vec::new()]
    }

    fn end_batch_element(&mut self, place: usize, reply: Option<Vec<u8>>) {
        let batch = self.batches[place].as_mut().expect("a batch stays until its last element has ended");
        batch.replies.extend(reply);
        batch.missing -= 1;
        if batch.missing > 0 {
            return;
        }
        let Some(Batch { replies, .. }) = self.batches[place].take() else { return };
        let bytes = replies.iter().map(|reply| reply.len() + 1).sum::<usize>() + 1;
        if replies.is_empty() {
            return;
        }
        if bytes > self.options().outgoing_frame_bytes_max || self.next_seal.is_some() {
            // Too long for one message, or not to be sealed as one; sent one by one, each caller still gets its answer.
            for reply in replies {
                self.push(&[&reply]);
            }
        } else {
            self.push(&[b"[", &replies.join(&b","[..]), b"]"]);
        }
    }

    fn push(&mut self, parts: &[&[u8]]) {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let mut state = self.shared.lock();
        if !state.has_output {
            return;
        }
        if state.queued_bytes() + bytes > self.shared.options.outgoing_bytes_max {
            self.is_overfull = true;
            return;
        }
        // The connection itself is at work here and looks at the outbox next: nobody is to be woken.
        state.queue(self.shared.options.framing, parts);
    }
}

/// A handler panicked.
struct Panic;

type Contained = Result<Result<Vec<u8>, ErrorObject>, Panic>;

fn poll_contained(future: Pin<&mut HandlerFuture>, context: &mut Context<'_>) -> Poll<Contained> {
    match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(_) => Poll::Ready(Err(Panic)),
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
