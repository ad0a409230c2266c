//! The router knows which handler answers which method of the peer.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::FrameError;
use crate::message::{ErrorObject, Id};
use crate::method::{NotificationMethod, RequestMethod};
use crate::peer::Peer;
use crate::seal::IntegrityFault;

/// Something about the peer that the application may want to log; nothing of it ends the connection by itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A line that is no JSON, such as a stray print.
    Noise {
        /// The line, cut to 4 KiB.
        line: String,
    },
    /// JSON that is no JSON-RPC message.
    InvalidMessage {
        /// What is wrong with it.
        reason: &'static str,
        /// The id that it carries, where one could be read.
        id: Id,
    },
    /// A frame that is too long, not UTF-8, or cut off by the end of the stream.
    BadFrame {
        /// What is wrong with it.
        error: FrameError,
    },
    /// A response to a call that was never made or that has been answered already.
    Unmatched {
        /// The id that it carries.
        id: Id,
    },
    /// A response to a call that had timed out or been dropped.
    Late {
        /// The id of the call.
        id: Id,
    },
    /// An error response without an id: the peer could not read something that was sent to it.
    PeerError {
        /// What the peer said.
        error: ErrorObject,
    },
    /// A message failed its integrity check; the connection ends.
    Integrity {
        /// What is wrong.
        fault: IntegrityFault,
    },
    /// A notification for which there is no handler.
    UnknownNotification {
        /// The name of the method.
        method: String,
    },
    /// A notification whose params its handler does not understand.
    InvalidNotification {
        /// The name of the method.
        method: String,
        /// What is wrong with the params.
        error: ErrorObject,
    },
    /// A handler panicked; a request was answered with −32603.
    HandlerPanicked {
        /// The name of the method.
        method: String,
    },
}

/// What a request handler knows about its request, and the way back to the peer.
#[derive(Clone, Debug)]
pub struct Context {
    peer: Peer,
    cancel: Arc<CancelFlag>,
}

impl Context {
    pub(crate) fn new(peer: Peer, cancel: Arc<CancelFlag>) -> Self {
        Self { peer, cancel }
    }

    /// The peer that sent the request: calls and notifications go to it while the request is worked on.
    pub fn peer(&self) -> Peer {
        self.peer.clone()
    }

    /// Whether the caller no longer wants the answer.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_set()
    }

    /// Waits until the caller no longer wants the answer.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub async fn cancelled(&self) {
        poll_fn(|context| self.cancel.poll(context.waker())).await;
    }
}

/// Whether a request was cancelled.
#[derive(Debug, Default)]
pub(crate) struct CancelFlag {
    is_set: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl CancelFlag {
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self) {
        self.is_set.store(true, Ordering::Release);
        for waker in std::mem::take(&mut *self.lock()) {
            waker.wake();
        }
    }

