//! The options of a connection, each with its unit in its name and a default that is safe to keep.

use std::time::Duration;

use crate::codec::Framing;
use crate::message::JsonRpcMember;

/// How the two sides tell each other that a request is no longer wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CancelStyle {
    /// `$/cancelRequest` with `{"id":…}`, as in the Language Server Protocol; the request is still answered.
    #[default]
    Lsp,
    /// `$/cancel_request` with `{"requestId":…}`, as in the Agent Client Protocol; the request is still answered.
    Acp,
    /// `notifications/cancelled` with `{"requestId":…}`, as in the Model Context Protocol; no answer is sent.
    Mcp,
    /// Nothing is sent and nothing is understood as a cancellation.
    None,
}

impl CancelStyle {
    pub(crate) fn method(self) -> Option<&'static str> {
        match self {
            Self::Lsp => Some("$/cancelRequest"),
            Self::Acp => Some("$/cancel_request"),
            Self::Mcp => Some("notifications/cancelled"),
            Self::None => None,
        }
    }

    pub(crate) fn id_member(self) -> &'static str {
        if self == Self::Lsp { "id" } else { "requestId" }
    }
}

/// What is done with a message that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMalformed {
    /// It is answered with an error of id `null`, at most [`MALFORMED_REPLIES_MAX`] times in a row: the server's way.
    #[default]
    Reply,
    /// It is only reported as an [`Event`](crate::Event): the way of a client of a noisy program.
    Report,
}

/// Whether messages are sealed with a running number and a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Integrity {
    /// They are not.
    #[default]
    Off,
    /// They are when the peer offers it.
    Accept,
    /// It is offered to the peer; when it declines, they are not.
    Offer,
    /// It is offered to the peer; when it declines, the connection ends.
    Require,
}

/// How many unreadable messages in a row are answered; further ones are only reported.
pub const MALFORMED_REPLIES_MAX: u32 = 16;
/// How many arrays and objects may stand inside one another in a value that is decoded; the limit of `serde_json`.
///
/// Params that a handler takes raw, as `Box<RawValue>`, are not decoded and may be deeper.
pub const NESTING_MAX: usize = 127;
/// The most calls that [`Options::with_calls_in_flight_max`] allows.
pub const CALLS_IN_FLIGHT_LIMIT: usize = 1 << 20;

/// The options of a connection.
///
/// ```
/// use aiswitch_rpc::{CancelStyle, Options};
///
/// let options = Options::default().with_cancel(CancelStyle::Acp).with_frame_bytes_max(1 << 20);
/// assert_eq!(options.frame_bytes_max, 1 << 20);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// How messages are told apart; default [`Framing::Lines`].
    pub framing: Framing,
    /// Whether messages carry `"jsonrpc":"2.0"`; default [`JsonRpcMember::Required`].
    pub jsonrpc: JsonRpcMember,
    /// The most bytes of one message that is read; default 16 MiB.
    pub frame_bytes_max: usize,
    /// The most bytes of one message that is sent; default 16 MiB. A larger result becomes an error.
    pub outgoing_frame_bytes_max: usize,
    /// The most elements of a batch; 0 refuses batches; default 1024.
    pub batch_max: usize,
    /// The most own calls that wait for an answer; a further call waits for its turn; default 1024.
    pub calls_in_flight_max: usize,
    /// The most requests of the peer that are worked on; a further one is refused (−32001); default 1024.
    pub requests_in_flight_max: usize,
    /// Own calls and notifications wait while more bytes than this are to be sent; default 1 MiB.
    pub outgoing_bytes_soft: usize,
    /// The most bytes that are kept for a peer that does not read; default 64 MiB.
    ///
    /// From half of it on requests are refused (−32001), beyond it the connection ends.
    pub outgoing_bytes_max: usize,
    /// How requests are cancelled; default [`CancelStyle::Lsp`].
    pub cancel: CancelStyle,
    /// What is done with a message that cannot be read; default [`OnMalformed::Reply`].
    pub on_malformed: OnMalformed,
    /// Whether messages are sealed; default [`Integrity::Off`].
    ///
    /// Until an offer is answered, calls and notifications of the application wait.
    pub integrity: Integrity,
    /// How long a call waits for its answer; default: until the connection closes.
    pub call_timeout: Option<Duration>,
    /// How long answers may take to be made and sent after the peer ended its output; default 30 s.
    pub drain_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            framing: Framing::Lines,
            jsonrpc: JsonRpcMember::Required,
            frame_bytes_max: 16 << 20,
            outgoing_frame_bytes_max: 16 << 20,
            batch_max: 1024,
            calls_in_flight_max: 1024,
            requests_in_flight_max: 1024,
            outgoing_bytes_soft: 1 << 20,
            outgoing_bytes_max: 64 << 20,
            cancel: CancelStyle::Lsp,
            on_malformed: OnMalformed::Reply,
            integrity: Integrity::Off,
            call_timeout: None,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

macro_rules! setters {
    ($($setter:ident $field:ident: $kind:ty),* $(,)?) => {
        impl Options {
            $(
                #[doc = concat!("Sets [`Options::", stringify!($field), "`].")]
                #[must_use]
                pub fn $setter(mut self, $field: $kind) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

setters! {
    with_framing framing: Framing,
    with_jsonrpc jsonrpc: JsonRpcMember,
    with_frame_bytes_max frame_bytes_max: usize,
    with_outgoing_frame_bytes_max outgoing_frame_bytes_max: usize,
    with_batch_max batch_max: usize,
    with_requests_in_flight_max requests_in_flight_max: usize,
    with_outgoing_bytes_soft outgoing_bytes_soft: usize,
    with_outgoing_bytes_max outgoing_bytes_max: usize,
    with_cancel cancel: CancelStyle,
    with_on_malformed on_malformed: OnMalformed,
    with_integrity integrity: Integrity,
    with_call_timeout call_timeout: Option<Duration>,
    with_drain_timeout drain_timeout: Duration,
}

impl Options {
    /// Sets [`Options::calls_in_flight_max`].
    ///
    /// # Panics
    /// If it is 0 or more than [`CALLS_IN_FLIGHT_LIMIT`].
    #[must_use]
    pub fn with_calls_in_flight_max(mut self, calls_in_flight_max: usize) -> Self {
        let allowed = 1..=CALLS_IN_FLIGHT_LIMIT;
        assert!(allowed.contains(&calls_in_flight_max), "`calls_in_flight_max` must be within {allowed:?}");
        self.calls_in_flight_max = calls_in_flight_max;
        self
    }
}
