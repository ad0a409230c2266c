//! The verbs of the aiswitch that was written in Python, for the fingers that know them.

use aiswitch_coordinator::PresetName;
use clap::Subcommand;

use super::{PresetExport, PresetImport};

/// The verbs of the aiswitch that was written in Python, as far as no verb of this one has the same name.
#[derive(Debug, Subcommand)]
pub(crate) enum PythonVerb {
    /// Add a preset, as `preset add` does
    #[command(hide = true)]
    Add {
        /// The preset
        name: PresetName,
        /// Variables and values in turn; secrets go by `aiswitch secrets set`
        #[arg(value_name = "VARIABLE VALUE", required = true, num_args = 2..)]
        words: Vec<String>,
        /// What the preset is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Words to find it by, with commas between
        #[arg(long, value_name = "TAGS", value_delimiter = ',')]
        tags: Vec<String>,
    },
    /// List the presets, as `preset list` does
    #[command(hide = true)]
    List,
    /// Say which preset this shell is under
    #[command(hide = true)]
    Current,
    /// Have new shells put under a preset, as `shell install --preset` does; no value is written into a shell's file
    #[command(hide = true)]
    Save {
        /// The preset [default: the one that this shell is under]
        preset: Option<PresetName>,
    },
    /// Take the preset out of this shell, which its function does: see `shell install`
    #[command(hide = true)]
    Clear,
    /// Have new shells read the function, as `shell install` does
    #[command(hide = true)]
    Install {
        /// It is the same without it: the lines are written anew each time
        #[arg(long)]
        force: bool,
    },
    /// Have new shells read the function no more, as `shell uninstall` does
    #[command(hide = true)]
    Uninstall,
    /// Show the preset of this shell, and which shells read the function, as `shell status` does
    #[command(hide = true)]
    Status,
    /// Remove presets, as `preset remove` does
    #[command(hide = true)]
    Remove {
        /// The presets
        #[arg(required = true)]
        names: Vec<PresetName>,
    },
    /// Print presets, as `preset export` does
    #[command(hide = true)]
    Export(PresetExport),
    /// Take over presets, as `preset import` does
    #[command(hide = true)]
    Import(PresetImport),
}
