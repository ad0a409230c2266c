//! The verbs of shells.

use std::fmt;

use aiswitch_coordinator::PresetName;
use clap::{Subcommand, ValueEnum};
use serde::Serialize;

/// Presets for a shell.
#[derive(Debug, Subcommand)]
pub(crate) enum ShellVerb {
    /// Print the function that lets `aiswitch apply PRESET` and `aiswitch clear` change the shell that they are typed in
    ///
    /// For ~/.bashrc: eval "$(aiswitch shell init bash)"; for ~/.zshrc: eval "$(aiswitch shell init zsh)"; for
    /// ~/.config/fish/config.fish: aiswitch shell init fish | source
    Init {
        /// The shell
        shell: ShellName,
    },
    /// Have new shells read the function: put it into their files, between two marked lines
    Install {
        /// The shells [default: the one that SHELL names]
        shells: Vec<ShellName>,
        /// Put new shells under this preset; its values stay where they are
        #[arg(long, value_name = "PRESET")]
        preset: Option<PresetName>,
    },
    /// Take the marked lines out again
    Uninstall {
        /// The shells [default: all]
        shells: Vec<ShellName>,
    },
    /// Show the preset of this shell, and which shells read the function
    Status,
    /// Print the statements that put a preset into a shell, for the function
    Set {
        /// The preset
        preset: PresetName,
        /// The shell
        #[arg(long)]
        shell: ShellName,
    },
    /// Print the statements that take the preset out of a shell, for the function
    Clear {
        /// The shell
        #[arg(long)]
        shell: ShellName,
    },
}

/// A shell that there is a function for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ShellName {
    Bash,
    Zsh,
    Fish,
}

impl ShellName {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];
}

impl fmt::Display for ShellName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        })
    }
}
