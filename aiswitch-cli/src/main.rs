#![doc = include_str!("../README.md")]

mod args;
mod assemble;
mod caller;
mod commands;
mod config;
mod error;
mod exit;
mod output;
mod pick;
mod prompt;
mod signals;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match args::Args::try_parse() {
        Ok(args) => commands::dispatch(&args, &caller::Caller::of_this_process())
            .unwrap_or_else(|error| output::print_error(&error).into()),
        Err(usage) => output::print_usage(&usage).into(),
    }
}
