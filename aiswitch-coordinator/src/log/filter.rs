//! A question made ready for the bytes of lines: only those that can fit are read.

use chrono::{DateTime, Datelike, SubsecRound, TimeDelta, Utc};
use memchr::{memchr, memchr_iter, memrchr};
use regex::bytes::Regex;

use super::line::{Line, behind_head, head, time_of_form};
use super::needle::Needle;
use super::own::is_own_rest;
use super::query::LogQuery;
use super::record::time_text;

/// How far lines of several processes may be out of order in one file.
pub(crate) const DISORDER_MAX: TimeDelta = TimeDelta::seconds(60);

/// How many lines one after the other have to be too late for what is behind them to be taken for too late.
const LATE_LINES: usize = 64;

/// A question made ready.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    query: &'a LogQuery,
    /// What each line that fits has, unless it is written with escapes that it could do without; each finds one of several.
    needles: Vec<Regex>,
    since: Option<String>,
    until: Option<String>,
    /// Behind lines from this time on is none that fits.
    end: Option<String>,
    /// Whether only time and level are asked for, which the first bytes of a line tell.
    is_of_head: bool,
}

/// What a line is to a question.
#[derive(Debug)]
pub(crate) enum Judgement<'a> {
    Fits {
        at: DateTime<Utc>,
        text: &'a str,
    },
    Other,
    /// It is no line of a log.
    Damaged,
}

impl<'a> Filter<'a> {
    pub(crate) fn new(query: &'a LogQuery) -> Self {
        Self {
            query,
            needles: query.needles().iter().filter_map(Needle::finder).collect(),
            since: query.since.and_then(limit),
            until: query.until.and_then(limit),
            end: query.until.and_then(|until| until.checked_add_signed(DISORDER_MAX)).and_then(limit),
            is_of_head: query.run.is_none() && query.grep.is_none() && query.condition.is_none(),
        }
    }

    /// The times that are asked for: not before, and before.
    pub(crate) fn times(&self) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        (self.query.since, self.query.until)
    }

    /// The time before which no line is looked for.
    pub(crate) fn start(&self) -> Option<String> {
        self.query.since.and_then(|since| since.checked_sub_signed(DISORDER_MAX)).and_then(limit)
    }

    /// The time behind which no line is looked for.
    pub(crate) fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }

    /// Which of the needles is the rarest in some lines.
    pub(crate) fn rarest(&self, lines: &[u8]) -> Option<usize> {
        (0..self.needles.len()).min_by_key(|index| self.needles[*index].find_iter(lines).count())
    }

    /// The candidates among whole lines, as far as one of the needles tells.
    pub(crate) fn candidates(&self, needle: Option<usize>) -> Candidates<'_> {
        Candidates { needle: needle.map(|index| &self.needles[index]), found: 0, odd: 0 }
    }

    /// What a line is, without its line feed.
    pub(crate) fn judge<'l>(&self, line: &'l [u8]) -> Judgement<'l> {
        if let Some((time, level)) = head(line) {
            let is_early = self.since.as_ref().is_some_and(|since| time < since.as_bytes());
            let is_late = self.until.as_ref().is_some_and(|until| time >= until.as_bytes());
            if is_early || is_late || self.query.level.is_some_and(|least| level < least) {
                return Judgement::Other;
            }
            if self.is_of_head
                && is_own_rest(behind_head(line, level))
                && let Ok(text) = std::str::from_utf8(line)
                && let Some(at) = time_of_form(time)
            {
                return Judgement::Fits { at, text };
            }
        }
        let has_all = self.needles.iter().all(|needle| needle.is_match(line));
        if line.is_empty() || !has_all && next_odd(line, 0).is_none() {
            return Judgement::Other;
        }
        let Ok(text) = std::str::from_utf8(line) else { return Judgement::Damaged };
        match serde_json::from_str::<Line<'_>>(text) {
            Ok(line) if self.query.fits(&line) => Judgement::Fits { at: line.at, text: text.trim() },
            Ok(_) => Judgement::Other,
            Err(_) => Judgement::Damaged,
        }
    }

    /// Whether some lines are so late, by the first ones, that none behind them fits.
    pub(crate) fn is_beyond(&self, lines: &[u8]) -> bool {
        let Some(end) = &self.end else { return false };
        let is_late = |line: &[u8]| head(line).is_some_and(|(time, _)| time >= end.as_bytes());
        let mut first = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(LATE_LINES);
        // One line whose time is wrong does not end a search.
        first.next().is_some_and(is_late) && first.all(is_late)
    }
}

/// Finds the next line that can fit, with what is known of the bytes ahead.
pub(crate) struct Candidates<'a> {
    needle: Option<&'a Regex>,
    /// Where the needle is next, or was.
    found: usize,
    /// Where an escape is next, or was, that a line could do without.
    odd: usize,
}

impl Candidates<'_> {
    /// The next line of these, from the start of one on, that can fit: where it starts and ends.
    pub(crate) fn next(&mut self, lines: &[u8], from: usize) -> Option<(usize, usize)> {
        let start = match self.needle {
            None => from,
            Some(needle) => {
                if self.found <= from {
                    self.found = needle.find_at(lines, from).map_or(lines.len(), |found| found.start());
                }
                if self.odd <= from {
                    self.odd = next_odd(lines, from).unwrap_or(lines.len());
                }
                let place = self.found.min(self.odd);
                memrchr(b'\n', &lines[from..place]).map_or(from, |end| from + end + 1)
            }
        };
        let rest = lines.get(start..).filter(|rest| !rest.is_empty())?;
        Some((start, start + memchr(b'\n', rest).unwrap_or(rest.len())))
    }
}

/// Where the next escape is that this program would not write: such a text may be found as another one.
fn next_odd(lines: &[u8], from: usize) -> Option<usize> {
    let mut behind = from;
    memchr_iter(b'\\', &lines[from..]).map(|at| from + at).find(|at| {
        if *at < behind {
            return false;
        }
        // What it escapes is no start of another one.
        behind = at + 2;
        match &lines[at + 1..] {
            [b'u', b'0', b'0', b'0' | b'1', digit, ..] => {
                let has_short = lines[at + 4] == b'0' && b"89acd".contains(digit);
                has_short || !(digit.is_ascii_digit() || (b'a'..=b'f').contains(digit))
            }
            [b'u' | b'/', ..] => true,
            _ => false,
        }
    })
}

/// A limit in whole milliseconds, as lines have it; `None` if it is none that the order of texts can tell.
fn limit(at: DateTime<Utc>) -> Option<String> {
    let whole = at.trunc_subsecs(3);
    let next = if whole < at { whole.checked_add_signed(TimeDelta::milliseconds(1))? } else { whole };
    (0..=9999).contains(&next.year()).then(|| time_text(next))
}
