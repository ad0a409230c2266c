//! `aiswitch completions`: scripts that complete the command line in a shell.

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use serde::Serialize;

use crate::args::Args;
use crate::exit::Code;
use crate::output::Output;

/// The name of the command.
const NAME: &str = "aiswitch";

/// A completion script.
#[derive(Debug, Serialize)]
struct CompletionsView {
    shell: String,
    script: String,
}

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: Shell, output: &Output) -> Code {
    let mut script = Vec::new();
    generate(shell, &mut visible(&Args::command()), NAME, &mut script);
    let view =
        CompletionsView { shell: shell.to_string(), script: String::from_utf8_lossy(&script).into_owned() };
    output.result(&view, || view.script.clone());
    Code::Completed
}

/// The command without its hidden verbs, which the generators would offer.
fn visible(command: &Command) -> Command {
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    let whole = Command::new(NAME).version(env!("CARGO_PKG_VERSION")).disable_help_subcommand(true);
    whole.args(command.get_arguments().cloned()).subcommands(verbs)
}
