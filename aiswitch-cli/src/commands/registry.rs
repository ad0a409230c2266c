//! `aiswitch agents add` and `remove`: changing `agents.yaml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aiswitch_agent::AgentSpec;
use aiswitch_coordinator::{AgentId, Home};

use crate::args::AgentAdd;
use crate::caller::Caller;
use crate::config::{parse_agents, read_agents, read_text};
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::vault::{Vault, write_private};
use crate::yaml_edit::{replace_entry, scalar};

type Agents = BTreeMap<AgentId, AgentSpec>;

/// Adds an agent; comments and order of the file stay.
///
/// # Errors
/// It is there already, has no program, or the file cannot be changed; it is as it was then.
pub(super) fn add(add: &AgentAdd, home: &Home, caller: &Caller, output: &Output) -> Result<Code, Error> {
    let spec = AgentSpec {
        command: add.command.clone(),
        preset: add.preset.clone(),
        model: add.model.clone(),
        timeout: add.timeout,
        modes: (!add.modes.is_empty()).then(|| add.modes.clone()),
        ..AgentSpec::new(add.driver)
    };
    if spec.profile(add.name.clone()).command.is_empty() && add.driver != aiswitch_agent::Driver::Echo {
        return Err(Error::NoProgram { id: add.name.clone() });
    }
    let vault = Vault::new(home, caller);
    let _guard = vault.lock()?;
    let mut wanted = read_agents(&file(home))?;
    if wanted.insert(add.name.clone(), spec).is_some() {
        return Err(Error::AgentExists { name: add.name.clone(), path: file(home) });
    }
    vault.privileged("agents.add", add.name.as_ref())?;
    change(home, &wanted, &add.name, Some(&line(add)))?;
    output.done(&format!("agent `{}` is there now", add.name));
    Ok(Code::Completed)
}

/// Removes agents, all or none.
///
/// # Errors
/// One of them is not in the file, or that cannot be changed; it is as it was then.
pub(super) fn remove(
    names: &[AgentId],
    home: &Home,
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let vault = Vault::new(home, caller);
    let _guard = vault.lock()?;
    let mut agents = read_agents(&file(home))?;
    if let Some(unknown) = names.iter().find(|name| !agents.contains_key(*name)) {
        return Err(Error::NotConfigured { name: unknown.clone(), path: file(home) });
    }
    let gone = names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
    vault.privileged("agents.remove", &gone)?;
    for name in names {
        agents.remove(name);
        change(home, &agents, name, None)?;
    }
    output.done(&format!("agent `{gone}` is gone from agents.yaml"));
    Ok(Code::Completed)
}

fn file(home: &Home) -> PathBuf {
    home.config_dir().join("agents.yaml")
}

/// The entry of an agent, in the one line in which people write it.
fn line(add: &AgentAdd) -> String {
    let list = |texts: &[String]| {
        format!("[{}]", texts.iter().map(|text| scalar(text)).collect::<Vec<_>>().join(", "))
    };
    let modes: Vec<String> = add.modes.iter().map(ToString::to_string).collect();
    let keys = [
        ("driver", Some(add.driver.to_string())),
        ("command", (!add.command.is_empty()).then(|| list(&add.command))),
        ("preset", add.preset.as_ref().map(|preset| scalar(preset.as_ref()))),
        ("model", add.model.as_deref().map(scalar)),
        ("timeout", add.timeout.map(|time| time.to_string())),
        ("modes", (!modes.is_empty()).then(|| list(&modes))),
    ];
    let keys: Vec<String> =
        keys.into_iter().filter_map(|(key, value)| Some(format!("{key}: {}", value?))).collect();
    format!("{{{}}}", keys.join(", "))
}

/// Writes the file so that it says these agents, of which one was changed; what comes out is read before it is kept.
fn change(home: &Home, wanted: &Agents, name: &AgentId, entry: Option<&str>) -> Result<(), Error> {
    let path = file(home);
    let text = read_text(&path)?;
    let block = |indent: usize| {
        // A name of digits alone would be a number.
        entry.map(|entry| format!("{:indent$}{}: {entry}", "", scalar(name.as_ref()))).into_iter().collect()
    };
    let is_right = |text: &String| parse_agents(text).is_ok_and(|agents| agents == *wanted);
    match replace_entry(&text, "agents", name.as_ref(), block).filter(is_right) {
        Some(text) => write_private(&path, text.as_bytes()),
        None => Err(Error::PresetShape { path }),
    }
}
