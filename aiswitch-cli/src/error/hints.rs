//! What to do next about what other crates refuse.

use std::error::Error;
use std::io;
use std::path::Path;

use aiswitch_coordinator::{FileFault, HomeError, RunError};
use aiswitch_env::EnvError;
use aiswitch_lock::LockError;

use super::{AUDIT_HINT, OPERATOR_HINT, PRESETS_HINT, PROMPT_HINT};
use crate::exit::Code;

/// What to do about a home that cannot be written.
const PLACE_HINT: &str = "make it writable, or point --home or AISWITCH_HOME elsewhere";

pub(super) fn run_hint(error: &RunError) -> Option<String> {
    match error {
        RunError::EmptyPrompt => Some("aiswitch run \"what to do\"; or --file FILE; or pipe it in".into()),
        RunError::DuplicateAgent { name } => {
            Some(format!("give one another name: -a other={name}; or two of a kind: -a {name}*2"))
        }
        RunError::NoJudge => Some("name one: --judge NAME".into()),
        RunError::IdleJudge { .. } => {
            Some("have it asked with --aggregate judge, or --aggregate synthesize".into())
        }
        RunError::NoAgents => Some("aiswitch agents list shows who could be asked".into()),
        RunError::TooManyAgents { .. } => Some("split the work into several runs".into()),
        RunError::PromptTooLong { .. } => Some(PROMPT_HINT.into()),
        RunError::UnknownPreset { nearest: Some(near), .. } => Some(format!("did you mean `{near}`?")),
        RunError::UnknownPreset { .. } => Some(PRESETS_HINT.into()),
        RunError::Cwd { .. } | RunError::CwdNotUtf8 { .. } => Some("name another folder with -C DIR".into()),
        RunError::OperatorOnly { .. } => Some(OPERATOR_HINT.into()),
        RunError::Audit { source: HomeError::AuditBroken { .. } } => Some(AUDIT_HINT.into()),
        RunError::Home { .. } => Some(PLACE_HINT.into()),
        RunError::Env(error) => env_hint(error),
        RunError::Lock(error) => lock_hint(error),
        RunError::StateLock { .. } => Some("give the lock another name".into()),
        _ => None,
    }
}

/// What to do about a file that others could change.
pub(super) fn unsafe_hint(path: &Path, fault: FileFault) -> String {
    match fault {
        FileFault::Link => {
            "aiswitch doctor --fix follows no link: put the file or folder itself in its place".into()
        }
        FileFault::Foreign { .. } => {
            format!("make it your own, or remove it: chown \"$USER\" {}", path.display())
        }
        FileFault::Readable { .. } => format!("chmod 600 {}", path.display()),
        _ => "aiswitch doctor --fix closes it".into(),
    }
}

pub(super) fn lock_code(error: &LockError) -> Code {
    match error {
        LockError::Timeout { .. } | LockError::Deadlock { .. } | LockError::WouldDeadlock { .. } => {
            Code::LockBusy
        }
        _ => Code::Usage,
    }
}

pub(super) fn lock_hint(error: &LockError) -> Option<String> {
    match error {
        LockError::Timeout { .. } => {
            Some("wait longer with --lock-timeout TIME; aiswitch locks list shows all locks".into())
        }
        LockError::Io { .. } => Some(PLACE_HINT.into()),
        _ => None,
    }
}

pub(super) fn env_hint(error: &EnvError) -> Option<String> {
    match error {
        EnvError::ClearSecret { preset, name } => {
            Some(format!("encrypt it: aiswitch secrets set {preset} {name}; or write env:NAME or file:PATH"))
        }
        EnvError::SealRefused { preset, name } | EnvError::SealDamaged { preset, name } => {
            Some(format!("if that was meant, set it anew: aiswitch secrets set {preset} {name}"))
        }
        EnvError::NoKey { .. } => Some("aiswitch secrets doctor says what is missing".into()),
        EnvError::MissingAmbient { wanted, .. } => Some(format!("export {wanted}=…")),
        _ => None,
    }
}

/// What to do where a place cannot be used for who the caller is.
pub(super) fn place_hint(error: &(dyn Error + 'static)) -> Option<String> {
    let is_closed = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
    };
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(is_closed) {
            return Some(PLACE_HINT.to_owned());
        }
        cause = error.source();
    }
    None
}
