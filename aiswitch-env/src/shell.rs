//! Statements that put a preset into a shell, or take it out; pure.

use std::collections::BTreeMap;

use crate::{EnvError, PresetName, Secret, Variable};

/// The variable of a shell that says which preset it is under.
pub const SHELL_PRESET: &str = "AISWITCH_PRESET";

/// The variable of a shell that names what its preset has set, with spaces between.
pub const SHELL_VARIABLES: &str = "AISWITCH_VARIABLES";

/// A shell, by the way in which it is told what a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash and zsh, which share what is used of them.
    Posix,
    /// fish.
    Fish,
}

impl Shell {
    /// The statements that take the variables `old` out of a shell, and put a preset's in.
    ///
    /// Each value stands in single quotes, in which a shell takes every byte for itself: nothing of it is ever run. The
    /// result is as secret as the values are.
    ///
    /// # Errors
    /// Names a variable that a shell cannot have.
    pub fn switch(
        self,
        old: &[&str],
        preset: Option<(&PresetName, &BTreeMap<String, Variable>)>,
    ) -> Result<Secret, EnvError> {
        let mut statements = String::new();
        let variables = preset.map(|(_, variables)| variables).into_iter().flatten();
        let names = variables.clone().map(|(name, _)| name.as_str());
        let all = old.iter().copied().chain(names.clone());
        if let Some(name) = all.clone().find(|name| !is_shell_name(name)) {
            return Err(EnvError::ShellName { name: name.escape_default().to_string() });
        }
        let gone = old.iter().filter(|name| !names.clone().any(|kept| kept == **name));
        gone.for_each(|name| self.unset(name, &mut statements));
        match preset {
            Some((preset, _)) => {
                variables.for_each(|(name, variable)| self.set(name, variable.value.text(), &mut statements));
                self.set(SHELL_PRESET, preset.as_ref(), &mut statements);
                self.set(SHELL_VARIABLES, &names.collect::<Vec<_>>().join(" "), &mut statements);
            }
            None => [SHELL_PRESET, SHELL_VARIABLES].iter().for_each(|name| self.unset(name, &mut statements)),
        }
        Ok(Secret::new(statements))
    }

    fn unset(self, name: &str, statements: &mut String) {
        let unset = match self {
            Self::Posix => "unset -v",
            Self::Fish => "set -e",
        };
        statements.extend([unset, " ", name, "\n"]);
    }

    fn set(self, name: &str, value: &str, statements: &mut String) {
        let (start, between) = match self {
            Self::Posix => ("export ", "="),
            Self::Fish => ("set -gx ", " "),
        };
        statements.extend([start, name, between, "'"]);
        for c in value.chars() {
            match (self, c) {
                (Self::Posix, '\'') => statements.push_str("'\\''"),
                (Self::Fish, '\'' | '\\') => statements.extend(['\\', c]),
                _ => statements.push(c),
            }
        }
        statements.push_str("'\n");
    }
}

/// Whether a shell can have a variable of this name.
fn is_shell_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
