//! Searching in logs: what is found is what reading every line would find, whatever stands in the files.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use aiswitch_coordinator::{Home, LogLevel, LogLimits, LogQuery, LogRecord, LogSearch, LogSource, LogWriter};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::id;

fn at(seconds: i64) -> DateTime<Utc> {
    "2026-11-23T10:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(seconds)
}

fn time(seconds: i64) -> String {
    at(seconds).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn record(seconds: i64, msg: &str) -> LogRecord {
    LogRecord {
        at: at(seconds),
        level: LogLevel::Info,
        target: "aiswitch::test".into(),
        run: None,
        agent: None,
        task: None,
        msg: msg.into(),
        fields: Map::new(),
    }
}

fn line(seconds: i64) -> String {
    format!(
        "{{\"ts\":\"{}\",\"level\":\"info\",\"target\":\"t\",\"msg\":\"line {seconds}\"}}\n",
        time(seconds)
    )
}

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().join("home"));
    fs::create_dir_all(home.logs_dir().join("agents")).unwrap();
    (folder, home)
}

fn search(home: &Home, query: &LogQuery) -> (Vec<String>, LogSearch) {
    let mut texts = Vec::new();
    let search = LogSearch::run(home, query, |line| {
        texts.push(line.text.to_owned());
        ControlFlow::Continue(())
    });
    (texts, search.unwrap())
}

fn window(since: i64, until: i64) -> LogQuery {
    LogQuery { since: Some(at(since)), until: Some(at(until)), ..LogQuery::default() }
}

/// Packs as another program does, or as this one did before it wrote tables.
fn pack(path: &Path, bytes: &[u8]) {
    fs::write(path, zstd::stream::encode_all(bytes, 3).unwrap()).unwrap();
}

/// Packs what was put away as this program does.
fn tidy(home: &Home) {
    LogWriter::new(home.clone(), LogLimits::default()).tidy().unwrap();
}

/// The name of a file that was put away.
const PUT_AWAY: &str = "coordinator-20261123T100000.000Z.log";

/// A home with a packed file of about twelve frames, and its lines, two a second.
fn packed_home() -> (tempfile::TempDir, Home, Vec<String>) {
    let (folder, home) = home();
    let lines: Vec<String> = (0..40_000).map(|number| line(number / 2)).collect();
    fs::write(home.logs_dir().join(PUT_AWAY), lines.concat()).unwrap();
    tidy(&home);
    assert!(!home.logs_dir().join(PUT_AWAY).exists());
    (folder, home, lines.iter().map(|line| line.trim_end().to_owned()).collect())
}

fn packed_path(home: &Home) -> PathBuf {
    home.logs_dir().join(format!("{PUT_AWAY}.zst"))
}

/// Texts that JSON can write in several ways.
const TEXTS: [&str; 6] = ["a", "it's \"a\"", "a/b\\a", "ä\u{1b}[0m\n", "time out", "x\u{8}\u{7f}"];

/// How a line is written: as this program does, or as another one may.
#[derive(Clone, Copy, Debug)]
enum Hand {
    Own,
    Escaped,
    UpperCase,
    Slashes,
    Spaced,
}

/// What one line says: seconds, level, agent, message, number.
type Said = (i64, LogLevel, &'static str, &'static str, Option<i64>);

fn write(said: &Said, hand: Hand) -> String {
    let (seconds, level, agent, msg, number) = said;
    let fields = number.map(|number| json!({"n": number, "text": agent}));
    let own = |text: &str| serde_json::to_string(text).unwrap();
    let escaped = |text: &str, upper: bool| {
        let unit = |unit: u16| if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
        format!("\"{}\"", text.encode_utf16().map(unit).collect::<String>())
    };
    let quoted = |text: &str| match hand {
        Hand::Own | Hand::Spaced => own(text),
        Hand::Escaped => escaped(text, false),
        Hand::UpperCase => escaped(text, true),
        Hand::Slashes => own(text).replace('/', "\\/"),
    };
    let fields = fields.map_or_else(String::new, |fields| format!(",\"fields\":{fields}"));
    let (agent, msg) = (quoted(agent), quoted(msg));
    match hand {
        Hand::Spaced => format!(
            "{{ \"level\": \"{level}\", \"msg\": {msg}, \"agent\": {agent}, \"target\": \"t\" , \"ts\": \"{}\"{fields} }}",
            time(*seconds)
        ),
        _ => format!(
            "{{\"ts\":\"{}\",\"level\":\"{level}\",\"target\":\"t\",\"agent\":{agent},\"msg\":{msg}{fields}}}",
            time(*seconds)
        ),
    }
}

