//! One line of a log as it stands in a file: read to judge it, without a copy of its texts where none is needed.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use super::record::{LogLevel, TIME_AT, TIME_BYTES};

/// How many bytes tell the time and the level: `{"ts":"…","level":"trace"`.
pub(crate) const HEAD_BYTES: usize = TIME_AT + TIME_BYTES + 17;

/// What is between the time and the level.
const LEVEL_START: &[u8] = br#"","level":""#;

/// A line; each that can be read as one can be read as a [`LogRecord`](super::LogRecord) too.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(rename = "ts", deserialize_with = "time")]
    pub(crate) at: DateTime<Utc>,
    pub(crate) level: LogLevel,
    #[serde(borrow)]
    pub(crate) target: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) run: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) agent: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) task: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) msg: Cow<'a, str>,
    #[serde(borrow, default)]
    fields: Fields<'a>,
}

/// A text within a line; in an `Option`, a bare `Cow` would always be a copy.
#[derive(Debug, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The fields of a line's own, in their order; of several with the same name the last one counts.
#[derive(Debug, Default)]
struct Fields<'a>(Vec<(Text<'a>, Field<'a>)>);

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    Text(Cow<'a, str>),
    Number(Number),
    Other(Value),
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let Text(text) = Text::deserialize(deserializer)?;
    match own_time(text.as_bytes()) {
        Some(time) => Ok(time),
        None => text.parse().map_err(serde::de::Error::custom),
    }
}

/// A time as this program writes one, without the parser for all forms.
fn own_time(bytes: &[u8]) -> Option<DateTime<Utc>> {
    if is_time(bytes) { time_of_form(bytes) } else { None }
}

/// The time that some bytes tell that have the form of one; `None` if there is no such time.
pub(crate) fn time_of_form(bytes: &[u8]) -> Option<DateTime<Utc>> {
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    let year = number(&bytes[..4]).cast_signed();
    let day = NaiveDate::from_ymd_opt(year, number(&bytes[5..7]), number(&bytes[8..10]))?;
    let (hour, minute) = (number(&bytes[11..13]), number(&bytes[14..16]));
    day.and_hms_milli_opt(hour, minute, number(&bytes[17..19]), number(&bytes[20..23]))
        .map(|time| time.and_utc())
}

impl Line<'_> {
    /// The value of a field of its own.
    pub(crate) fn field(&self, name: &str) -> Option<&Field<'_>> {
        self.fields.0.iter().rfind(|(known, _)| known.0 == name).map(|(_, value)| value)
    }

    /// Whether its message or a text among its fields is one of those.
    pub(crate) fn any_text(&self, fits: impl Fn(&str) -> bool) -> bool {
        let of_fields = self.fields.0.iter().any(|(name, value)| match value {
            Field::Text(text) => fits(text) && self.field(&name.0) == Some(value),
            Field::Number(_) | Field::Other(_) => false,
        });
        of_fields || fits(&self.msg)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Fields(fields))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Field::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Field::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).map_or(Field::Other(Value::Null), Field::Number))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Field::Other(truth.into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Other(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(list)).map(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(map)).map(Field::Other)
    }
}

/// What follows the level in a line that begins as this program writes one.
pub(crate) fn behind_head(line: &[u8], level: LogLevel) -> &[u8] {
    // Behind the time are the name of the level, and a quote.
    &line[TIME_AT + TIME_BYTES + LEVEL_START.len() + level.name().len() + 1..]
}

/// The time and the level of a line that begins as this program writes one; of any other they are known only once it is read.
pub(crate) fn head(line: &[u8]) -> Option<(&[u8], LogLevel)> {
    let (start, rest) = line.split_at_checked(TIME_AT)?;
    let (time, rest) = rest.split_at_checked(TIME_BYTES)?;
    let rest = rest.strip_prefix(LEVEL_START)?;
    if start != br#"{"ts":""# || !is_time(time) {
        return None;
    }
    let level = match rest {
        [b'd', b'e', b'b', b'u', b'g', b'"', ..] => LogLevel::Debug,
        [b'i', b'n', b'f', b'o', b'"', ..] => LogLevel::Info,
        [b'w', b'a', b'r', b'n', b'"', ..] => LogLevel::Warn,
        [b'e', b'r', b'r', b'o', b'r', b'"', ..] => LogLevel::Error,
        [b't', b'r', b'a', b'c', b'e', b'"', ..] => LogLevel::Trace,
        _ => return None,
    };
    Some((time, level))
}

/// The time of a line; `None` if it is none.
pub(crate) fn time_of_line(line: &[u8]) -> Option<DateTime<Utc>> {
    let own = head(line).and_then(|(time, _)| time_of_form(time));
    own.or_else(|| serde_json::from_slice::<Line<'_>>(line).ok().map(|line| line.at))
}

/// Whether some bytes have the form `2026-11-23T10:15:00.123Z`, so that their order is that of time.
fn is_time(bytes: &[u8]) -> bool {
    let ([a, b, c], []) = bytes.as_chunks() else { return false };
    [(a, b"0000-00-"), (b, b"00T00:00"), (c, b":00.000Z")]
        .into_iter()
        .all(|(bytes, form)| has_form(*bytes, *form))
}

/// Whether there is a digit for each zero of a form, and else the same byte: eight in one step.
const fn has_form(bytes: [u8; 8], form: [u8; 8]) -> bool {
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let mut reach = [0; 8];
    let mut at = 0;
    while at < 8 {
        // What a byte of the form may be less than, as far from its highest bit.
        reach[at] = if form[at] == b'0' { 0x80 - 10 } else { 0x80 - 1 };
        at += 1;
    }
    let beyond = u64::from_le_bytes(bytes) ^ u64::from_le_bytes(form);
    // A digit differs from zero by itself; the highest bits are kept apart, so that no byte carries into the next.
    (((beyond & !HIGH) + u64::from_le_bytes(reach)) | beyond) & HIGH == 0
}

/// The times of those of some lines that begin as this program writes them.
pub(crate) fn times(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| Some(head(line)?.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::time_text;

    #[test]
    fn a_time_of_its_own_form_is_read_as_the_parser_for_all_forms_reads_it() {
        for milliseconds in (0..253_402_300_800_000_i64).step_by(86_399_999_983).chain([253_402_300_799_999])
        {
            let at = DateTime::from_timestamp_millis(milliseconds).unwrap();
            let text = time_text(at);
            assert_eq!((own_time(text.as_bytes()), text.parse().ok()), (Some(at), Some(at)));
        }
        for other in ["2026-02-29T10:00:00.000Z", "2026-11-23T24:00:00.000Z", "2026-11-23T10:00:00.00Z", "x"]
        {
            assert_eq!(own_time(other.as_bytes()), None, "{other}");
        }
        let leap = br#"{"ts":"2016-12-31T23:59:60.500Z","level":"info","target":"t","msg":""}"#;
        assert!(serde_json::from_slice::<Line<'_>>(leap).is_ok());
    }
}
