//! An expression on texts, and what each text that it matches has.

use std::str::FromStr;

use regex::Regex;
use regex_syntax::hir::literal::{ExtractKind, Extractor};

use super::needle::Needle;

/// The shortest text that is worth a look before a line is read, in bytes.
const LITERAL_BYTES_MIN: usize = 3;

/// How many texts are looked for at once.
const LITERALS_MAX: usize = 64;

/// A regular expression, in the syntax of the crate `regex`.
#[derive(Clone, Debug)]
pub struct LogPattern {
    regex: Regex,
    needles: Vec<Needle>,
}

impl LogPattern {
    /// Whether a text has a match.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// What each line with a match has.
    pub(crate) fn needles(&self) -> &[Needle] {
        &self.needles
    }
}

impl FromStr for LogPattern {
    type Err = regex::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let kinds = [ExtractKind::Prefix, ExtractKind::Suffix];
        let needles = kinds.into_iter().filter_map(|kind| needle(text, kind)).collect();
        Ok(Self { regex: text.parse()?, needles })
    }
}

/// The texts with one of which each match begins, or ends; `None` if they are too many, or say too little.
fn needle(text: &str, kind: ExtractKind) -> Option<Needle> {
    let texts = Extractor::new().kind(kind).extract(&regex_syntax::parse(text).ok()?);
    let texts: Vec<&str> = texts
        .literals()?
        .iter()
        .map(|text| std::str::from_utf8(text.as_bytes()).ok())
        .collect::<Option<_>>()?;
    let is_worth_it = texts.len() <= LITERALS_MAX && texts.iter().all(|text| text.len() >= LITERAL_BYTES_MIN);
    is_worth_it.then(|| texts.into_iter().map(Needle::within).reduce(Needle::or))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_match_begins_and_ends_with_is_searched_for() {
        let needles = |text: &str| text.parse::<LogPattern>().unwrap().needles;
        let any = |texts: &[&str]| texts.iter().map(|text| Needle::within(text)).reduce(Needle::or).unwrap();
        assert_eq!(needles("time out"), [any(&["time out"]), any(&["time out"])]);
        assert_eq!(
            needles(r"^timed? out after \d{5} ms$"),
            [any(&["timed out after ", "time out after "]), any(&[" ms"])]
        );
        assert_eq!(needles("(lost|\"gone\").*"), [any(&["lost", "\"gone\""])]);
        for none in [r"\d+", "", "a", "a|bcd", "(x|)", "x*"] {
            assert_eq!(needles(none), [], "{none}");
        }
        assert!("(".parse::<LogPattern>().is_err());
    }

    #[test]
    fn an_expression_without_regard_to_case_finds_either() {
        for text in ["(?i)error", "(?i)k", "(?i)stra\u{df}e"] {
            let pattern: LogPattern = text.parse().unwrap();
            for line in ["ERROR", "eRRor", "\u{212a}", "K", "STRA\u{1e9e}E"] {
                let is_found = pattern.needles().iter().all(|needle| needle.is_in(line.as_bytes()));
                assert!(is_found || !pattern.is_match(line), "{text} {line}");
            }
        }
    }
}
