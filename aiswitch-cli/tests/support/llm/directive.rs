//! A directive is the script of one answer, written into the prompt: `[[mock text=HI status=429 times=2]]`.
//!
//! | key | meaning |
//! |---|---|
//! | `text=T` | the answer; without it `tick 1 tick 2 …` when `chunks` is given, else `PONG` |
//! | `tool=COMMAND` | first call the shell tool with this command, then answer |
//! | `chunks=N` | the number of pieces in which the text is streamed (4) |
//! | `slow=S` | seconds to wait before each streamed frame |
//! | `stall=S` | seconds to wait before anything is sent |
//! | `midstall=S` | seconds to wait in the middle of the stream |
//! | `status=N` | answer with this HTTP error |
//! | `retry_after=S` | the `retry-after` header of that error, in whole seconds |
//! | `drop=1` | close the connection in the middle of the stream; an answer that is no stream stays whole |
//! | `unfinished=1` | end the stream in its middle as if that were its end |
//! | `garbage=1` | answer 200 with a body that no provider would send |
//! | `times=N` | the fault (`status`, `drop`, `unfinished` or `garbage`) happens to the first N requests only |
//! | `for=API` | only for requests to this API: `anthropic`, `responses`, `chat` or `gemini` |
//!
//! Values with blanks stand in double quotes, in which `\"`, `\\` and `\n` are known.

use std::str::FromStr;
use std::time::Duration;

use super::Api;

const CHUNKS_DEFAULT: usize = 4;
const CHUNKS_MAX: usize = 100_000;
const OPENING: &str = "[[mock ";

/// The script of one answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Directive {
    /// The directive as it stands in the prompt, between `[[mock ` and `]]`.
    pub(crate) source: String,
    pub(crate) api: Option<Api>,
    pub(crate) text: Option<String>,
    pub(crate) tool: Option<String>,
    pub(crate) chunks: Option<usize>,
    pub(crate) slow: Duration,
    pub(crate) stall: Duration,
    pub(crate) midstall: Duration,
    pub(crate) fault: Option<Fault>,
    /// How many requests the fault happens to; `None` is all of them.
    pub(crate) fault_times: Option<u32>,
    pub(crate) retry_after_s: Option<u32>,
}

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Status(u16),
    Garbage,
    Break(Break),
}

/// How a stream breaks off in its middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// The connection is closed.
    Drop,
    /// The stream ends as if it were complete.
    Unfinished,
}

/// Why a directive cannot be followed; the sentence goes into the answer, where the test sees it.
pub(crate) type Refusal = String;

impl Directive {
    /// The directive of a prompt for one API: the last one that is not for another API.
    pub(crate) fn find(prompt: &str, api: Api) -> Result<Option<Self>, Refusal> {
        let mut found = None;
        let mut rest = prompt;
        while let Some(at) = rest.find(OPENING) {
            let (directive, after) = Self::parse(&rest[at + OPENING.len()..])?;
            if directive.api.is_none_or(|wanted| wanted == api) {
                found = Some(directive);
            }
            rest = after;
        }
        Ok(found)
    }

    /// The pieces in which the answer's text is streamed.
    pub(crate) fn pieces(&self) -> Vec<String> {
        match (&self.text, self.chunks) {
            (Some(text), chunks) => split(text, chunks.unwrap_or(CHUNKS_DEFAULT)),
            (None, Some(chunks)) => (1..=chunks).map(|number| format!("tick {number} ")).collect(),
            (None, None) => split("PONG", CHUNKS_DEFAULT),
        }
    }

    /// Reads what follows `[[mock `; also returns what follows the closing brackets.
    fn parse(after_opening: &str) -> Result<(Self, &str), Refusal> {
        let mut directive = Self {
            source: String::new(),
            api: None,
            text: None,
            tool: None,
            chunks: None,
            slow: Duration::ZERO,
            stall: Duration::ZERO,
            midstall: Duration::ZERO,
            fault: None,
            fault_times: None,
            retry_after_s: None,
        };
        let mut rest = after_opening.trim_start();
        while !rest.starts_with("]]") {
            let (key, value_on) =
                rest.split_once('=').ok_or_else(|| format!("no `key=value` at `{}`", start_of(rest)))?;
            let (value, after) = take_value(value_on)?;
            directive.set(key, value)?;
            rest = after.trim_start();
        }
        let source_len = after_opening.len() - rest.len();
        after_opening[..source_len].trim().clone_into(&mut directive.source);
        Ok((directive, &rest["]]".len()..]))
    }

    fn set(&mut self, key: &str, value: String) -> Result<(), Refusal> {
        match key {
            "text" => self.text = Some(value),
            "tool" => self.tool = Some(value),
            "for" => self.api = Some(value.parse()?),
            "chunks" => self.chunks = Some(chunks(&value)?),
            "slow" => self.slow = seconds(key, &value)?,
            "stall" => self.stall = seconds(key, &value)?,
            "midstall" => self.midstall = seconds(key, &value)?,
            "times" => self.fault_times = Some(number(key, &value)?),
            "retry_after" => self.retry_after_s = Some(number(key, &value)?),
            "status" => self.set_fault(Fault::Status(number(key, &value)?))?,
            "drop" if value == "1" => self.set_fault(Fault::Break(Break::Drop))?,
            "unfinished" if value == "1" => self.set_fault(Fault::Break(Break::Unfinished))?,
            "garbage" if value == "1" => self.set_fault(Fault::Garbage)?,
            _ => return Err(format!("`{key}={value}` is not known")),
        }
        Ok(())
    }

