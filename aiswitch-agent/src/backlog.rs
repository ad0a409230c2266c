//! What a child has said and nobody has heard yet: while that is much, nothing more is read from it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

/// How many messages may wait before nothing more is read; what one read brings beyond that still waits too.
const MESSAGES_MAX: usize = 1024;

/// The number of messages that wait, shared by who reads, who says and who hears.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    messages: AtomicUsize,
    /// All is read: nobody hears any more, or must hear all before anything else.
    is_unbounded: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

/// The end of a backlog where messages come in. It never waits: it is the reader that does.
#[derive(Debug)]
pub(crate) struct Say<T> {
    sender: mpsc::UnboundedSender<T>,
    backlog: Backlog,
}

/// The end of a backlog where messages are heard.
#[derive(Debug)]
pub(crate) struct Hear<T> {
    receiver: mpsc::UnboundedReceiver<T>,
    backlog: Backlog,
}

/// A stream that is read only while there is room for what it brings.
#[derive(Debug)]
pub(crate) struct Held<R> {
    stream: R,
    backlog: Backlog,
}

impl Backlog {
    /// A backlog that takes all there is, until [`Hear::bound`] is called.
    pub(crate) fn unbounded() -> Self {
        let backlog = Self::default();
        backlog.0.is_unbounded.store(true, Ordering::Release);
        backlog
    }

    /// The two ends of a channel whose messages count.
    pub(crate) fn channel<T>(&self) -> (Say<T>, Hear<T>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Say { sender, backlog: self.clone() }, Hear { receiver, backlog: self.clone() })
    }

    /// The stream that the messages come from.
    pub(crate) fn hold<R>(self, stream: R) -> Held<R> {
        Held { stream, backlog: self }
    }

    fn has_room(&self) -> bool {
        self.0.messages.load(Ordering::Acquire) < MESSAGES_MAX || self.0.is_unbounded.load(Ordering::Acquire)
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        *self.0.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        // Once more: the last one may have been heard before the reader could be woken.
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn wake_reader(&self) {
        if let Some(reader) = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner).take() {
            reader.wake();
        }
    }
}

impl<T> Clone for Say<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), backlog: self.backlog.clone() }
    }
}

impl<T> Say<T> {
    /// Adds a message; when nobody hears any more, it is dropped.
    pub(crate) fn send(&self, message: T) {
        self.backlog.0.messages.fetch_add(1, Ordering::AcqRel);
        // An error means that the one who heard is gone, and with it the count.
        drop(self.sender.send(message));
    }
}

impl<T> Hear<T> {
    /// The next message; `None` when none can come any more.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        let message = self.receiver.recv().await?;
        Some(self.heard(message))
    }

    /// From now on nothing more is read while much waits.
    pub(crate) fn bound(&self) {
        self.backlog.0.is_unbounded.store(false, Ordering::Release);
    }

    /// The next message that has come already.
    pub(crate) fn try_recv(&mut self) -> Option<T> {
        let message = self.receiver.try_recv().ok()?;
        Some(self.heard(message))
    }

    fn heard(&self, message: T) -> T {
        if self.backlog.0.messages.fetch_sub(1, Ordering::AcqRel) == MESSAGES_MAX {
            self.backlog.wake_reader();
        }
        message
    }
}

impl<T> Drop for Hear<T> {
    fn drop(&mut self) {
        self.backlog.0.is_unbounded.store(true, Ordering::Release);
        self.backlog.wake_reader();
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Held<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        ready!(self.backlog.poll_room(cx));
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn nothing_is_read_while_too_much_waits_and_all_is_once_it_is_heard() {
        let (mut far, near) = tokio::io::duplex(16);
        let backlog = Backlog::unbounded();
        let (say, mut hear) = backlog.channel();
        let mut held = backlog.hold(near);
        far.write_all(b"xy").await.unwrap();
        for message in 0..MESSAGES_MAX {
            say.send(message);
        }
        let mut byte = [0];
        assert_eq!(read_byte(&mut held, &mut byte).await.unwrap(), 1);
        hear.bound();
        let mut read = read_byte(&mut held, &mut byte);
        assert!(waits(&mut read).await);
        assert_eq!(hear.recv().await, Some(0));
        assert_eq!(read.await.unwrap(), 1);
        say.send(0);
        let mut read = read_byte(&mut held, &mut byte);
        assert!(waits(&mut read).await);
        drop((hear, far));
        assert_eq!(read.await.unwrap(), 0);
    }

    fn read_byte<'a>(
        held: &'a mut Held<tokio::io::DuplexStream>,
        byte: &'a mut [u8],
    ) -> Pin<Box<dyn Future<Output = std::io::Result<usize>> + 'a>> {
        Box::pin(held.read(byte))
    }

    /// Whether a future waits once it was looked at.
    async fn waits<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
    }
}
