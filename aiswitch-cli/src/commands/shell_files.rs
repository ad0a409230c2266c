//! `aiswitch shell install`, `uninstall` and `status`: the lines in the files that shells read when they start.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use aiswitch_coordinator::PresetName;
use aiswitch_lock::replace_file;
use serde::Serialize;

use crate::args::ShellName;
use crate::caller::Caller;
use crate::config::read_text;
use crate::error::Error;
use crate::exit::Code;
use crate::import::shell_files;
use crate::output::Output;
use crate::output::human::table;
use crate::vault::Vault;

/// What stands around the lines.
const BLOCK: [&str; 2] = ["# >>> aiswitch >>>", "# <<< aiswitch <<<"];

/// What stands around the function of the aiswitch that was written in Python, which has the same name.
const PYTHON_BLOCK: [&str; 2] =
    ["# >>> AISwitch shell integration >>>", "# <<< AISwitch shell integration <<<"];

/// The permission bits of a shell's file that is made.
const FILE_MODE: u32 = 0o644;

/// One shell's file.
#[derive(Debug, Serialize)]
struct FileView {
    shell: ShellName,
    path: PathBuf,
    installed: bool,
    /// The preset that new shells are put under.
    preset: Option<PresetName>,
}

/// How the shells stand.
#[derive(Debug, Serialize)]
struct StatusView {
    /// The preset that this shell is under.
    preset: Option<PresetName>,
    files: Vec<FileView>,
    /// Files in which the aiswitch that was written in Python has left values in clear.
    clear_copies: Vec<PathBuf>,
}

/// Has new shells read the function, and maybe be put under a preset.
///
/// # Errors
/// The shell or the preset is not known, or a file cannot be changed; it is as it was then.
pub(super) fn install(
    shells: &[ShellName],
    preset: Option<&PresetName>,
    vault: &Vault<'_>,
    caller: &Caller,
) -> Result<String, Error> {
    let own = caller.shell_name();
    let shells = if shells.is_empty() { own.as_slice() } else { shells };
    if shells.is_empty() {
        return Err(Error::ShellUnknown);
    }
    if let Some(preset) = preset {
        let presets = vault.presets()?;
        if !presets.contains_key(preset) {
            return Err(Error::unknown_preset(preset, &presets));
        }
    }
    let mut done = Vec::new();
    for shell in shells {
        let path = caller.shell_file(*shell)?;
        let text = without(&path, &without(&path, &read_text(&path)?, PYTHON_BLOCK)?, BLOCK)?;
        let [start, end] = BLOCK;
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let text = format!("{text}{gap}{start}\n{}{end}\n", lines(*shell, preset));
        vault.privileged("shell.install", &path.display().to_string())?;
        write(&path, &text)?;
        done.push(path.display().to_string());
    }
    let under = preset.map(|preset| format!(" and are put under preset `{preset}`")).unwrap_or_default();
    Ok(format!("new shells read the function{under}, by {}", done.join(" and ")))
}

/// Takes the lines out again.
///
/// # Errors
/// A file cannot be changed; it is as it was then.
pub(super) fn uninstall(shells: &[ShellName], vault: &Vault<'_>, caller: &Caller) -> Result<String, Error> {
    let shells = if shells.is_empty() { &ShellName::ALL } else { shells };
    let mut done = Vec::new();
    for shell in shells {
        let path = caller.shell_file(*shell)?;
        let before = read_text(&path)?;
        let text = without(&path, &without(&path, &before, PYTHON_BLOCK)?, BLOCK)?;
        if text != before {
            vault.privileged("shell.uninstall", &path.display().to_string())?;
            write(&path, &text)?;
            done.push(path.display().to_string());
        }
    }
    Ok(if done.is_empty() {
        "no file of a shell has lines of aiswitch".to_owned()
    } else {
        format!("the lines of aiswitch are out of {}", done.join(" and "))
    })
}

