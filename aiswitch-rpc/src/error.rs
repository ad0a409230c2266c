//! What can go wrong: with a frame, with a call, with a connection.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use serde_json::value::RawValue;

use crate::message::ErrorObject;
use crate::seal::IntegrityFault;

/// Why a stretch of the byte stream is no frame.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// The frame has more bytes than the limit; it was dropped, the next one can be read.
    TooLong {
        /// How many bytes the frame has, as far as they were seen; of a line, all before its line feed.
        bytes: u64,
        /// The limit.
        bytes_max: usize,
    },
    /// The frame is not UTF-8; it was dropped, the next one can be read.
    InvalidUtf8 {
        /// How many bytes at the beginning are valid.
        valid_up_to: usize,
    },
    /// The stream ended inside a frame.
    HalfFrame {
        /// How many bytes of the frame had arrived.
        bytes: u64,
    },
    /// The header block is wrong, so that the next frame cannot be found: nothing more can be read.
    Header {
        /// What was found in place of a header.
        found: &'static str,
    },
    /// A line stands where a header is expected; it was passed over.
    Noise {
        /// The line, cut to a bounded length.
        line: String,
    },
    /// The stream could not be read.
    Read {
        /// What the reader said.
        source: Arc<io::Error>,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, bytes_max } => {
                write!(formatter, "frame of {bytes} bytes is over the limit of {bytes_max} bytes")
            }
            Self::InvalidUtf8 { valid_up_to } => {
                write!(formatter, "frame is not UTF-8 after byte {valid_up_to}")
            }
            Self::HalfFrame { bytes } => {
                write!(formatter, "stream ended inside a frame, after {bytes} bytes of it")
            }
            Self::Header { found } => write!(formatter, "framing lost: found {found}"),
            Self::Noise { line } => write!(formatter, "line `{line}` stands where a header is expected"),
            Self::Read { .. } => formatter.write_str("stream could not be read"),
        }
    }
}

impl Error for FrameError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source } => Some(&**source),
            _ => None,
        }
    }
}

/// Why a connection no longer carries calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer ended its output.
    EndOfInput,
    /// The peer ended its output inside a frame.
    HalfFrame,
    /// This side closed the connection.
    ClosedHere,
    /// The [`Connection`](crate::Connection) was dropped, so that nobody moves messages any more.
    Dropped,
    /// Reading failed.
    ReadFailed(io::ErrorKind),
    /// Writing failed.
    WriteFailed(io::ErrorKind),
    /// The peer read so slowly that the outgoing queue reached its limit.
    OutgoingFull,
    /// Answers could not be delivered within the drain time.
    DrainTimedOut,
    /// The framing was lost.
    FramingLost,
    /// A message failed its integrity check.
    Integrity,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::EndOfInput => "the peer ended its output",
            Self::HalfFrame => "the peer ended its output inside a frame",
            Self::ClosedHere => "this side closed it",
            Self::Dropped => "the connection was dropped",
            Self::ReadFailed(kind) => return write!(formatter, "reading failed ({kind})"),
            Self::WriteFailed(kind) => return write!(formatter, "writing failed ({kind})"),
            Self::OutgoingFull => "the peer does not read and the outgoing queue is full",
            Self::DrainTimedOut => "the answers could not be delivered in time",
            Self::FramingLost => "the framing was lost",
            Self::Integrity => "a message failed its integrity check",
        })
    }
}

impl Error for CloseReason {}

