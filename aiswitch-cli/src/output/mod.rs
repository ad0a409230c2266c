//! The only place that prints: stdout carries the result, stderr all else.

pub(crate) mod env;
pub(crate) mod harmless;
pub(crate) mod human;
pub(crate) mod json;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, ErrorKind, Write};
use std::sync::OnceLock;

use aiswitch_coordinator::RunReport;
use anstream::adapter::strip_str;
use clap::error::ErrorKind as ClapErrorKind;
use serde::Serialize;

use crate::args::{Args, OutputFormat, Verb};
use crate::caller::Caller;
use crate::error::Error;
use crate::exit::Code;
use harmless::harmless;

/// Where the command's words go, and how much of them.
#[derive(Debug)]
pub(crate) struct Output {
    /// What stdout carries.
    pub(crate) format: OutputFormat,
    /// Whether progress is drawn on stderr.
    progress: bool,
    quiet: bool,
    stdout_terminal: bool,
    stdout_columns: Option<usize>,
    /// Why stdout cannot be written any more.
    stdout_lost: OnceLock<io::Error>,
}

impl Output {
    /// The output that the command line asks for.
    pub(crate) fn new(args: &Args, caller: &Caller) -> Self {
        let format = match &args.verb {
            _ if args.common.json => OutputFormat::Json,
            Verb::Run(run) => run.output_format,
            _ => OutputFormat::Text,
        };
        Self {
            format,
            progress: caller.wants_progress() && !args.common.quiet,
            quiet: args.common.quiet,
            stdout_terminal: caller.stdout_terminal,
            stdout_columns: caller.stdout_columns,
            stdout_lost: OnceLock::new(),
        }
    }

    /// Prints a result: as one JSON document, or as the text that it makes.
    pub(crate) fn result(&self, view: &impl Serialize, text: impl FnOnce() -> String) {
        match self.format {
            OutputFormat::Text => self.text(&text()),
            OutputFormat::Json => self.json(view),
            OutputFormat::StreamJson => self.json_line(view),
        }
    }

    /// Says what was done.
    pub(crate) fn done(&self, done: &str) {
        self.result(&BTreeMap::from([("done", done)]), || done.to_owned());
    }

    /// Prints one JSON document.
    pub(crate) fn json(&self, view: &impl Serialize) {
        self.write(json::document(view).as_bytes());
    }

    /// Prints one line of JSON.
    pub(crate) fn json_line(&self, view: &impl Serialize) {
        self.write(json::line(view).as_bytes());
    }

    /// Prints text, which a terminal is shown without what could control it.
    pub(crate) fn text(&self, text: &str) {
        let text = if self.stdout_terminal { harmless(text) } else { Cow::Borrowed(text) };
        if text.is_empty() || text.ends_with('\n') {
            self.write(text.as_bytes());
        } else {
            self.write(format!("{text}\n").as_bytes());
        }
    }

    /// How many cells a line of stdout has; `None` where it is as long as it needs to be.
    pub(crate) fn columns(&self) -> Option<usize> {
        self.stdout_columns
    }

    /// Whether stdout is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.stdout_terminal
    }

    /// Prints what a program had printed; a terminal is shown it without what could control it.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn raw(&self, mut printed: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while printed.read_until(b'\n', &mut line)? > 0 {
            if self.stdout_terminal {
                self.write(harmless(&String::from_utf8_lossy(&line)).as_bytes());
            } else {
                self.write(&line);
            }
            line.clear();
        }
        Ok(())
    }

    /// Tells something that may be worth to know.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            tell(&human::note(text));
        }
    }

    /// Draws a line of progress, where it is wanted and there is one.
    pub(crate) fn progress(&self, line: Option<&str>) {
        if self.progress {
            line.into_iter().for_each(tell);
        }
    }

    /// Tells what went wrong in a run, which no option silences, and what it warns of.
    pub(crate) fn problems(&self, report: &RunReport) {
        let warnings = if self.quiet { String::new() } else { human::warnings(report) };
        [human::problems(report), warnings]
            .iter()
            .filter(|lines| !lines.is_empty())
            .for_each(|lines| tell(lines));
    }

    /// Whether nobody reads stdout any more, so that there is no use in going on.
    pub(crate) fn is_lost(&self) -> bool {
        self.stdout_lost.get().is_some()
    }

    /// Whether all of the result could be printed. A reader that left early had enough: that is no error.
    ///
    /// # Errors
    /// Stdout could not be written for another reason.
    pub(crate) fn finish(self) -> Result<(), Error> {
        match self.stdout_lost.into_inner() {
            Some(source) if source.kind() != ErrorKind::BrokenPipe => Err(Error::Stdout { source }),
            _ => Ok(()),
        }
    }

    fn write(&self, bytes: &[u8]) {
        if self.stdout_lost.get().is_some() {
            return;
        }
        let mut stdout = io::stdout().lock();
        if let Err(error) = stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            self.stdout_lost.get_or_init(|| error);
        }
    }
}

/// Asks something of the person at the terminal, without an end of the line.
pub(crate) fn ask(question: &str) {
    // Nobody is left to be asked when stderr is closed; no answer is a no.
    drop(write!(anstream::stderr().lock(), "{}", harmless(question)));
}

/// Prints an error with its causes and its hint; its exit code.
pub(crate) fn print_error(error: &Error) -> Code {
    tell(&human::error(error, error.hint().as_deref()));
    error.code()
}

/// An error with its causes and its hint, as it is printed, without styles.
pub(crate) fn plain_error(error: &Error) -> String {
    strip_str(&human::error(error, error.hint().as_deref())).to_string()
}

/// Prints what the parser of the command line says, help or error; the exit code.
pub(crate) fn print_usage(usage: &clap::Error) -> Code {
    if !usage.use_stderr() || usage.kind() == ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // An error means that nobody is left to be told.
        drop(usage.print());
    } else {
        tell(&human::usage(&usage.render().to_string()));
    }
    if usage.use_stderr() { Code::Usage } else { Code::Completed }
}

/// Prints styled lines on stderr; styles are dropped where they are not wanted.
pub(crate) fn tell(lines: &str) {
    // Nobody is left to be told that stderr is closed.
    drop(writeln!(anstream::stderr().lock(), "{lines}"));
}
