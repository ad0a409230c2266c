//! Words for people; pure.

use std::iter;

use aiswitch_agent::{Decision, ToolPhase};
use aiswitch_coordinator::{
    AgentReport, Aggregate, Answer, LogRecord, Outcome, RunEvent, RunEventKind, RunReport,
};
use chrono::SecondsFormat;
use clap::builder::styling::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr;

use super::harmless::harmless;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const HINT: Style = AnsiColor::Cyan.on_default();

/// How much of the largest figure a trend has to change to be shown.
const TREND_SHARE_MIN: f64 = 0.1;

/// How many cells stand between two columns.
const GAP: usize = 2;

/// How narrow a column of a table may become, in cells.
const COLUMN_CELLS_MIN: usize = 8;

/// How many characters one cell may take before a text is cut there.
const CHARS_PER_CELL_MAX: usize = 8;

/// An error with its causes and what to do next, a line each.
pub(super) fn error(error: &dyn std::error::Error, hint: Option<&str>) -> String {
    let causes = iter::successors(error.source(), |cause| cause.source());
    let mut lines = format!("{ERROR}error:{ERROR:#} {}", harmless(&error.to_string()));
    lines.extend(causes.map(|cause| format!("\n  because: {}", harmless(&cause.to_string()))));
    lines.extend(hint.map(hint_line));
    lines
}

/// What the parser of the command line says of a mistake, in the form of every other error.
pub(super) fn usage(said: &str) -> String {
    let verb = said.lines().find_map(|line| line.strip_prefix("Usage: ")).map(|usage| {
        let is_word = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == '_');
        usage.split(' ').take_while(|word| is_word(word) && !word.starts_with('-')).collect::<Vec<_>>()
    });
    let verb = verb.unwrap_or_default();
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty());
    said.map(|line| {
        if let Some(what) = line.strip_prefix("error: ") {
            let is_word =
                what.strip_prefix("unexpected argument '").is_some_and(|word| !word.starts_with('-'));
            let hint = (is_word && verb.last() == Some(&"run"))
                .then(|| hint_line("put a prompt of several words in quotes"));
            format!("{ERROR}error:{ERROR:#} {}{}", harmless(what), hint.unwrap_or_default())
        } else if let Some(tip) = line.strip_prefix("tip: ") {
            hint_line(&tip.replace("subcommand", "verb"))
        } else if line.starts_with("For more information") {
            let words = verb.iter().chain(&["--help says more"]);
            hint_line(&words.copied().collect::<Vec<_>>().join(" "))
        } else {
            format!("\n  {}", harmless(line))
        }
    })
    .collect()
}

/// Something that may be worth to know.
pub(super) fn note(text: &str) -> String {
    format!("{HINT}note:{HINT:#} {}", harmless(text))
}

fn hint_line(hint: &str) -> String {
    format!("\n  {HINT}hint:{HINT:#} {}", harmless(hint))
}

/// One line of progress; most events are not worth one.
pub(crate) fn progress(event: &RunEvent) -> Option<String> {
    let who = event.agent.as_ref()?;
    let words = words(&event.kind);
    match &event.kind {
        RunEventKind::Ended { report } => {
            let style = if report.status == Outcome::Completed { GOOD } else { ERROR };
            Some(format!("  {who}  {style}{words}{style:#}"))
        }
        RunEventKind::Started { .. }
        | RunEventKind::Tool { phase: ToolPhase::Started | ToolPhase::Failed | ToolPhase::Denied, .. }
        | RunEventKind::Permission { decision: Decision::Deny, .. }
        | RunEventKind::Refused { .. }
        | RunEventKind::Paused { .. }
        | RunEventKind::Resumed { .. }
        | RunEventKind::Retry { .. } => Some(format!("  {who}  {words}")),
        _ => None,
    }
}

/// One line of a log: when, who, what.
pub(crate) fn log_line(event: &RunEvent) -> String {
    let who = event.agent.as_ref().map_or("-", AsRef::as_ref);
    format!("{}  {who}  {}", event.at.format("%H:%M:%S%.3f"), words(&event.kind))
}

/// A number in at most six characters: `999`, `12.3K`, `4.56M`.
pub(crate) fn short(number: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "K")];
    let Some((size, unit)) = UNITS.into_iter().find(|(size, _)| number >= *size) else {
        return number.to_string();
    };
    let (whole, rest) = (number / size, number % size);
    match whole {
        0..=9 => format!("{whole}.{:02}{unit}", rest * 100 / size),
        10..=99 => format!("{whole}.{}{unit}", rest * 10 / size),
        _ => format!("{whole}{unit}"),
    }
}

