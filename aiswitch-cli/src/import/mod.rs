//! Presets that other tools keep: their files read into one form. Nothing is changed here but by a purge.

mod cc_switch;
mod purge;
mod python;
mod shell_block;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use aiswitch_coordinator::{Preset, PresetName};
use aiswitch_env::Secret;
use serde::Serialize;

use crate::config::{parse_presets, read_presets, read_text};
use crate::error::Error;

pub(crate) use cc_switch::{database, live_files};
pub(crate) use purge::{PROMISE, overwrite, purge};
pub(crate) use python::{folders, shell_files};

/// What the Python tool writes in the place of a value that it does not show.
const REDACTED: &str = "***REDACTED***";

/// The longest name of a preset, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) presets: Vec<Foreign>,
    pub(crate) passed_over: Vec<PassedOver>,
}

/// What another tool keeps and cannot be a preset.
#[derive(Debug, Serialize)]
pub(crate) struct PassedOver {
    /// What it is called there.
    pub(crate) name: String,
    pub(crate) reason: &'static str,
}

impl From<Vec<Foreign>> for Found {
    fn from(presets: Vec<Foreign>) -> Self {
        Self { presets, passed_over: Vec::new() }
    }
}

/// A preset of another tool.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// What it is called there.
    pub(crate) was: String,
    /// All of it that can stand in clear here.
    pub(crate) preset: Preset,
    /// The values that come in clear.
    pub(crate) values: BTreeMap<String, Secret>,
    /// Where they stand in clear.
    pub(crate) copies: Vec<ClearCopy>,
}

/// A place where values stand in clear.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ClearCopy {
    /// A file that holds nothing else.
    File(PathBuf),
    /// The marked blocks of a file of a shell.
    Blocks(PathBuf),
    /// Some texts of a database.
    Database(PathBuf),
}

impl ClearCopy {
    /// The file.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Blocks(path) | Self::Database(path) => path,
        }
    }
}

impl Foreign {
    /// A preset whose values come in clear.
    ///
    /// # Errors
    /// A value is not there, but only a word in its place.
    fn in_clear(
        was: String,
        preset: Preset,
        values: BTreeMap<String, Secret>,
        copy: ClearCopy,
    ) -> Result<Self, Error> {
        let redacted = Secret::new(REDACTED);
        if let Some((name, _)) = values.iter().find(|(_, value)| **value == redacted) {
            let path = copy.path().to_owned();
            return Err(Error::RedactedValue { path, preset: was, name: name.clone() });
        }
        Ok(Self { was, preset, values, copies: vec![copy] })
    }
}

/// Reads a file or a folder, whatever tool it is of.
///
/// # Errors
/// It cannot be read, or is of no tool that is known.
pub(crate) fn read(path: &Path) -> Result<Found, Error> {
    let found = fs::metadata(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    if found.is_dir() {
        return python::read_folder(path).map(Found::from);
    }
    if cc_switch::is_database(path)? {
        return cc_switch::read(path);
    }
    let text = read_text(path)?;
    if text.trim_start().starts_with('{') && parse_presets(&text).is_err() {
        return python::read_export(path, &text).map(Found::from);
    }
    if shell_block::is_there(&text) {
        return shell_block::read(path, &text).map(Found::from);
    }
    let own = |(name, preset): (PresetName, Preset)| Foreign {
        was: name.to_string(),
        preset,
        values: BTreeMap::new(),
        copies: Vec::new(),
    };
    Ok(read_presets(path)?.into_iter().map(own).collect::<Vec<_>>().into())
}

/// Gives every preset a name of its own; what is the same under the same name becomes one.
pub(crate) fn name_all(found: Vec<Foreign>) -> Vec<(PresetName, Foreign)> {
    let mut named: Vec<(PresetName, Foreign)> = Vec::new();
    for foreign in found {
        let same = |other: &&mut (PresetName, Foreign)| {
            other.1.was == foreign.was && !foreign.values.is_empty() && other.1.values == foreign.values
        };
        if let Some((_, other)) = named.iter_mut().find(same) {
            other.copies.extend(foreign.copies);
            continue;
        }
        let taken: BTreeSet<PresetName> = named.iter().map(|(name, _)| name.clone()).collect();
        named.push((free_name(&foreign.was, &taken), foreign));
    }
    named
}

/// The nearest name that a preset may have and that none of these has.
fn free_name(was: &str, taken: &BTreeSet<PresetName>) -> PresetName {
    let lower = was.trim().to_ascii_lowercase();
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' };
    let mut stem: String = lower.chars().map(allowed).collect::<String>().trim_matches(['-', '_']).to_owned();
    // Room for what keeps two apart.
    stem.truncate(NAME_BYTES_MAX - 4);
    if stem.is_empty() {
        "preset".clone_into(&mut stem);
    }
    let numbered = (2..).map(|number: u32| format!("{stem}-{number}"));
    let mut names = std::iter::once(stem.clone()).chain(numbered).filter_map(|name| name.parse().ok());
    names.find(|name| !taken.contains(name)).expect("one of endlessly many numbers is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_becomes_one_that_a_preset_may_have() {
        let mut taken = BTreeSet::new();
        for (was, expected) in [
            ("ds", "ds"),
            ("DS", "ds-2"),
            ("My Gateway (EU)", "my-gateway--eu"),
            ("智谱", "preset"),
            ("_x", "x"),
        ] {
            let name = free_name(was, &taken);
            assert_eq!(name.to_string(), expected);
            taken.insert(name);
        }
        assert_eq!(free_name(&"a".repeat(90), &taken).to_string().len(), 60);
    }
}
