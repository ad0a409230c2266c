//! The verbs of presets.

use std::path::PathBuf;

use aiswitch_coordinator::{AgentId, PresetName};
use clap::{Subcommand, ValueEnum};

/// Named sets of variables.
#[derive(Debug, Subcommand)]
pub(crate) enum PresetVerb {
    /// List the presets
    List {
        /// Only those with this tag
        #[arg(long, value_name = "TAG")]
        tag: Option<String>,
    },
    /// Show the variables of a preset with those of what it extends, and no secret
    Show {
        /// The preset
        name: PresetName,
        /// As this agent is given it
        #[arg(short, long, value_name = "NAME")]
        agent: Option<AgentId>,
    },
    /// Add a preset
    Add {
        /// The preset
        name: PresetName,
        #[command(flatten)]
        change: PresetChange,
    },
    /// Change a preset; comments and order of the file stay
    Edit {
        /// The preset
        name: PresetName,
        #[command(flatten)]
        change: PresetChange,
        /// Take a variable out
        #[arg(long, value_name = "VARIABLE")]
        unset: Vec<String>,
    },
    /// Remove presets, all or none
    Remove {
        /// The presets
        #[arg(required = true)]
        names: Vec<PresetName>,
    },
    /// Check that every value of every preset can be had
    Validate,
    /// Take over presets from another tool, or from a file that `preset export` wrote; secrets are encrypted on the way
    ///
    /// Either all presets are taken over or none is. What is there already with the same values is left as it is.
    Import(PresetImport),
    /// Print presets as YAML, with those that they extend; what is encrypted stays so
    Export(PresetExport),
}

/// What a preset is to say.
#[derive(Debug, clap::Args)]
pub(crate) struct PresetChange {
    /// Variables: text, `env:NAME` or `file:PATH`; secrets go by `aiswitch secrets set`
    #[arg(value_name = "VARIABLE=VALUE", value_parser = assignment)]
    pub(crate) variables: Vec<(String, String)>,
    /// What the preset is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A word to find it by; instead of those that it has
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// The preset whose variables it starts from
    #[arg(long, value_name = "PRESET")]
    pub(crate) extends: Option<PresetName>,
}

/// Presets of another tool.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct PresetImport {
    /// A file or folder: what it is, is seen by what is in it
    #[arg(value_name = "PATH", required_unless_present = "from")]
    pub(crate) path: Option<PathBuf>,
    /// Look where this tool keeps its presets
    #[arg(long, value_name = "TOOL", conflicts_with = "path")]
    pub(crate) from: Option<Tool>,
    /// Print what would be taken over, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Replace presets that are there already
    #[arg(long)]
    pub(crate) force: bool,
    /// Remove the copies in clear when all is taken over
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) purge: bool,
    /// Do not ask before the copies in clear are removed
    #[arg(long, requires = "purge")]
    pub(crate) yes: bool,
}

/// Presets as YAML.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct PresetExport {
    /// The presets
    #[arg(required_unless_present = "all")]
    pub(crate) names: Vec<PresetName>,
    /// All presets
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
    /// Write a new file instead
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// A tool that keeps presets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// The aiswitch that was written in Python: its folder, and its blocks in shell files
    Aiswitch,
    /// cc-switch: its database, and the copies that it has made of that
    CcSwitch,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it has no `=`")?;
    Ok((name.to_owned(), value.to_owned()))
}