/// A figure with its unit, in at most seven characters.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "only a figure of at least 100, and what is too large for 64 bits is shown as the largest"
)]
pub(crate) fn figure(metric: &str, value: f64) -> String {
    let (value, unit) = match metric {
        metric if metric.ends_with("_percent") => (value, "%"),
        metric if metric.ends_with("_ms") => (value / 1_000.0, "s"),
        _ => (value, ""),
    };
    match value {
        value if value >= 1_000.0 => short(value as u64) + unit,
        value if value.fract() == 0.0 => format!("{value}{unit}"),
        value if value.abs() >= 100.0 => format!("{value:.0}{unit}"),
        value => format!("{value:.2}{unit}"),
    }
}

/// Which way figures go whose trend changes them so much; blank where that is little beside the largest.
pub(crate) fn arrow(change: Option<f64>, largest: f64) -> char {
    match change {
        Some(change) if largest <= 0.0 || change.abs() < largest * TREND_SHARE_MIN => ' ',
        Some(change) if change > 0.0 => '↗',
        Some(_) => '↘',
        None => ' ',
    }
}

/// A text in exactly so many cells of a terminal; one that has more is cut and ends in `…`.
pub(crate) fn fit(text: &str, cells: usize) -> String {
    if text.width() <= cells {
        return padded(text, cells);
    }
    // What follows a character may make it wider, or a part of it: only whole beginnings have a width.
    let ends = text.char_indices().map(|(end, _)| end).take(cells * CHARS_PER_CELL_MAX);
    let end = ends.take_while(|end| text[..*end].width() < cells).last().unwrap_or_default();
    padded(&format!("{}…", &text[..end]), cells)
}

/// A text, and spaces behind it up to so many cells of a terminal.
fn padded(text: &str, cells: usize) -> String {
    format!("{text}{}", " ".repeat(cells.saturating_sub(text.width())))
}

/// One line of the logs of all runs: when, how grave, who, what, and what else is known.
pub(crate) fn log_record(record: &LogRecord) -> String {
    let time = record.at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let who = record.agent.as_deref().unwrap_or("-");
    let texts = [("task", &record.task), ("run", &record.run)];
    let texts = texts.into_iter().filter_map(|(name, text)| Some(format!("  {name}={}", text.as_deref()?)));
    let fields: String =
        record.fields.iter().map(|(name, value)| format!("  {name}={value}")).chain(texts).collect();
    format!("{time}  {:5}  {who}  {}{fields}", record.level.name(), record.msg)
}

