//! `aiswitch preset import` and `aiswitch preset export`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{Write, stdin};
use std::iter::successors;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use aiswitch_coordinator::{Preset, PresetName};
use aiswitch_env::{
    DataKeys, FlatPreset, Redactor, Secret, ValueSource, check_name, check_value, looks_secret,
};
use serde::Serialize;

use crate::args::{PresetExport, PresetImport, Tool};
use crate::caller::{Caller, absolute};
use crate::commands::secrets::seal;
use crate::error::Error;
use crate::exit::Code;
use crate::import::{
    ClearCopy, Foreign, Found, PROMISE, PassedOver, database, folders, live_files, name_all, purge, read,
    shell_files,
};
use crate::output::human::table;
use crate::output::{Output, ask};
use crate::vault::{Presets, Vault, own_values};
use crate::yaml_edit;

/// What is taken over, and what became of it.
#[derive(Debug, Serialize)]
struct ImportView<'f> {
    presets: Vec<PresetView<'f>>,
    passed_over: Vec<PassedOver>,
    /// Whether presets were written; `false` for a look, and where there was nothing to do.
    written: bool,
    /// Files that hold values in clear.
    clear_copies: Vec<PathBuf>,
    purged: bool,
    /// Files that hold values in clear for the agents that read them; they are left alone.
    also_in: Vec<PathBuf>,
}

/// One preset that is taken over.
#[derive(Debug, Serialize)]
struct PresetView<'f> {
    name: PresetName,
    was: &'f str,
    state: State,
    variables: usize,
    /// The variables whose values are encrypted on the way.
    encrypts: Vec<&'f str>,
}

/// How a preset stands to those that are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    New,
    /// There is one of this name with other values.
    Exists,
    /// It is here already.
    Same,
}

/// Takes presets over from another tool.
///
/// # Errors
/// What keeps it from that; nothing is changed then.
pub(super) fn import(
    args: &PresetImport,
    vault: &Vault<'_>,
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let sources = match (&args.path, args.from) {
        (Some(path), _) => vec![absolute(path.clone())?],
        (None, Some(Tool::CcSwitch)) => {
            database(&caller.user_dir().ok_or(Error::NoHome)?).into_iter().collect()
        }
        (None, _) => caller.foreign_sources(folders, shell_files)?,
    };
    let (mut found, mut passed_over) = (Vec::new(), Vec::new());
    for path in &sources {
        let Found { presets, passed_over: more } = read(path)?;
        found.extend(presets);
        passed_over.extend(more);
    }
    for PassedOver { name, reason } in &passed_over {
        output.note(&format!("`{name}` is not taken over: {reason}"));
    }
    let found = name_all(found);
    if found.is_empty() {
        return Err(Error::NothingToImport);
    }
    let _guard = vault.lock()?;
    let before = vault.presets()?;
    let mut plan = Plan::new(&found, &before, vault, caller)?;
    let existing = plan.views.iter().find(|view| view.state == State::Exists && !args.force);
    if let Some(view) = existing.filter(|_| !args.dry_run) {
        return Err(Error::PresetExists { name: view.name.clone() });
    }
    let has_new = plan.views.iter().any(|view| view.state != State::Same);
    if has_new && !args.dry_run {
        vault.privileged("preset.import", &plan.names())?;
        let after = plan.sealed(&found, &before, vault, caller)?;
        vault.write_presets(&after)?;
        verify(&found, vault, caller)?;
        plan.written = true;
    }
    let copies: BTreeSet<&ClearCopy> = found.iter().flat_map(|(_, foreign)| &foreign.copies).collect();
    if args.purge && !copies.is_empty() && (args.yes || confirm(&copies, caller)?) {
        vault.privileged("preset.purge", &plan.names())?;
        let secrets: Vec<&Secret> = secrets(&found).collect();
        copies.iter().try_for_each(|copy| purge(copy, &secrets))?;
        plan.purged = true;
    }
    let places = Places {
        passed_over,
        clear_copies: copies.iter().map(|copy| copy.path().to_owned()).collect(),
        also_in: also_in(&found, &copies, caller)?,
    };
    plan.show(places, output);
    Ok(Code::Completed)
}

/// The values that are not to stand in clear anywhere.
fn secrets(found: &[(PresetName, Foreign)]) -> impl Iterator<Item = &Secret> {
    let values = found.iter().flat_map(|(_, foreign)| &foreign.values);
    values.filter(|(name, value)| ValueSource::in_clear(name, value).is_none()).map(|(_, value)| value)
}