/// What a question asks, said once more.
type Asks = fn(&Said) -> bool;

fn questions() -> Vec<(LogQuery, Asks)> {
    let all = LogQuery::default;
    let condition = |text: &str| LogQuery { condition: Some(text.parse().unwrap()), ..all() };
    vec![
        (all(), |_| true),
        (window(30, 50), |said| (30..50).contains(&said.0)),
        (LogQuery { level: Some(LogLevel::Error), ..all() }, |said| said.1 == LogLevel::Error),
        (LogQuery { level: Some(LogLevel::Warn), ..window(10, 80) }, |said| {
            said.1 >= LogLevel::Warn && (10..80).contains(&said.0)
        }),
        (condition("agent = a"), |said| said.2 == "a"),
        (condition(r#"msg = 'it\'s "a"' and agent != a"#), |said| said.3 == TEXTS[1] && said.2 != "a"),
        (condition(r"msg ~ 'b\\a'"), |said| said.3.contains("b\\a")),
        (condition("n > 5 and level < error"), |said| said.4 > Some(5) && said.1 < LogLevel::Error),
        (condition("agent = 'time out' or msg ~ out and level > debug"), |said| {
            said.2 == "time out" || said.3.contains("out") && said.1 > LogLevel::Debug
        }),
        (LogQuery { grep: Some("(?i)^TIME|a/b.a$".parse().unwrap()), ..all() }, |said| {
            [said.3]
                .into_iter()
                .chain(said.4.map(|_| said.2))
                .any(|text| ["time out", "a/b\\a"].contains(&text))
        }),
        (condition("n or msg ~ out"), |said| said.4.is_some() || said.3.contains("out")),
        (LogQuery { grep: Some("time out".parse().unwrap()), ..all() }, |said| {
            said.3.contains("time out") || said.4.is_some() && said.2.contains("time out")
        }),
        (LogQuery { grep: Some("a/b".parse().unwrap()), ..window(0, 60) }, |said| {
            said.0 < 60 && (said.3.contains("a/b") || said.4.is_some() && said.2.contains("a/b"))
        }),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let levels = proptest::sample::select(LogLevel::ALL.to_vec());
    let texts = || proptest::sample::select(TEXTS.to_vec());
    (0..60_i64, levels, texts(), texts(), proptest::option::of(0..12_i64))
}

fn hand() -> impl Strategy<Value = Hand> {
    let others = [Hand::Own, Hand::Own, Hand::Escaped, Hand::UpperCase, Hand::Slashes, Hand::Spaced];
    proptest::sample::select(others.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_search_finds_what_reading_every_line_would_find(
        lines in proptest::collection::vec((said(), hand()), 1..120),
        cuts in proptest::collection::vec(0..120_usize, 0..4),
        packed in proptest::bits::u8::ANY,
        is_tidied in proptest::bool::ANY,
    ) {
        let (_folder, home) = home();
        let agents = home.logs_dir().join("agents");
        // Lines come a second after each other, each at most a minute late.
        let lines: Vec<(Said, Hand)> = lines
            .into_iter()
            .enumerate()
            .map(|(number, ((late, level, agent, msg, n), hand))| {
                ((i64::try_from(number).unwrap() + late, level, agent, msg, n), hand)
            })
            .collect();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < lines.len()).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let starts: Vec<usize> = std::iter::once(0).chain(cuts.into_iter().filter(|cut| *cut > 0)).collect();
        for (number, start) in starts.iter().enumerate() {
            let part = &lines[*start..starts.get(number + 1).copied().unwrap_or(lines.len())];
            let text: String = part.iter().map(|(said, hand)| write(said, *hand) + "\n").collect();
            // Two parts may begin with the same time; the name is then the next one.
            let first = at(part[0].0.0) + TimeDelta::milliseconds(i64::try_from(number).unwrap());
            let stamp = first.format("%Y%m%dT%H%M%S%.3fZ");
            if number + 1 == starts.len() {
                fs::write(agents.join("x.log"), text).unwrap();
            } else if packed & (1 << number) == 0 {
                fs::write(agents.join(format!("x-{stamp}.log")), text).unwrap();
            } else {
                pack(&agents.join(format!("x-{stamp}.log.zst")), text.as_bytes());
            }
        }
        if is_tidied {
            tidy(&home);
        }
        for (query, asks) in questions() {
            let mut expected: Vec<String> =
                lines.iter().filter(|(said, _)| asks(said)).map(|(said, hand)| write(said, *hand)).collect();
            let (mut found, result) = search(&home, &query);
            expected.sort();
            found.sort();
            prop_assert_eq!(result.damaged, 0);
            prop_assert_eq!(found, expected, "{:?}", query);
        }
    }
}

#[test]
fn what_is_no_line_is_counted_and_costs_no_other_line() {
    let (nulls, long) = (vec![0; 4096], vec![b'x'; 1024 * 1024]);
    let bad: [&[u8]; 7] = [
        b"zzz: a program that knows nothing of logs printed this, and it sorts behind every time",
        &nulls,
        b"{\"ts\":\"2026-11-23T10:00:01.000Z\",\"level\":\"info\",\"target\":\"t\",\"msg\":\"\xff\"}",
        b"{\"ts\":\"2026-11-23T10:00:01.000Z\",\"level\":\"info\",\"target\":\"t\",\"ms",
        b"{\"ts\":\"2026-99-23T10:00:01.000Z\",\"level\":\"info\",\"target\":\"t\",\"msg\":\"\"}",
        &long,
        b"[1]",
    ];
    let mut text = line(0).into_bytes();
    for (bad, seconds) in bad.iter().zip(1..) {
        text.extend([bad, &b"\n"[..], line(seconds).as_bytes()].concat());
    }
    let lines: Vec<String> = (0..=7).map(|seconds| line(seconds).trim_end().to_owned()).collect();
    let all = LogQuery::default();
    for form in ["coordinator.log", PUT_AWAY, "packed", "tidied"] {
        let (_folder, home) = home();
        match form {
            "packed" => pack(&packed_path(&home), &text),
            "tidied" => {
                fs::write(home.logs_dir().join(PUT_AWAY), &text).unwrap();
                tidy(&home);
            }
            name => fs::write(home.logs_dir().join(name), &text).unwrap(),
        }
        let (found, result) = search(&home, &all);
        assert_eq!((&found, result.damaged, result.unreadable.len()), (&lines, 7, 0), "{form}");
        assert_eq!(search(&home, &window(0, 100)).0, lines, "{form}");
        assert_eq!(
            search(&home, &LogQuery { grep: Some("line 7".parse().unwrap()), ..all.clone() }).0,
            lines[7..]
        );
    }
}

#[test]
fn half_a_last_line_is_counted_once_nobody_will_end_it() {
    for (name, found, damaged) in [("coordinator.log", 1, 0), (PUT_AWAY, 1, 1)] {
        let (_folder, home) = home();
        fs::write(home.logs_dir().join(name), line(0) + &line(1)[..30]).unwrap();
        let (lines, result) = search(&home, &LogQuery::default());
        assert_eq!((lines.len(), result.damaged), (found, damaged), "{name}");
    }
    let (_folder, home) = home();
    fs::write(home.logs_dir().join(PUT_AWAY), line(0) + line(1).trim_end()).unwrap();
    assert_eq!(search(&home, &LogQuery::default()).0.len(), 2);
    tidy(&home);
    assert_eq!(search(&home, &LogQuery::default()).0.len(), 2);
}

#[test]
fn a_window_has_the_lines_that_are_late_too_and_one_wrong_time_hides_none() {
    let (_folder, home) = home();
    let mut text = String::new();
    let mut times = Vec::new();
    for number in 0..40_000 {
        // Each as late as a line may be; every thousandth says a year that is not now, in turn before and after it.
        let seconds = match number % 1000 {
            500 => number + 31_536_000 * if number % 2000 < 1000 { 1 } else { -1 },
            _ => number + number * 7_919 % 60,
        };
        times.push(seconds);
        text += &line(seconds);
    }
    let written = LogSource::Coordinator.path(&home);
    fs::write(&written, text).unwrap();
    for is_packed in [false, true] {
        if is_packed {
            fs::rename(&written, home.logs_dir().join(PUT_AWAY)).unwrap();
            tidy(&home);
        }
        for since in [0, 1, 59, 61, 12_345, 20_480, 39_990, 40_000, 50_000] {
            let expected = times.iter().filter(|seconds| (since..since + 5).contains(*seconds)).count();
            let (found, _) = search(&home, &window(since, since + 5));
            assert_eq!(found.len(), expected, "{since}");
        }
    }
}

#[test]
fn a_packed_file_is_one_for_other_programs_and_one_that_was_packed_before_is_read() {
    let (_folder, home, lines) = packed_home();
    let packed = fs::read(packed_path(&home)).unwrap();
    let unpacked = zstd::stream::decode_all(&*packed).unwrap();
    assert_eq!(unpacked, (lines.join("\n") + "\n").as_bytes());
    let found = |query: &LogQuery| {
        let (found, result) = search(&home, query);
        assert_eq!((result.damaged, result.unreadable.len()), (0, 0));
        found
    };
    // Where frames meet is no line lost, and none is found twice.
    let all: Vec<String> =
        (0..20_000).step_by(500).flat_map(|since| found(&window(since, since + 500))).collect();
    assert_eq!((all, found(&LogQuery::default())), (lines.clone(), lines.clone()));
    assert_eq!(found(&window(7000, 7001)), lines[14_000..14_002]);

    // Before it wrote tables, this program wrote one frame, and the last time in a skippable one.
    let last = [&[0x5A, 0x2A, 0x4D, 0x18, 24, 0, 0, 0], time(19_999).as_bytes()].concat();
    fs::write(packed_path(&home), [zstd::stream::encode_all(&*unpacked, 3).unwrap(), last].concat()).unwrap();
    assert_eq!(found(&LogQuery::default()), lines);
    assert_eq!(found(&window(7000, 7001)), lines[14_000..14_002]);
}

#[test]
fn a_damaged_part_of_a_packed_file_is_named_and_costs_no_line_of_another_part() {
    let (_folder, home, lines) = packed_home();
    let packed = fs::read(packed_path(&home)).unwrap();
    let told = |result: &LogSearch| {
        assert_eq!(result.unreadable.len(), 1);
        let error: &dyn Error = &result.unreadable[0];
        format!("{error}: {}", error.source().unwrap())
    };
    let mut damaged = packed.clone();
    damaged[packed.len() / 2] ^= 0xFF;
    fs::write(packed_path(&home), damaged).unwrap();
    let (found, result) = search(&home, &LogQuery::default());
    let before = found.iter().zip(&lines).take_while(|(found, line)| found == line).count();
    let lost = lines.len() - found.len();
    assert!(before > 0 && (1..5000).contains(&lost), "{before} {lost}");
    assert_eq!(found[before..], lines[before + lost..]);
    let told_damaged = told(&result);
    assert!(told_damaged.contains("Z.log.zst`: what is packed from byte "), "{told_damaged}");
    // Who asks for another time is not told of it.
    assert_eq!(search(&home, &window(10, 20)).1.unreadable.len(), 0);

    fs::write(packed_path(&home), &packed[..packed.len() / 2]).unwrap();
    let (found, result) = search(&home, &LogQuery::default());
    assert!(found.len() > lines.len() / 4 && lines.starts_with(&found), "{}", found.len());
    told(&result);
}

#[test]
fn a_table_that_was_changed_hides_no_line() {
    let (_folder, home, lines) = packed_home();
    let packed = fs::read(packed_path(&home)).unwrap();
    // More than the table of twelve frames takes; what is before it is the last frame.
    for from_end in (1..330).step_by(29) {
        let mut changed = packed.clone();
        changed[packed.len() - from_end] ^= 0x11;
        fs::write(packed_path(&home), changed).unwrap();
        let (found, result) = search(&home, &window(7000, 7010));
        assert_eq!((&found[..], result.damaged), (&lines[14_000..14_020], 0), "{from_end}");
    }
    // A part that is written twice, and one that is missing.
    for changed in [[&packed[..100], &packed].concat(), packed[100..].to_vec()] {
        fs::write(packed_path(&home), changed).unwrap();
        assert_eq!(search(&home, &LogQuery::default()).1.unreadable.len(), 1);
    }
}

#[test]
fn no_line_is_lost_and_the_order_is_that_of_time_when_the_clock_is_set_back() {
    let (_folder, home) = home();
    let source = LogSource::Agent(id("a"));
    let limits = LogLimits { file_bytes_max: 20_000, ..LogLimits::default() };
    let (mut one, mut other) = (LogWriter::new(home.clone(), limits), LogWriter::new(home.clone(), limits));
    let records = |seconds: std::ops::Range<i64>| -> Vec<LogRecord> {
        seconds.map(|seconds| record(seconds, "a line")).collect()
    };
    one.append(&source, &records(0..1800)).unwrap();
    one.append(&source, &records(1800..3600)).unwrap();
    // Another process is the first to write after the clock was set back, and it is again within a batch.
    other.append(&source, &records(600..1500)).unwrap();
    one.append(&source, &records(1500..2000)).unwrap();
    one.append(&source, &[records(2000..2010), records(100..110)].concat()).unwrap();

    let (all, result) = search(&home, &LogQuery::default());
    assert_eq!((all.len(), result.damaged), (3600 + 900 + 500 + 20 + 2, 0));
    // `{"ts":"2026-11-23T10:00:00.000Z"` begins each.
    assert!(all.is_sorted_by_key(|line| line[..32].to_owned()));
    let notes: Vec<Value> = all
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["fields"]["set_back_ms"].is_number())
        .map(|line| line["msg"].clone())
        .collect();
    assert_eq!(notes, ["the clock was set back by 1909 s", "the clock was set back by 2999 s"]);
    for (since, until, expected) in
        [(0, 50, 50), (700, 710, 20), (3000, 3010, 10), (105, 115, 15), (1990, 2005, 30)]
    {
        let (found, _) = search(&home, &window(since, until));
        assert_eq!(found.len(), expected, "{since}");
    }
}

#[test]
fn many_logs_are_merged_by_time_and_a_reader_may_stop() {
    let (_folder, home) = home();
    let mut writer = LogWriter::new(home.clone(), LogLimits::default());
    for agent in 0..100 {
        let records: Vec<LogRecord> = (0..50).map(|n| record(n * 100 + agent, "x")).collect();
        writer.append(&LogSource::Agent(id(&format!("agent-{agent}"))), &records).unwrap();
    }
    let (found, _) = search(&home, &LogQuery::default());
    assert_eq!(found.len(), 5000);
    assert!(found.is_sorted_by_key(|line| line[..32].to_owned()));
    let mut few = BTreeMap::new();
    LogSearch::run(&home, &LogQuery::default(), |line| {
        *few.entry(line.source.clone()).or_insert(0) += 1;
        if few.len() < 7 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .unwrap();
    assert_eq!(few.values().sum::<i32>(), 7);
}
