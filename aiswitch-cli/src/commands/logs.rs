//! `aiswitch logs`: what happened in a run and what its agents printed, or what happened over all runs.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};
use std::ops::ControlFlow;
use std::time::Duration;

use aiswitch_coordinator::{AgentId, Home, LogFollow, LogLine, LogQuery, LogSearch, RunId, chain};
use tokio::signal::unix::SignalKind;

use crate::args::{LogSearchArgs, LogsArgs, OutputFormat};
use crate::caller;
use crate::commands::runtime;
use crate::error::Error;
use crate::exit::Code;
use crate::output::{Output, human, json};
use crate::signals::{Signals, code_of};

/// How often one who follows looks for new lines.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// How much is printed at once where nobody looks on.
const WAITING_BYTES: usize = 64 * 1024;

/// Prints the logs of all runs, the events of one run, or what one of its agents printed.
///
/// # Errors
/// There is no such run or agent, or its files cannot be read.
pub(crate) fn logs(args: &LogsArgs, home: &Home, output: &Output) -> Result<Code, Error> {
    match &args.run {
        Some(run) => of_run(run, args.agent.as_ref(), home, output),
        None => of_all(&args.search, args.agent.as_ref(), home, output),
    }
}

fn of_run(run: &str, agent: Option<&AgentId>, home: &Home, output: &Output) -> Result<Code, Error> {
    let run = home.runs().resolve(run)?;
    match (agent, output.format) {
        (Some(agent), OutputFormat::Text) => printed(&run, agent, home, output)?,
        (agent, format) => {
            for event in home.runs().events(&run)? {
                let event = event?;
                if agent.is_some() && agent != event.agent.as_ref() {
                    continue;
                }
                match format {
                    OutputFormat::Text => output.text(&human::log_line(&event)),
                    OutputFormat::Json | OutputFormat::StreamJson => output.json_line(&event),
                }
            }
        }
    }
    Ok(Code::Completed)
}

fn of_all(
    args: &LogSearchArgs,
    agent: Option<&AgentId>,
    home: &Home,
    output: &Output,
) -> Result<Code, Error> {
    let now = caller::now();
    let query = LogQuery {
        since: args.since.map(|since| since.at_now(now)),
        until: args.until.map(|until| until.at_now(now)),
        level: args.level,
        run: args.of_run.as_ref().map(|run| run.to_ascii_uppercase()),
        agents: agent.cloned().into_iter().collect(),
        grep: args.grep.clone(),
        condition: args.condition.clone(),
    };
    let mut last = VecDeque::new();
    let mut printer = Printer { output, waiting: String::new() };
    let each = |line: LogLine<'_>| {
        match args.lines {
            None => printer.print(line),
            Some(lines) => {
                last.push_back((line.source.clone(), line.text.to_owned()));
                if last.len() > lines {
                    last.pop_front();
                }
            }
        }
        if output.is_lost() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let (follow, search) = if args.follow {
        let (follow, search) = LogFollow::start(home, query, each)?;
        (Some(follow), search)
    } else {
        (None, LogSearch::run(home, &query, each)?)
    };
    for (source, text) in &last {
        printer.print(LogLine { source, text });
    }
    printer.flush();
    note_missing(&search, output);
    match follow {
        Some(follow) => runtime()?.block_on(go_on(follow, output)),
        None => Ok(Code::Completed),
    }
}

/// Tells what could not be searched.
fn note_missing(search: &LogSearch, output: &Output) {
    for error in &search.unreadable {
        output.note(&chain(error));
    }
    if search.damaged > 0 {
        output.note(&format!("{} lines that are no log lines were passed over", search.damaged));
    }
}

/// Prints what comes until a signal comes, or nobody reads on.
async fn go_on(mut follow: LogFollow, output: &Output) -> Result<Code, Error> {
    let mut signals = Signals::listen([SignalKind::interrupt(), SignalKind::terminate()])?;
    let mut printer = Printer { output, waiting: String::new() };
    let mut look = tokio::time::interval(FOLLOW_EVERY);
    while !output.is_lost() {
        tokio::select! {
            signal = signals.next() => return Ok(code_of(signal)),
            _ = look.tick() => {
                let search = follow.more(|line| {
                    printer.print(line);
                    if output.is_lost() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })?;
                printer.flush();
                note_missing(&search, output);
            }
        }
    }
    Ok(Code::Completed)
}

/// Prints lines: on a terminal each at once, elsewhere many with one write.
struct Printer<'a> {
    output: &'a Output,
    waiting: String,
}

impl Printer<'_> {
    fn print(&mut self, line: LogLine<'_>) {
        match self.output.format {
            OutputFormat::Text => {
                self.waiting.push_str(&human::log_record(&line.record()));
                self.waiting.push('\n');
            }
            OutputFormat::Json | OutputFormat::StreamJson => {
                json::push_printable(&mut self.waiting, line.text);
            }
        }
        if self.waiting.len() >= WAITING_BYTES || self.output.is_terminal() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.waiting.is_empty() {
            self.output.text(&self.waiting);
            self.waiting.clear();
        }
    }
}

/// Prints what an agent printed: stderr, which mostly says what went wrong, then stdout.
fn printed(run: &RunId, agent: &AgentId, home: &Home, output: &Output) -> Result<(), Error> {
    let folder = home.agent_dir(run, agent);
    let mut is_there = false;
    for name in ["stderr.log", "stdout.log"] {
        let path = folder.join(name);
        let unreadable = |source| Error::Unreadable { path: path.clone(), source };
        match File::open(&path) {
            Ok(file) => output.raw(BufReader::new(file)).map_err(unreadable)?,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        }
        is_there = true;
    }
    if is_there {
        return Ok(());
    }
    let folders = fs::read_dir(home.run_dir(run).join("agents")).into_iter().flatten().flatten();
    let mut agents: Vec<String> =
        folders.filter_map(|folder| folder.file_name().into_string().ok()).collect();
    agents.sort();
    Err(Error::NoOutput { run: *run, agent: agent.clone(), agents })
}
