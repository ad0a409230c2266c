//! The process's own stdin and stdout as asynchronous streams: the adapter's end of a pipe.
//!
//! Taking them over also protects them. What the process or its children print afterwards lands on stderr, and what
//! they read is empty, so a stray print cannot corrupt the messages.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdin, stdout};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Descriptors below this one are the standard streams.
const FIRST_FREE_FD: i32 = 3;
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS_MAX: usize = 4;

/// Takes over stdin and stdout.
///
/// Where they are pipes, they are opened anew, so that reading does not block the runtime and the other holders of
/// the pipes do not find them switched to non-blocking. Anything else (a terminal, a file) is served by a thread.
/// A process can do this once.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] the second time; else what the system says.
///
/// # Panics
/// Outside of a tokio runtime whose I/O driver is enabled.
pub fn stdio() -> io::Result<(StdioReader, StdioWriter)> {
    static IS_TAKEN: AtomicBool = AtomicBool::new(false);
    if IS_TAKEN.swap(true, Ordering::AcqRel) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "stdin and stdout were taken over before"));
    }
    let input = fcntl_dupfd_cloexec(stdin(), FIRST_FREE_FD)?;
    let output = fcntl_dupfd_cloexec(stdout(), FIRST_FREE_FD)?;
    dup2_stdin(File::open("/dev/null")?)?;
    dup2_stdout(stderr())?;
    let reader = match pipe::OpenOptions::new().open_receiver(fd_path(&input)) {
        Ok(receiver) => Reader::Pipe(receiver),
        Err(_) => Reader::Thread(ThreadReader::spawn(input.into())?),
    };
    let writer = match pipe::OpenOptions::new().open_sender(fd_path(&output)) {
        Ok(sender) => Writer::Pipe(sender),
        Err(_) => Writer::Thread(ThreadWriter::spawn(output.into())?),
    };
    Ok((StdioReader(reader), StdioWriter(writer)))
}

fn fd_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The process's stdin; see [`stdio`].
#[derive(Debug)]
pub struct StdioReader(Reader);

#[derive(Debug)]
enum Reader {
    Pipe(pipe::Receiver),
    Thread(ThreadReader),
}

impl AsyncRead for StdioReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Reader::Pipe(receiver) => Pin::new(receiver).poll_read(context, buffer),
            Reader::Thread(reader) => reader.poll_read(context, buffer),
        }
    }
}

/// The process's stdout; see [`stdio`].
#[derive(Debug)]
pub struct StdioWriter(Writer);

#[derive(Debug)]
enum Writer {
    Pipe(pipe::Sender),
    Thread(ThreadWriter),
}

impl AsyncWrite for StdioWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Writer::Pipe(sender) => Pin::new(sender).poll_write(context, bytes),
            Writer::Thread(writer) => writer.poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Writer::Pipe(sender) => Pin::new(sender).poll_flush(context),
            Writer::Thread(writer) => writer.poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Writer::Pipe(sender) => Pin::new(sender).poll_shutdown(context),
            Writer::Thread(writer) => writer.poll_flush(context),
        }
    }
}

/// A file read by a thread of its own; the thread ends with the file or with the process.
#[derive(Debug)]
struct ThreadReader {
    chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    rest: Vec<u8>,
    taken: usize,
}

impl ThreadReader {
    fn spawn(mut file: File) -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        std::thread::Builder::new().name("rpc stdin".to_owned()).spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK_BYTES];
                let read = match file.read(&mut chunk) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(count) => {
                        chunk.truncate(count);
                        Ok(chunk)
                    }
                    Err(error) => Err(error),
                };
                let is_last = !read.as_ref().is_ok_and(|chunk| !chunk.is_empty());
                if sender.blocking_send(read).is_err() || is_last {
                    return;
                }
            }
        })?;
        Ok(Self { chunks, rest: Vec::new(), taken: 0 })
    }

    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.taken == self.rest.len() {
            self.rest = match std::task::ready!(self.chunks.poll_recv(context)) {
                Some(chunk) => chunk?,
                None => Vec::new(),
            };
            self.taken = 0;
        }
        let count = buffer.remaining().min(self.rest.len() - self.taken);
        buffer.put_slice(&self.rest[self.taken..self.taken + count]);
        self.taken += count;
        Poll::Ready(Ok(()))
    }
}

/// A file written by a thread of its own.
#[derive(Debug)]
struct ThreadWriter(Arc<WriterDesk>);

/// Where the asynchronous side leaves bytes for the thread.
#[derive(Debug, Default)]
struct WriterDesk {
    state: Mutex<WriterState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WriterState {
    queued: Vec<u8>,
    is_writing: bool,
    is_ended: bool,
    error: Option<io::Error>,
    waker: Option<Waker>,
}

impl WriterDesk {
    fn lock(&self) -> MutexGuard<'_, WriterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, file: &mut File) {
        loop {
            let state = self.lock();
            let mut state = self
                .changed
                .wait_while(state, |state| state.queued.is_empty() && !state.is_ended)
                .unwrap_or_else(PoisonError::into_inner);
            let bytes = std::mem::take(&mut state.queued);
            if bytes.is_empty() {
                return;
            }
            state.is_writing = true;
            drop(state);
            let outcome = file.write_all(&bytes);
            let mut state = self.lock();
            state.is_writing = false;
            state.error = outcome.err();
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
            if state.error.is_some() {
                return;
            }
        }
    }
}

impl ThreadWriter {
    fn spawn(mut file: File) -> io::Result<Self> {
        let desk = Arc::new(WriterDesk::default());
        let threads_desk = desk.clone();
        std::thread::Builder::new()
            .name("rpc stdout".to_owned())
            .spawn(move || threads_desk.serve(&mut file))?;
        Ok(Self(desk))
    }

    fn poll_write(&self, context: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if let Some(error) = &state.error {
            return Poll::Ready(Err(error.kind().into()));
        }
        let count = bytes.len().min(CHUNK_BYTES - state.queued.len());
        if count == 0 && !bytes.is_empty() {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.queued.extend_from_slice(&bytes[..count]);
        self.0.changed.notify_one();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if let Some(error) = &state.error {
            return Poll::Ready(Err(error.kind().into()));
        }
        if state.queued.is_empty() && !state.is_writing {
            return Poll::Ready(Ok(()));
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for ThreadWriter {
    fn drop(&mut self) {
        self.0.lock().is_ended = true;
        self.0.changed.notify_one();
    }
}
