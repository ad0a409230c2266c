//! One verb a file.

mod agents;
mod apply;
mod completions;
mod doctor;
mod echo;
mod help;
mod leak_check;
mod logs;
mod presets;
mod result;
mod run;
mod runs;
mod schema;
mod secrets;

use crate::args::{Args, Verb};
use crate::caller::Caller;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;

/// Does what the command line says.
///
/// # Errors
/// What ends it before it did so.
pub(crate) fn dispatch(args: &Args, caller: &Caller) -> Result<Code, Error> {
    let output = Output::new(args, caller);
    let home = || caller.home(args.common.home.as_ref());
    let code = match &args.verb {
        Verb::Run(run) => run::run(run, home()?, caller, &output),
        Verb::Agents(verb) => agents::agents(verb, &home()?, caller, &output),
        Verb::Runs => runs::runs(&home()?, &output),
        Verb::Result { run } => result::result(run, &home()?, &output),
        Verb::Logs { run, agent } => logs::logs(run, agent.as_ref(), &home()?, &output),
        Verb::LeakCheck { target } => leak_check::leak_check(target, &home()?, caller, &output),
        Verb::Preset(verb) => presets::presets(verb, &home()?, caller, &output),
        Verb::Apply(apply) => apply::apply(apply, &home()?, caller),
        Verb::Secrets(verb) => secrets::secrets(verb, &home()?, caller, &output),
        Verb::Doctor => doctor::doctor(&home()?, caller, &output),
        Verb::Schema { document } => Ok(schema::schema(*document, &output)),
        Verb::Completions { shell } => Ok(completions::completions(*shell, &output)),
        Verb::Help { topic } => help::help(topic, &output),
        Verb::Echo(echo) => echo::echo(echo),
    }?;
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
