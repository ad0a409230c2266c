//! Whether an output is one that a case expects.

use std::collections::HashMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::case::{known_members, long_text};

/// Ids that are chosen at run time, by the names that a case gives them.
#[derive(Default)]
pub(super) struct Names(HashMap<String, Value>);

impl Names {
    pub(super) fn bind(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// The text with each `$name` replaced; a name is one letter or a number.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            filled.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let name_bytes = if after.starts_with(|first: char| first.is_ascii_digit()) {
                after.bytes().take_while(u8::is_ascii_digit).count()
            } else {
                1
            };
            let name = after.get(..name_bytes).unwrap_or_default();
            if let Some(value) = self.0.get(name) {
                filled.push_str(&value.to_string());
                rest = &after[name_bytes..];
            } else {
                filled.push('$');
                rest = after;
            }
        }
        filled.push_str(rest);
        filled
    }

    fn is(&mut self, expected: &Value, found: &Value) -> bool {
        if let Some(text) = long_text(expected) {
            if let Some(name) = text.strip_prefix('$').filter(|name| !name.starts_with('/')) {
                return self.0.entry(name.to_owned()).or_insert_with(|| found.clone()) == found;
            }
            return found.as_str() == Some(&text);
        }
        match (expected, found) {
            (Value::Array(left), Value::Array(right)) => {
                left.len() == right.len() && left.iter().zip(right).all(|(left, right)| self.is(left, right))
            }
            (Value::Object(left), Value::Object(right)) => {
                left.len() == right.len()
                    && left
                        .iter()
                        .all(|(name, left)| right.get(name).is_some_and(|right| self.is(left, right)))
            }
            (Value::Number(left), Value::Number(right)) => {
                left == right || left.as_f64() == right.as_f64() && left.is_f64() != right.is_f64()
            }
            _ => expected == found,
        }
    }
}

/// An expected output and how often it may come.
pub(super) struct Expected {
    pub(super) output: Value,
    least: u64,
    most: u64,
    found: u64,
}

pub(super) fn expected(list: &Value) -> Result<Vec<Expected>, String> {
    const MEMBERS: [&str; 10] =
        ["id", "result", "result_raw", "error", "any_of", "batch", "any_order", "method", "params", "count"];
    let outputs = list.as_array().ok_or_else(|| format!("{list} is no list of outputs"))?;
    let read = |output: &Value| {
        known_members(output, &MEMBERS)?;
        let count = |index: usize| output["count"][index].as_u64().unwrap_or(1);
        Ok(Expected { output: output.clone(), least: count(0), most: count(1), found: 0 })
    };
    outputs.iter().map(read).collect()
}

pub(super) fn is_complete(expected: &[Expected]) -> bool {
    expected.iter().all(|one| one.found >= one.least)
}

/// Finds the expectation that an output meets.
pub(super) fn take(
    expected: &mut [Expected],
    is_strict: bool,
    frame: &str,
    names: &mut Names,
) -> Result<(), String> {
    for one in expected.iter_mut().filter(|one| one.found < one.most) {
        if meets(&one.output, frame, names) {
            one.found += 1;
            return Ok(());
        }
        if is_strict {
            break;
        }
    }
    Err(format!("unexpected output {}", &frame[..frame.floor_char_boundary(300)]))
}

/// Whether one output is as expected.
pub(super) fn meets(expected: &Value, frame: &str, names: &mut Names) -> bool {
    let Ok(found) = serde_json::from_str::<Value>(frame) else { return false };
    if let Some(batch) = expected["batch"].as_array() {
        let Some(found) = found.as_array() else { return false };
        let mut left: Vec<&Value> = found.iter().collect();
        return batch.len() == found.len()
            && batch.iter().all(|one| {
                let place = left.iter().position(|found| meets(one, &found.to_string(), names));
                place.map(|place| left.remove(place)).is_some()
            });
    }
    let Some(members) = found.as_object() else { return false };
    if let Some(method) = expected["method"].as_str() {
        return found["method"] == method
            && expected.get("params").is_none_or(|params| names.is(params, &found["params"]))
            && expected.get("id").is_none_or(|id| names.is(id, &found["id"]));
    }
    let one_of = |id: &Value, names: &mut Names| match id.as_array() {
        Some(ids) => ids.iter().any(|id| names.is(id, &found["id"])),
        None => names.is(id, &found["id"]),
    };
    if !one_of(&expected["id"], names) || members.contains_key("result") == members.contains_key("error") {
        return false;
    }
    if let Some(any_of) = expected["any_of"].as_array() {
        return any_of.iter().filter_map(Value::as_str).any(|name| members.contains_key(name));
    }
    if let Some(raw) = expected["result_raw"].as_str() {
        let found: HashMap<String, Box<RawValue>> = serde_json::from_str(frame).expect("it is an object");
        return found.get("result").is_some_and(|result| result.get() == raw);
    }
    match expected.get("error") {
        Some(error) => {
            let found = &found["error"];
            let code_is = match error["code"].as_array() {
                Some(codes) => codes.contains(&found["code"]),
                None => error["code"] == found["code"],
            };
            code_is
                && found["message"].is_string()
                && error.get("message").is_none_or(|message| *message == found["message"])
                && error.get("data").is_none_or(|data| *data == found["data"])
        }
        None => members.contains_key("result") && names.is(&expected["result"], &found["result"]),
    }
}

/// Whether an event that a case names was told.
pub(super) fn is_told(name: &str, events: &str) -> bool {
    let debug = match name {
        "unmatched_response" => "Unmatched {",
        "late_response" => "Late {",
        "peer_error" => "PeerError {",
        "noise" => "Noise {",
        "unexpected_eof" => "HalfFrame {",
        "integrity:checksum" => "Integrity { fault: Checksum",
        "integrity:gap" => "Integrity { fault: Gap",
        "integrity:missing" => "Integrity { fault: Missing",
        other => return other.strip_prefix("notification:").is_some_and(|method| events.contains(method)),
    };
    events.contains(debug)
}
