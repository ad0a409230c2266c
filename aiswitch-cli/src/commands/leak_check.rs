//! `aiswitch leak-check`: whether a known secret stands in files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use aiswitch_coordinator::Home;
use aiswitch_env::{DataKeys, Redactor, SECRET_BYTES_MIN, Secret, looks_secret};
use serde::Serialize;

use crate::caller::{Caller, absolute};
use crate::config::Config;
use crate::error::{Error, chain};
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::table;
use crate::vault::{Vault, own_values};

/// How many leaks are told of one file.
const LEAKS_MAX: usize = 1000;

/// What was looked for, where, and what was found.
#[derive(Debug, Default, Serialize)]
struct LeakView {
    /// Where the secrets come from, never what they are.
    secrets: Vec<String>,
    /// Secrets whose value could not be had, and why.
    unknown: Vec<String>,
    files: u64,
    bytes: u64,
    /// Files that could not be read, and why.
    unreadable: Vec<String>,
    leaks: Vec<FoundLeak>,
}

/// A secret that stands in a file.
#[derive(Debug, Serialize)]
struct FoundLeak {
    path: PathBuf,
    /// How many bytes stand before it.
    at: u64,
    secret: String,
    form: String,
}

/// Looks for every known secret below a folder.
///
/// # Errors
/// No secret is known, or there is no such run.
pub(crate) fn leak_check(target: &str, home: &Home, caller: &Caller, output: &Output) -> Result<Code, Error> {
    let root = if target.contains(std::path::MAIN_SEPARATOR) {
        absolute(target.into())?
    } else {
        home.run_dir(&home.runs().resolve(target)?)
    };
    let config = Config::read(home)?;
    let mut view = LeakView::default();
    let keys = Vault::new(home, caller).keys_for(&config.presets, config.presets.keys())?;
    let secrets = known_secrets(&config, (caller, &keys), &mut view);
    if secrets.is_empty() {
        return Err(Error::NoSecrets);
    }
    view.look(&root, &Redactor::new(&secrets));
    output.result(&view, || view.text());
    Ok(match &view {
        LeakView { leaks, .. } if !leaks.is_empty() => Code::VerifyFailed,
        LeakView { unreadable, .. } if !unreadable.is_empty() => Code::Failed,
        _ => Code::Completed,
    })
}

/// All secrets that are long enough to be looked for; where they come from is noted in their order.
fn known_secrets(config: &Config, (caller, keys): (&Caller, &DataKeys), view: &mut LeakView) -> Vec<Secret> {
    let ambient = caller.ambient();
    let mut known: Vec<(String, Secret)> = Vec::new();
    for own in own_values(&config.presets, &ambient, keys) {
        match own.value {
            Ok(variable) if variable.secret => {
                known.push((format!("{} of preset {}", own.name, own.preset), variable.value));
            }
            Ok(_) => {}
            Err(error) => view.unknown.push(chain(&error)),
        }
    }
    let profiles = config.agents.iter().map(|(id, known)| known.spec.profile(id.clone()));
    let credentials: BTreeSet<String> = profiles.flat_map(|profile| profile.credentials).collect();
    let callers = ambient.names().filter(|name| looks_secret(name) || credentials.contains(*name));
    known.extend(
        callers.filter_map(|name| Some((format!("{name} of the caller"), ambient.get(name)?.clone()))),
    );
    known.retain(|(_, secret)| secret.len() >= SECRET_BYTES_MIN);
    let (names, secrets) = known.into_iter().unzip();
    view.secrets = names;
    secrets
}

impl LeakView {
    fn look(&mut self, path: &Path, redactor: &Redactor) {
        let looked = match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() => self.look_below(path, redactor),
            Ok(found) if found.is_file() => self.look_into(path, redactor),
            // A link's target is looked at where it stands; pipes and sockets keep nothing.
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = looked {
            self.unreadable.push(format!("{}: {error}", path.display()));
        }
    }

    fn look_below(&mut self, folder: &Path, redactor: &Redactor) -> std::io::Result<()> {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
        paths.sort();
        for path in &paths {
            self.look(path, redactor);
        }
        Ok(())
    }

    fn look_into(&mut self, path: &Path, redactor: &Redactor) -> std::io::Result<()> {
        let file = File::open(path)?;
        self.files += 1;
        self.bytes += file.metadata()?.len();
        let found = redactor.search(file, LEAKS_MAX)?;
        self.leaks.extend(found.into_iter().map(|leak| FoundLeak {
            path: path.to_owned(),
            at: leak.at,
            secret: self.secrets[leak.secret].clone(),
            form: leak.form.to_string(),
        }));
        Ok(())
    }

    fn text(&self) -> String {
        let (files, bytes, secrets) = (self.files, self.bytes, self.secrets.len());
        let mut lines: Vec<String> =
            self.unknown.iter().map(|why| format!("not looked for: {why}")).collect();
        lines.extend(self.unreadable.iter().map(|why| format!("not looked at: {why}")));
        let leaks = self.leaks.len();
        lines.push(format!(
            "{leaks} leaks of {secrets} secrets, in every form, in {files} files, {bytes} bytes"
        ));
        let head = ["FILE", "BYTE", "SECRET", "FORM"].map(str::to_owned).to_vec();
        let rows = self.leaks.iter().map(|leak| {
            vec![leak.path.display().to_string(), leak.at.to_string(), leak.secret.clone(), leak.form.clone()]
        });
        if leaks > 0 {
            lines.push(table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
        }
        lines.join("\n")
    }
}