    fn set_fault(&mut self, fault: Fault) -> Result<(), Refusal> {
        match self.fault.replace(fault) {
            None => Ok(()),
            Some(first) => Err(format!("both {first:?} and {fault:?}; an answer has one fault")),
        }
    }
}

/// Splits a text into at most so many pieces of about the same number of characters.
pub(crate) fn split(text: &str, pieces: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let size = characters.len().div_ceil(pieces).max(1);
    characters.chunks(size).map(|piece| piece.iter().collect()).collect()
}

fn take_value(text: &str) -> Result<(String, &str), Refusal> {
    let Some(quoted) = text.strip_prefix('"') else {
        let blank = text.find(char::is_whitespace).unwrap_or(text.len());
        let end = text[..blank].find("]]").unwrap_or(blank);
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                _ => return Err(format!("unknown escape in `{}`", start_of(text))),
            },
            _ => value.push(character),
        }
    }
    Err(format!("no closing quote after `{}`", start_of(text)))
}

fn start_of(text: &str) -> String {
    text.chars().take(20).collect()
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T, Refusal> {
    value.parse().map_err(|_not_a_number| format!("`{key}={value}` is not a whole number in its range"))
}

fn chunks(value: &str) -> Result<usize, Refusal> {
    match number("chunks", value)? {
        count @ 1..=CHUNKS_MAX => Ok(count),
        _ => Err(format!("`chunks={value}` is not between 1 and {CHUNKS_MAX}")),
    }
}

fn seconds(key: &str, value: &str) -> Result<Duration, Refusal> {
    let seconds: f64 = value.parse().map_err(|_not_a_number| format!("`{key}={value}` is not a number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| format!("`{key}={value}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(prompt: &str) -> Directive {
        Directive::find(prompt, Api::Chat).unwrap().unwrap()
    }

    #[test]
    fn a_prompt_without_a_directive_has_none() {
        assert_eq!(Directive::find("say hi [[mocking]]", Api::Chat), Ok(None));
    }

    #[test]
    fn every_key_is_read() {
        let directive = find(
            r#"go [[mock text="a \"b\"\n]] c" tool="echo hi > hi.txt" chunks=7 slow=0.2 stall=1 midstall=2 status=429 times=2 retry_after=3]] on"#,
        );
        assert_eq!(directive.text.as_deref(), Some("a \"b\"\n]] c"));
        assert_eq!(directive.tool.as_deref(), Some("echo hi > hi.txt"));
        assert_eq!(directive.chunks, Some(7));
        assert_eq!(directive.slow, Duration::from_millis(200));
        assert_eq!(directive.stall, Duration::from_secs(1));
        assert_eq!(directive.midstall, Duration::from_secs(2));
        assert_eq!(directive.fault, Some(Fault::Status(429)));
        assert_eq!(directive.fault_times, Some(2));
        assert_eq!(directive.retry_after_s, Some(3));
    }

    #[test]
    fn the_source_is_kept_without_its_brackets() {
        assert_eq!(find("x [[mock drop=1 times=1]] y").source, "drop=1 times=1");
    }

    #[test]
    fn the_last_directive_for_the_api_wins() {
        let prompt = "[[mock text=first]] [[mock for=chat text=second]] [[mock for=gemini text=third]]";
        assert_eq!(find(prompt).text.as_deref(), Some("second"));
    }

    #[test]
    fn a_directive_for_another_api_is_no_directive() {
        assert_eq!(Directive::find("[[mock for=gemini status=401]]", Api::Anthropic), Ok(None));
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_name() {
        for (prompt, word) in [
            ("[[mock txet=HI]]", "txet"),
            ("[[mock text]]", "key=value"),
            ("[[mock text=\"HI]]", "closing quote"),
            ("[[mock status=70000]]", "status=70000"),
            ("[[mock stall=-1]]", "stall=-1"),
            ("[[mock chunks=0]]", "chunks=0"),
            ("[[mock drop=2]]", "drop=2"),
            ("[[mock drop=1 garbage=1]]", "one fault"),
            ("[[mock for=cohere]]", "cohere"),
        ] {
            let refusal = Directive::find(prompt, Api::Chat).unwrap_err();
            assert!(refusal.contains(word), "{prompt}: {refusal}");
        }
    }

    #[test]
    fn pieces_join_to_the_text() {
        for text in ["", "a", "grün wie Gras", "0123456789"] {
            let pieces = find(&format!("[[mock chunks=3 text=\"{text}\"]]")).pieces();
            assert_eq!(pieces.concat(), text);
            assert!(pieces.len() <= 3, "{pieces:?}");
        }
        assert_eq!(find("[[mock chunks=3]]").pieces(), ["tick 1 ", "tick 2 ", "tick 3 "]);
    }
}
