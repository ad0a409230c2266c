//! `aiswitch secrets edit`: the encrypted values of one preset, in clear for as long as an editor is open.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, Permissions};
use std::io::{self, BufRead, stdin};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use aiswitch_agent::foreground;
use aiswitch_coordinator::{Preset, PresetName};
use aiswitch_env::{DataKeys, Secret, ValueSource, check_name, check_value};
use tempfile::TempDir;
use tokio::signal::unix::SignalKind;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::caller::Caller;
use crate::commands::runtime;
use crate::commands::secrets::seal;
use crate::config::{parse_presets, read_text};
use crate::error::Error;
use crate::import::overwrite;
use crate::output::{ask, print_error};
use crate::signals::{Signals, code_of};
use crate::vault::{Presets, Vault, own_values, write_private};
use crate::yaml_edit;

/// How long an editor that was asked to end may take to do so.
const EDITOR_GRACE: Duration = Duration::from_secs(2);

/// A folder of files in memory, where the caller's environment names none.
const MEMORY_FOLDER: &str = "/dev/shm";

/// Has the encrypted values of a preset edited, and encrypts what was changed.
///
/// # Errors
/// What keeps it from that; the presets are as they were then.
pub(super) fn edit(vault: &Vault<'_>, name: &PresetName, caller: &Caller) -> Result<String, Error> {
    let _guard = vault.lock()?;
    let before = vault.presets()?;
    if !before.contains_key(name) {
        return Err(Error::unknown_preset(name, &before));
    }
    let keys = vault.keys()?;
    let shown = in_clear(&before, name, &keys, caller)?;
    vault.privileged("secrets.edit", name.as_ref())?;
    let text = document(name, &shown);
    let runtime = runtime()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::listen([SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])?
    };
    let desk = Desk::new(vault, caller)?;
    let path = desk.0.path().join("presets.yaml");
    write_private(&path, text.as_bytes())?;
    loop {
        runtime.block_on(open_editor(&caller.editor(), &path, &mut signals))?;
        let edited = Zeroizing::new(read_text(&path)?);
        if edited == text {
            return Ok("nothing is changed".to_owned());
        }
        let changed =
            parse(&edited, name).and_then(|edited| change(&before, name, (&shown, &edited), &keys, caller));
        match changed {
            Ok((presets, done)) => return vault.write_presets(&presets).map(|()| done),
            Err(error) => {
                print_error(&error);
                if !runtime.block_on(wants_more(&mut signals))? {
                    return Err(Error::EditUnused);
                }
            }
        }
    }
}

/// The encrypted values that a preset says itself, in clear.
///
/// # Errors
/// One does not open.
#[expect(clippy::disallowed_methods, reason = "a person asked to edit these values")]
fn in_clear(presets: &Presets, name: &PresetName, keys: &DataKeys, caller: &Caller) -> Result<Preset, Error> {
    let mut shown = Preset::default();
    for own in own_values(presets, &caller.ambient(), keys) {
        if own.preset == name && matches!(own.source, ValueSource::Encrypted(_)) {
            let value = own.value?.value.expose().to_owned();
            shown.own_mut(own.agent).insert(own.name, value.into());
        }
    }
    Ok(shown)
}

/// What the editor is given.
fn document(name: &PresetName, shown: &Preset) -> Zeroizing<String> {
    let head = "# Each value here is encrypted when the editor ends; a line that is taken out removes its variable.\n\
                # All else of the preset stands in presets.yaml.\n";
    let all = BTreeMap::from([(name.clone(), shown.clone())]);
    Zeroizing::new(yaml_edit::rewrite(head, &all).expect("a text of comments can be changed"))
}

/// The values as they were edited.
///
/// # Errors
/// The text says something else, or is not in the form; no word of it is repeated.
fn parse(text: &str, name: &PresetName) -> Result<Preset, Error> {
    let wrong = |line| Error::EditedForm { line, preset: name.clone() };
    let presets = parse_presets(text).map_err(|error| wrong(error.location().map(|at| at.line())))?;
    let only = Some(presets).filter(|presets| presets.len() == 1);
    let edited = only.and_then(|mut presets| presets.remove(name)).ok_or_else(|| wrong(None))?;
    let is_more = edited.description.is_some() || !edited.tags.is_empty() || edited.extends.is_some();
    if is_more { Err(wrong(None)) } else { Ok(edited) }
}

