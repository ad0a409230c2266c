//! A text that is cut where it is too long for its place.

/// A text of at most so many bytes, at least those of its end; one that was cut ends in `…`.
pub(crate) fn cut(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max.saturating_sub('…'.len_utf8()));
    format!("{}…", &text[..end])
}
