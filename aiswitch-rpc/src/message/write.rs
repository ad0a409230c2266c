//! Messages as JSON text: what `parse` reads, written.

use serde::Serialize;

use super::{ErrorObject, Id, JsonRpcMember};
use crate::error::CallError;
use crate::options::CancelStyle;

/// Appends a string as JSON.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string can always be written to memory");
}

fn write_version(out: &mut Vec<u8>, jsonrpc: JsonRpcMember) {
    match jsonrpc {
        JsonRpcMember::Required => out.extend_from_slice(br#"{"jsonrpc":"2.0","#),
        JsonRpcMember::Optional => out.push(b'{'),
    }
}

/// Appends a request as JSON text; [`encode_frame`](crate::codec::encode_frame) makes a frame of it.
///
/// ```
/// use aiswitch_rpc::message::{JsonRpcMember, write_request};
///
/// let mut out = Vec::new();
/// write_request(&mut out, JsonRpcMember::Required, 7, "add", &[1, 2])?;
/// assert_eq!(out, br#"{"jsonrpc":"2.0","id":7,"method":"add","params":[1,2]}"#);
/// # Ok::<(), aiswitch_rpc::CallError>(())
/// ```
///
/// # Errors
/// [`CallError::Encode`] or [`CallError::BareParams`]; what was appended by then must be thrown away.
pub fn write_request(
    out: &mut Vec<u8>,
    jsonrpc: JsonRpcMember,
    id: u64,
    method: &str,
    params: &impl Serialize,
) -> Result<(), CallError> {
    write_call_start(out, jsonrpc, Some(id));
    write_call_body(out, method, params)
}

/// Appends a notification as JSON text.
///
/// # Errors
/// As for [`write_request`].
pub fn write_notification(
    out: &mut Vec<u8>,
    jsonrpc: JsonRpcMember,
    method: &str,
    params: &impl Serialize,
) -> Result<(), CallError> {
    write_call_start(out, jsonrpc, None);
    write_call_body(out, method, params)
}

/// Appends a response with a result as JSON text.
///
/// # Errors
/// When the result cannot be serialised; what was appended by then must be thrown away.
pub fn write_result(
    out: &mut Vec<u8>,
    jsonrpc: JsonRpcMember,
    id: &Id,
    result: &impl Serialize,
) -> Result<(), serde_json::Error> {
    write_result_start(out, jsonrpc, id);
    serde_json::to_writer(&mut *out, result)?;
    out.push(b'}');
    Ok(())
}

/// Appends the part of a call that stands before its method; [`write_call_body`] follows after it.
pub(crate) fn write_call_start(out: &mut Vec<u8>, jsonrpc: JsonRpcMember, id: Option<u64>) {
    write_version(out, jsonrpc);
    if let Some(id) = id {
        out.extend_from_slice(br#""id":"#);
        out.extend_from_slice(itoa::Buffer::new().format(id).as_bytes());
        out.push(b',');
    }
}

/// Appends `"method":…`, `,"params":…` unless the params are nothing, and the closing brace.
pub(crate) fn write_call_body(
    out: &mut Vec<u8>,
    method: &str,
    params: &impl Serialize,
) -> Result<(), CallError> {
    out.extend_from_slice(br#""method":"#);
    write_string(out, method);
    let before = out.len();
    out.extend_from_slice(br#","params":"#);
    let from = out.len();
    serde_json::to_writer(&mut *out, params)
        .map_err(|source| CallError::Encode { method: method.to_owned(), source })?;
    match out[from..].trim_ascii_start().first() {
        Some(b'[' | b'{') => {}
        Some(b'n') => out.truncate(before),
        _ => return Err(CallError::BareParams { method: method.to_owned() }),
    }
    out.push(b'}');
    Ok(())
}

/// The notification by which a call is given up, where the two sides have one.
pub(crate) fn cancel_notification(
    jsonrpc: JsonRpcMember,
    style: CancelStyle,
    number: u64,
) -> Option<Vec<u8>> {
    let method = style.method()?;
    let mut out = Vec::with_capacity(128);
    write_call_start(&mut out, jsonrpc, None);
    out.extend_from_slice(br#""method":"#);
    write_string(&mut out, method);
    out.extend_from_slice(br#","params":{"#);
    write_string(&mut out, style.id_member());
    out.push(b':');
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"}}");
    Some(out)
}

/// Appends the part of a response that stands before its result; the result and a closing brace follow.
pub(crate) fn write_result_start(out: &mut Vec<u8>, jsonrpc: JsonRpcMember, id: &Id) {
    write_version(out, jsonrpc);
    out.extend_from_slice(br#""id":"#);
    id.write(out);
    out.extend_from_slice(br#","result":"#);
}

/// Appends an error response as JSON text.
///
/// # Panics
/// Never: an error object can always be written to memory.
pub fn write_error(out: &mut Vec<u8>, jsonrpc: JsonRpcMember, id: &Id, error: &ErrorObject) {
    write_version(out, jsonrpc);
    out.extend_from_slice(br#""id":"#);
    id.write(out);
    out.extend_from_slice(br#","error":"#);
    serde_json::to_writer(&mut *out, error).expect("an error object can always be written to memory");
    out.push(b'}');
}
