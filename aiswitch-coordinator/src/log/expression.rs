//! What `--where` says: a condition on the fields of a line.
//!
//! ```text
//! condition  = all { "or" all }
//! all        = one { "and" one }
//! one        = "not" one | "(" condition ")" | field [ operator value ]
//! operator   = "=" | "!=" | "<" | "<=" | ">" | ">=" | "~"      (~: the text contains the value)
//! value      = a number | "text" | 'text' | a word
//! ```
//!
//! A field is one of the schema (`ts`, `level`, `target`, `run`, `agent`, `task`, `msg`), or one of a line's own `fields`. Alone
//! it asks whether the line has it. Numbers compare as numbers, levels by gravity, all else as text; a line without the
//! field fits no comparison but `!=`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::str::FromStr;

use super::line::{Field, Line};
use super::needle::Needle;
use super::record::{LogLevel, time_text};

/// How deep parentheses and `not` may go.
const DEPTH_MAX: usize = 64;

/// A condition on the fields of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression(Condition);

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at character {place}")]
pub struct ExpressionError {
    /// Where, in characters from 1.
    pub place: usize,
    problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("expected {expected}, found {found}")]
    Expected { expected: &'static str, found: String },
    #[error("the text has no closing {quote}")]
    Unclosed { quote: char },
    #[error("more than {DEPTH_MAX} levels of parentheses and `not`")]
    Deep,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Has(String),
    Compare { field: String, operator: Operator, value: Wanted },
}

/// The value of a comparison.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    text: String,
    /// What the text says as a number.
    number: Option<f64>,
    /// What the text says as a level.
    level: Option<LogLevel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
    Contains,
}

/// The operators, the longer ones first.
const OPERATORS: [(&str, Operator); 7] = [
    ("!=", Operator::Unequal),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::More),
    ("~", Operator::Contains),
];

/// The fields of the schema that are texts.
const TEXTS: [&str; 6] = ["level", "target", "run", "agent", "task", "msg"];

impl Expression {
    /// Whether a line fits.
    pub(crate) fn fits(&self, line: &Line<'_>) -> bool {
        self.0.fits(line)
    }

    /// What each line that fits has.
    pub(crate) fn needles(&self) -> Vec<Needle> {
        self.0.needles()
    }
}

impl Condition {
    fn fits(&self, line: &Line<'_>) -> bool {
        match self {
            Self::Any(conditions) => conditions.iter().any(|condition| condition.fits(line)),
            Self::All(conditions) => conditions.iter().all(|condition| condition.fits(line)),
            Self::Not(condition) => !condition.fits(line),
            Self::Has(field) => value_of(line, field).is_some(),
            Self::Compare { field, operator, value } => match value_of(line, field) {
                Some(found) => operator.holds(field, &found, value),
                None => *operator == Operator::Unequal,
            },
        }
    }

    fn needles(&self) -> Vec<Needle> {
        match self {
            Self::All(conditions) => conditions.iter().flat_map(Self::needles).collect(),
            Self::Any(conditions) => {
                let one_of_each: Option<Vec<Needle>> =
                    conditions.iter().map(|condition| condition.needles().into_iter().next()).collect();
                one_of_each.and_then(|needles| needles.into_iter().reduce(Needle::or)).into_iter().collect()
            }
            Self::Compare { field, operator, value } if TEXTS.contains(&field.as_str()) => match operator {
                Operator::Equal => vec![Needle::whole(&value.text)],
                Operator::Contains => vec![Needle::within(&value.text)],
                _ => Vec::new(),
            },
            Self::Compare { operator: Operator::Unequal, .. } | Self::Not(_) => Vec::new(),
            Self::Compare { field, .. } | Self::Has(field) => vec![Needle::whole(field)],
        }
    }
}

