//! The blocks of variables that the Python tool writes into files of shells; pure but for the path.
//!
//! A block is read by the rules of a shell for double quotes, and nothing in it is ever run.

use std::collections::BTreeMap;
use std::path::Path;

use aiswitch_coordinator::Preset;
use aiswitch_env::Secret;

use super::{ClearCopy, Foreign};
use crate::error::Error;

/// What a block starts with; the name of the preset and the end of the line follow.
const START: &str = "# >>> AISwitch environment variables (";
const START_END: &str = ") >>>";

/// What its last line starts with.
const END: &str = "# <<< AISwitch environment variables";

/// Whether a text holds a block.
pub(super) fn is_there(text: &str) -> bool {
    text.lines().any(|line| line.trim().starts_with(START))
}

/// Reads all blocks of a text.
///
/// # Errors
/// A block has no end, or holds something else than variables.
pub(super) fn read(path: &Path, text: &str) -> Result<Vec<Foreign>, Error> {
    let mut found = Vec::new();
    for (name, body) in blocks(path, text)? {
        let values =
            variables(body).ok_or_else(|| Error::ForeignForm { place: path.display().to_string() })?;
        let copy = ClearCopy::Blocks(path.to_owned());
        found.push(Foreign::in_clear(name.to_owned(), Preset::default(), values, copy)?);
    }
    Ok(found)
}

/// The text without its blocks.
///
/// # Errors
/// A block has no end.
pub(super) fn without(path: &Path, text: &str) -> Result<String, Error> {
    let mut rest = text.to_owned();
    for (_, body) in blocks(path, text)? {
        let at = rest.find(body).expect("a block is a part of its text");
        let start = rest[..at].trim_end_matches('\n').rfind('\n').map_or(0, |line| line + 1);
        let end = rest[at + body.len()..].find('\n').map_or(rest.len(), |line| at + body.len() + line + 1);
        rest.replace_range(start..end, "");
    }
    Ok(rest)
}

/// The name of each block, and what stands between its first and its last line.
fn blocks<'t>(path: &Path, text: &'t str) -> Result<Vec<(&'t str, &'t str)>, Error> {
    let mut found = Vec::new();
    let (mut at, mut open) = (0, None);
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        match open {
            None => {
                let name = trimmed.strip_prefix(START).and_then(|rest| rest.strip_suffix(START_END));
                open = name.map(|name| (name, at + line.len()));
            }
            Some((name, start)) if trimmed.starts_with(END) => {
                found.push((name, &text[start..at]));
                open = None;
            }
            Some(_) => {}
        }
        at += line.len();
    }
    if open.is_some() { Err(Error::ForeignForm { place: path.display().to_string() }) } else { Ok(found) }
}

/// The variables of a block; `None` if it holds anything else.
fn variables(body: &str) -> Option<BTreeMap<String, Secret>> {
    let mut values = BTreeMap::new();
    let mut rest = body.trim_start();
    while !rest.is_empty() {
        if let Some(unset) = rest.strip_prefix("unset ") {
            rest = unset.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
            continue;
        }
        let (name, quoted) = rest.strip_prefix("export ")?.split_once("=\"")?;
        let (value, after) = quoted_value(quoted)?;
        values.insert(name.to_owned(), Secret::new(value));
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with('\n') {
            return None;
        }
        rest = rest.trim_start();
    }
    Some(values)
}

/// What a shell makes of text in double quotes, and what follows them; `None` if it would have to run something.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '$' | '`' => return None,
            '\\' => match chars.next()?.1 {
                '\n' => {}
                escaped @ ('$' | '`' | '"' | '\\') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "alias x=y\n\n# >>> AISwitch environment variables (ds) >>>\nunset OLD\n\nexport A=\"1 \\\"2\\\" \\$(x) \\`y\\`\"\nexport B=\"two\nlines\"\n# <<< AISwitch environment variables (ds) <<<\nalias z=y";

    #[test]
    fn a_block_is_read_as_a_shell_would_and_cut_out_whole() {
        let found = read(Path::new("f"), TEXT).unwrap();
        assert_eq!((found.len(), found[0].was.as_str()), (1, "ds"));
        let expected = [("A", "1 \"2\" $(x) `y`"), ("B", "two\nlines")];
        assert_eq!(
            found[0].values,
            expected.map(|(name, value)| (name.to_owned(), Secret::new(value))).into_iter().collect()
        );
        assert_eq!(without(Path::new("f"), TEXT).unwrap(), "alias x=y\n\nalias z=y");
    }

    #[test]
    fn what_would_be_run_or_is_not_understood_is_refused() {
        for body in
            ["export A=\"$(x)\"", "export A=\"`x`\"", "export A=\"1\"; rm x", "echo x", "export A=\"1"]
        {
            let text = format!("{START}ds{START_END}\n{body}\n{END} (ds) <<<\n");
            assert!(read(Path::new("f"), &text).is_err(), "{body}");
        }
        assert!(read(Path::new("f"), &format!("{START}ds{START_END}\nexport A=\"1\"\n")).is_err());
    }
}
