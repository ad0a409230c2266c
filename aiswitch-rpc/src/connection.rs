//! A connection moves messages between a stream and the application, in both directions at once.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::codec::Decoder;
use crate::dispatch::Dispatch;
use crate::error::{CloseReason, ConnectionError};
use crate::options::Options;
use crate::peer::Peer;
use crate::router::Router;
use crate::shared::{Phase, Shared};

/// The most bytes of a write buffer that are kept for reuse.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Makes a connection over a pair of streams.
///
/// Nothing moves until [`Connection::run`] is polled. The [`Peer`] can be cloned and used from anywhere.
///
/// ```
/// use aiswitch_rpc::{Options, Router, connect};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (here, there) = tokio::io::duplex(4096);
/// let (there_read, there_write) = tokio::io::split(there);
/// let router = Router::new().request_untyped("echo", |params, _context| async move { Ok(params) });
/// let (_, server) = connect(there_read, there_write, router, Options::default());
///
/// let (here_read, here_write) = tokio::io::split(here);
/// let (peer, client) = connect(here_read, here_write, Router::new(), Options::default());
/// let work = async {
///     let echo: (u8, u8) = peer.call_untyped("echo", &(1, 2)).await?;
///     assert_eq!(echo, (1, 2));
///     peer.close();
///     Ok::<(), aiswitch_rpc::CallError>(())
/// };
/// let (work, server, client) = tokio::join!(work, server.run(), client.run());
/// work?;
/// server?;
/// client?;
/// # Ok(())
/// # }
/// ```
pub fn connect<R, W>(reader: R, writer: W, router: Router, options: Options) -> (Peer, Connection<R, W>)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let decoder = Decoder::new(options.framing, options.frame_bytes_max);
    let shared = Arc::new(Shared::new(options));
    let connection = Connection {
        input: Some(Input { reader, decoder }),
        output: Some(Output { writer, bytes: Vec::new(), written: 0, needs_flush: false }),
        dispatch: Dispatch::new(router, shared.clone()),
        guard: CloseOnDrop(shared.clone()),
        drain: None,
        failure: None,
    };
    (Peer::new(shared), connection)
}

/// A connection owns the streams and the handlers at work.
///
/// Dropping it, or the future of [`Connection::run`], drops the handlers and ends every call with
/// [`CloseReason::Dropped`].
pub struct Connection<R, W> {
    input: Option<Input<R>>,
    output: Option<Output<W>>,
    dispatch: Dispatch,
    guard: CloseOnDrop,
    drain: Option<Pin<Box<Sleep>>>,
    failure: Option<ConnectionError>,
}

struct Input<R> {
    reader: R,
    decoder: Decoder,
}

struct Output<W> {
    writer: W,
    bytes: Vec<u8>,
    written: usize,
    needs_flush: bool,
}

/// Ends all calls when nobody is left to move messages.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.end(CloseReason::Dropped);
    }
}

impl<R, W> fmt::Debug for Connection<R, W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").field("shared", &self.guard.0).finish_non_exhaustive()
    }
}

