//! The canonical form is the member order that nearly every sender uses; it can be read without a scan of the params.
//!
//! `{"jsonrpc":"2.0","id":N,"method":"m","params":P}`, the same without `id`, and `{"jsonrpc":"2.0","id":N,"result":R}`.
//! What stands at `P` or `R` is not looked at here: who reads it as one value up to its end knows that the frame was
//! canonical, and anyone else falls back to [`parse`](crate::message::parse).

/// A frame that begins in the canonical form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Canonical<'a> {
    Request { id: i64, method: &'a str, params: &'a str },
    Notification { method: &'a str, params: &'a str },
    Response { id: u64, result_from: usize },
}

/// Reads the beginning of a frame, given without its closing brace; `None` when it is in another form.
pub(crate) fn canonical(open: &str) -> Option<Canonical<'_>> {
    let rest = open.strip_prefix(r#"{"jsonrpc":"2.0","#)?;
    let Some(after_id) = rest.strip_prefix(r#""id":"#) else {
        let (method, params) = call(rest)?;
        return Some(Canonical::Notification { method, params });
    };
    let digits_end = after_id.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = after_id.split_at(digits_end);
    if digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(result) = rest.strip_prefix(r#""result":"#) {
        let result_from = open.len() - result.len();
        return Some(Canonical::Response { id: digits.parse().ok()?, result_from });
    }
    let (method, params) = call(rest)?;
    Some(Canonical::Request { id: digits.parse().ok()?, method, params })
}

fn call(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.strip_prefix(r#""method":""#)?;
    let method_end = memchr::memchr(b'"', rest.as_bytes())?;
    let (method, rest) = rest.split_at(method_end);
    let params = rest.strip_prefix(r#"","params":"#)?;
    let is_plain = !method.bytes().any(|byte| byte == b'\\' || byte < b' ');
    (is_plain && params.starts_with(['[', '{'])).then_some((method, params))
}
