//! A preset with all that it starts from, for one agent.

use std::collections::{BTreeMap, BTreeSet};

use crate::environment::{Origin, Variable};
use crate::preset::{check_value, origin_of_url, resolve_one};
use crate::seal::{DataKeys, Place};
use crate::{Ambient, EnvError, Preset, PresetName, ValueSource, read_value};

/// A preset with all that it starts from, for one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatPreset {
    variables: BTreeMap<String, FlatValue>,
}

/// A value, and the preset that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlatValue {
    /// The preset that it stands in.
    pub preset: PresetName,
    /// Where it comes from.
    pub source: ValueSource,
}

impl FlatPreset {
    /// Puts a preset together: what it starts from, itself, and what it says for this agent, each over the one before.
    ///
    /// `agent` is what the agent is called: none for no agent in particular, or its kind and then its own name.
    ///
    /// # Errors
    /// It is not among the presets, nor what it starts from; or it starts from itself.
    pub fn new(
        presets: &BTreeMap<PresetName, Preset>,
        name: &PresetName,
        agent: &[&str],
    ) -> Result<Self, EnvError> {
        let mut line: Vec<(&PresetName, &Preset)> = Vec::new();
        let mut next = Some(name);
        while let Some(current) = next {
            let Some(preset) = presets.get(current) else {
                return Err(match line.last() {
                    Some((child, _)) => {
                        EnvError::ParentUnknown { preset: (*child).clone(), parent: current.clone() }
                    }
                    None => EnvError::PresetUnknown { name: current.clone() },
                });
            };
            if line.iter().any(|(seen, _)| *seen == current) {
                return Err(EnvError::ParentCycle { preset: current.clone() });
            }
            line.push((current, preset));
            next = preset.extends.as_ref();
        }
        let mut variables = BTreeMap::new();
        for (owner, preset) in line.into_iter().rev() {
            let own = agent.iter().filter_map(|agent| preset.agents.get(*agent)).flatten();
            variables.extend(preset.variables.iter().chain(own).map(|(name, source)| {
                (name.clone(), FlatValue { preset: owner.clone(), source: source.clone() })
            }));
        }
        Ok(Self { variables })
    }

    /// Every variable, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &FlatValue)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Finds the value of every variable.
    ///
    /// # Errors
    /// Names the first variable that is not allowed, that holds a secret in clear, or whose value cannot be had.
    pub fn resolve(
        &self,
        ambient: &Ambient,
        keys: &DataKeys,
    ) -> Result<BTreeMap<String, Variable>, EnvError> {
        self.resolve_each(ambient, keys).map(|(name, variable)| Ok((name.to_owned(), variable?))).collect()
    }

    /// Finds the value of every variable, each for itself.
    pub fn resolve_each<'a>(
        &'a self,
        ambient: &'a Ambient,
        keys: &'a DataKeys,
    ) -> impl Iterator<Item = (&'a str, Result<Variable, EnvError>)> {
        let audience = self.audience(ambient);
        self.iter().map(move |(name, FlatValue { preset, source })| {
            let secret = !matches!(source, ValueSource::Plain(_));
            let place = Place { preset, name, audience: &audience };
            let value = resolve_one(place, source, ambient, keys);
            (name, value.map(|value| Variable { value, origin: Origin::Preset, secret }))
        })
    }

    /// Where the preset leads an agent: scheme, host and port of all its `*_BASE_URL`s that have a value, in order.
    ///
    /// Encrypted values are bound to it: a key for one host does not open for another.
    pub fn audience(&self, ambient: &Ambient) -> String {
        let urls = self.variables.iter().filter(|(name, _)| name.ends_with("_BASE_URL"));
        let origins: BTreeSet<String> = urls
            .filter_map(|(name, value)| {
                let value = match &value.source {
                    ValueSource::Plain(text) => crate::Secret::new(text.clone()),
                    ValueSource::Env(wanted) => ambient.get(wanted)?.clone(),
                    ValueSource::File(path) => crate::Secret::new(read_value(path).ok()?),
                    // An encrypted one is bound by itself, and nobody can make another without the key.
                    ValueSource::Encrypted(_) => return None,
                };
                check_value(name, &value).ok()?;
                Some(origin_of_url(value.text()))
            })
            .collect();
        origins.into_iter().collect::<Vec<_>>().join(" ")
    }
}

impl FromIterator<(String, FlatValue)> for FlatPreset {
    fn from_iter<I: IntoIterator<Item = (String, FlatValue)>>(variables: I) -> Self {
        Self { variables: variables.into_iter().collect() }
    }
}
