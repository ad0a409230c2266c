//! The verbs of the aiswitch that was written in Python: each is one of this one's.

use aiswitch_coordinator::{Home, PresetName};
use serde::Serialize;

use crate::args::{PresetChange, PresetVerb, PythonVerb, ShellVerb};
use crate::caller::Caller;
use crate::commands::presets::presets;
use crate::commands::shell::shell;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;

/// The preset of a shell.
#[derive(Debug, Serialize)]
struct CurrentView {
    preset: Option<PresetName>,
}

/// Does what one of the verbs says.
///
/// # Errors
/// As the verb that it stands for.
pub(crate) fn python(
    verb: &PythonVerb,
    home: &Home,
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let verb = match verb {
        PythonVerb::Add { name, words, description, tags } => {
            let (pairs, rest) = words.as_chunks::<2>();
            if let [name] = rest {
                return Err(Error::NoPair { name: name.clone() });
            }
            let variables = pairs.iter().map(|[name, value]| (name.clone(), value.clone())).collect();
            let change = PresetChange {
                variables,
                description: description.clone(),
                tags: tags.clone(),
                extends: None,
            };
            PresetVerb::Add { name: name.clone(), change }
        }
        PythonVerb::List => PresetVerb::List { tag: None },
        PythonVerb::Save { preset } => {
            let preset = match preset {
                Some(preset) => preset.clone(),
                None => caller.shell_preset()?.ok_or(Error::NoShellPreset)?,
            };
            let verb = ShellVerb::Install { shells: Vec::new(), preset: Some(preset) };
            return shell(&verb, home, caller, output);
        }
        PythonVerb::Clear => return Err(Error::NoShellFunction),
        PythonVerb::Install { force: _ } => {
            return shell(&ShellVerb::Install { shells: Vec::new(), preset: None }, home, caller, output);
        }
        PythonVerb::Uninstall => {
            return shell(&ShellVerb::Uninstall { shells: Vec::new() }, home, caller, output);
        }
        PythonVerb::Status => return shell(&ShellVerb::Status, home, caller, output),
        PythonVerb::Current => return current(caller, output),
        PythonVerb::Remove { names } => PresetVerb::Remove { names: names.clone() },
        PythonVerb::Export(args) => PresetVerb::Export(args.clone()),
        PythonVerb::Import(args) => PresetVerb::Import(args.clone()),
    };
    presets(&verb, home, caller, output)
}

fn current(caller: &Caller, output: &Output) -> Result<Code, Error> {
    let view = CurrentView { preset: caller.shell_preset()? };
    output.result(&view, || view.preset.as_ref().map(ToString::to_string).unwrap_or_default());
    if view.preset.is_none() {
        output.note("this shell is under no preset");
    }
    Ok(Code::Completed)
}
