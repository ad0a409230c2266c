//! Writes MEGABYTES (1000 without an argument) of log lines of eight agents into a temporary home, once as one plain file and
//! once as rotation leaves them, and prints how long questions to them take: by this library, by `aiswitch logs`, and by
//! `hl`, `rg` and `jq` beside them in the same run, each checked to find the same lines. With a second argument, only
//! questions are asked whose name has it: `log_query 1000 "ten minutes"`.
//!
//! `AISWITCH`, `HL`, `RG` and `JQ` name the programs; without them `aiswitch` is taken from beside this one and the others from
//! `PATH`. One that is not there is told as skipped.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "the others are programs, which the environment may name")]

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aiswitch_coordinator::{Home, LogLevel, LogLimits, LogQuery, LogRecord, LogSearch, LogSource, LogWriter};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How often each is asked, in turn; `jq`, which takes longest by far, is asked once.
const ROUNDS: usize = 5;

/// How many agents write.
const AGENTS: usize = 8;

/// How many lines are written at once.
const BATCH: usize = 200;

/// How long a line is, about, in bytes: by this the lines of a day make the size that is asked for.
const LINE_BYTES: u64 = 213;

/// What answers questions, in the order of the columns.
const COLUMNS: [&str; 6] = ["library", "aiswitch", "hl", "rg", "jq", "bytes read"];

/// Column of what is only asked once.
const JQ: usize = 4;

/// A question in the words of each program; `None` where it has no words for it.
struct Question {
    name: &'static str,
    query: LogQuery,
    aiswitch: &'static [&'static str],
    hl: &'static [&'static str],
    rg: Option<&'static str>,
    jq: &'static str,
}

/// The logs of one home, and how others read them.
struct Logs {
    name: &'static str,
    home: Home,
    files: Vec<PathBuf>,
    /// What prints the files, for programs that do not unpack.
    cat: &'static str,
}

fn main() -> Result<()> {
    let megabytes: u64 = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse())?;
    let wanted = std::env::args().nth(2).unwrap_or_default();
    let folder = tempfile::tempdir()?;
    let plain = Home::new(folder.path().join("plain"));
    let rotated = Home::new(folder.path().join("rotated"));
    let (lines, bytes) = write(&plain, &rotated, megabytes * 1_000_000)?;
    println!(
        "{lines} lines, {bytes} bytes; medians of {ROUNDS} rounds in turn, jq once; found lines behind\n"
    );
    for (name, home, cat) in [("one plain file", plain, "cat"), ("rotated files", rotated, "zstd -dcfq")] {
        let files = files(&home.root().join("logs"))?;
        let logs = Logs { name, home, files, cat };
        compare(&logs, &wanted)?;
        println!();
    }
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).ok_or("no figure of the memory")?;
    println!("most memory of this program: {}", peak.trim_start_matches("VmHWM:").trim());
    Ok(())
}

/// Asks all questions that are wanted of all, prints a row for each, and what the files take.
fn compare(logs: &Logs, wanted: &str) -> Result<()> {
    let packed: Vec<&PathBuf> =
        logs.files.iter().filter(|file| file.extension().is_some_and(|end| end == "zst")).collect();
    println!("{} ({} of them packed: {} files)", logs.name, packed.len(), logs.files.len());
    if !packed.is_empty() {
        let (mut stored, mut whole) = (0, 0);
        for file in packed {
            stored += fs::metadata(file)?.len();
            whole += zstd::stream::decode_all(fs::File::open(file)?)?.len() as u64;
        }
        #[expect(clippy::cast_precision_loss, reason = "a ratio is printed with one digit")]
        let ratio = whole as f64 / stored as f64;
        println!("stored: {whole} bytes in {stored}, {ratio:.1} times smaller");
    }
    print!("{:<42}", "");
    for column in COLUMNS {
        print!("{column:>12}");
    }
    println!();
    for question in questions()?.into_iter().filter(|question| question.name.contains(wanted)) {
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); COLUMNS.len()];
        let mut found = None;
        for round in 0..ROUNDS {
            for (column, times) in times.iter_mut().enumerate() {
                if column == JQ && round > 0 {
                    continue;
                }
                let start = Instant::now();
                let Some(count) = ask(column, logs, &question)? else { continue };
                times.push(start.elapsed());
                // The last one only reads; all others have to agree.
                if column + 1 < COLUMNS.len() && *found.get_or_insert(count) != count {
                    let told = format!("{} found {count}, not {found:?}: {}", COLUMNS[column], question.name);
                    return Err(told.into());
                }
            }
        }
        print!("{:<42}", format!("{} ({})", question.name, found.unwrap_or_default()));
        for times in &mut times {
            print!("{:>12}", median(times));
        }
        println!();
    }
    Ok(())
}