    fn poll(&self, waker: &Waker) -> Poll<()> {
        let mut waiting = self.lock();
        // Looked at under the lock: whoever sets the flag takes the wakers after it.
        if self.is_set() {
            return Poll::Ready(());
        }
        if !waiting.iter().any(|waiting| waiting.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An asynchronous function from params and a [`Context`] to a result; every suitable closure is one.
pub trait Handler<P, R>: Fn(P, Context) -> Self::Future + Send + Sync + 'static {
    /// What the function returns.
    type Future: Future<Output = Result<R, ErrorObject>> + Send + 'static;
}

impl<P, R, F, Fut> Handler<P, R> for F
where
    F: Fn(P, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, ErrorObject>> + Send + 'static,
{
    type Future = Fut;
}

/// An asynchronous function from a method name, params and a [`Context`] to a result.
pub trait FallbackHandler: Fn(String, Value, Context) -> Self::Future + Send + Sync + 'static {
    /// What the function returns.
    type Future: Future<Output = Result<Value, ErrorObject>> + Send + 'static;
}

impl<F, Fut> FallbackHandler for F
where
    F: Fn(String, Value, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, ErrorObject>> + Send + 'static,
{
    type Future = Fut;
}

/// Params as they came.
#[derive(Clone, Copy)]
pub(crate) enum Input<'a> {
    /// The text at the place of the params in a canonical frame: not yet known to be one JSON value.
    Text(&'a str),
    /// Params that are known to be JSON, or none.
    Raw(Option<&'a RawValue>),
}

/// Why a handler was not started.
pub(crate) enum Refused {
    /// An [`Input::Text`] is not of the handler's type: the frame must be read the long way.
    Text,
    /// The params are wrong.
    Params(ErrorObject),
}

impl Input<'_> {
    #[cfg(feature = "tracing")]
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Raw(raw) => raw.map_or(0, |raw| raw.get().len()),
        }
    }

    fn read<P: DeserializeOwned>(self) -> Result<P, Refused> {
        match self {
            Self::Text(text) => serde_json::from_str(text).map_err(|_not_this_way| Refused::Text),
            Self::Raw(raw) => {
                let text = raw.map_or("null", RawValue::get);
                serde_json::from_str(text).or_else(|error| {
                    // Nothing can be written in three ways: absent, `{}`, `[]`.
                    let nothing = match text {
                        "null" => "{}",
                        "{}" | "[]" => "null",
                        _ => return Err(Refused::Params(ErrorObject::invalid_params(error))),
                    };
                    serde_json::from_str(nothing)
                        .map_err(|_neither| Refused::Params(ErrorObject::invalid_params(error)))
                })
            }
        }
    }
}

/// A started request handler; it ends with the result as JSON text.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<Vec<u8>, ErrorObject>> + Send>>;
type StartRequest = dyn Fn(&str, Input<'_>, Context) -> Result<Running, Refused> + Send + Sync;
type RunNotification = dyn Fn(&str, Input<'_>) -> Result<(), Refused> + Send + Sync;

/// A router holds the handlers of one side of a connection.
///
/// Notification handlers run in the order of arrival and before the handlers of later requests start; they must
/// not block. Request handlers run concurrently, inside [`Connection::run`](crate::Connection::run).
///
/// ```
/// use aiswitch_rpc::{ErrorObject, Router};
/// use serde_json::{Value, json};
///
/// let router = Router::new()
///     .request_untyped("add", |params: Value, _context| async move {
///         let sum = params.as_array().into_iter().flatten().filter_map(Value::as_i64).sum::<i64>();
///         Ok::<Value, ErrorObject>(json!(sum))
///     })
///     .notification_untyped("log", |params| eprintln!("{params}"));
/// # drop(router);
/// ```
#[derive(Default)]
pub struct Router {
    requests: HashMap<String, Box<StartRequest>>,
    notifications: HashMap<String, Box<RunNotification>>,
    fallback_request: Option<Box<StartRequest>>,
    fallback_notification: Option<Box<RunNotification>>,
    on_event: Option<Box<dyn Fn(Event) + Send + Sync>>,
}

impl fmt::Debug for Router {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut methods: Vec<&String> = self.requests.keys().chain(self.notifications.keys()).collect();
        methods.sort();
        formatter.debug_struct("Router").field("methods", &methods).finish_non_exhaustive()
    }
}

fn start_request<P, R, H>(handler: H) -> Box<StartRequest>
where
    P: DeserializeOwned + 'static,
    R: Serialize + 'static,
    H: Handler<P, R>,
{
    Box::new(move |_method, input, context| {
        let running = handler(input.read()?, context);
        Ok(Box::pin(async move { to_json(&running.await?) }))
    })
}

fn to_json(result: &impl Serialize) -> Result<Vec<u8>, ErrorObject> {
    serde_json::to_vec(result).map_err(|error| ErrorObject::internal(format_args!("no result: {error}")))
}

impl Router {
    /// A router without handlers: every request is answered with −32601.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the handler of a request method; a second one for the same name replaces the first.
    #[must_use]
    pub fn request<M: RequestMethod>(mut self, handler: impl Handler<M::Params, M::Result>) -> Self {
        self.requests.insert(M::NAME.to_owned(), start_request(handler));
        self
    }

    /// Registers the handler of a request method by name; absent params are [`Value::Null`].
    #[must_use]
    pub fn request_untyped(mut self, method: &str, handler: impl Handler<Value, Value>) -> Self {
        self.requests.insert(method.to_owned(), start_request(handler));
        self
    }

    /// Registers the handler of a notification method.
    #[must_use]
    pub fn notification<N: NotificationMethod>(
        mut self,
        handler: impl Fn(N::Params) + Send + Sync + 'static,
    ) -> Self {
        let run: Box<RunNotification> = Box::new(move |_method, input| {
            handler(input.read()?);
            Ok(())
        });
        self.notifications.insert(N::NAME.to_owned(), run);
        self
    }

    /// Registers the handler of a notification method by name; absent params are [`Value::Null`].
    #[must_use]
    pub fn notification_untyped(
        mut self,
        method: &str,
        handler: impl Fn(Value) + Send + Sync + 'static,
    ) -> Self {
        let run: Box<RunNotification> = Box::new(move |_method, input| {
            handler(input.read()?);
            Ok(())
        });
        self.notifications.insert(method.to_owned(), run);
        self
    }

    /// Sets the handler of all requests that have no other.
    #[must_use]
    pub fn fallback_request(mut self, handler: impl FallbackHandler) -> Self {
        self.fallback_request = Some(Box::new(move |method, input, context| {
            let running = handler(method.to_owned(), input.read()?, context);
            Ok(Box::pin(async move { to_json(&running.await?) }))
        }));
        self
    }

    /// Sets the handler of all notifications that have no other.
    #[must_use]
    pub fn fallback_notification(mut self, handler: impl Fn(String, Value) + Send + Sync + 'static) -> Self {
        self.fallback_notification = Some(Box::new(move |method, input| {
            handler(method.to_owned(), input.read()?);
            Ok(())
        }));
        self
    }

    /// Sets what is told about the peer's oddities; it must not block.
    #[must_use]
    pub fn on_event(mut self, listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Box::new(listener));
        self
    }

    pub(crate) fn start_request(&self, method: &str) -> Option<&StartRequest> {
        self.requests.get(method).or(self.fallback_request.as_ref()).map(Box::as_ref)
    }

    pub(crate) fn run_notification(&self, method: &str) -> Option<&RunNotification> {
        self.notifications.get(method).or(self.fallback_notification.as_ref()).map(Box::as_ref)
    }

    /// Tells the listener, if there is one; the event is made only then.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(listener) = &self.on_event {
            listener(event());
        }
    }
}
