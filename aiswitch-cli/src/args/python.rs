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
