//! Dispatch takes the frames of the peer one by one: it starts handlers, settles calls and queues answers.

mod incoming;
mod reply;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use serde_json::json;
use serde_json::value::RawValue;

use crate::calls::{Answer, Settled};
use crate::message::{self, ErrorObject, Id, Message, error_code};
use crate::options::{CancelStyle, Integrity, Options};
use crate::peer::Peer;
use crate::router::{self, CancelFlag, Event, Input, Refused, Router};
use crate::seal::{self};
use crate::shared::{Phase, Shared};
use crate::tasks::Tasks;

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
