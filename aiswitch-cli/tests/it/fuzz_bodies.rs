//! What holds for any input; called by libFuzzer (see `fuzz/`) and by the tests beside this file.

#[path = "../../src/output/harmless.rs"]
mod harmless;

use harmless::harmless;

/// Any bytes, as an agent prints them: nothing of what is shown can control a terminal or hide on it, and what could do
/// neither is shown as it is.
pub(crate) fn terminal(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let shown = harmless(&text);
    assert_eq!(harmless(&shown), shown, "what is shown is shown as it is");
    for c in shown.chars() {
        // The general categories Cc and Cf of Unicode, as far as they do something on a terminal.
        let is_c0_or_c1 = c < ' ' && c != '\n' && c != '\t' || ('\u{7f}'..='\u{9f}').contains(&c);
        let is_format = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
        assert!(!is_c0_or_c1 && !is_format, "{c:?} in {shown:?}");
    }
    if text.chars().all(|c| c == '\n' || c == '\t' || c.is_alphanumeric() || c.is_ascii_graphic()) {
        assert_eq!(shown, text);
    }
}