/// Shows how this shell and the files of all stand.
///
/// # Errors
/// A file cannot be read, or the shell is under what is no preset's name.
pub(super) fn status(caller: &Caller, output: &Output) -> Result<Code, Error> {
    let mut files = Vec::new();
    for shell in ShellName::ALL {
        let path = caller.shell_file(shell)?;
        let text = read_text(&path)?;
        let block = block(&path, &text, BLOCK)?.map(|(start, end)| &text[start..end]);
        let preset = block.and_then(|block| {
            let lines = block.lines().map(str::trim);
            lines.filter_map(|line| line.strip_prefix("aiswitch apply ")).find_map(|name| name.parse().ok())
        });
        files.push(FileView { shell, path, installed: block.is_some(), preset });
    }
    let clear_copies = shell_files(&caller.user_dir().ok_or(Error::NoHome)?);
    let view = StatusView { preset: caller.shell_preset()?, files, clear_copies };
    output.result(&view, || view.text());
    for path in &view.clear_copies {
        let path = path.display();
        output.note(&format!("{path} holds values in clear: aiswitch preset import --from aiswitch --purge"));
    }
    Ok(Code::Completed)
}

impl StatusView {
    fn text(&self) -> String {
        let head = ["SHELL", "FUNCTION", "PRESET", "FILE"].map(str::to_owned).to_vec();
        let rows = self.files.iter().map(|file| {
            let preset = file.preset.as_ref().map(ToString::to_string).unwrap_or_default();
            let installed = if file.installed { "installed" } else { "no" };
            vec![file.shell.to_string(), installed.to_owned(), preset, file.path.display().to_string()]
        });
        let own = match &self.preset {
            Some(preset) => format!("this shell is under preset `{preset}`"),
            None => "this shell is under no preset".to_owned(),
        };
        format!("{own}\n{}", table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()))
    }
}

/// The lines for a shell; one that nobody types in, and a machine without aiswitch, pass over them.
fn lines(shell: ShellName, preset: Option<&PresetName>) -> String {
    let apply = preset.map(|preset| format!("    aiswitch apply {preset}\n")).unwrap_or_default();
    match shell {
        ShellName::Bash | ShellName::Zsh => format!(
            "if [[ $- == *i* ]] && command -v aiswitch >/dev/null; then\n    \
             eval \"$(command aiswitch shell init {shell})\"\n{apply}fi\n"
        ),
        ShellName::Fish => format!(
            "if status is-interactive; and command -q aiswitch\n    \
             command aiswitch shell init fish | source\n{apply}end\n"
        ),
    }
}

/// Where a block stands, with its first and last line.
///
/// # Errors
/// It does not end.
fn block(path: &Path, text: &str, [first, last]: [&str; 2]) -> Result<Option<(usize, usize)>, Error> {
    let (mut at, mut start) = (0, None);
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        match start {
            None if line.trim() == first => start = Some(at),
            Some(start) if line.trim() == last => return Ok(Some((start, end))),
            _ => {}
        }
        at = end;
    }
    if start.is_some() {
        Err(Error::ShellBlock { path: path.to_owned(), last: last.to_owned() })
    } else {
        Ok(None)
    }
}

/// The text without any such block.
///
/// # Errors
/// One does not end.
fn without(path: &Path, text: &str, marks: [&str; 2]) -> Result<String, Error> {
    let mut text = text.to_owned();
    while let Some((start, end)) = block(path, &text, marks)? {
        text.replace_range(start..end, "");
    }
    Ok(text)
}

/// Writes a shell's file whole or not at all, with the permissions that it had; a link stays one.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let (path, mode) = match fs::canonicalize(path) {
        Ok(path) => {
            let mode = path.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
            (path, mode)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().expect("a file of a shell is in a folder"))
                .map_err(unreadable)?;
            (path.to_owned(), FILE_MODE)
        }
        Err(error) => return Err(unreadable(error)),
    };
    replace_file(&path, text.as_bytes(), mode).map_err(|source| Error::Unwritable { path, source })
}
