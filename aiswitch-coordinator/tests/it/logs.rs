//! Logs: what several processes write is all there, and what is asked for is found.
#![expect(
    clippy::disallowed_methods,
    reason = "writers are programs, and how many lines is told by the environment"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use aiswitch_coordinator::{
    Home, LogFollow, LogLevel, LogLimits, LogLine, LogQuery, LogRecord, LogSearch, LogSource, LogWriter,
    log_layer,
};
use chrono::{DateTime, TimeDelta, Utc};
use tracing_subscriber::layer::SubscriberExt;

use crate::examples::example;
use crate::support::id;

/// How many processes write one log.
const WRITERS: usize = 4;

/// How many lines each writes; `AISWITCH_LOG_LINES` asks for more.
const LINES: i64 = 5_000;

fn at(seconds: i64) -> DateTime<Utc> {
    "2026-11-23T10:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::seconds(seconds)
}

fn record(seconds: i64, level: LogLevel, msg: &str) -> LogRecord {
    LogRecord {
        at: at(seconds),
        level,
        target: "aiswitch::test".into(),
        run: Some("01K9X".into()),
        agent: None,
        task: None,
        msg: msg.into(),
        fields: [("seconds".to_owned(), seconds.into())].into_iter().collect(),
    }
}

fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::new(folder.path().join("home"));
    (folder, home)
}

fn found(home: &Home, query: &LogQuery) -> (Vec<(LogSource, LogRecord)>, LogSearch) {
    let mut lines = Vec::new();
    let search = LogSearch::run(home, query, |line| {
        lines.push((line.source.clone(), line.record()));
        ControlFlow::Continue(())
    });
    (lines, search.unwrap())
}

fn messages(home: &Home, query: &LogQuery) -> Vec<String> {
    found(home, query).0.into_iter().map(|(_, record)| record.msg).collect()
}

/// A writer, and the number of the last line that it said to have written.
struct Writer {
    process: Child,
    out: BufReader<ChildStdout>,
    acknowledged: i64,
}

