//! `aiswitch preset`: the named sets of variables.

use std::collections::BTreeSet;

use aiswitch_coordinator::{AgentId, Home, Preset, PresetName};
use aiswitch_env::{DataKeys, EnvError, FlatPreset, ValueSource, check_name, looks_secret};
use serde::Serialize;

use crate::args::{PresetChange, PresetVerb};
use crate::caller::Caller;
use crate::commands::import::{export, import};
use crate::config::Config;
use crate::error::{Error, chain};
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::table;
use crate::vault::{Presets, Vault, own_values};

/// One preset in a list.
#[derive(Debug, Serialize)]
struct PresetView<'p> {
    name: &'p PresetName,
    description: Option<&'p str>,
    tags: &'p [String],
    extends: Option<&'p PresetName>,
    /// How many variables it says itself.
    variables: usize,
    /// The agents that it says something of its own for.
    agents: Vec<&'p str>,
}

/// One variable, with no secret in it.
#[derive(Debug, Serialize)]
struct VariableView {
    name: String,
    /// `ENC[…]` for one that is encrypted, `…` for one that may be a secret.
    value: String,
    /// The preset that it stands in.
    from: PresetName,
}

/// What is wrong with presets.
#[derive(Debug, Serialize)]
struct ValidView {
    presets: usize,
    problems: Vec<String>,
}

/// Does what one of the verbs says.
///
/// # Errors
/// What keeps it from that; the file is as it was then.
pub(crate) fn presets(
    verb: &PresetVerb,
    home: &Home,
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let vault = Vault::new(home, caller);
    let done = match verb {
        PresetVerb::List { tag } => return Ok(list(&vault.presets()?, tag.as_deref(), output)),
        PresetVerb::Show { name, agent } => return show(&vault.presets()?, name, agent.as_ref(), output),
        PresetVerb::Validate => return validate(&vault, (home, caller), output),
        PresetVerb::Import(args) => return import(args, &vault, caller, output),
        PresetVerb::Export(args) => return export(args, &vault, output),
        PresetVerb::Add { name, change } => {
            let _guard = vault.lock()?;
            let mut presets = vault.presets()?;
            if presets.contains_key(name) {
                return Err(Error::PresetExists { name: name.clone() });
            }
            apply_change(&mut presets, name, change)?;
            vault.privileged("preset.add", name.as_ref())?;
            vault.write_presets(&presets)?;
            format!("preset `{name}` is there now")
        }
        PresetVerb::Edit { name, change, unset } => {
            let _guard = vault.lock()?;
            let mut presets = vault.presets()?;
            let preset = known(&mut presets, name)?;
            for variable in unset {
                let unknown = || Error::UnknownVariable { preset: name.clone(), name: variable.clone() };
                preset.variables.remove(variable).ok_or_else(unknown)?;
            }
            apply_change(&mut presets, name, change)?;
            vault.privileged("preset.edit", name.as_ref())?;
            vault.write_presets(&presets)?;
            format!("preset `{name}` is changed")
        }
        PresetVerb::Remove { names } => {
            let _guard = vault.lock()?;
            let mut presets = vault.presets()?;
            for name in names {
                known(&mut presets, name)?;
                presets.remove(name);
            }
            let is_gone = |parent: &PresetName| names.contains(parent);
            for (child, preset) in &presets {
                if let Some(name) = preset.extends.clone().filter(is_gone) {
                    return Err(Error::PresetInUse { name, child: child.clone() });
                }
            }
            let gone = names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
            vault.privileged("preset.remove", &gone)?;
            vault.write_presets(&presets)?;
            format!("preset `{gone}` is gone")
        }
    };
    output.done(&done);
    Ok(Code::Completed)
}

fn known<'p>(presets: &'p mut Presets, name: &PresetName) -> Result<&'p mut Preset, Error> {
    if !presets.contains_key(name) {
        return Err(Error::unknown_preset(name, presets));
    }
    Ok(presets.entry(name.clone()).or_default())
}

