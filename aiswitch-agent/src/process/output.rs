//! What a child prints: bounded, kept in a file, with secrets masked.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use aiswitch_env::{Redactor, RedactorStream};
use aiswitch_rpc::protocol::{ErrorKind, TaskError};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::process::{ChildStderr, ChildStdout};

/// How much of the end of stderr is kept for messages, in bytes.
const TAIL_BYTES_MAX: usize = 4 * 1024;

/// How much is read from a pipe at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// A file of raw output, with secrets masked.
#[derive(Debug)]
pub(crate) struct OutputLog {
    file: File,
    stream: RedactorStream,
    /// The first error, shared with whoever tells it; nothing is written after it.
    lost: Lost,
}

/// Why raw output could not be kept, once it could not.
pub(crate) type Lost = Arc<OnceLock<String>>;

impl OutputLog {
    pub(crate) fn create(path: &Path, redactor: &Redactor, lost: Lost) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self { file, stream: redactor.stream(), lost })
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut masked = Vec::with_capacity(bytes.len());
        self.stream.push(bytes, &mut masked);
        self.keep(&masked);
    }

    fn keep(&mut self, masked: &[u8]) {
        if self.lost.get().is_none()
            && let Err(error) = self.file.write_all(masked)
        {
            self.lost.get_or_init(|| error.to_string());
        }
    }
}

impl Drop for OutputLog {
    fn drop(&mut self) {
        let mut rest = Vec::new();
        self.stream.finish(&mut rest);
        self.keep(&rest);
    }
}

/// A child's stdout: all that is read from it is kept in its log, and is bounded.
#[derive(Debug)]
pub(crate) struct Stdout {
    pipe: ChildStdout,
    log: Option<OutputLog>,
    left_bytes: u64,
}

impl Stdout {
    pub(crate) fn new(pipe: ChildStdout, log: Option<OutputLog>, bytes_max: u64) -> Self {
        Self { pipe, log, left_bytes: bytes_max }
    }
}

impl AsyncRead for Stdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.pipe).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        if let Some(log) = &mut self.log {
            log.write(read);
        }
        match self.left_bytes.checked_sub(read.len() as u64) {
            Some(left) => self.left_bytes = left,
            None => return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into())),
        }
        Poll::Ready(Ok(()))
    }
}

/// What an error means that ends the reading of a child's stdout.
pub(crate) fn unreadable(error: &io::Error) -> TaskError {
    let (kind, message) = match error.kind() {
        io::ErrorKind::FileTooLarge => (ErrorKind::Limit, "it printed more than an agent may".to_owned()),
        _ => (ErrorKind::Internal, format!("its output cannot be read: {error}")),
    };
    TaskError::new(kind, message)
}

/// The drain of a child's stderr: reads always, keeps the end for messages and all of it in its log.
#[derive(Debug)]
pub(crate) struct Stderr {
    task: tokio::task::JoinHandle<()>,
    /// The last bytes, with secrets masked before they were cut.
    tail: Arc<Mutex<VecDeque<u8>>>,
}

impl Stderr {
    pub(crate) fn drain(mut pipe: ChildStderr, mut log: Option<OutputLog>, redactor: &Redactor) -> Self {
        // Shared, because the tail is wanted also while a grandchild keeps the pipe open and the task reads on.
        let tail = Arc::new(Mutex::new(VecDeque::with_capacity(TAIL_BYTES_MAX)));
        let kept = Arc::clone(&tail);
        let mut stream = redactor.stream();
        let task = tokio::spawn(async move {
            let (mut buffer, mut masked) = (vec![0; READ_BYTES], Vec::new());
            while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
                if let Some(log) = &mut log {
                    log.write(&buffer[..read]);
                }
                masked.clear();
                stream.push(&buffer[..read], &mut masked);
                keep_end(&kept, &masked);
            }
            masked.clear();
            stream.finish(&mut masked);
            keep_end(&kept, &masked);
        });
        Self { task, tail }
    }

    /// Waits until the pipe's end, at most `patience`, and gives the last lines with secrets masked.
    pub(crate) async fn tail(mut self, patience: std::time::Duration) -> String {
        drop(tokio::time::timeout(patience, &mut self.task).await);
        let kept: Vec<u8> =
            self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}

/// Adds bytes to the end that is kept.
fn keep_end(kept: &Mutex<VecDeque<u8>>, bytes: &[u8]) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.extend(&bytes[bytes.len().saturating_sub(TAIL_BYTES_MAX)..]);
    let surplus = kept.len().saturating_sub(TAIL_BYTES_MAX);
    kept.drain(..surplus);
}

impl Drop for Stderr {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The log of one stream in a folder; `None` where no raw output is kept.
pub(crate) fn open_log(
    dir: Option<&PathBuf>,
    name: &str,
    redactor: &Redactor,
    lost: &Lost,
) -> Result<Option<OutputLog>, (PathBuf, io::Error)> {
    let Some(dir) = dir else { return Ok(None) };
    let path = dir.join(name);
    OutputLog::create(&path, redactor, Arc::clone(lost)).map(Some).map_err(|error| (path, error))
}
