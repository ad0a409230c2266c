//! A line as this program writes it, told from others by its bytes: so much less work than to read it as JSON.

/// How a byte looks eight times in a row.
const fn eight(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The longest number that is told, in digits: each such number is one for any parser.
const DIGITS_MAX: usize = 18;

/// Whether this is what follows the level in a line of the form that this program writes: if it is UTF-8, the parser reads it.
///
/// Of lines of any other form it says no, also of those that the parser reads.
pub(crate) fn is_own_rest(rest: &[u8]) -> bool {
    if rest.iter().fold(0, |odd, byte| odd | u8::from(*byte < b' ')) > 0 {
        return false;
    }
    let mut rest = Rest(rest);
    let labels = [&br#","run":"#[..], br#","agent":"#, br#","task":"#];
    rest.passes(br#","target":"#)
        && rest.text()
        && labels.into_iter().all(|label| !rest.passes(label) || rest.text())
        && rest.passes(br#","msg":"#)
        && rest.text()
        && (!rest.passes(br#","fields":{"#) || rest.fields())
        && rest.0 == b"}"
}

/// What is left of a line without control characters.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Whether it begins with this, which is then passed.
    fn passes(&mut self, start: &[u8]) -> bool {
        let behind = self.0.strip_prefix(start);
        self.0 = behind.unwrap_or(self.0);
        behind.is_some()
    }

    /// Passes a text in quotes.
    fn text(&mut self) -> bool {
        if !self.passes(b"\"") {
            return false;
        }
        loop {
            self.0 = &self.0[plain_bytes(self.0)..];
            self.0 = match self.0 {
                [b'"', behind @ ..] => {
                    self.0 = behind;
                    return true;
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', behind @ ..] => behind,
                // Two digits alone are no half of a pair.
                [b'\\', b'u', b'0', b'0', one, two, behind @ ..]
                    if one.is_ascii_hexdigit() && two.is_ascii_hexdigit() =>
                {
                    behind
                }
                _ => return false,
            };
        }
    }

    /// Passes the fields behind `{`.
    fn fields(&mut self) -> bool {
        loop {
            if !(self.text() && self.passes(b":") && self.value()) {
                return false;
            }
            if !self.passes(b",") {
                return self.passes(b"}");
            }
        }
    }

    /// Passes a value that has no parts.
    fn value(&mut self) -> bool {
        match self.0 {
            [b'"', ..] => self.text(),
            [b'-' | b'0'..=b'9', ..] => self.number(),
            _ => self.passes(b"true") || self.passes(b"false") || self.passes(b"null"),
        }
    }

    /// Passes a number without an exponent.
    fn number(&mut self) -> bool {
        self.passes(b"-");
        let has_zero = self.0.first() == Some(&b'0');
        let whole = self.digits();
        let is_whole = whole == 1 || (2..=DIGITS_MAX).contains(&whole) && !has_zero;
        is_whole && (!self.passes(b".") || (1..=DIGITS_MAX).contains(&self.digits()))
    }

    /// Passes digits, and tells how many.
    fn digits(&mut self) -> usize {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.0 = &self.0[count..];
        count
    }
}

/// How many bytes come before the first quote or backslash.
fn plain_bytes(bytes: &[u8]) -> usize {
    let mut at = 0;
    // Eight at once: a byte that is looked for becomes zero, and the lowest zero is told by the borrow of a subtraction.
    while let Some(piece) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*piece);
        let zeros = |word: u64| word.wrapping_sub(eight(1)) & !word & eight(0x80);
        let found = zeros(word ^ eight(b'"')) | zeros(word ^ eight(b'\\'));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|byte| !matches!(byte, b'"' | b'\\')).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::line::Line;

    const START: &str = r#"{"ts":"2026-11-23T10:15:00.123Z","level":"warn""#;

    #[test]
    fn lines_as_this_program_writes_them_are_told() {
        for rest in [
            r#","target":"t","msg":""}"#,
            r#","target":"a::b","run":"01K","agent":"claude-1","task":"x","msg":"a \"b\" \\ \u001b[31m é","fields":{"a":1,"b":"c"}}"#,
            r#","target":"t","agent":"a","msg":"m","fields":{"a":-0.25,"b":null,"c":true,"d":false,"e":0,"f":120}}"#,
        ] {
            assert!(is_own_rest(rest.as_bytes()), "{rest}");
            assert!(serde_json::from_str::<Line<'_>>(&format!("{START}{rest}")).is_ok(), "{rest}");
        }
    }

    proptest! {
        #[test]
        fn what_is_told_to_be_a_line_is_read_as_one(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                "\"", "\\", "\\u00", "1f", "\\ud800", "a", "é", "\u{7f}", "\t", "{", "}", "[", ",", ":", "0", "01", "-", ".", "1e9",
                "99999999999999999999", "true", "nul", "\"a\":", ",\"b\":", ",\"msg\":\"", ",\"run\":\"x\"", "\"}",
            ]), 0..8),
            place in 0..4_usize,
        ) {
            let said = pieces.concat();
            let rest = match place {
                0 => format!(",\"target\":\"{said}\",\"msg\":\"m\"}}"),
                1 => format!(",\"target\":\"t\",\"msg\":\"{said}\"}}"),
                2 => format!(",\"target\":\"t\",\"msg\":\"m\",\"fields\":{{\"a\":{said}}}}}"),
                _ => format!(",\"target\":\"t\"{said},\"msg\":\"m\",\"fields\":{{{said}}}}}"),
            };
            let line = format!("{START}{rest}");
            prop_assert!(!is_own_rest(rest.as_bytes()) || serde_json::from_str::<Line<'_>>(&line).is_ok(), "{}", line);
        }
    }
}