/// The presets with what was changed, and what to say about it.
///
/// # Errors
/// A value cannot be held, or one of the preset would not open afterwards.
fn change(
    before: &Presets,
    name: &PresetName,
    (shown, edited): (&Preset, &Preset),
    keys: &DataKeys,
    caller: &Caller,
) -> Result<(Presets, String), Error> {
    let mut after = before.clone();
    let (mut sealed, mut removed) = (Vec::new(), 0);
    let whom: BTreeSet<Option<&str>> = shown.whom().chain(edited.whom()).collect();
    for agent in whom {
        let (old, new) = (shown.own(agent), edited.own(agent));
        let is_kept = |variable: &String| new.is_some_and(|new| new.contains_key(variable));
        for variable in old.into_iter().flatten().map(|(variable, _)| variable) {
            if !is_kept(variable) {
                after.entry(name.clone()).or_default().own_mut(agent).remove(variable);
                removed += 1;
            }
        }
        for (variable, source) in new.into_iter().flatten() {
            if old.and_then(|old| old.get(variable)) == Some(source) {
                continue;
            }
            let value = Secret::new(source.written());
            check_name(name, variable)?;
            check_value(variable, &value)?;
            if value.is_empty() {
                return Err(Error::EmptyValue { preset: name.clone(), name: variable.clone() });
            }
            // What all are bound to must stand before the first is encrypted.
            after.entry(name.clone()).or_default().own_mut(agent).remove(variable);
            sealed.push((agent, variable, value));
        }
    }
    for (agent, variable, value) in &sealed {
        seal(&mut after, (name, *agent, variable), value, keys, caller)?;
    }
    // Where the preset leads may have been changed by what became encrypted.
    in_clear(&after, name, keys, caller)?;
    let done = format!("preset `{name}`: {} values are encrypted anew, {removed} removed", sealed.len());
    Ok((after, done))
}

/// Waits for the editor to end.
///
/// # Errors
/// It cannot be started, failed, or a signal ended it.
async fn open_editor(editor: &OsStr, path: &Path, signals: &mut Signals) -> Result<(), Error> {
    // As git does it: the variable holds words for a shell.
    let mut script = OsString::from("exec ");
    script.push(editor);
    script.push(" \"$1\"");
    let words = ["-c".into(), script, "sh".into(), path.into()];
    let mut heard = None;
    let ended = foreground(OsStr::new("/bin/sh"), &words, async || match heard {
        // Editors go on after an interrupt, which is for what they are just doing.
        None => *heard.insert(signals.next().await),
        Some(kind) if kind == SignalKind::interrupt() => *heard.insert(signals.next().await),
        Some(_) => {
            tokio::time::sleep(EDITOR_GRACE).await;
            SignalKind::from_raw(rustix::process::Signal::KILL.as_raw())
        }
    })
    .await;
    let editor = || editor.to_string_lossy().into_owned();
    let status = ended.map_err(|source| Error::NotStarted { program: editor(), source })?;
    match heard {
        Some(kind) if kind != SignalKind::interrupt() || !status.success() => {
            Err(Error::EditBrokenOff { code: code_of(kind) })
        }
        _ if status.success() => Ok(()),
        _ => Err(Error::EditorFailed { editor: editor(), status }),
    }
}

/// Asks whether the edited text is to be gone on with; no answer is a no.
///
/// # Errors
/// A signal ended the wait.
async fn wants_more(signals: &mut Signals) -> Result<bool, Error> {
    ask("go on with the edited text? [Y/n] ");
    let (tell, told) = oneshot::channel();
    // A read of a terminal cannot be broken off, but ends with the process.
    thread::spawn(move || {
        let mut line = String::new();
        let read = stdin().lock().read_line(&mut line);
        // Nobody waits any more when a signal came first.
        tell.send(read.is_ok_and(|count| count > 0) && !line.trim().starts_with(['n', 'N'])).ok();
    });
    tokio::select! {
        answer = told => Ok(answer.unwrap_or(false)),
        kind = signals.next() => Err(Error::EditBrokenOff { code: code_of(kind) }),
    }
}

/// A folder of the caller's own, in memory where there is such; all in it is overwritten and removed on drop.
struct Desk(TempDir);

impl Desk {
    fn new(vault: &Vault<'_>, caller: &Caller) -> Result<Self, Error> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("aiswitch-edit-").permissions(Permissions::from_mode(0o700));
        let mut in_memory = caller.runtime_folder().into_iter().chain([PathBuf::from(MEMORY_FOLDER)]);
        if let Some(made) = in_memory.find_map(|folder| builder.tempdir_in(folder).ok()) {
            return Ok(Self(made));
        }
        let folder = vault.root();
        let made = builder.tempdir_in(folder);
        made.map(Self).map_err(|source| Error::Unreadable { path: folder.to_owned(), source })
    }

    /// Writes zeros over all files, with those that the editor left.
    fn wipe(&self) -> io::Result<()> {
        let entries: Vec<DirEntry> = fs::read_dir(self.0.path())?.collect::<Result<_, _>>()?;
        let is_file = |entry: &&DirEntry| entry.file_type().is_ok_and(|kind| kind.is_file());
        entries.iter().filter(is_file).try_for_each(|entry| overwrite(&entry.path()))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // What cannot be overwritten is removed all the same.
        self.wipe().ok();
    }
}
