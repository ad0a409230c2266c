//! What an agent may do in a permission mode.

use std::path::{Component, Path, PathBuf};

use aiswitch_rpc::protocol::PermissionMode;

use crate::event::Decision;

/// What an agent asks for, as far as its dialect can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask<'a> {
    /// To look at something.
    Read,
    /// To change this file.
    Edit(Option<&'a Path>),
    /// Anything else: run a command, reach the network.
    Other,
    /// To leave the sandbox that keeps it to its mode.
    Beyond,
}

/// Answers a question: read-only allows looking; write allows all but edits outside of the working folder; yolo allows all.
pub(crate) fn decide(mode: PermissionMode, cwd: &Path, ask: Ask<'_>) -> Decision {
    match (mode, ask) {
        (PermissionMode::Yolo, _)
        | (_, Ask::Read)
        | (PermissionMode::Write, Ask::Other | Ask::Edit(None)) => Decision::Allow,
        (PermissionMode::Write, Ask::Edit(Some(path))) if is_below(cwd, path) => Decision::Allow,
        _ => Decision::Deny,
    }
}

/// Whether `path`, taken from `cwd`, stays below it without looking at the disk.
fn is_below(cwd: &Path, path: &Path) -> bool {
    let mut whole = PathBuf::new();
    for part in cwd.join(path).components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            other => whole.push(other),
        }
    }
    whole.starts_with(cwd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mode_allows_what_it_says_and_no_more() {
        use Decision::{Allow, Deny};
        let inside = Ask::Edit(Some(Path::new("src/a.rs")));
        let outside = Ask::Edit(Some(Path::new("../other/a.rs")));
        let absolute = Ask::Edit(Some(Path::new("/etc/passwd")));
        for (mode, expected) in [
            (PermissionMode::ReadOnly, [Allow, Deny, Deny, Deny, Deny, Deny, Deny]),
            (PermissionMode::Write, [Allow, Allow, Deny, Deny, Allow, Allow, Deny]),
            (PermissionMode::Yolo, [Allow; 7]),
        ] {
            let decided = [Ask::Read, inside, outside, absolute, Ask::Edit(None), Ask::Other, Ask::Beyond]
                .map(|ask| decide(mode, Path::new("/work"), ask));
            assert_eq!(decided, expected, "{mode}");
        }
    }
}
