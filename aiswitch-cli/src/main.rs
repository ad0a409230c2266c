#![doc = include_str!("../README.md")]

mod args;
mod assemble;
mod bound;
mod caller;
mod commands;
mod config;
mod error;
mod exit;
mod import;
mod moment;
mod output;
mod panics;
mod pick;
mod privileged;
mod project;
mod prompt;
mod report;
mod signals;
mod vault;
mod yaml_edit;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    panics::install();
    // Before all else: this process may have been started to guard an agent, and nothing else.
    let guard = aiswitch_agent::guard_main();
    match args::Args::try_parse() {
        Ok(args) => commands::dispatch(&args, &caller::Caller::of_this_process(guard))
            .unwrap_or_else(|error| output::print_error(&error).into()),
        Err(usage) => output::print_usage(&usage).into(),
    }
}