fn apply_change(presets: &mut Presets, name: &PresetName, change: &PresetChange) -> Result<(), Error> {
    let preset = presets.entry(name.clone()).or_default();
    for (variable, text) in &change.variables {
        check_name(name, variable)?;
        let value = ValueSource::from(text.clone());
        if matches!(value, ValueSource::Plain(_)) && looks_secret(variable) {
            return Err(EnvError::ClearSecret { preset: name.to_string(), name: variable.clone() }.into());
        }
        preset.variables.insert(variable.clone(), value);
    }
    preset.description = change.description.clone().or(preset.description.take());
    preset.extends = change.extends.clone().or(preset.extends.take());
    if !change.tags.is_empty() {
        preset.tags.clone_from(&change.tags);
    }
    FlatPreset::new(presets, name, &[])?;
    Ok(())
}

fn list(presets: &Presets, tag: Option<&str>, output: &Output) -> Code {
    let has_tag = |preset: &Preset| tag.is_none_or(|tag| preset.tags.iter().any(|own| own == tag));
    let views: Vec<PresetView<'_>> = presets
        .iter()
        .filter(|(_, preset)| has_tag(preset))
        .map(|(name, preset)| PresetView {
            name,
            description: preset.description.as_deref(),
            tags: &preset.tags,
            extends: preset.extends.as_ref(),
            variables: preset.variables.len(),
            agents: preset.agents.keys().map(String::as_str).collect(),
        })
        .collect();
    output.result(&views, || {
        if views.is_empty() {
            return "there is no preset; aiswitch preset add --help says how to make one".to_owned();
        }
        let head = ["NAME", "VARIABLES", "EXTENDS", "TAGS", "DESCRIPTION"].map(str::to_owned).to_vec();
        let rows = views.iter().map(|view| {
            vec![
                view.name.to_string(),
                view.variables.to_string(),
                view.extends.map(ToString::to_string).unwrap_or_default(),
                view.tags.join(","),
                view.description.unwrap_or_default().to_owned(),
            ]
        });
        table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    });
    Code::Completed
}

fn show(
    presets: &Presets,
    name: &PresetName,
    agent: Option<&AgentId>,
    output: &Output,
) -> Result<Code, Error> {
    if !presets.contains_key(name) {
        return Err(Error::unknown_preset(name, presets));
    }
    let agent: Vec<&str> = agent.into_iter().map(AsRef::as_ref).collect();
    let flat = FlatPreset::new(presets, name, &agent)?;
    let views: Vec<VariableView> = flat
        .iter()
        .map(|(name, value)| VariableView {
            name: name.to_owned(),
            value: match &value.source {
                ValueSource::Encrypted(_) => "ENC[…]".to_owned(),
                ValueSource::Plain(_) if looks_secret(name) => "…".to_owned(),
                source => source.written(),
            },
            from: value.preset.clone(),
        })
        .collect();
    output.result(&views, || {
        let head = ["VARIABLE", "VALUE", "FROM"].map(str::to_owned).to_vec();
        let rows =
            views.iter().map(|view| vec![view.name.clone(), view.value.clone(), view.from.to_string()]);
        table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    });
    Ok(Code::Completed)
}

fn validate(vault: &Vault<'_>, (home, caller): (&Home, &Caller), output: &Output) -> Result<Code, Error> {
    let config = Config::read(home)?;
    let presets = &config.presets;
    let mut problems = Vec::new();
    let keys = vault.keys_for(presets, presets.keys()).unwrap_or_else(|error| {
        problems.push(chain(&error));
        DataKeys::default()
    });
    for (name, preset) in presets {
        problems.extend(FlatPreset::new(presets, name, &[]).err().map(|error| chain(&error)));
        let known: BTreeSet<String> = config.agents.keys().map(ToString::to_string).collect();
        let unknown = preset.agents.keys().filter(|agent| !known.contains(*agent));
        problems.extend(
            unknown.map(|agent| format!("preset `{name}` speaks of agent `{agent}`, which is not known")),
        );
    }
    let values = own_values(presets, &caller.ambient(), &keys).into_iter();
    problems.extend(values.filter_map(|own| own.value.err().map(|error| chain(&error))));
    let view = ValidView { presets: presets.len(), problems };
    output.result(&view, || {
        let mut lines = view.problems.clone();
        lines.push(format!("{} presets, {} problems", view.presets, view.problems.len()));
        lines.join("\n")
    });
    Ok(if view.problems.is_empty() { Code::Completed } else { Code::VerifyFailed })
}
