//! A message is what a frame says: a request, a notification, a response, or a batch of them.
//!
//! Source of the rules: the [JSON-RPC 2.0 specification](https://www.jsonrpc.org/specification). Where it is silent,
//! the choice made here is documented at the item.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::canonical::{Canonical, canonical};
use crate::options::CancelStyle;

mod members;
mod write;

use members::{Members, read_members};
pub(crate) use write::{
    cancel_notification, write_call_body, write_call_start, write_result_start, write_string,
};
pub use write::{write_error, write_notification, write_request, write_result};

/// The error codes that JSON-RPC 2.0 reserves, and those that this crate adds.
pub mod error_code {
    /// The frame is not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// The JSON is no request.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No handler is registered for the method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The params do not fit the method.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The handler could not produce an answer.
    pub const INTERNAL_ERROR: i64 = -32603;
    /// The peer has too much to do already; the same request may succeed later.
    pub const OVERLOADED: i64 = -32001;
    /// The peer may not call the method, or not for what it names.
    pub const FORBIDDEN: i64 = -32003;
    /// A message failed its integrity check; the connection closes.
    pub const INTEGRITY: i64 = -32010;
    /// The request was cancelled by its caller (the code of the Language Server Protocol).
    pub const REQUEST_CANCELLED: i64 = -32800;
}

/// The error object of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorObject {
    /// What kind of error it is; see [`error_code`].
    pub code: i64,
    /// One short sentence.
    pub message: String,
    /// Whatever else the other side should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl fmt::Display for ErrorObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for ErrorObject {}

impl ErrorObject {
    /// An error with a code and a message and no data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The same error with data.
    #[must_use]
    pub fn with_data(mut self, data: serde_json::Value) -> Self {
        self.data = Some(data);
        self
    }

    /// The params do not fit the method (−32602).
    pub fn invalid_params(reason: impl fmt::Display) -> Self {
        Self::new(error_code::INVALID_PARAMS, format!("Invalid params: {reason}"))
    }

    /// No such method (−32601).
    pub fn method_not_found(method: &str) -> Self {
        Self::new(error_code::METHOD_NOT_FOUND, format!("Method not found: {method}"))
    }

    /// The handler failed for a reason of its own (−32603).
    pub fn internal(reason: impl fmt::Display) -> Self {
        Self::new(error_code::INTERNAL_ERROR, format!("Internal error: {reason}"))
    }

    /// The request was cancelled by its caller (−32800).
    pub fn request_cancelled() -> Self {
        Self::new(error_code::REQUEST_CANCELLED, "Request cancelled")
    }
}

/// The id of a request, kept exactly as it was sent.
///
/// `1` and `"1"` are different ids; `0` and `null` are legal ones.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// An integer that fits 64 bits.
    Integer(i64),
    /// Any other number, as the text that was sent: `18446744073709551615`, `1e2`.
    Number(Box<str>),
    /// A string.
    String(String),
    /// `null`.
    Null,
}

impl Id {
    fn from_raw(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        match text.as_bytes().first()? {
            b'"' => serde_json::from_str(text).ok().map(Self::String),
            b'n' => Some(Self::Null),
            b'-' | b'0'..=b'9' => match text.parse::<i64>() {
                Ok(integer) if text != "-0" => Some(Self::Integer(integer)),
                _ => Some(Self::Number(text.into())),
            },
            _ => None,
        }
    }

    /// Appends the id as JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(integer) => {
                out.extend_from_slice(itoa::Buffer::new().format(*integer).as_bytes());
            }
            Self::Number(text) => out.extend_from_slice(text.as_bytes()),
            Self::String(text) => write_string(out, text),
            Self::Null => out.extend_from_slice(b"null"),
        }
    }

    /// The number of one of our own calls: an integer, also in the form `7.0` that some encoders print.
    pub(crate) fn call_number(&self) -> Option<u64> {
        match self {
            Self::Integer(integer) => u64::try_from(*integer).ok(),
            Self::Number(text) => {
                let (whole, fraction) = text.split_once('.')?;
                fraction.bytes().all(|byte| byte == b'0').then(|| whole.parse().ok())?
            }
            Self::String(_) | Self::Null => None,
        }
    }

    /// The id as a JSON value, for the data of an error.
    pub(crate) fn to_value(&self) -> serde_json::Value {
        match self {
            Self::Integer(integer) => (*integer).into(),
            Self::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.to_string().into()),
            Self::String(text) => text.clone().into(),
            Self::Null => serde_json::Value::Null,
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => write!(formatter, "{integer}"),
            Self::Number(text) => formatter.write_str(text),
            Self::String(text) => write!(formatter, "{text:?}"),
            Self::Null => formatter.write_str("null"),
        }
    }
}

/// Whether messages carry the member `"jsonrpc":"2.0"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonRpcMember {
    /// It is sent, and a message without it is refused, as the specification says.
    #[default]
    Required,
    /// It is not sent and may be absent, as in the app-server of Codex.
    Optional,
}