/// What happened, in one line.
fn words(kind: &RunEventKind) -> String {
    let plain = match kind {
        RunEventKind::Waiting { wait } => wait.to_string(),
        RunEventKind::RunStarted { agents, .. } => {
            format!("run of {}", agents.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "))
        }
        RunEventKind::Started { driver } => format!("started (driver {driver})"),
        RunEventKind::Process { pid } => format!("process {pid}"),
        RunEventKind::State { from, to } => format!("{to} (was {from})"),
        RunEventKind::Paused { reason } => format!("paused: {reason}"),
        RunEventKind::Resumed { paused_ms } => {
            format!("goes on after a pause of {}", duration(*paused_ms))
        }
        RunEventKind::Session { session_id, model } => {
            format!("session {}, model {}", or_unknown(session_id.as_deref()), or_unknown(model.as_deref()))
        }
        RunEventKind::Output { text } => format!("> {text}"),
        RunEventKind::Tool { name, phase, detail, .. } => {
            let phase = match phase {
                ToolPhase::Started => "",
                ToolPhase::Completed => " completed",
                ToolPhase::Failed => " failed",
                ToolPhase::Denied => " was denied",
            };
            format!("{name}{phase} {}", detail.as_deref().unwrap_or_default())
        }
        RunEventKind::Permission { tool, question, decision } => {
            let decision = match decision {
                Decision::Allow => "was allowed",
                Decision::Deny => "was denied",
            };
            format!("{tool} {decision} {}", question.as_deref().unwrap_or_default())
        }
        RunEventKind::Refused { method, reason } => format!("{method} was refused: {reason}"),
        RunEventKind::Usage { usage, .. } => format!("{} tokens", or_unknown(tokens(*usage))),
        RunEventKind::Retry { error } => format!("tries again: {}", error.message),
        RunEventKind::Unknown { line } => format!("unknown line: {line}"),
        RunEventKind::Alert { alert } => alert.to_string(),
        RunEventKind::Warning { message } => format!("warning: {message}"),
        RunEventKind::Ended { report } => ended(report),
        RunEventKind::Report { report } => summary(report),
        _ => "something that this version does not know".into(),
    };
    harmless(&one_line(&plain)).into_owned()
}

fn or_unknown(known: Option<impl ToString>) -> String {
    known.map_or_else(|| "unknown".into(), |known| known.to_string())
}

fn ended(report: &AgentReport) -> String {
    let mut line = format!("{} after {}", report.status, duration(report.duration_ms));
    line.extend((report.paused_ms > 0).then(|| format!(", paused for {}", duration(report.paused_ms))));
    line.extend(report.usage.and_then(tokens).map(|tokens| format!(", {tokens} tokens")));
    line.extend(report.cost.usd.map(|usd| format!(", {usd}")));
    line
}

/// All that is known of a number of tokens, without counting those of thinking twice.
fn tokens(usage: aiswitch_tokens::Usage) -> Option<u64> {
    [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens]
        .into_iter()
        .flatten()
        .reduce(u64::saturating_add)
}

/// What went wrong in a run, agent by agent; empty when nothing did.
pub(crate) fn problems(report: &RunReport) -> String {
    let mut lines = Vec::new();
    for agent in report.agents.iter().filter(|agent| agent.status != Outcome::Completed) {
        let mut line = format!("{} {ERROR}{}{ERROR:#}", agent.id, agent.status);
        let message = agent.error.as_ref().map(|error| error.message.as_str()).or(agent.reason.as_deref());
        line.extend(message.map(|message| format!(": {}", harmless(message))));
        line.extend(agent.denials.iter().map(|denial| format!("\n  denied: {}", harmless(&denial.tool))));
        line.extend(agent.error.as_ref().and_then(|error| error.hint.as_deref()).map(hint_line));
        lines.push(line);
    }
    lines.join("\n")
}

/// What else there is to know about a run; empty when there is nothing.
pub(crate) fn warnings(report: &RunReport) -> String {
    let alerts = report.alerts.iter().map(|alert| format!("alert: {}", harmless(&alert.to_string())));
    let warnings = report.warnings.iter().map(|warning| format!("warning: {}", harmless(warning)));
    alerts.chain(warnings).collect::<Vec<_>>().join("\n")
}

/// How a run ended, in a line.
pub(crate) fn summary(report: &RunReport) -> String {
    let mut line = format!("run {} {} after {}", report.run_id, report.status, duration(report.duration_ms));
    let cost = report.totals.cost;
    line.extend(cost.usd.map(|usd| format!(", {usd}")));
    line.extend((cost.unpriced > 0).then(|| format!(" ({} without a price)", cost.unpriced)));
    line.extend(report.answer.as_ref().and_then(joined));
    line
}

/// How several answers became one, where that is not plain to see.
fn joined(answer: &Answer) -> Option<String> {
    let by = match answer.by {
        Aggregate::First => "the first answer is that of",
        Aggregate::Vote => "most gave the answer of",
        Aggregate::Judge => "the best answer is that of",
        Aggregate::Synthesize => "put together from",
        _ => return None,
    };
    let agents: Vec<&str> = answer.agents.iter().map(AsRef::as_ref).collect();
    Some(format!("; {by} {}", agents.join(", ")))
}

/// A length of time as people say it.
pub(crate) fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// The start of a text in one line, for lists.
pub(crate) fn excerpt(text: &str, chars_max: usize) -> String {
    let line = one_line(text);
    match line.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Rows of cells in columns; the first row is the head.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    table_within(rows, None)
}

/// The same in lines of at most so many cells: what does not fit goes on below, in its own column.
///
/// Where even columns of [`COLUMN_CELLS_MIN`] are too many, lines are longer.
pub(crate) fn table_within(rows: &[Vec<String>], cells_max: Option<usize>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let between = GAP * columns.saturating_sub(1);
    while cells_max.is_some_and(|cells| widths.iter().sum::<usize>() + between > cells) {
        match widths.iter_mut().max() {
            Some(widest) if *widest > COLUMN_CELLS_MIN => *widest -= 1,
            _ => break,
        }
    }
    let row = |row: &Vec<String>| {
        let cells: Vec<Vec<String>> =
            row.iter().zip(&widths).map(|(cell, width)| wrapped(cell, *width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(1);
        let line = |at: usize| {
            let parts = cells.iter().zip(&widths).map(|(lines, width)| {
                padded(lines.get(at).map_or("", String::as_str), *width) + &" ".repeat(GAP)
            });
            format!("{}\n", parts.collect::<String>().trim_end())
        };
        (0..height).map(line).collect::<String>()
    };
    rows.iter().map(row).collect()
}

/// A text in lines of at most so many cells, at its blanks where there are any.
fn wrapped(text: &str, cells: usize) -> Vec<String> {
    if text.width() <= cells {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one at least");
        let gap = usize::from(!last.is_empty());
        if last.width() + gap + word.width() <= cells {
            last.push_str(&" ".repeat(gap));
            last.push_str(word);
            continue;
        }
        if !last.is_empty() {
            lines.push(String::new());
        }
        for c in word.chars() {
            let last = lines.last_mut().expect("there is one at least");
            let longer = format!("{last}{c}");
            if longer.width() <= cells || last.is_empty() {
                *last = longer;
            } else {
                lines.push(c.to_string());
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_the_cells_say() {
        let rows = ["agent", "审查员", "🦀 crab", "e\u{301}mile", "❤\u{fe0f}"]
            .map(|name| vec![name.to_owned(), "|".to_owned()]);
        let table = table(&rows);
        let places: Vec<usize> =
            table.lines().map(|line| line.split_once('|').expect("it has two columns").0.width()).collect();
        assert_eq!(places, [9; 5], "{table}");
    }

    #[test]
    fn what_fits_no_cells_is_cut_and_takes_as_many() {
        for (text, fitted) in [
            ("abc", "abc  "),
            ("abcde", "abcde"),
            ("abcdef", "abcd…"),
            ("审查员", "审查…"),
            ("a审查员", "a审… "),
            ("e\u{301}mile jr", "e\u{301}mil…"),
            ("🦀🦀🦀", "🦀🦀…"),
        ] {
            assert_eq!((fit(text, 5).as_str(), fit(text, 5).width()), (fitted, 5), "{text}");
        }
        assert_eq!(fit(&format!("a{}bcdef", "\u{301}".repeat(1000)), 5).width(), 5);
    }

    #[test]
    fn a_length_of_time_is_said_in_its_two_largest_units() {
        let said = [0, 999, 1_050, 59_999, 60_000, 3_599_999, 3_600_000, 90_000_000].map(duration);
        assert_eq!(
            said,
            ["0 ms", "999 ms", "1.0 s", "59.9 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "25 h 0 min"]
        );
    }

    #[test]
    fn an_excerpt_is_one_line_and_ends_within_a_bound() {
        assert_eq!(excerpt("one\n  two", 10), "one two");
        assert_eq!(excerpt("ééééé", 3), "ééé…");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["A".into(), "B".into()], vec!["long".into(), "é".into(), "more".into()], vec![]];
        assert_eq!(table(&rows), "A     B\nlong  é  more\n\n");
    }

    #[test]
    fn a_cell_that_does_not_fit_goes_on_below_in_its_own_column() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows =
            [row(["NAME", "STATE", "TO DO"]), row(["a", "one two three four", "01234567890123456789"])];
        let table = table_within(&rows, Some(26));
        let expected = "\
NAME  STATE      TO DO
a     one two    012345678
      three      901234567
      four       89
";
        assert_eq!(table, expected);
        assert_eq!(table_within(&rows, Some(46)), super::table(&rows));
        // Narrower than that it does not become.
        assert_eq!(table_within(&rows, Some(3)).lines().map(UnicodeWidthStr::width).max(), Some(24));
        let wide = table_within(&[row(["审查员审查员", "🦀🦀🦀🦀🦀🦀", "x"])], Some(20));
        assert_eq!(wide, "审查员审  🦀🦀🦀🦀  x\n查员      🦀🦀\n");
    }

    #[test]
    fn figures_fit_their_column() {
        for (metric, value, expected) in [
            ("memory_bytes", 123_456_789.0, "123M"),
            ("cpu_percent", 199.99, "200%"),
            ("cpu_percent", 3.5, "3.50%"),
            ("response_time_ms", 1_234_567.0, "1.23Ks"),
            ("response_time_ms", 1_500.0, "1.50s"),
            ("task_count", 7.0, "7"),
            ("m", 1e150, "18446744T"),
        ] {
            assert_eq!(figure(metric, value), expected);
        }
    }

    #[test]
    fn an_arrow_says_where_figures_go_and_nothing_where_they_stay() {
        let arrows = [Some(2.0), Some(-2.0), Some(0.5), Some(-0.5), None].map(|change| arrow(change, 10.0));
        assert_eq!(arrows, ['↗', '↘', ' ', ' ', ' ']);
        assert_eq!(arrow(Some(0.0), 0.0), ' ');
    }
}
