//! One case, read from its line.

use serde_json::Value;

pub(super) struct Case {
    pub(super) role: String,
    pub(super) framing: String,
    pub(super) config: Value,
    pub(super) steps: Vec<Value>,
    pub(super) is_strict: bool,
    pub(super) ends_closed: bool,
    pub(super) events: Vec<String>,
}

/// Every member that a case may have; one that is not understood must not be passed over.
const MEMBERS: [&str; 16] = [
    "name",
    "level",
    "notes",
    "role",
    "framing",
    "config",
    "input",
    "input_b64",
    "input_len",
    "input_parts",
    "eof",
    "steps",
    "expect",
    "order",
    "state",
    "events",
];

impl Case {
    pub(super) fn read(value: &Value) -> Result<Self, String> {
        known_members(value, &MEMBERS)?;
        one_of(value, "level", &["must", "should", "policy"])?;
        one_of(value, "role", &["server", "client", "peer"])?;
        one_of(value, "framing", &["ndjson", "content-length"])?;
        one_of(value, "order", &["any", "strict"])?;
        one_of(value, "state", &["open", "closed"])?;
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let mut steps = value["steps"].as_array().cloned().unwrap_or_default();
        if let Some(input) = input(value)? {
            if value["input_len"].as_u64().is_some_and(|bytes| bytes != input.len() as u64) {
                return Err(format!(
                    "`input_len` is {}, the input has {} bytes",
                    value["input_len"],
                    input.len()
                ));
            }
            steps.push(serde_json::json!({"bytes": input}));
            if value["eof"] == true {
                steps.push(serde_json::json!({"close": "input"}));
            }
        }
        if let Some(expect) = value.get("expect") {
            steps.push(serde_json::json!({"expect": expect}));
        }
        if steps.is_empty() {
            return Err("the case has neither input nor steps".to_owned());
        }
        Ok(Self {
            role: text("role"),
            framing: text("framing"),
            config: value["config"].clone(),
            steps,
            is_strict: value["order"] == "strict",
            ends_closed: value["state"] == "closed",
            events: strings(&value["events"]),
        })
    }

    pub(super) fn config_text(&self) -> String {
        if self.config.is_null() { "{}".to_owned() } else { self.config.to_string() }
    }
}

/// Checks that an object has no member that is not understood.
pub(super) fn known_members(value: &Value, names: &[&str]) -> Result<(), String> {
    let members = value.as_object().ok_or_else(|| format!("{value} is no object"))?;
    match members.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => Err(format!("member `{name}` is not known")),
        None => Ok(()),
    }
}

/// The one member of a step.
pub(super) fn only_member(step: &Value) -> Result<(&String, &Value), String> {
    let mut members = step.as_object().into_iter().flatten();
    match (members.next(), members.next()) {
        (Some(member), None) => Ok(member),
        _ => Err(format!("step {step} is not one thing to do")),
    }
}

/// Checks that a member, if it is there, has one of the words that are understood.
fn one_of(value: &Value, name: &str, words: &[&str]) -> Result<(), String> {
    match value.get(name) {
        Some(word) if !word.as_str().is_some_and(|word| words.contains(&word)) => {
            Err(format!("`{name}` cannot be {word}: use one of {words:?}"))
        }
        _ => Ok(()),
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The bytes of a case, each as a number: JSON has no other way to hold them.
fn input(value: &Value) -> Result<Option<Vec<u8>>, String> {
    if let Some(parts) = value["input_parts"].as_array() {
        let mut bytes = Vec::new();
        for part in parts {
            let repeat = part[1].as_u64().ok_or("a part has no count")?;
            let piece = base64(part[0].as_str().ok_or("a part has no bytes")?)?;
            for _ in 0..repeat {
                bytes.extend_from_slice(&piece);
            }
        }
        return Ok(Some(bytes));
    }
    if let Some(text) = value["input_b64"].as_str() {
        return base64(text).map(Some);
    }
    Ok(value["input"].as_str().map(|text| text.as_bytes().to_vec()))
}

/// Base 64 as in RFC 4648, section 4.
pub(super) fn base64(text: &str) -> Result<Vec<u8>, String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut bit_count) = (0_u32, 0);
    for digit in text.bytes().filter(|&digit| digit != b'=') {
        let value = ALPHABET.iter().position(|&letter| letter == digit).ok_or("not base 64")?;
        bits = (bits << 6 | u32::try_from(value).expect("there are 64 digits")) & 0xfff;
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push((bits >> bit_count & 0xff) as u8);
        }
    }
    Ok(bytes)
}

/// A string, or one given in repeated parts.
pub(super) fn long_text(value: &Value) -> Option<String> {
    let Some(parts) = value.get("$parts").and_then(Value::as_array) else {
        return value.as_str().map(str::to_owned);
    };
    let piece = |part: &Value| {
        let count = usize::try_from(part[1].as_u64()?).ok()?;
        Some(part[0].as_str()?.repeat(count))
    };
    parts.iter().map(piece).collect()
}
