//! `aiswitch help`: a verb or a topic explained.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use serde::Serialize;

use crate::args::Args;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;

/// One exit code.
#[derive(Debug, Serialize)]
struct CodeView {
    code: u8,
    meaning: &'static str,
}

/// A page of help.
#[derive(Debug, Serialize)]
struct HelpView {
    help: String,
}

/// Prints the help of a verb, the exit codes, or the help of the whole.
///
/// # Errors
/// There is no such verb or topic.
pub(crate) fn help(topic: &[String], output: &Output) -> Result<Code, Error> {
    if topic == ["exit-codes"] {
        let codes = Code::ALL.map(|code| CodeView { code: code.number(), meaning: code.meaning() });
        output.result(&codes, || {
            codes
                .iter()
                .map(|view| format!("{:3}  {}", view.code, view.meaning))
                .collect::<Vec<_>>()
                .join("\n")
        });
        return Ok(Code::Completed);
    }
    let whole = Args::command();
    // Words that are no verbs could be taken for a verb's arguments.
    let verb = topic.iter().try_fold(&whole, |verb, word| verb.find_subcommand(word));
    let words = ["aiswitch"].into_iter().chain(topic.iter().map(String::as_str)).chain(["--help"]);
    let help = match Args::try_parse_from(words) {
        Err(help) if verb.is_some() && help.kind() == ErrorKind::DisplayHelp => help.to_string(),
        _ => return Err(Error::UnknownTopic { topic: topic.join(" ") }),
    };
    let view = HelpView { help };
    output.result(&view, || view.help.clone());
    Ok(Code::Completed)
}
