//! `aiswitch apply`: one command under a preset.

use aiswitch_agent::become_program;
use aiswitch_coordinator::Home;
use aiswitch_env::{EnvError, Environment, FlatPreset, Origin, Variable, is_dangerous, looks_secret};

use crate::args::ApplyArgs;
use crate::caller::Caller;
use crate::error::Error;
use crate::exit::Code;
use crate::vault::Vault;

/// Becomes the command, with the environment that an agent would be given; returns only if that fails.
///
/// # Errors
/// The preset cannot be had, or the command cannot be started.
pub(crate) fn apply(args: &ApplyArgs, home: &Home, caller: &Caller) -> Result<Code, Error> {
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Error::NothingToRun { preset: args.preset.clone() });
    };
    let vault = Vault::new(home, caller);
    let presets = vault.presets()?;
    if !presets.contains_key(&args.preset) {
        return Err(Error::unknown_preset(&args.preset, &presets));
    }
    let keys = vault.keys_for(&presets, [&args.preset])?;
    let agent: Vec<&str> = args.agent.iter().map(AsRef::as_ref).collect();
    let ambient = caller.ambient();
    let mut variables = FlatPreset::new(&presets, &args.preset, &agent)?.resolve(&ambient, &keys)?;
    for name in &args.keep {
        if is_dangerous(name) {
            let preset = args.preset.to_string();
            return Err(EnvError::Dangerous { preset, name: name.clone() }.into());
        }
        let Some(value) = ambient.get(name).cloned() else {
            return Err(Error::NotSet { name: name.clone() });
        };
        let kept = Variable { value, origin: Origin::Allowed, secret: looks_secret(name) };
        variables.entry(name.clone()).or_insert(kept);
    }
    let environment = Environment::compose(&ambient, &[], Some(variables))?;
    vault.privileged("apply", args.preset.as_ref())?;
    let source = become_program(program, rest, &environment);
    Err(Error::NotStarted { program: program.to_string_lossy().into_owned(), source })
}
