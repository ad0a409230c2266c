//! The members of a message as they stand in its frame.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{ErrorObject, Id, JsonRpcMember, Message, RefusedFrame};

/// Reads the members of an object; those before the place where it breaks off are kept.
pub(super) fn read_members<'a>(text: &'a str, members: &mut Members<'a>) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(MembersVisitor(members))?;
    deserializer.end()
}

/// The members of an object as they stand in the frame.
#[derive(Default)]
pub(super) struct Members<'a> {
    jsonrpc: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    twice: Option<Key>,
    last_key: Option<Key>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    Other,
}

struct MembersVisitor<'m, 'a>(&'m mut Members<'a>);

impl<'a> Visitor<'a> for MembersVisitor<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let members = self.0;
        while let Some(key) = map.next_key_seed(KeySeed)? {
            members.last_key = Some(key);
            let slot = match key {
                Key::Jsonrpc => &mut members.jsonrpc,
                Key::Id => &mut members.id,
                Key::Method => &mut members.method,
                Key::Params => &mut members.params,
                Key::Result => &mut members.result,
                Key::Error => &mut members.error,
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                members.twice = Some(key);
            }
        }
        Ok(())
    }
}

struct KeySeed;

impl<'a> DeserializeSeed<'a> for KeySeed {
    type Value = Key;

    fn deserialize<D: serde::Deserializer<'a>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a member name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        Ok(match name {
            "jsonrpc" => Key::Jsonrpc,
            "id" => Key::Id,
            "method" => Key::Method,
            "params" => Key::Params,
            "result" => Key::Result,
            "error" => Key::Error,
            _ => Key::Other,
        })
    }
}

impl<'a> Members<'a> {
    /// Which message they make.
    pub(super) fn classify(self, jsonrpc: JsonRpcMember) -> Message<'a> {
        let is_answer = self.method.is_none() && (self.result.is_some() || self.error.is_some());
        let twice_reason = "a member occurs twice";
        if is_answer {
            let id = if self.twice == Some(Key::Id) { None } else { self.id.and_then(Id::from_raw) };
            let checked = match self.twice {
                Some(_) => Err(twice_reason),
                None => self.version(jsonrpc).and_then(|()| self.outcome()),
            };
            return match (id, checked) {
                (Some(id), Ok(outcome)) => Message::Response { id, outcome },
                (None, Ok(_)) => Message::InvalidResponse { id: None, reason: "`id` is missing or no id" },
                (id, Err(reason)) => Message::InvalidResponse { id, reason },
            };
        }
        let has_method = self.method.is_some();
        if self.twice.is_some() {
            return Message::InvalidRequest { id: Id::Null, reason: twice_reason, has_method };
        }
        let id = match self.id.map(Id::from_raw) {
            Some(None) => {
                let reason = "`id` is neither a string, a number nor null";
                return Message::InvalidRequest { id: Id::Null, reason, has_method };
            }
            Some(id) => id,
            None => None,
        };
        match (self.version(jsonrpc).and_then(|()| self.call()), id) {
            (Ok((method, params)), Some(id)) => Message::Request { id, method, params },
            (Ok((method, params)), None) => Message::Notification { method, params },
            (Err(reason), id) => Message::InvalidRequest { id: id.unwrap_or(Id::Null), reason, has_method },
        }
    }

    /// What the members up to where a frame breaks off tell of it.
    pub(super) fn classify_refused(self) -> RefusedFrame {
        let is_answer = self.result.is_some()
            || self.error.is_some()
            || matches!(self.last_key, Some(Key::Result | Key::Error));
        match self.id.and_then(Id::from_raw) {
            Some(id) if self.method.is_some() => RefusedFrame::Request(id),
            Some(id) if is_answer => RefusedFrame::Response(id),
            _ => RefusedFrame::Unknown,
        }
    }

    fn version(&self, jsonrpc: JsonRpcMember) -> Result<(), &'static str> {
        match self.jsonrpc {
            Some(version) if is_version(version.get()) => Ok(()),
            Some(_) => Err("`jsonrpc` is not \"2.0\""),
            None if jsonrpc == JsonRpcMember::Optional => Ok(()),
            None => Err("`jsonrpc` is missing"),
        }
    }

    fn call(&self) -> Result<(Cow<'a, str>, Option<&'a RawValue>), &'static str> {
        if self.result.is_some() || self.error.is_some() {
            return Err("`method` stands beside `result` or `error`");
        }
        let method = self.method.ok_or("`method` is missing")?.get();
        let method = string(method).ok_or("`method` is not a string")?;
        let params = self.params.filter(|params| params.get() != "null");
        match params.map(|params| params.get().as_bytes()[0]) {
            None | Some(b'[' | b'{') => Ok((method, params)),
            Some(_) => Err("`params` is neither an array nor an object"),
        }
    }

    fn outcome(&self) -> Result<Result<&'a RawValue, ErrorObject>, &'static str> {
        let is_null = |raw: &RawValue| raw.get() == "null";
        match (self.result, self.error) {
            (Some(result), None) => Ok(Ok(result)),
            (Some(result), Some(error)) if is_null(error) => Ok(Ok(result)),
            (Some(result), Some(_)) if !is_null(result) => Err("`result` and `error` both present"),
            (_, Some(error)) => {
                error_object(error).map(Err).ok_or("`error` is no object with an integer `code`")
            }
            (None, None) => Err("neither `result` nor `error` present"),
        }
    }
}

fn is_version(raw: &str) -> bool {
    raw == "\"2.0\"" || string(raw).is_some_and(|version| version == "2.0")
}

fn string(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str(raw).ok().map(Cow::Owned)
}

fn error_object(raw: &RawValue) -> Option<ErrorObject> {
    #[derive(Deserialize)]
    struct Wire {
        code: i64,
        #[serde(default)]
        message: String,
        #[serde(default)]
        data: Option<serde_json::Value>,
    }
    if !raw.get().starts_with('{') {
        return None;
    }
    let Wire { code, message, data } = serde_json::from_str(raw.get()).ok()?;
    Some(ErrorObject { code, message, data })
}