/// The files of agents that hold what cc-switch has given to them.
///
/// # Errors
/// One cannot be read.
fn also_in(
    found: &[(PresetName, Foreign)],
    copies: &BTreeSet<&ClearCopy>,
    caller: &Caller,
) -> Result<Vec<PathBuf>, Error> {
    let user = caller.user_dir().filter(|_| copies.iter().any(|copy| matches!(copy, ClearCopy::Database(_))));
    let redactor = Redactor::new(secrets(found));
    let mut also_in = Vec::new();
    for path in user.iter().flat_map(|user| live_files(user)) {
        let searched = File::open(&path).and_then(|file| redactor.search(file, 1));
        if !searched.map_err(|source| Error::Unreadable { path: path.clone(), source })?.is_empty() {
            also_in.push(path);
        }
    }
    Ok(also_in)
}

/// Where values stand that are not taken over, or stand in clear.
struct Places {
    passed_over: Vec<PassedOver>,
    clear_copies: Vec<PathBuf>,
    also_in: Vec<PathBuf>,
}

/// What is to be taken over.
struct Plan<'f> {
    views: Vec<PresetView<'f>>,
    written: bool,
    purged: bool,
}

impl<'f> Plan<'f> {
    fn new(
        found: &'f [(PresetName, Foreign)],
        before: &Presets,
        vault: &Vault<'_>,
        caller: &Caller,
    ) -> Result<Self, Error> {
        let names: Vec<&PresetName> = found.iter().map(|(name, _)| name).collect();
        let keys = vault.keys_for(before, names)?;
        let here = own(before, &keys, caller);
        let mut views = Vec::new();
        for (name, foreign) in found {
            for (variable, value) in &foreign.values {
                check_name(name, variable)?;
                check_value(variable, value)?;
            }
            let is_same = match before.get(name) {
                Some(preset) if foreign.values.is_empty() => *preset == foreign.preset,
                Some(_) => here.get(name) == Some(&foreign.values),
                None => false,
            };
            let state = match before.get(name) {
                None => State::New,
                Some(_) if is_same => State::Same,
                Some(_) => State::Exists,
            };
            let encrypts =
                foreign.values.iter().filter(|(name, value)| ValueSource::in_clear(name, value).is_none());
            views.push(PresetView {
                name: name.clone(),
                was: &foreign.was,
                state,
                variables: foreign.values.len() + foreign.preset.variables.len(),
                encrypts: encrypts.map(|(name, _)| name.as_str()).collect(),
            });
        }
        Ok(Self { views, written: false, purged: false })
    }

    fn names(&self) -> String {
        self.views.iter().map(|view| view.name.as_ref()).collect::<Vec<_>>().join(",")
    }

    /// All presets, with what is taken over among them.
    fn sealed(
        &self,
        found: &[(PresetName, Foreign)],
        before: &Presets,
        vault: &Vault<'_>,
        caller: &Caller,
    ) -> Result<Presets, Error> {
        let needs_key = self.views.iter().any(|view| !view.encrypts.is_empty())
            || found.iter().any(|(_, foreign)| foreign.preset.is_encrypted());
        let keys = if needs_key { vault.keys()? } else { DataKeys::default() };
        let mut presets = before.clone();
        let new = found.iter().zip(&self.views).filter(|(_, view)| view.state != State::Same);
        for ((name, foreign), _) in new {
            let preset = presets.entry(name.clone()).insert_entry(foreign.preset.clone()).into_mut();
            for (variable, value) in &foreign.values {
                preset.variables.extend(Some(variable.clone()).zip(ValueSource::in_clear(variable, value)));
            }
            // What is encrypted is bound to where all of the preset leads.
            for (variable, value) in &foreign.values {
                if ValueSource::in_clear(variable, value).is_none() {
                    seal(&mut presets, (name, None, variable), value, &keys, caller)?;
                }
            }
        }
        for (name, _) in found {
            FlatPreset::new(&presets, name, &[])?;
        }
        let taken = |name: &PresetName| found.iter().any(|(taken, _)| taken == name);
        for own in own_values(&presets, &caller.ambient(), &keys) {
            let is_kept = match &own.source {
                ValueSource::Encrypted(_) => true,
                ValueSource::Plain(_) => looks_secret(&own.name),
                // What they speak of may be missing here.
                ValueSource::Env(_) | ValueSource::File(_) => false,
            };
            if taken(own.preset) && is_kept {
                own.value?;
            }
        }
        Ok(presets)
    }

