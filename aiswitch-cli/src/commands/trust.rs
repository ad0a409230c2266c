//! `aiswitch trust`: the project files that are heeded.

use std::path::{Path, PathBuf};

use aiswitch_coordinator::Home;
use serde::Serialize;

use crate::args::TrustArgs;
use crate::caller::{Caller, absolute};
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::table;
use crate::project::{ProjectFile, Trusted};
use crate::vault::Vault;

/// A project file that a person trusted.
#[derive(Debug, Serialize)]
struct TrustedView {
    path: PathBuf,
    sha256: String,
    state: State,
}

/// How a project file stands to what was trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Trusted,
    /// It says something else now, and is not heeded.
    Changed,
    /// It is not there any more.
    Gone,
}

/// Does what the verb says.
///
/// # Errors
/// What keeps it from that; what is trusted is as it was then.
pub(crate) fn trust(args: &TrustArgs, home: &Home, caller: &Caller, output: &Output) -> Result<Code, Error> {
    if args.list {
        return list(home, output);
    }
    let folder = absolute(args.folder.clone().unwrap_or_default())?;
    let vault = Vault::new(home, caller);
    let _guard = vault.lock()?;
    let mut trusted = Trusted::read(home)?;
    let done = if args.remove {
        let path = forgettable(&folder, &trusted)?;
        vault.privileged("trust.remove", &path.display().to_string())?;
        trusted.hashes.remove(&path);
        format!("{} is not trusted any more", path.display())
    } else {
        let file = ProjectFile::find(&folder)?.ok_or_else(|| Error::NoProject { folder: folder.clone() })?;
        file.project()?;
        let path = file.path.display();
        let done = format!("{path} is trusted as it is now");
        vault.privileged("trust", &format!("{path} sha256:{}", file.hash()))?;
        trusted.hashes.insert(file.path.clone(), file.hash());
        done
    };
    trusted.write()?;
    output.done(&done);
    Ok(Code::Completed)
}

/// The trusted file of a folder, or of the nearest above; it may be gone.
fn forgettable(folder: &Path, trusted: &Trusted) -> Result<PathBuf, Error> {
    let known = |folder: &Path| trusted.hashes.keys().find(|path| path.parent() == Some(folder)).cloned();
    // A folder that is gone has no other name.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.ancestors().find_map(known).ok_or(Error::NotTrusted { folder })
}

fn list(home: &Home, output: &Output) -> Result<Code, Error> {
    let view = |(path, sha256): (PathBuf, String)| -> Result<TrustedView, Error> {
        let state = match path.parent().map(ProjectFile::find).transpose()?.flatten() {
            Some(file) if file.path != path => State::Gone,
            Some(file) if file.hash() == sha256 => State::Trusted,
            Some(_) => State::Changed,
            None => State::Gone,
        };
        Ok(TrustedView { path, sha256, state })
    };
    let views = Trusted::read(home)?.hashes.into_iter().map(view).collect::<Result<Vec<_>, Error>>()?;
    output.result(&views, || {
        let head = ["STATE", "PATH"].map(str::to_owned).to_vec();
        let rows = views.iter().map(|view| {
            let state = match view.state {
                State::Trusted => "trusted",
                State::Changed => "changed",
                State::Gone => "gone",
            };
            vec![state.to_owned(), view.path.display().to_string()]
        });
        table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    });
    Ok(Code::Completed)
}
