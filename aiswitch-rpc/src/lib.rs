#![doc = include_str!("../README.md")]

pub mod codec;
pub mod message;
pub mod protocol;

mod canonical;
mod error;
mod method;
mod options;
mod seal;

mod calls;
mod dispatch;
mod peer;
mod router;
mod shared;
mod tasks;
mod waiters;

pub mod blocking;

#[cfg(feature = "tokio")]
mod connection;
#[cfg(feature = "tokio")]
mod frame_reader;
#[cfg(feature = "tokio")]
mod stdio;

pub use codec::Framing;
pub use error::{CallError, CloseReason, ConnectionError, FrameError};
pub use message::{ErrorObject, Id, JsonRpcMember, error_code};
pub use method::{NotificationMethod, RequestMethod};
pub use options::{
    CALLS_IN_FLIGHT_LIMIT, CancelStyle, Integrity, MALFORMED_REPLIES_MAX, NESTING_MAX, OnMalformed, Options,
};
pub use peer::{Batch, Peer};
pub use router::{Context, Event, FallbackHandler, Handler, Router};
pub use seal::IntegrityFault;

#[cfg(feature = "tokio")]
pub use connection::{Connection, connect};
#[cfg(feature = "tokio")]
pub use frame_reader::FrameReader;
#[cfg(feature = "tokio")]
pub use stdio::{StdioReader, StdioWriter, stdio};