impl Operator {
    fn holds(self, field: &str, found: &Field<'_>, wanted: &Wanted) -> bool {
        let text = || match found {
            Field::Text(text) => Cow::Borrowed(text.as_ref()),
            Field::Number(number) => Cow::Owned(number.to_string()),
            Field::Other(other) => Cow::Owned(other.to_string()),
        };
        let number = if let Field::Number(number) = found { number.as_f64() } else { None };
        let level = if field == "level" { text().parse().ok() } else { None };
        let order = match (level.zip(wanted.level), number.zip(wanted.number)) {
            (Some((found, wanted)), _) => Some(LogLevel::cmp(&found, &wanted)),
            (None, Some((found, wanted))) => found.partial_cmp(&wanted),
            (None, None) => Some(text().as_ref().cmp(&wanted.text)),
        };
        match self {
            Self::Equal => order == Some(Ordering::Equal),
            Self::Unequal => order != Some(Ordering::Equal),
            Self::Less => order == Some(Ordering::Less),
            Self::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::More => order == Some(Ordering::Greater),
            Self::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Self::Contains => text().contains(&wanted.text),
        }
    }
}

fn value_of<'a>(line: &'a Line<'_>, field: &str) -> Option<Cow<'a, Field<'a>>> {
    let text = |text: &'a str| Some(Cow::Owned(Field::Text(Cow::Borrowed(text))));
    match field {
        "ts" => Some(Cow::Owned(Field::Text(Cow::Owned(time_text(line.at))))),
        "level" => text(line.level.name()),
        "target" => text(&line.target),
        "msg" => text(&line.msg),
        "run" => text(&line.run.as_ref()?.0),
        "agent" => text(&line.agent.as_ref()?.0),
        "task" => text(&line.task.as_ref()?.0),
        other => line.field(other).map(Cow::Borrowed),
    }
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        let condition = reader.any()?;
        reader.space();
        if reader.rest().is_empty() {
            Ok(Self(condition))
        } else {
            Err(reader.expected("`and`, `or` or the end"))
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn any(&mut self) -> Result<Condition, ExpressionError> {
        let mut conditions = vec![self.all()?];
        while self.word("or") {
            conditions.push(self.all()?);
        }
        Ok(joined(conditions, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition, ExpressionError> {
        let mut conditions = vec![self.one()?];
        while self.word("and") {
            conditions.push(self.one()?);
        }
        Ok(joined(conditions, Condition::All))
    }

    fn one(&mut self) -> Result<Condition, ExpressionError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.problem(Problem::Deep));
        }
        let one = if self.word("not") {
            Condition::Not(Box::new(self.one()?))
        } else if self.sign("(") {
            let inner = self.any()?;
            if !self.sign(")") {
                return Err(self.expected("`)`"));
            }
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(one)
    }

    fn comparison(&mut self) -> Result<Condition, ExpressionError> {
        let field = self.name().ok_or_else(|| self.expected("a field"))?.to_owned();
        let Some((_, operator)) = OPERATORS.into_iter().find(|(sign, _)| self.sign(sign)) else {
            return Ok(Condition::Has(field));
        };
        let text = self.value()?;
        let (number, level) = (text.parse().ok(), text.parse().ok());
        Ok(Condition::Compare { field, operator, value: Wanted { text, number, level } })
    }

    fn value(&mut self) -> Result<String, ExpressionError> {
        self.space();
        if let Some(quote) = self.rest().chars().next().filter(|start| matches!(start, '"' | '\'')) {
            return self.quoted(quote);
        }
        let is_part = |c: char| !c.is_whitespace() && !"()=!<>~\"'".contains(c);
        match self.take(is_part) {
            "" => Err(self.expected("a value")),
            value => Ok(value.to_owned()),
        }
    }

    /// A text in quotes, in which a backslash takes the next character as it is.
    fn quoted(&mut self, quote: char) -> Result<String, ExpressionError> {
        let start = self.at;
        let mut value = String::new();
        let mut chars = self.text[start..].char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at = start + at + c.len_utf8();
                    return Ok(value);
                }
                '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
                c => value.push(c),
            }
        }
        Err(self.problem(Problem::Unclosed { quote }))
    }

    fn name(&mut self) -> Option<&'a str> {
        self.space();
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        Some(self.take(is_part)).filter(|name| !name.is_empty())
    }

    /// Reads a word if it is next, whole.
    fn word(&mut self, word: &str) -> bool {
        let before = self.at;
        let found = self.name().is_some_and(|name| name.eq_ignore_ascii_case(word));
        if !found {
            self.at = before;
        }
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn space(&mut self) {
        self.take(char::is_whitespace);
    }

    fn take(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn expected(&mut self, expected: &'static str) -> ExpressionError {
        self.space();
        let found = match self.rest().chars().next() {
            Some(c) => format!("`{}`", c.escape_default()),
            None => "the end".to_owned(),
        };
        self.problem(Problem::Expected { expected, found })
    }

    fn problem(&self, problem: Problem) -> ExpressionError {
        ExpressionError { place: self.text[..self.at].chars().count() + 1, problem }
    }
}

fn joined(mut conditions: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    if conditions.len() > 1 { join(conditions) } else { conditions.remove(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(expression: &str) -> bool {
        let record = r#"{"ts":"2026-11-23T10:15:00.123Z","level":"warn","target":"aiswitch::run","agent":"a","msg":"it's \"so\"","fields":{"pid":12,"ok":true,"ms":1.5}}"#;
        let line: Line<'_> = serde_json::from_str(record).unwrap();
        expression.parse::<Expression>().unwrap_or_else(|error| panic!("{expression}: {error}")).fits(&line)
    }

    #[test]
    fn a_condition_compares_numbers_levels_and_texts() {
        for yes in [
            "pid = 12",
            "pid=12.0",
            "pid > 9",
            "ms < 2",
            "ok = true",
            "level >= info",
            "level = warn",
            "level < error",
            "agent = a and pid = 12",
            "agent = b or pid = 12",
            "not agent = b",
            "agent = b or agent = a and pid = 12",
            "(agent = b or agent = a) and pid = 12",
            r#"msg ~ "\"so\"""#,
            "msg ~ 'it\\'s'",
            "run != x",
            "not run",
            "pid",
            "ts > 2026-11-23 and ts < 2026-11-24",
            "NOT run = x AND agent=a",
        ] {
            assert!(fits(yes), "{yes}");
        }
        for no in [
            "pid = 13",
            "pid < 9",
            "run = x",
            "run",
            "level > warn",
            "agent = a and pid = 13",
            "not pid",
            "msg ~ x",
        ] {
            assert!(!fits(no), "{no}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let deep = "(".repeat(99);
        for (text, told) in [
            ("", "expected a field, found the end at character 1"),
            ("pid =", "expected a value, found the end at character 6"),
            ("pid = 1 agent", "expected `and`, `or` or the end, found `a` at character 9"),
            ("(pid = 1", "expected `)`, found the end at character 9"),
            ("msg = 'x", "the text has no closing ' at character 7"),
            ("ä = 1", "expected a field, found `\\u{e4}` at character 1"),
            (&deep, "more than 64 levels of parentheses and `not` at character 65"),
        ] {
            assert_eq!(text.parse::<Expression>().unwrap_err().to_string(), told, "{text}");
        }
    }

    #[test]
    fn only_what_every_fitting_line_must_have_is_searched_for() {
        let needles = |text: &str| text.parse::<Expression>().unwrap().needles();
        let whole = Needle::whole;
        assert_eq!(
            needles("agent = 'a\"b' and pid = 12 and level != info and msg ~ '\\'x\"'"),
            [whole("a\"b"), whole("pid"), Needle::within("'x\"")]
        );
        assert_eq!(needles("level = error"), [whole("error")]);
        assert_eq!(needles("pid or agent = a and pid > 3"), [whole("pid").or(whole("a"))]);
        for none in ["pid != 12", "level >= warn", "not agent = a", "agent = a or run != b"] {
            assert_eq!(needles(none), [], "{none}");
        }
    }
}