/// Why a call has no result.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError {
    /// The peer answered with an error object.
    Rpc {
        /// The error's code.
        code: i64,
        /// The error's message.
        message: String,
        /// What the peer added, if anything.
        data: Option<serde_json::Value>,
    },
    /// No answer came in time; the peer was told that the call is cancelled.
    TimedOut {
        /// The method called.
        method: String,
        /// How long the call waited.
        timeout: Duration,
    },
    /// The connection closed before the answer came.
    Closed {
        /// The method called.
        method: String,
        /// Why the connection closed.
        reason: CloseReason,
    },
    /// The message, or its answer, is over the frame limit.
    TooLarge {
        /// The method called.
        method: String,
        /// The limit that it is over.
        bytes_max: usize,
    },
    /// The peer answered with something that is no JSON-RPC response.
    InvalidResponse {
        /// The method called.
        method: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The result is not of the type that the caller asked for.
    Decode {
        /// The method called.
        method: String,
        /// The result as it came.
        raw: Box<RawValue>,
        /// What the decoder said.
        source: serde_json::Error,
    },
    /// The params cannot be written as JSON.
    Encode {
        /// The method called.
        method: String,
        /// What the serialiser said.
        source: serde_json::Error,
    },
    /// A batch has more calls than may be in flight at all.
    TooManyCalls {
        /// How many calls the batch has.
        calls: usize,
        /// The limit.
        calls_in_flight_max: usize,
    },
    /// The params are neither an array, nor an object, nor absent.
    BareParams {
        /// The method called.
        method: String,
    },
}

impl fmt::Display for CallError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rpc { code, message, .. } => {
                write!(formatter, "peer answered with error {code}: {message}")
            }
            Self::TimedOut { method, timeout } => {
                write!(formatter, "no answer to `{method}` within {timeout:?}")
            }
            Self::Closed { method, reason } => {
                write!(formatter, "connection closed before `{method}` was answered: {reason}")
            }
            Self::TooLarge { method, bytes_max } => {
                write!(formatter, "message of `{method}` is over the limit of {bytes_max} bytes")
            }
            Self::InvalidResponse { method, reason } => {
                write!(formatter, "answer to `{method}` is not a valid response: {reason}")
            }
            Self::Decode { method, .. } => {
                write!(formatter, "result of `{method}` has another shape than expected")
            }
            Self::Encode { method, .. } => write!(formatter, "params of `{method}` cannot be serialised"),
            Self::TooManyCalls { calls, calls_in_flight_max } => write!(
                formatter,
                "batch of {calls} calls is over the limit of {calls_in_flight_max} calls in flight"
            ),
            Self::BareParams { method } => write!(
                formatter,
                "params of `{method}` are a bare value; JSON-RPC allows an array or an object"
            ),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Decode { source, .. } | Self::Encode { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl CallError {
    pub(crate) fn rpc(error: ErrorObject) -> Self {
        Self::Rpc { code: error.code, message: error.message, data: error.data }
    }
}

/// Why a connection ended other than by a clean end of the stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The stream could not be read.
    Read {
        /// What the reader said.
        source: io::Error,
    },
    /// The stream could not be written.
    Write {
        /// What the writer said.
        source: io::Error,
    },
    /// The peer ended its output inside a frame, or broke the framing for good.
    Frame {
        /// What is wrong with it.
        source: FrameError,
    },
    /// The peer reads too slowly: the outgoing queue is at its limit.
    OutgoingFull {
        /// The limit of the queue.
        bytes_max: usize,
    },
    /// A message is not as it was sent, or the peer does not seal its messages.
    Integrity {
        /// What is wrong.
        fault: IntegrityFault,
    },
    /// The answers that were due at the end could not be made or delivered in time.
    DrainTimedOut {
        /// How long was waited.
        timeout: Duration,
    },
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { .. } => formatter.write_str("stream could not be read"),
            Self::Write { .. } => formatter.write_str("stream could not be written"),
            Self::Frame { .. } => formatter.write_str("peer's stream is broken"),
            Self::OutgoingFull { bytes_max } => {
                write!(formatter, "peer does not read: more than {bytes_max} bytes wait to be sent")
            }
            Self::Integrity { .. } => formatter.write_str("peer's messages are not intact"),
            Self::DrainTimedOut { timeout } => {
                write!(formatter, "answers could not be delivered within {timeout:?}")
            }
        }
    }
}

impl Error for ConnectionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Read { source } | Self::Write { source } => Some(source),
            Self::Frame { source } => Some(source),
            Self::Integrity { fault } => Some(fault),
            Self::OutgoingFull { .. } | Self::DrainTimedOut { .. } => None,
        }
    }
}