impl Writer {
    fn start(home: &Home, name: &str, first: i64, count: i64, file_bytes_max: u64) -> Self {
        let mut process = Command::new(example("write_logs"))
            .arg(home.root())
            .args([name, &first.to_string(), &count.to_string(), &file_bytes_max.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        Self { process, out, acknowledged: first - 1 }
    }

    /// Reads one acknowledgement; `false` at the end.
    fn hear(&mut self) -> bool {
        let mut line = String::new();
        let heard = self.out.read_line(&mut line).unwrap() > 0 && line.ends_with('\n');
        if heard {
            self.acknowledged = line.trim().parse().unwrap();
        }
        heard
    }
}

#[test]
fn what_four_processes_wrote_is_there_once_and_whole_also_after_rotations_and_kills() {
    let lines: i64 = std::env::var("AISWITCH_LOG_LINES").map_or(LINES, |lines| lines.parse().unwrap());
    // About 150 bytes a line: some 20 rotations.
    let file_bytes_max = u64::try_from(lines).unwrap() * WRITERS as u64 * 150 / 20;
    let (_folder, home) = home();
    let names: Vec<String> = (0..WRITERS).map(|writer| format!("w{writer}")).collect();
    let mut writers: Vec<Writer> =
        names.iter().map(|name| Writer::start(&home, name, 0, lines, file_bytes_max)).collect();
    // The last one is killed again and again while it writes, and goes on where it was not acknowledged.
    let last = writers.last_mut().unwrap();
    let (mut acknowledged, mut kills) = (BTreeMap::new(), 0);
    while last.acknowledged < lines - 1 {
        let before = last.acknowledged;
        while last.acknowledged < before + lines / 10 && last.hear() {}
        last.process.kill().unwrap();
        while last.hear() {}
        last.process.wait().unwrap();
        kills += 1;
        acknowledged.insert(format!("w{}-{kills}", WRITERS - 1), before + 1..=last.acknowledged);
        let (next, left) = (last.acknowledged + 1, lines - 1 - last.acknowledged);
        *last = Writer::start(&home, &format!("w{}-{}", WRITERS - 1, kills + 1), next, left, file_bytes_max);
    }
    assert!(kills >= 1);
    for (writer, name) in writers.iter_mut().zip(&names).take(WRITERS - 1) {
        while writer.hear() {}
        assert!(writer.process.wait().unwrap().success());
        acknowledged.insert(name.clone(), 0..=lines - 1);
    }
    writers.last_mut().unwrap().process.wait().unwrap();
    // The first life of the killed one had the plain name.
    let first = acknowledged.remove(&format!("w{}-1", WRITERS - 1)).unwrap();
    acknowledged.insert(names[WRITERS - 1].clone(), first);

    let (all, search) = found(&home, &LogQuery::default());
    assert_eq!((search.unreadable.len(), search.damaged <= kills), (0, true), "{search:?}");
    let mut seen: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (_, record) in &all {
        let writer = record.fields["writer"].as_str().unwrap().to_owned();
        seen.entry(writer).or_default().push(record.fields["number"].as_i64().unwrap());
    }
    for (name, numbers) in acknowledged {
        let seen = seen.get_mut(&name).unwrap();
        // The writers' clocks run apart, so their lines are in no order of one writer.
        seen.sort_unstable();
        let whole: Vec<i64> = numbers.clone().collect();
        assert!(seen.starts_with(&whole), "{name}: {} lines instead of {}", seen.len(), whole.len());
        // One batch may have been written and not been acknowledged.
        assert!(seen.len() <= whole.len() + 10, "{name}");
    }
    let packed = fs::read_dir(home.logs_dir())
        .unwrap()
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "zst"));
    assert!(packed.count() >= 15);
    let mode = fs::metadata(LogSource::Coordinator.path(&home)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_killed_writers_half_line_costs_no_other_line_and_its_uncompressed_file_is_compressed() {
    let (_folder, home) = home();
    let mut writer = LogWriter::new(home.clone(), LogLimits::default());
    writer.append(&LogSource::Coordinator, &[record(0, LogLevel::Info, "one")]).unwrap();
    let path = LogSource::Coordinator.path(&home);
    let mut torn = fs::read(&path).unwrap();
    torn.extend(b"{\"ts\":\"2026-11-23T10:0");
    fs::write(&path, torn).unwrap();
    writer.append(&LogSource::Coordinator, &[record(1, LogLevel::Info, "two")]).unwrap();
    let (lines, search) = found(&home, &LogQuery::default());
    assert_eq!((lines.len(), search.damaged), (2, 1));

    let aside = home.logs_dir().join("coordinator-20261123T100000.000Z.log");
    fs::rename(&path, &aside).unwrap();
    fs::write(aside.with_file_name(".coordinator-20261123T100000.000Z.log.zst.tmp"), "half").unwrap();
    writer.tidy().unwrap();
    assert!(!aside.exists());
    assert_eq!(messages(&home, &LogQuery::default()), ["one", "two"]);
}

#[test]
fn a_file_is_put_away_when_its_first_line_is_too_old() {
    let (_folder, home) = home();
    let limits = LogLimits { file_age_max: Duration::from_mins(1), ..LogLimits::default() };
    let mut writer = LogWriter::new(home.clone(), limits);
    for seconds in [0, 60, 61] {
        writer.append(&LogSource::Coordinator, &[record(seconds, LogLevel::Info, "x")]).unwrap();
    }
    assert!(home.logs_dir().join("coordinator-20261123T100000.000Z.log.zst").exists());
    assert_eq!(fs::read_to_string(LogSource::Coordinator.path(&home)).unwrap().lines().count(), 1);
    assert_eq!(messages(&home, &LogQuery::default()).len(), 3);
}

#[test]
fn lines_of_all_logs_are_found_by_time_level_agent_run_text_and_condition() {
    let (_folder, home) = home();
    // Small files, so that the search has packed ones, and binary search has nothing to go by.
    let limits = LogLimits { file_bytes_max: 2_000, ..LogLimits::default() };
    let mut writer = LogWriter::new(home.clone(), limits);
    let (even, odd) = (LogSource::Agent(id("even")), LogSource::Agent(id("odd")));
    for seconds in 0..100 {
        let source = if seconds % 2 == 0 { &even } else { &odd };
        let level = if seconds % 10 == 0 { LogLevel::Error } else { LogLevel::Info };
        let mut record = record(seconds, level, &format!("line \"{seconds}\""));
        record.agent = Some(source.path(&home).file_stem().unwrap().to_str().unwrap().to_owned());
        writer.append(source, &[record]).unwrap();
    }
    let all = LogQuery::default();
    let seconds = |query: &LogQuery| -> Vec<i64> {
        found(&home, query).0.iter().map(|(_, record)| record.fields["seconds"].as_i64().unwrap()).collect()
    };
    assert_eq!(seconds(&all), (0..100).collect::<Vec<_>>());
    let window = LogQuery { since: Some(at(20)), until: Some(at(23)), ..all.clone() };
    assert_eq!(seconds(&window), [20, 21, 22]);
    let errors = LogQuery { level: Some(LogLevel::Error), since: Some(at(60)), ..all.clone() };
    assert_eq!(seconds(&errors), [60, 70, 80, 90]);
    assert_eq!(seconds(&LogQuery { agents: vec![id("odd")], until: Some(at(4)), ..all.clone() }), [1, 3]);
    assert_eq!(seconds(&LogQuery { run: Some("01K".into()), until: Some(at(1)), ..all.clone() }), [0]);
    assert_eq!(seconds(&LogQuery { run: Some("01L".into()), ..all.clone() }), [0; 0]);
    assert_eq!(seconds(&LogQuery { grep: Some("\"4\\d\"$".parse().unwrap()), ..window.clone() }), [0; 0]);
    assert_eq!(seconds(&LogQuery { grep: Some("\"[34]7\"$".parse().unwrap()), ..all.clone() }), [37, 47]);
    let condition = "agent = even and seconds > 93 and level < error".parse().unwrap();
    assert_eq!(seconds(&LogQuery { condition: Some(condition), ..all }), [94, 96, 98]);
}

#[test]
fn a_window_of_a_large_file_is_found_by_halving() {
    let (_folder, home) = home();
    let limits = LogLimits { file_bytes_max: u64::MAX, file_age_max: Duration::MAX };
    let mut writer = LogWriter::new(home.clone(), limits);
    let records: Vec<LogRecord> = (0..40_000).map(|seconds| record(seconds, LogLevel::Info, "x")).collect();
    writer.append(&LogSource::Coordinator, &records).unwrap();
    for since in [0, 1, 59, 61, 12_345, 39_990, 39_999, 40_000, 50_000] {
        let query = LogQuery { since: Some(at(since)), until: Some(at(since + 5)), ..LogQuery::default() };
        let expected = (40_000 - since).clamp(0, 5);
        assert_eq!(messages(&home, &query).len(), usize::try_from(expected).unwrap(), "{since}");
    }
}

#[test]
fn a_damaged_file_is_named_and_the_others_are_read() {
    let (_folder, home) = home();
    let mut writer = LogWriter::new(home.clone(), LogLimits::default());
    writer.append(&LogSource::Coordinator, &[record(0, LogLevel::Info, "here")]).unwrap();
    fs::write(home.logs_dir().join("coordinator-20260101T000000.000Z.log.zst"), "no zstd").unwrap();
    let (lines, search) = found(&home, &LogQuery::default());
    assert_eq!((lines.len(), search.unreadable.len()), (1, 1));
    let told = search.unreadable[0].to_string();
    assert!(
        told.starts_with("cannot read `") && told.ends_with("coordinator-20260101T000000.000Z.log.zst`"),
        "{told}"
    );
}

/// A writer of a log whose files hold about three lines.
fn small_files(home: &Home) -> impl FnMut(&LogSource, std::ops::Range<i64>) {
    let limits = LogLimits { file_bytes_max: 400, ..LogLimits::default() };
    let mut writer = LogWriter::new(home.clone(), limits);
    move |source, seconds| {
        for seconds in seconds {
            writer.append(source, &[record(seconds, LogLevel::Info, &seconds.to_string())]).unwrap();
        }
    }
}

/// One who follows, and what was seen.
struct Following(LogFollow, Vec<String>);

impl Following {
    fn start(home: &Home) -> Self {
        let mut seen = Vec::new();
        let (follow, _) = LogFollow::start(home, LogQuery::default(), |line| {
            seen.push(line.record().msg);
            ControlFlow::Continue(())
        })
        .unwrap();
        Self(follow, seen)
    }

    fn look(&mut self) -> LogSearch {
        let Self(follow, seen) = self;
        let each = |line: LogLine<'_>| {
            seen.push(line.record().msg);
            ControlFlow::Continue(())
        };
        follow.more(each).unwrap()
    }
}

fn numbers(seconds: std::ops::Range<i64>) -> Vec<String> {
    seconds.map(|seconds| seconds.to_string()).collect()
}

#[test]
fn who_follows_sees_each_line_once_also_over_a_rotation() {
    let (_folder, home) = home();
    let mut write = small_files(&home);
    write(&LogSource::Coordinator, 0..1);
    let mut following = Following::start(&home);
    for seconds in 1..20 {
        // An agent's first line comes while its log is followed already.
        let source = if seconds == 5 { LogSource::Agent(id("new")) } else { LogSource::Coordinator };
        write(&source, seconds..seconds + 1);
        following.look();
    }
    assert_eq!(following.1, numbers(0..20));
    assert!(fs::read_dir(home.logs_dir()).unwrap().count() > 5);
}

#[test]
fn who_follows_misses_no_file_that_was_put_away_between_two_looks() {
    let (_folder, home) = home();
    let mut write = small_files(&home);
    write(&LogSource::Coordinator, 0..8);
    let mut following = Following::start(&home);
    let mut written = 8;
    // None, one, and many rotations between two looks.
    for lines in [1, 3, 20, 0, 7, 40] {
        write(&LogSource::Coordinator, written..written + lines);
        written += lines;
        let missing = following.look();
        assert_eq!((missing.damaged, missing.unreadable.len()), (0, 0));
        assert_eq!(following.1, numbers(0..written));
    }
    // An agent whose log was put away before anybody looked at it.
    following.1.clear();
    write(&LogSource::Agent(id("new")), 0..10);
    following.look();
    assert_eq!(following.1, numbers(0..10));
    following.look();
    assert_eq!(following.1, numbers(0..10));
}

#[test]
fn who_follows_reads_files_that_were_put_away_and_not_compressed_yet_and_is_told_of_those_that_cannot_be_read()
 {
    let (_folder, home) = home();
    let path = LogSource::Coordinator.path(&home);
    let aside = |name: &str| home.logs_dir().join(format!("coordinator-20261123T1000{name}"));
    let line = |seconds| {
        let time = at(seconds).format("%Y-%m-%dT%H:%M:%S%.3fZ");
        format!("{{\"ts\":\"{time}\",\"level\":\"info\",\"target\":\"t\",\"msg\":\"{seconds}\"}}\n")
    };
    let put_away = |lines: &[i64], name: &str| {
        fs::write(&path, lines.iter().map(|seconds| line(*seconds)).collect::<String>()).unwrap();
        fs::rename(&path, aside(name)).unwrap();
    };
    fs::create_dir_all(home.logs_dir()).unwrap();
    fs::write(&path, line(0) + &line(1)[..20]).unwrap();
    let mut following = Following::start(&home);
    assert_eq!(following.1, numbers(0..1));
    // What was half a line is whole, and its file is put away; so are two others, and one of them has half a last line.
    fs::write(&path, line(0) + &line(1) + &line(2)).unwrap();
    fs::rename(&path, aside("00.000Z.log")).unwrap();
    put_away(&[3], "03.000Z.log");
    fs::write(aside("04.000Z.log"), line(4) + &line(5)[..30]).unwrap();
    fs::write(aside("06.000Z.log.zst"), "no zstd").unwrap();
    fs::write(&path, line(7)).unwrap();
    let missing = following.look();
    assert_eq!(following.1, ["0", "1", "2", "3", "4", "7"]);
    assert_eq!((missing.damaged, missing.unreadable.len()), (1, 1));
    let told = missing.unreadable[0].to_string();
    assert!(told.ends_with("coordinator-20261123T100006.000Z.log.zst`"), "{told}");
    assert_eq!(following.look().unreadable.len(), 0);
    assert_eq!(following.1.len(), 6);
}

#[test]
fn events_of_tracing_reach_the_log_that_they_are_about() {
    let (_folder, home) = home();
    let writer = LogWriter::new(home.clone(), LogLimits::default());
    let (layer, guard) = log_layer(writer, LogLevel::Info).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!(target: "aiswitch::run", run = "01K", agent = "claude", pid = 7_u64, "started");
        tracing::warn!(target: "aiswitch::run", agent = "../x", ok = true, "strange");
        tracing::info!(target: "aiswitch_metrics", value = 0.5, "sample");
        tracing::debug!(target: "aiswitch::run", "too small");
        tracing::error!(target: "other", "not ours");
    });
    assert_eq!(guard.finish(), None);
    let (lines, _) = found(&home, &LogQuery::default());
    let told: Vec<(&LogSource, String)> =
        lines.iter().map(|(source, record)| (source, record.msg.clone())).collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.contains(&(&LogSource::Agent(id("claude")), "started".to_owned())));
    assert!(told.contains(&(&LogSource::Coordinator, "strange".to_owned())));
    assert!(told.contains(&(&LogSource::Metrics, "sample".to_owned())));
    let started = lines.iter().map(|(_, record)| record).find(|record| record.msg == "started").unwrap();
    assert_eq!((started.run.as_deref(), started.fields["pid"].as_u64()), (Some("01K"), Some(7)));
}

#[test]
fn a_log_that_cannot_be_written_says_why_and_how_much_was_lost() {
    let (_folder, home) = home();
    let writer = LogWriter::new(home.clone(), LogLimits::default());
    fs::create_dir(home.root()).unwrap();
    fs::write(home.logs_dir(), "in the way").unwrap();
    let (layer, guard) = log_layer(writer, LogLevel::Info).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        tracing::info!(target: "aiswitch::run", "lost");
    });
    let told = guard.finish().unwrap();
    assert!(told.starts_with("1 log lines were lost: cannot "), "{told}");
}
