//! One verb a file.

mod agents;
mod alerts;
mod apply;
mod audit;
mod cancel;
mod clean;
mod completions;
mod config;
mod doctor;
mod echo;
mod edit;
mod env;
mod help;
mod import;
mod init;
mod leak_check;
mod locks;
mod logs;
mod mcp;
mod metrics;
mod presets;
mod ps;
mod python;
mod registry;
mod report;
mod result;
mod run;
mod runs;
mod schema;
mod secrets;
mod shell;
mod shell_files;
mod tokens;
mod trust;

use std::process::ExitCode;

use aiswitch_coordinator::{HomeError, RunError};

use crate::args::{Args, ConfigVerb, Verb};
use crate::caller::Caller;
use crate::error::Error;
use crate::output::Output;

/// Does what the command line says.
///
/// # Errors
/// What ends it before it did so.
pub(crate) fn dispatch(args: &Args, caller: &Caller) -> Result<ExitCode, Error> {
    let output = Output::new(args, caller);
    let unchecked_home = || caller.home(args.common.home.as_ref());
    let home = || {
        let home = unchecked_home()?;
        match home.check() {
            Ok(()) => Ok(home),
            Err(refused @ HomeError::Unsafe { .. }) => Err(Error::Home(refused)),
            Err(source) => Err(RunError::Home { path: home.root().to_owned(), source }.into()),
        }
    };
    let code: ExitCode = match &args.verb {
        Verb::Run(run) => run::run(run, home()?, caller, &output)?.into(),
        Verb::Agents(verb) => agents::agents(verb, &home()?, caller, &output)?.into(),
        Verb::Runs => runs::runs(&home()?, &output)?.into(),
        Verb::Result { run } => result::result(run, &home()?, &output)?.into(),
        Verb::Ps => ps::ps(&home()?, &output)?.into(),
        Verb::Cancel(args) => cancel::cancel(args, &home()?, &output)?.into(),
        Verb::Wait(args) => cancel::wait(args, &home()?, &output)?.into(),
        Verb::Logs(logs) => logs::logs(logs, &home()?, &output)?.into(),
        Verb::Mcp(own) => mcp::mcp(args, own, home()?, caller)?.into(),
        Verb::Metrics(args) => metrics::metrics(args, &home()?, &output)?.into(),
        Verb::Tokens(args) => tokens::tokens(args, &home()?, caller, &output)?.into(),
        Verb::Report(args) => report::report(args, &home()?, &output)?.into(),
        Verb::Clean(args) => clean::clean(args, &home()?, &output)?.into(),
        Verb::LeakCheck { target } => leak_check::leak_check(target, &home()?, caller, &output)?.into(),
        Verb::Preset(verb) => presets::presets(verb, &home()?, caller, &output)?.into(),
        Verb::Apply(apply) => apply::apply(apply, &home()?, caller)?.into(),
        Verb::Env(verb) => env::env(verb, &home()?, caller, &output)?.into(),
        Verb::Shell(verb) => shell::shell(verb, &home()?, caller, &output)?.into(),
        Verb::Secrets(verb) => secrets::secrets(verb, &home()?, caller, &output)?.into(),
        Verb::Trust(trust) => trust::trust(trust, &home()?, caller, &output)?.into(),
        Verb::Locks(verb) => locks::locks(verb, &home()?, &output)?,
        Verb::Audit(verb) => audit::audit(verb, &home()?, &output)?.into(),
        Verb::Doctor { fix } => doctor::doctor(*fix, &unchecked_home()?, caller, &output)?.into(),
        Verb::Init => init::init(&home()?, &output)?.into(),
        Verb::Config(ConfigVerb::Show) => config::show(&home()?, &output)?.into(),
        Verb::Schema { document } => schema::schema(*document, &output).into(),
        Verb::Completions { shell } => completions::completions(*shell, &output).into(),
        Verb::Help { topic } => help::help(topic, &output)?.into(),
        Verb::Python(verb) => python::python(verb, &home()?, caller, &output)?.into(),
        Verb::Echo(echo) => echo::echo(echo)?,
    };
    output.finish()?;
    Ok(code)
}

/// The runtime of a verb that waits for something: one thread, since all work is done by other processes.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::Runtime { source })
}
