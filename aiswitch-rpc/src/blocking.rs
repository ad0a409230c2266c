//! The blocking peer: the same calls, handlers and wire without a runtime, on one thread.
//!
//! A [`Connection`] reads while it waits for an answer and while it serves; handlers run in between. They are the
//! same asynchronous functions as everywhere: they may call the peer back, and await whatever another thread wakes.
//!
//! It writes before it reads. Two such ends that both send more than the pipe holds, without reading, wait for each
//! other; the asynchronous [`connect`](crate::connect) does not. [`Options::call_timeout`] is not applied, since a
//! blocking read cannot be given up: set a time-out on the stream itself.

use std::fmt;
use std::io::{self, Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::Decoder;
use crate::dispatch::Dispatch;
use crate::error::{CallError, CloseReason, ConnectionError};
use crate::method::{NotificationMethod, RequestMethod};
use crate::options::Options;
use crate::peer::Peer;
use crate::router::Router;
use crate::shared::Shared;

/// A connection over a pair of blocking streams.
///
/// ```
/// use aiswitch_rpc::blocking::Connection;
/// use aiswitch_rpc::{Options, Router};
///
/// let router = Router::new().request_untyped("echo", |params, _context| async move { Ok(params) });
/// let input = &b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":[7]}\n"[..];
/// let mut output = Vec::new();
/// Connection::new(input, &mut output, router, Options::default()).serve()?;
/// assert_eq!(output, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[7]}\n");
/// # Ok::<(), aiswitch_rpc::ConnectionError>(())
/// ```
pub struct Connection<R, W> {
    reader: R,
    writer: W,
    decoder: Decoder,
    dispatch: Dispatch,
    shared: Arc<Shared>,
    waker: Waker,
    bytes: Vec<u8>,
    failure: Option<ConnectionError>,
    has_ended: bool,
}

impl<R, W> fmt::Debug for Connection<R, W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

/// Wakes a thread that waits for what another thread does.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<R: Read, W: Write> Connection<R, W> {
    /// Makes a connection; it is used by the thread that makes it.
    pub fn new(reader: R, writer: W, router: Router, mut options: Options) -> Self {
        options.call_timeout = None;
        let shared = Arc::new(Shared::new(options));
        Self {
            reader,
            writer,
            decoder: Decoder::new(shared.options.framing, shared.options.frame_bytes_max),
            dispatch: Dispatch::new(router, shared.clone()),
            shared,
            waker: Waker::from(Arc::new(Unpark(std::thread::current()))),
            bytes: Vec::new(),
            failure: None,
            has_ended: false,
        }
    }

    /// Calls a method; requests and notifications of the peer are served while it waits.
    ///
    /// # Errors
    /// As for [`Peer::call`].
    pub fn call<M: RequestMethod>(&mut self, params: &M::Params) -> Result<M::Result, CallError> {
        self.call_untyped(M::NAME, params)
    }

    /// Calls a method by name.
    ///
    /// # Errors
    /// As for [`Peer::call`].
    pub fn call_untyped<T: DeserializeOwned>(
        &mut self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<T, CallError> {
        let peer = Peer::new(self.shared.clone());
        self.drive(peer.call_untyped(method, params))
    }

    /// Sends a notification.
    ///
    /// # Errors
    /// As for [`Peer::notify`].
    pub fn notify<N: NotificationMethod>(&mut self, params: &N::Params) -> Result<(), CallError> {
        self.notify_untyped(N::NAME, params)
    }

    /// Sends a notification by name.
    ///
    /// # Errors
    /// As for [`Peer::notify`].
    pub fn notify_untyped(&mut self, method: &str, params: &impl Serialize) -> Result<(), CallError> {
        let peer = Peer::new(self.shared.clone());
        self.drive(peer.notify_untyped(method, params))
    }

    /// Serves the peer until it ends its output, and delivers the answers that are still due.
    ///
    /// # Errors
    /// As for [`Connection::run`](crate::Connection::run).
    pub fn serve(mut self) -> Result<(), ConnectionError> {
        while !self.has_ended {
            if !self.work() {
                self.read();
            }
        }
        let timeout = self.shared.options.drain_timeout;
        while self.work() || self.dispatch.has_work() {
            if self.dispatch.has_work() {
                std::thread::park_timeout(timeout);
                if !self.work() {
                    return Err(ConnectionError::DrainTimedOut { timeout });
                }
            }
        }
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Lets a future of this connection's peer run to its end.
    fn drive<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let waker = self.waker.clone();
        loop {
            let outcome = future.as_mut().poll(&mut Context::from_waker(&waker));
            let has_moved = self.work();
            if let Poll::Ready(outcome) = outcome {
                return outcome;
            }
            if !has_moved && !self.has_ended {
                self.read();
            }
        }
    }

    /// Lets handlers go on and writes what is queued; `true` when anything moved.
    fn work(&mut self) -> bool {
        let has_worked = self.dispatch.poll_work(&Context::from_waker(&self.waker));
        std::mem::swap(&mut self.bytes, &mut self.shared.lock().outbox);
        if self.bytes.is_empty() {
            return has_worked;
        }
        let written = self.writer.write_all(&self.bytes).and_then(|()| self.writer.flush());
        self.bytes.clear();
        self.shared.written(0);
        if let Err(source) = written {
            self.fail(CloseReason::WriteFailed(source.kind()), ConnectionError::Write { source });
        }
        true
    }

    fn fail(&mut self, reason: CloseReason, failure: ConnectionError) {
        self.failure.get_or_insert(failure);
        self.has_ended = true;
        self.dispatch.abandon_work();
        self.shared.end(reason);
    }

    fn read(&mut self) {
        let count = match self.reader.read(self.decoder.space()) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(source) => {
                return self.fail(CloseReason::ReadFailed(source.kind()), ConnectionError::Read { source });
            }
        };
        self.decoder.filled(count);
        let is_end = count == 0;
        let mut context = Context::from_waker(&self.waker);
        let taken = self.dispatch.frames(&mut self.decoder, is_end, &mut context);
        if let Err((reason, failure)) = taken {
            // The error answer is queued already and still goes out.
            self.work();
            self.fail(reason, failure);
        } else if self.dispatch.is_overfull() {
            let bytes_max = self.shared.options.outgoing_bytes_max;
            self.fail(CloseReason::OutgoingFull, ConnectionError::OutgoingFull { bytes_max });
        } else if is_end {
            self.has_ended = true;
            self.shared.end_of_input(CloseReason::EndOfInput);
        }
    }
}

impl<R, W> Drop for Connection<R, W> {
    fn drop(&mut self) {
        self.shared.end(CloseReason::Dropped);
    }
}
