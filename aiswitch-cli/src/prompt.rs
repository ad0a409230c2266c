//! Where the prompt of a run comes from: the command line, a file, stdin, or stdin beside one of them.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use aiswitch_coordinator::PROMPT_BYTES_MAX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use crate::args::RunArgs;
use crate::caller::Caller;
use crate::error::Error;
use crate::output::Output;

/// How long input beside a prompt may take to begin, in seconds.
///
/// A program that starts this one often leaves an open pipe as its stdin, into which nobody ever writes.
const STDIN_BEGIN_SECONDS: i64 = 3;

/// Reads the prompt of a run.
///
/// # Errors
/// There is none, or it cannot be read.
pub(crate) fn read(args: &RunArgs, caller: &Caller, output: &Output) -> Result<String, Error> {
    let dash = args.prompt.as_deref() == Some("-");
    let file = args.file.as_deref().filter(|file| *file != Path::new("-"));
    let stdin_only = args.file.is_some() && file.is_none();
    let said = match (&args.text, &args.prompt, file) {
        (Some(_), Some(prompt), _) if !dash => return Err(Error::TwoPrompts { prompt: prompt.clone() }),
        (Some(text), ..) => Some(text.clone()),
        (None, Some(prompt), _) if !dash => Some(prompt.clone()),
        (None, _, Some(file)) => Some(read_file(file)?),
        _ => None,
    };
    match said {
        None if caller.stdin_terminal && !dash && !stdin_only => Err(Error::NoPrompt),
        None => read_stdin(),
        Some(said) if dash => Ok(append(said, &read_stdin()?)),
        Some(said) if !caller.stdin_terminal && stdin_begins(output)? => Ok(append(said, &read_stdin()?)),
        Some(said) => Ok(said),
    }
}

/// The prompt with input behind it.
fn append(prompt: String, input: &str) -> String {
    if input.is_empty() {
        prompt
    } else {
        format!("{prompt}\n\n<stdin>\n{}\n</stdin>", input.trim_end_matches('\n'))
    }
}

fn read_file(path: &Path) -> Result<String, Error> {
    let from = path.display().to_string();
    match File::open(path) {
        Ok(file) => read_text(from, file),
        Err(source) => Err(Error::PromptUnreadable { from, source }),
    }
}

fn read_stdin() -> Result<String, Error> {
    read_text("stdin".into(), io::stdin().lock())
}

fn read_text(from: String, input: impl Read) -> Result<String, Error> {
    let mut bytes = Vec::new();
    match input.take(PROMPT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes) {
        Err(source) => Err(Error::PromptUnreadable { from, source }),
        Ok(count) if count > PROMPT_BYTES_MAX => Err(Error::PromptTooLong { from }),
        Ok(_) => String::from_utf8(bytes).map_err(|source| Error::PromptNotText { from, source }),
    }
}

/// Waits until stdin has something to read or has ended, for a bounded time.
fn stdin_begins(output: &Output) -> Result<bool, Error> {
    let stdin = io::stdin();
    let time = Timespec { tv_sec: STDIN_BEGIN_SECONDS, tv_nsec: 0 };
    let ready =
        retry_on_intr(|| poll(&mut [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)], Some(&time)))
            .map_err(|source| Error::PromptUnreadable { from: "stdin".into(), source: source.into() })?;
    if ready == 0 {
        output.note(&format!(
            "nothing came on stdin for {STDIN_BEGIN_SECONDS} s: going on without it (`-p TEXT -` waits for it)"
        ));
    }
    Ok(ready > 0)
}
