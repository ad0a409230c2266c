//! `aiswitch init`: the folder of configuration, with files that explain themselves.

use std::path::PathBuf;

use aiswitch_coordinator::Home;
use serde::Serialize;

use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::privileged::privileged;
use crate::vault::write_private;

/// The files, and what stands in them: comments alone, so that nothing changes until somebody takes one away.
pub(crate) const FILES: [(&str, &str); 3] = [
    ("agents.yaml", include_str!("init/agents.yaml")),
    ("presets.yaml", include_str!("init/presets.yaml")),
    ("coordination.yaml", include_str!("init/coordination.yaml")),
];

/// What was made, and what was there.
#[derive(Debug, Serialize)]
struct InitView {
    made: Vec<PathBuf>,
    kept: Vec<PathBuf>,
}

/// Makes the files of configuration that are not there.
///
/// # Errors
/// One of them cannot be written.
pub(crate) fn init(home: &Home, output: &Output) -> Result<Code, Error> {
    let mut view = InitView { made: Vec::new(), kept: Vec::new() };
    for (name, text) in FILES {
        let path = home.config_dir().join(name);
        // A link that leads nowhere is there as well.
        if path.symlink_metadata().is_ok() {
            view.kept.push(path);
            continue;
        }
        if view.made.is_empty() {
            privileged(home, "config.init", &home.config_dir().display().to_string())?;
        }
        write_private(&path, text.as_bytes())?;
        view.made.push(path);
    }
    output.result(&view, || {
        let made = view.made.iter().map(|path| format!("made {}\n", path.display()));
        let kept = view.kept.iter().map(|path| format!("kept {}\n", path.display()));
        made.chain(kept).chain(["what next: aiswitch doctor\n".to_owned()]).collect()
    });
    Ok(Code::Completed)
}
