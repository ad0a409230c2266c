//! What can go wrong: with a frame, with a call, with a connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::message::ErrorObject;
use crate::seal::IntegrityFault;

/// Why a stretch of the byte stream is no frame.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame has more bytes than the limit; it was dropped, the next one can be read.
    #[error("frame of {bytes} bytes is over the limit of {bytes_max} bytes")]
    TooLong {
        /// How many bytes the frame has, as far as they were seen; of a line, all before its line feed.
        bytes: u64,
        /// The limit.
        bytes_max: usize,
    },
    /// The frame is not UTF-8; it was dropped, the next one can be read.
    #[error("frame is not UTF-8 after byte {valid_up_to}")]
    InvalidUtf8 {
        /// How many bytes at the beginning are valid.
        valid_up_to: usize,
    },
    /// The stream ended inside a frame.
    #[error("stream ended inside a frame, after {bytes} bytes of it")]
    HalfFrame {
        /// How many bytes of the frame had arrived.
        bytes: u64,
    },
    /// The header block is wrong, so that the next frame cannot be found: nothing more can be read.
    #[error("framing lost: found {found}")]
    Header {
        /// What was found in place of a header.
        found: &'static str,
    },
    /// A line stands where a header is expected; it was passed over.
    #[error("line `{line}` stands where a header is expected")]
    Noise {
        /// The line, cut to a bounded length.
        line: String,
    },
    /// The stream could not be read.
    #[error("stream could not be read")]
    Read {
        /// What the reader said.
        #[source]
        source: Arc<io::Error>,
    },
}

/// Why a connection no longer carries calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended its output.
    #[error("the peer ended its output")]
    EndOfInput,
    /// The peer ended its output inside a frame.
    #[error("the peer ended its output inside a frame")]
    HalfFrame,
    /// This side closed the connection.
    #[error("this side closed it")]
    ClosedHere,
    /// The [`Connection`](crate::Connection) was dropped, so that nobody moves messages any more.
    #[error("the connection was dropped")]
    Dropped,
    /// Reading failed.
    #[error("reading failed ({0})")]
    ReadFailed(io::ErrorKind),
    /// Writing failed.
    #[error("writing failed ({0})")]
    WriteFailed(io::ErrorKind),
    /// The peer read so slowly that the outgoing queue reached its limit.
    #[error("the peer does not read and the outgoing queue is full")]
    OutgoingFull,
    /// Answers could not be delivered within the drain time.
    #[error("the answers could not be delivered in time")]
    DrainTimedOut,
    /// The framing was lost.
    #[error("the framing was lost")]
    FramingLost,
    /// A message failed its integrity check.
    #[error("a message failed its integrity check")]
    Integrity,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The peer answered with an error object.
    #[error("peer answered with error {code}: {message}")]
    Rpc {
        /// The error's code.
        code: i64,
        /// The error's message.
        message: String,
        /// What the peer added, if anything.
        data: Option<serde_json::Value>,
    },
    /// No answer came in time; the peer was told that the call is cancelled.
    #[error("no answer to `{method}` within {timeout:?}")]
    TimedOut {
        /// The method called.
        method: String,
        /// How long the call waited.
        timeout: Duration,
    },
    /// The connection closed before the answer came.
    #[error("connection closed before `{method}` was answered: {reason}")]
    Closed {
        /// The method called.
        method: String,
        /// Why the connection closed.
        reason: CloseReason,
    },
    /// The message, or its answer, is over the frame limit.
    #[error("message of `{method}` is over the limit of {bytes_max} bytes")]
    TooLarge {
        /// The method called.
        method: String,
        /// The limit that it is over.
        bytes_max: usize,
    },
    /// The peer answered with something that is no JSON-RPC response.
    #[error("answer to `{method}` is not a valid response: {reason}")]
    InvalidResponse {
        /// The method called.
        method: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The result is not of the type that the caller asked for.
    #[error("result of `{method}` has another shape than expected")]
    Decode {
        /// The method called.
        method: String,
        /// The result as it came.
        raw: Box<RawValue>,
        /// What the decoder said.
        #[source]
        source: serde_json::Error,
    },
    /// The params cannot be written as JSON.
    #[error("params of `{method}` cannot be serialised")]
    Encode {
        /// The method called.
        method: String,
        /// What the serialiser said.
        #[source]
        source: serde_json::Error,
    },
    /// A batch has more calls than may be in flight at all.
    #[error("batch of {calls} calls is over the limit of {calls_in_flight_max} calls in flight")]
    TooManyCalls {
        /// How many calls the batch has.
        calls: usize,
        /// The limit.
        calls_in_flight_max: usize,
    },
    /// The params are neither an array, nor an object, nor absent.
    #[error("params of `{method}` are a bare value; JSON-RPC allows an array or an object")]
    BareParams {
        /// The method called.
        method: String,
    },
}

impl CallError {
    pub(crate) fn rpc(error: ErrorObject) -> Self {
        Self::Rpc { code: error.code, message: error.message, data: error.data }
    }
}

/// Why a connection ended other than by a clean end of the stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The stream could not be read.
    #[error("stream could not be read")]
    Read {
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// The stream could not be written.
    #[error("stream could not be written")]
    Write {
        /// What the writer said.
        #[source]
        source: io::Error,
    },
    /// The peer ended its output inside a frame, or broke the framing for good.
    #[error("peer's stream is broken")]
    Frame {
        /// What is wrong with it.
        #[source]
        source: FrameError,
    },
    /// The peer reads too slowly: the outgoing queue is at its limit.
    #[error("peer does not read: more than {bytes_max} bytes wait to be sent")]
    OutgoingFull {
        /// The limit of the queue.
        bytes_max: usize,
    },
    /// A message is not as it was sent, or the peer does not seal its messages.
    #[error("peer's messages are not intact")]
    Integrity {
        /// What is wrong.
        #[source]
        fault: IntegrityFault,
    },
    /// The answers that were due at the end could not be made or delivered in time.
    #[error("answers could not be delivered within {timeout:?}")]
    DrainTimedOut {
        /// How long was waited.
        timeout: Duration,
    },
}