    fn show(self, places: Places, output: &Output) {
        let Places { passed_over, clear_copies, also_in } = places;
        let (written, purged) = (self.written, self.purged);
        let view = ImportView { presets: self.views, passed_over, written, clear_copies, purged, also_in };
        output.result(&view, || view.text());
        match (view.clear_copies.len(), view.purged) {
            (0, _) => {}
            (count, true) => {
                output.note(&format!("{count} copies in clear are overwritten or cut out; {PROMISE}"));
            }
            (count, false) => {
                output.note(&format!("{count} files still hold values in clear; --purge removes those"));
            }
        }
        for path in &view.also_in {
            output.note(&format!("{} holds one in clear too, for the agent that reads it", path.display()));
        }
    }
}

impl ImportView<'_> {
    fn text(&self) -> String {
        let head = ["PRESET", "WAS", "STATE", "VARIABLES", "ENCRYPTS"].map(str::to_owned).to_vec();
        let rows = self.presets.iter().map(|view| {
            let state = match view.state {
                State::New => "new",
                State::Exists => "exists",
                State::Same => "same",
            };
            let was = view.was.to_owned();
            vec![
                view.name.to_string(),
                was,
                state.to_owned(),
                view.variables.to_string(),
                view.encrypts.join(","),
            ]
        });
        table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    }
}

/// The values that presets say for every agent, as far as they can be had.
fn own(
    presets: &Presets,
    keys: &DataKeys,
    caller: &Caller,
) -> BTreeMap<PresetName, BTreeMap<String, Secret>> {
    let mut all: BTreeMap<PresetName, BTreeMap<String, Secret>> = BTreeMap::new();
    for own in own_values(presets, &caller.ambient(), keys).into_iter().filter(|own| own.agent.is_none()) {
        let values = all.entry(own.preset.clone()).or_default();
        values.extend(own.value.ok().map(|variable| (own.name, variable.value)));
    }
    all
}

/// Reads what was written, and compares it: only then may a copy in clear be removed.
fn verify(found: &[(PresetName, Foreign)], vault: &Vault<'_>, caller: &Caller) -> Result<(), Error> {
    let presets = vault.presets()?;
    let keys = vault.keys_for(&presets, presets.keys())?;
    let here = own(&presets, &keys, caller);
    let differs = |(name, foreign): &&(PresetName, Foreign)| {
        !foreign.values.is_empty() && here.get(name) != Some(&foreign.values)
    };
    match found.iter().find(differs) {
        Some((name, _)) => Err(Error::ImportDiffers { name: name.clone() }),
        None => Ok(()),
    }
}

/// Asks a person whether the copies may be removed.
fn confirm(copies: &BTreeSet<&ClearCopy>, caller: &Caller) -> Result<bool, Error> {
    if !caller.stdin_terminal {
        return Err(Error::PurgeUnconfirmed);
    }
    let paths: Vec<String> = copies.iter().map(|copy| copy.path().display().to_string()).collect();
    ask(&format!("remove the values in clear from {}? [y/N] ", paths.join(", ")));
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(|source| Error::NoValue { source })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints presets as YAML, or writes them to a new file.
///
/// # Errors
/// One is not known, or the file is there already or cannot be written.
pub(super) fn export(args: &PresetExport, vault: &Vault<'_>, output: &Output) -> Result<Code, Error> {
    let presets = vault.presets()?;
    let mut wanted = BTreeMap::new();
    let names: Vec<&PresetName> =
        if args.all { presets.keys().collect() } else { args.names.iter().collect() };
    for name in names {
        if !presets.contains_key(name) {
            return Err(Error::unknown_preset(name, &presets));
        }
        FlatPreset::new(&presets, name, &[])?;
        let line = successors(presets.get_key_value(name), |(_, preset): &(_, &Preset)| {
            presets.get_key_value(preset.extends.as_ref()?)
        });
        wanted.extend(line.map(|(name, preset)| (name.clone(), preset.clone())));
    }
    let text = yaml_edit::rewrite("", &wanted).expect("an empty text can be changed");
    let Some(path) = &args.output else {
        output.result(&BTreeMap::from([("yaml", &text)]), || text.clone());
        return Ok(Code::Completed);
    };
    // A link or a file that is there already is not written through.
    let mut options = OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| Error::NotExported { path: path.clone(), source })?;
    output.done(&format!("{} presets are in {}", wanted.len(), path.display()));
    Ok(Code::Completed)
}
