//! JSON as it is printed.

use std::fmt::Write;

use serde::Serialize;

use super::harmless::is_control;

/// One JSON document, for people and programs.
pub(super) fn document(view: &impl Serialize) -> String {
    printable(&serde_json::to_string_pretty(view).expect("views have string keys and no failing parts"))
}

/// One line of JSON.
pub(super) fn line(view: &impl Serialize) -> String {
    printable(&serde_json::to_string(view).expect("views have string keys and no failing parts"))
}

/// A line of JSON with escapes for what JSON allows but a terminal might obey.
fn printable(json: &str) -> String {
    let mut printable = String::with_capacity(json.len() + 1);
    push_printable(&mut printable, json);
    printable
}

/// Adds a line of JSON, and escapes what JSON allows but a terminal might obey; such characters stand within strings only.
pub(crate) fn push_printable(to: &mut String, json: &str) {
    let is_odd = |byte: &u8| !(b' '..=b'~').contains(byte) && *byte != b'\n';
    // Whole pieces, so that many bytes are looked at in one step.
    if json.as_bytes().chunks(64).any(|piece| piece.iter().fold(false, |odd, byte| odd | is_odd(byte))) {
        for c in json.chars() {
            if is_control(c) && c != '\n' {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(to, "\\u{unit:04x}").expect("a string takes all");
                }
            } else {
                to.push(c);
            }
        }
    } else {
        to.push_str(json);
    }
    to.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_finds_nothing_to_obey_and_a_parser_finds_everything() {
        let text = "a\u{1b}[31m\u{9b}31m\u{202e}\u{7f}\u{200b}\u{e0041}é\n";
        let json = line(&text);
        assert!(!json.trim_end().chars().any(is_control), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
