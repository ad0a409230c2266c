//! What a terminal is shown of text that somebody else wrote.

use std::borrow::Cow;

/// The text with what could control a terminal, or hides on it, written out as `\u{…}`: escapes and other control
/// characters, changes of direction, and what has no width.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(|c: char| is_control(c)) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.replace("\r\n", "\n").chars() {
        if is_control(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal could do something with a character other than show it, or break a line; or shows nothing of it.
pub(crate) fn is_control(c: char) -> bool {
    let is_direction =
        matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    // Soft hyphen, zero width, invisible operators, byte order mark, and the tags that mirror ASCII unseen.
    let is_unseen = matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}');
    is_direction || is_unseen || c.is_control() && c != '\n' && c != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_control_a_terminal_or_hide_on_it_is_written_out() {
        for (text, expected) in [
            ("plain\tü\n", "plain\tü\n"),
            ("\u{1b}]0;title\u{7}x", r"\u{1b}]0;title\u{7}x"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\r\nb\rc", "a\nb\\u{d}c"),
            ("if \u{202e}x", r"if \u{202e}x"),
            ("pay\u{200b}pal\u{feff}\u{e0041}", r"pay\u{200b}pal\u{feff}\u{e0041}"),
        ] {
            assert_eq!(harmless(text), expected);
        }
    }
}