/// How many lines one answers, `None` if it cannot be asked.
fn ask(column: usize, logs: &Logs, question: &Question) -> Result<Option<usize>> {
    let cat = logs.cat;
    let command = match COLUMNS[column] {
        "library" => {
            let mut count = 0;
            LogSearch::run(&logs.home, &question.query, |_| {
                count += 1;
                ControlFlow::Continue(())
            })?;
            return Ok(Some(count));
        }
        "aiswitch" => {
            let beside = std::env::current_exe()?.with_file_name("../aiswitch");
            let Some(program) = program("AISWITCH", &beside) else { return Ok(None) };
            let mut command = Command::new(program);
            command.arg("--home").arg(logs.home.root()).args(["logs", "--json"]).args(question.aiswitch);
            command
        }
        "hl" => {
            let Some(program) = program("HL", Path::new("hl")) else { return Ok(None) };
            let mut command = Command::new(program);
            command.args(["-P", "--raw", "--config", ""]).args(question.hl).args(&logs.files);
            command
        }
        "rg" => {
            let (Some(program), Some(words)) = (program("RG", Path::new("rg")), question.rg) else {
                return Ok(None);
            };
            let mut command = Command::new("sh");
            command.arg("-c").arg(words).arg(program).args(&logs.files);
            command
        }
        "jq" => {
            let Some(program) = program("JQ", Path::new("jq")) else { return Ok(None) };
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("{cat} \"$@\" | \"$0\" -c '{}'", question.jq));
            command.arg(program).args(&logs.files);
            command
        }
        _ => {
            let mut command = Command::new("sh");
            command.arg("-c").arg(format!("{cat} \"$@\" | wc -l")).arg("sh").args(&logs.files);
            command
        }
    };
    lines_of(command).map(Some)
}

/// The program that a variable names, or this one if it is there.
fn program(variable: &str, otherwise: &Path) -> Option<OsString> {
    let path = std::env::var_os(variable).unwrap_or_else(|| otherwise.into());
    let there = Command::new(&path).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    there.is_ok().then_some(path)
}

/// How many lines a program prints.
fn lines_of(mut command: Command) -> Result<usize> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().ok_or("it has a pipe")?;
    let (mut block, mut lines) = (vec![0; 1 << 16], 0);
    loop {
        let count = out.read(&mut block)?;
        if count == 0 {
            break;
        }
        lines += memchr::memchr_iter(b'\n', &block[..count]).count();
    }
    if child.wait()?.success() { Ok(lines) } else { Err(format!("{command:?} failed").into()) }
}

fn median(times: &mut [Duration]) -> String {
    times.sort();
    match times.get(times.len() / 2) {
        Some(time) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        None => "skipped".to_owned(),
    }
}

/// All files of logs, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|end| end == "log" || end == "zst") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn begin() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_780)
}

