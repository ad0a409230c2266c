//! The presets of the aiswitch that was written in Python: its folder and its JSON exports.
//!
//! The forms are those that its version 0.1.0 writes (<https://github.com/AHGGG/aiswitch>).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aiswitch_coordinator::Preset;
use aiswitch_env::Secret;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::shell_block::is_there;
use super::{ClearCopy, Foreign};
use crate::config::{parse, read_text};
use crate::error::Error;

/// The files of shells that it writes variables to, and the copies that it makes of them, in the user's home.
const SHELL_FILES: &[&str] = &[
    ".bashrc",
    ".bashrc.aiswitch.backup",
    ".bash_profile",
    ".bash_profile.aiswitch.backup",
    ".zshrc",
    ".zshrc.aiswitch.backup",
    ".config/fish/config.fish",
    ".config/fish/config.fish.aiswitch.backup",
];

/// `presets/NAME.yaml` and `current.yaml`, and a preset within an export.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetForm {
    name: String,
    #[serde(default)]
    description: String,
    variables: BTreeMap<String, String>,
    #[serde(default, rename = "created_at")]
    _created_at: IgnoredAny,
    #[serde(default)]
    tags: Vec<String>,
}

/// What `aiswitch export` of the Python tool writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportForm {
    #[serde(default, rename = "version")]
    _version: IgnoredAny,
    #[serde(default, rename = "export_time")]
    _export_time: IgnoredAny,
    #[serde(default, rename = "global_config")]
    _global_config: IgnoredAny,
    #[serde(default)]
    preset: Option<PresetForm>,
    #[serde(default)]
    presets: Vec<PresetForm>,
}

impl PresetForm {
    fn foreign(self, path: &Path) -> Result<Foreign, Error> {
        let values = self.variables.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        let description = Some(self.description).filter(|text| !text.is_empty());
        let preset = Preset { description, tags: self.tags, ..Preset::default() };
        Foreign::in_clear(self.name, preset, values, ClearCopy::File(path.to_owned()))
    }
}

/// Where the tool keeps its presets, in the order in which it looks, as far as they are there.
pub(crate) fn folders(config_home: Option<PathBuf>, user: &Path) -> Vec<PathBuf> {
    let homes = [config_home, Some(user.join(".config"))].into_iter().flatten();
    let named = homes.map(|home| home.join("aiswitch")).chain([user.join(".aiswitch")]);
    let mut folders: Vec<PathBuf> = named.filter(|folder| folder.join("presets").is_dir()).collect();
    folders.dedup();
    folders
}

/// The files of shells that hold blocks of variables, and those that cannot be read, to be named as such.
pub(crate) fn shell_files(user: &Path) -> Vec<PathBuf> {
    let may_hold = |path: &PathBuf| path.is_file() && read_text(path).map_or(true, |text| is_there(&text));
    SHELL_FILES.iter().map(|file| user.join(file)).filter(may_hold).collect()
}

/// Reads the tool's folder.
///
/// # Errors
/// It has no presets, or one cannot be read.
pub(super) fn read_folder(folder: &Path) -> Result<Vec<Foreign>, Error> {
    let presets = folder.join("presets");
    let unreadable = |source| Error::Unreadable { path: presets.clone(), source };
    let entries = fs::read_dir(&presets).map_err(unreadable)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(unreadable))
        .collect::<Result<Vec<PathBuf>, Error>>()?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    paths.sort();
    // The preset in use stands in a file of its own, and may be another than the one that it was.
    paths.extend(Some(folder.join("current.yaml")).filter(|path| path.is_file()));
    paths.iter().map(|path| form::<PresetForm>(path, &read_text(path)?)?.foreign(path)).collect()
}

/// Reads one of the tool's exports.
///
/// # Errors
/// It is none, or a value is missing in it.
pub(super) fn read_export(path: &Path, text: &str) -> Result<Vec<Foreign>, Error> {
    let export = form::<ExportForm>(path, text)?;
    export.preset.into_iter().chain(export.presets).map(|preset| preset.foreign(path)).collect()
}

/// Reads YAML, or JSON, which is YAML too. What is wrong is not quoted: it could be a secret.
fn form<T: serde::de::DeserializeOwned>(path: &Path, text: &str) -> Result<T, Error> {
    parse(text).map_err(|error| {
        let place = error.location().map(|at| format!(":{}:{}", at.line(), at.column())).unwrap_or_default();
        Error::ForeignForm { place: format!("{}{place}", path.display()) }
    })
}