impl<R, W> Connection<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// Moves messages in both directions until the peer ends its output.
    ///
    /// Then the handlers at work are awaited and their answers sent, for at most [`Options::drain_timeout`]. All
    /// handlers run inside this future. Whatever ends it, every call of the application has ended after it.
    ///
    /// # Errors
    /// When a stream fails, the peer ends its output inside a frame, breaks the framing, does not read, or does not
    /// take its last answers in time. Bad messages are not errors: they are answered, or told to
    /// [`Router::on_event`].
    ///
    /// # Panics
    /// Outside of a tokio runtime whose timer is enabled, when the connection drains.
    ///
    /// # Cancel safety
    /// Not safe: dropped, the connection is gone; see [`Connection`].
    pub async fn run(mut self) -> Result<(), ConnectionError> {
        poll_fn(|context| self.poll(context)).await
    }

    fn shared(&self) -> &Shared {
        &self.guard.0
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.await_wake(context);
        loop {
            let mut has_moved = self.dispatch.poll_work(context);
            has_moved |= self.poll_output(context);
            has_moved |= self.poll_input(context);
            if self.dispatch.is_overfull() {
                let bytes_max = self.shared().options.outgoing_bytes_max;
                return self.end(CloseReason::OutgoingFull, Err(ConnectionError::OutgoingFull { bytes_max }));
            }
            if let Poll::Ready(outcome) = self.poll_end(context) {
                return Poll::Ready(outcome);
            }
            if !has_moved {
                return Poll::Pending;
            }
        }
    }

    /// Asks to be woken when the application queues a message; done before the queue is looked at.
    fn await_wake(&self, context: &Context<'_>) {
        let mut state = self.shared().lock();
        if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            state.driver = Some(context.waker().clone());
        }
    }

    fn poll_input(&mut self, context: &mut Context<'_>) -> bool {
        let Some(Input { reader, decoder }) = &mut self.input else { return false };
        let mut space = ReadBuf::new(decoder.space());
        match Pin::new(reader).poll_read(context, &mut space) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(source)) => {
                let reason = CloseReason::ReadFailed(source.kind());
                self.end_of_input(reason, Some(ConnectionError::Read { source }));
                return true;
            }
        }
        let count = space.filled().len();
        decoder.filled(count);
        let is_end = count == 0;
        let taken = self.dispatch.frames(decoder, is_end, context);
        match taken {
            Ok(()) if is_end => self.end_of_input(CloseReason::EndOfInput, None),
            Ok(()) => {}
            Err((reason, failure)) => self.end_of_input(reason, Some(failure)),
        }
        true
    }

    /// No answer can come any more; what is being worked on is still answered.
    fn end_of_input(&mut self, reason: CloseReason, failure: Option<ConnectionError>) {
        self.input = None;
        if self.failure.is_none() {
            self.failure = failure;
        }
        self.shared().end_of_input(reason);
        self.start_drain();
    }

    fn start_drain(&mut self) {
        let drain_timeout = self.shared().options.drain_timeout;
        self.drain.get_or_insert_with(|| Box::pin(tokio::time::sleep(drain_timeout)));
    }

    fn poll_output(&mut self, context: &mut Context<'_>) -> bool {
        let Some(output) = &mut self.output else { return false };
        match output.poll(&self.guard.0, context) {
            Ok(has_moved) => has_moved,
            Err(source) => {
                // The peer may have answered before it went: what it sent is still read.
                self.shared().end_of_output(CloseReason::WriteFailed(source.kind()));
                self.output = None;
                self.dispatch.abandon_work();
                self.failure = Some(ConnectionError::Write { source });
                self.start_drain();
                true
            }
        }
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let Phase::Draining(reason) = self.shared().lock().phase else { return Poll::Pending };
        self.start_drain();
        if let Some(output) = &mut self.output
            && !self.dispatch.has_work()
            && output.poll_shutdown(&self.guard.0, context).is_ready()
        {
            self.output = None;
            self.shared().end_of_output(reason);
        }
        if self.input.is_none() && self.output.is_none() {
            let outcome = self.failure.take().map_or(Ok(()), Err);
            return self.end(reason, outcome);
        }
        let is_late = self.drain.as_mut().is_some_and(|drain| drain.as_mut().poll(context).is_ready());
        if is_late && (self.output.is_some() || self.failure.is_some()) {
            let timeout = self.shared().options.drain_timeout;
            let failure = self.failure.take().unwrap_or(ConnectionError::DrainTimedOut { timeout });
            return self.end(CloseReason::DrainTimedOut, Err(failure));
        }
        Poll::Pending
    }

    fn end(
        &mut self,
        reason: CloseReason,
        outcome: Result<(), ConnectionError>,
    ) -> Poll<Result<(), ConnectionError>> {
        self.input = None;
        self.output = None;
        self.dispatch.abandon_work();
        self.shared().end(reason);
        Poll::Ready(outcome)
    }
}

impl<W: AsyncWrite + Unpin> Output<W> {
    /// Writes what is queued as far as the stream takes it; `true` when anything was written.
    fn poll(&mut self, shared: &Shared, context: &mut Context<'_>) -> io::Result<bool> {
        let mut has_moved = false;
        loop {
            if self.bytes.is_empty() && !self.refill(shared) {
                break;
            }
            let rest = &self.bytes[self.written..];
            match Pin::new(&mut self.writer).poll_write(context, rest) {
                Poll::Pending => return Ok(has_moved),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(error)) => return Err(error),
            }
            has_moved = true;
            self.needs_flush = true;
            let left_bytes = self.bytes.len() - self.written;
            if left_bytes == 0 {
                self.bytes.clear();
                self.bytes.shrink_to(KEPT_BYTES_MAX);
                self.written = 0;
            }
            shared.written(left_bytes);
        }
        if self.needs_flush
            && let Poll::Ready(outcome) = Pin::new(&mut self.writer).poll_flush(context)
        {
            self.needs_flush = false;
            outcome?;
        }
        Ok(has_moved)
    }

    fn refill(&mut self, shared: &Shared) -> bool {
        let mut state = shared.lock();
        std::mem::swap(&mut self.bytes, &mut state.outbox);
        state.writing_bytes = self.bytes.len();
        !self.bytes.is_empty()
    }

    /// Ends the stream once everything is written.
    fn poll_shutdown(&mut self, shared: &Shared, context: &mut Context<'_>) -> Poll<()> {
        if !self.bytes.is_empty() || !shared.lock().outbox.is_empty() {
            return Poll::Pending;
        }
        // A stream that cannot be shut down is dropped all the same, which ends it.
        Pin::new(&mut self.writer).poll_shutdown(context).map(drop)
    }
}