/// One message, borrowed from its frame.
#[derive(Debug)]
pub enum Message<'a> {
    /// A call that wants an answer.
    Request {
        /// What the answer must carry.
        id: Id,
        /// The name of the method.
        method: Cow<'a, str>,
        /// An array or an object, if there are params.
        params: Option<&'a RawValue>,
    },
    /// A call that wants no answer.
    Notification {
        /// The name of the method.
        method: Cow<'a, str>,
        /// An array or an object, if there are params.
        params: Option<&'a RawValue>,
    },
    /// An answer.
    Response {
        /// The id of the call that is answered.
        id: Id,
        /// The result or the error.
        outcome: Result<&'a RawValue, ErrorObject>,
    },
    /// JSON that is neither; without `result` and `error`, or with `method`.
    InvalidRequest {
        /// The id, where one could be read; else [`Id::Null`].
        id: Id,
        /// What is wrong.
        reason: &'static str,
        /// Whether a method was named, so that the message cannot be meant as an answer.
        has_method: bool,
    },
    /// JSON with `result` or `error` and without `method` that is no response: it must never be answered.
    InvalidResponse {
        /// The id, where one could be read.
        id: Option<Id>,
        /// What is wrong.
        reason: &'static str,
    },
}

/// What one frame holds.
#[derive(Debug)]
pub enum Content<'a> {
    /// One message.
    One(Message<'a>),
    /// The elements of a batch, each to be read with [`parse`] again; never empty.
    Batch(Vec<&'a RawValue>),
}

/// Reads a frame.
///
/// Members that JSON-RPC does not know are ignored. A member that occurs twice makes the message invalid.
/// `"params":null` counts as absent, an `error` of `null` beside a `result` too.
///
/// # Errors
/// When the frame is not JSON.
///
/// ```
/// use aiswitch_rpc::message::{Content, Id, JsonRpcMember, Message, parse};
///
/// let frame = r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#;
/// let Content::One(Message::Request { id, method, params }) = parse(frame, JsonRpcMember::Required)? else {
///     panic!("not a request");
/// };
/// assert_eq!((id, method.as_ref(), params.is_none()), (Id::Integer(0), "ping", true));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn parse(frame: &str, jsonrpc: JsonRpcMember) -> Result<Content<'_>, serde_json::Error> {
    if jsonrpc == JsonRpcMember::Required
        && let Some(message) = parse_canonical(frame)
    {
        return Ok(Content::One(message));
    }
    parse_any(frame, jsonrpc)
}

/// Reads a frame in canonical form; `None` when it is in another form, or wrong anywhere.
fn parse_canonical(frame: &str) -> Option<Message<'_>> {
    let open = frame.strip_suffix('}')?;
    let raw = |text| serde_json::from_str::<&RawValue>(text).ok();
    Some(match canonical(open)? {
        Canonical::Request { id, method, params } => Message::Request {
            id: Id::Integer(id),
            method: Cow::Borrowed(method),
            params: Some(raw(params)?),
        },
        Canonical::Notification { method, params } => {
            Message::Notification { method: Cow::Borrowed(method), params: Some(raw(params)?) }
        }
        Canonical::Response { id, result_from } => Message::Response {
            id: Id::Integer(i64::try_from(id).ok()?),
            outcome: Ok(raw(&open[result_from..])?),
        },
    })
}

/// Reads a frame in any form.
pub(crate) fn parse_any(frame: &str, jsonrpc: JsonRpcMember) -> Result<Content<'_>, serde_json::Error> {
    match frame.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {
            let mut members = Members::default();
            read_members(frame, &mut members)?;
            Ok(Content::One(members.classify(jsonrpc)))
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(frame)?;
            if elements.is_empty() {
                return Ok(Content::One(invalid_request("batch is empty")));
            }
            Ok(Content::Batch(elements))
        }
        _ => {
            serde_json::from_str::<IgnoredAny>(frame)?;
            Ok(Content::One(invalid_request("message is not an object")))
        }
    }
}

fn invalid_request(reason: &'static str) -> Message<'static> {
    Message::InvalidRequest { id: Id::Null, reason, has_method: false }
}

/// What the beginning of a frame that was refused as too long still tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RefusedFrame {
    /// It was a request with this id.
    Request(Id),
    /// It was the answer to the call with this id.
    Response(Id),
    /// It was something else.
    Unknown,
}

/// Looks at the beginning of a frame that was refused as too long.
pub(crate) fn parse_refused_prefix(prefix: &str) -> RefusedFrame {
    let mut members = Members::default();
    // The text breaks off, so reading it fails; what was seen before stays in `members`.
    drop(read_members(prefix, &mut members));
    members.classify_refused()
}

/// The id that a cancel notification names, if it names one.
pub(crate) fn cancelled_id(style: CancelStyle, params: Option<&RawValue>) -> Option<Id> {
    let members: std::collections::HashMap<Cow<'_, str>, &RawValue> =
        serde_json::from_str(params?.get()).ok()?;
    members.get(style.id_member()).and_then(|raw| Id::from_raw(raw))
}