fn questions() -> Result<Vec<Question>> {
    let (since, until) = (begin() + TimeDelta::hours(12), begin() + TimeDelta::minutes(730));
    Ok(vec![
        Question {
            name: "errors of one agent",
            query: LogQuery {
                level: Some(LogLevel::Error),
                condition: Some("agent = claude-3".parse()?),
                ..LogQuery::default()
            },
            aiswitch: &["--level", "error", "--where", "agent = claude-3"],
            hl: &["-l", "e", "-f", "agent=claude-3"],
            rg: Some(r#""$0" -zIN --no-filename -F '"level":"error"' "$@" | "$0" -F '"agent":"claude-3"'"#),
            jq: r#"select(.level == "error" and .agent == "claude-3")"#,
        },
        Question {
            name: "a condition on a number",
            query: LogQuery { condition: Some("output_tokens > 9990".parse()?), ..LogQuery::default() },
            aiswitch: &["--where", "output_tokens > 9990"],
            hl: &["-q", ".fields.output_tokens > 9990"],
            rg: None,
            jq: "select(.fields.output_tokens > 9990)",
        },
        Question {
            name: "a text",
            query: LogQuery { grep: Some("connection reset by peer".parse()?), ..LogQuery::default() },
            aiswitch: &["--grep", "connection reset by peer"],
            hl: &["-q", r#"msg ~= "connection reset by peer""#],
            rg: Some(r#""$0" -zIN --no-filename -F 'connection reset by peer' "$@""#),
            jq: r#"select(.msg | contains("connection reset by peer"))"#,
        },
        Question {
            name: "a pattern",
            query: LogQuery { grep: Some(r"timed? out after \d{5} ms".parse()?), ..LogQuery::default() },
            aiswitch: &["--grep", r"timed? out after \d{5} ms"],
            hl: &["-q", r#"msg ~~= "timed? out after \\d{5} ms""#],
            rg: Some(r#""$0" -zIN --no-filename 'timed? out after \d{5} ms' "$@""#),
            jq: r#"select(.msg | test("timed? out after \\d{5} ms"))"#,
        },
        Question {
            name: "ten minutes at noon",
            query: LogQuery { since: Some(since), until: Some(until), ..LogQuery::default() },
            aiswitch: &["--since", "2026-11-23T12:00:00Z", "--until", "2026-11-23T12:10:00Z"],
            hl: &["--since", "2026-11-23T12:00:00Z", "--until", "2026-11-23T12:09:59.999Z"],
            rg: None,
            jq: r#"select(.ts >= "2026-11-23T12:00:00.000Z" and .ts < "2026-11-23T12:10:00.000Z")"#,
        },
        Question {
            name: "errors in ten minutes",
            query: LogQuery {
                since: Some(since),
                until: Some(until),
                level: Some(LogLevel::Error),
                ..LogQuery::default()
            },
            aiswitch: &[
                "--since",
                "2026-11-23T12:00:00Z",
                "--until",
                "2026-11-23T12:10:00Z",
                "--level",
                "error",
            ],
            hl: &["--since", "2026-11-23T12:00:00Z", "--until", "2026-11-23T12:09:59.999Z", "-l", "e"],
            rg: None,
            jq: r#"select(.level == "error" and .ts >= "2026-11-23T12:00" and .ts < "2026-11-23T12:10")"#,
        },
    ])
}

/// Writes the lines of a day, this many bytes, to both homes, and tells how many lines and bytes they are.
fn write(plain: &Home, rotated: &Home, bytes: u64) -> Result<(usize, u64)> {
    let lines = usize::try_from(bytes / LINE_BYTES)?;
    let limits = LogLimits { file_bytes_max: u64::MAX, file_age_max: Duration::MAX };
    let mut all = LogWriter::new(plain.clone(), limits);
    let mut each = LogWriter::new(rotated.clone(), LogLimits::default());
    let mut random = Random(0x2026);
    let step = TimeDelta::days(1) / i32::try_from(lines)?;
    let mut batches: Vec<Vec<LogRecord>> = vec![Vec::new(); AGENTS];
    let mut merged = Vec::new();
    for number in 0..lines {
        let agent = random.below(AGENTS);
        let record = record(&mut random, agent, begin() + step * i32::try_from(number)?);
        merged.push(record.clone());
        batches[agent].push(record);
        if merged.len() == BATCH {
            all.append(&LogSource::Coordinator, &merged)?;
            merged.clear();
        }
        if batches[agent].len() == BATCH {
            each.append(&LogSource::Agent(name(agent).parse()?), &batches[agent])?;
            batches[agent].clear();
        }
    }
    all.append(&LogSource::Coordinator, &merged)?;
    for (agent, batch) in batches.iter().enumerate() {
        each.append(&LogSource::Agent(name(agent).parse()?), batch)?;
    }
    Ok((lines, fs::metadata(LogSource::Coordinator.path(plain))?.len()))
}

fn name(agent: usize) -> String {
    format!("claude-{agent}")
}

/// A line like those of runs: tools, usage, what agents print on stderr, and what goes wrong.
fn record(random: &mut Random, agent: usize, at: DateTime<Utc>) -> LogRecord {
    let run_target = "aiswitch::run";
    let file =
        ["src/log/scan.rs", "src/run.rs", "tests/it/logs.rs", "README.md", "src/part.rs"][random.below(5)];
    let number = random.below(10_000);
    let (level, target, msg, fields) = match random.below(1000) {
        0 => {
            let error = ["connection reset by peer", "the provider is overloaded"][random.below(2)];
            (
                LogLevel::Error,
                run_target,
                error.to_owned(),
                json!({"status": "failed", "duration_ms": number}),
            )
        }
        1..10 => {
            let msg = format!("a request timed out after {} ms and is tried again", number * 10);
            (LogLevel::Warn, run_target, msg, json!({"error": format!("HTTP {}", 500 + number % 30)}))
        }
        10..400 => {
            let detail = format!("sed -n {},{}p {file}", number, number + 40);
            (
                LogLevel::Info,
                run_target,
                "the agent began a tool".to_owned(),
                json!({"tool": "Bash", "detail": detail}),
            )
        }
        400..700 => {
            let msg = "a tool of the agent completed".to_owned();
            let tool = ["Bash", "Read", "Edit"][random.below(3)];
            (LogLevel::Debug, run_target, msg, json!({"tool": tool}))
        }
        700..900 => {
            let usage = json!({"input_tokens": random.below(200_000), "output_tokens": number});
            (LogLevel::Debug, run_target, "the agent told its usage".to_owned(), usage)
        }
        _ => {
            let msg = format!(
                "\u{1b}[33mwarning\u{1b}[0m: unused variable `x{number}` in \"{file}\", line {}",
                number % 500
            );
            (LogLevel::Info, "aiswitch::stderr", msg, json!({}))
        }
    };
    // A run takes ten minutes.
    let run = (at.timestamp() / 600) * 8 + i64::try_from(agent).unwrap_or_default();
    LogRecord {
        at,
        level,
        target: target.to_owned(),
        run: Some(format!("01KAQ{:021X}", run.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()))),
        agent: Some(name(agent)),
        task: None,
        msg,
        fields: match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        },
    }
}

/// Numbers that look random, the same in each run (Steele, Lea and Flood's `SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap_or_default()
    }
}
