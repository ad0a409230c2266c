//! `aiswitch shell`: presets for the shell that a person works in.

use aiswitch_coordinator::{Home, PresetName};
use aiswitch_env::{FlatPreset, Shell, ValueSource};
use serde::Serialize;

use crate::args::{ShellName, ShellVerb};
use crate::caller::Caller;
use crate::commands::shell_files::{install, status, uninstall};
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::vault::Vault;

/// The function for bash; zsh has its own options set aside first.
const POSIX: &str = r#"aiswitch() {
    OPTIONSlocal __aiswitch_arg __aiswitch_statements
    case "${1-}" in
    apply | use | clear)
        for __aiswitch_arg in "$@"; do
            case "$__aiswitch_arg" in
            -- | -h | --help)
                command aiswitch "$@"
                return
                ;;
            esac
        done
        if [ "$1" != clear ]; then
            shift
            set -- set "$@"
        fi
        __aiswitch_statements="$(command aiswitch shell "$@" --shell SHELL)" || return
        eval "$__aiswitch_statements"
        ;;
    *) command aiswitch "$@" ;;
    esac
}
"#;

/// The function for fish.
const FISH: &str = r#"function aiswitch
    if contains -- "$argv[1]" apply use clear; and not contains -- -- $argv; and not contains -- -h $argv; and not contains -- --help $argv
        set -l __aiswitch_verb (string replace -r '^(apply|use)$' set -- $argv[1])
        set -e argv[1]
        set -l __aiswitch_statements (command aiswitch shell $__aiswitch_verb $argv --shell fish)
        or return
        string join \n -- $__aiswitch_statements | source
    else
        command aiswitch $argv
    end
end
"#;

/// The script that a shell reads when it starts.
#[derive(Debug, Serialize)]
struct ScriptView {
    script: String,
}

/// Does what one of the verbs says.
///
/// # Errors
/// What keeps it from that; nothing is printed for the shell then.
pub(crate) fn shell(verb: &ShellVerb, home: &Home, caller: &Caller, output: &Output) -> Result<Code, Error> {
    match verb {
        ShellVerb::Init { shell } => {
            let view = ScriptView { script: script(*shell) };
            output.result(&view, || view.script.clone());
        }
        ShellVerb::Install { shells, preset } => {
            let vault = Vault::new(home, caller);
            output.done(&install(shells, preset.as_ref(), &vault, caller)?);
        }
        ShellVerb::Uninstall { shells } => {
            output.done(&uninstall(shells, &Vault::new(home, caller), caller)?);
        }
        ShellVerb::Status => return status(caller, output),
        ShellVerb::Set { preset, shell } => statements(Some(preset), *shell, (home, caller), output)?,
        ShellVerb::Clear { shell } => statements(None, *shell, (home, caller), output)?,
    }
    Ok(Code::Completed)
}

fn script(shell: ShellName) -> String {
    match shell {
        ShellName::Bash => POSIX.replace("OPTIONS", "").replace("SHELL", "bash"),
        // Whatever the user has set, words are not split and exports are for the whole shell.
        ShellName::Zsh => POSIX.replace("OPTIONS", "emulate -L zsh\n    ").replace("SHELL", "zsh"),
        ShellName::Fish => FISH.to_owned(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a person asked to have this preset in their own shell")]
fn statements(
    preset: Option<&PresetName>,
    shell: ShellName,
    (home, caller): (&Home, &Caller),
    output: &Output,
) -> Result<(), Error> {
    if caller.stdout_terminal {
        return Err(Error::ForShellsOnly { shell: shell.to_string() });
    }
    let shell = match shell {
        ShellName::Bash | ShellName::Zsh => Shell::Posix,
        ShellName::Fish => Shell::Fish,
    };
    let set_before = caller.shell_variables();
    let old: Vec<&str> = set_before.split_whitespace().collect();
    let statements = match preset {
        None => shell.switch(&old, None)?,
        Some(name) => {
            let vault = Vault::new(home, caller);
            let presets = vault.presets()?;
            if !presets.contains_key(name) {
                return Err(Error::unknown_preset(name, &presets));
            }
            let keys = vault.keys_for(&presets, [name])?;
            let flat = FlatPreset::new(&presets, name, &[])?;
            // What the preset before has set is not the caller's.
            let mut variables = flat.resolve(&caller.ambient().without(&old), &keys)?;
            for (variable, value) in flat.iter() {
                // It is the shell's own already, and stays when the preset goes.
                if matches!(&value.source, ValueSource::Env(wanted) if wanted == variable) {
                    variables.remove(variable);
                }
            }
            vault.privileged("shell.set", name.as_ref())?;
            shell.switch(&old, Some((name, &variables)))?
        }
    };
    output.text(statements.expose());
    Ok(())
}
