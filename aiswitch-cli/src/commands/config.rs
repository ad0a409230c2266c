//! `aiswitch config`: what is configured, and which files say so.

use std::path::PathBuf;

use aiswitch_agent::SpecDuration;
use aiswitch_coordinator::{Home, LogLevel, MAX_PARALLEL_DEFAULT, SAMPLE_EVERY_DEFAULT};
use serde::Serialize;

use crate::assemble::DEFAULT_AGENTS;
use crate::config::{Config, Coordination, Supervise, read_prices};
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::table;

/// The files that are read, beside those of secrets.
const FILES: [&str; 5] = ["agents.yaml", "presets.yaml", "coordination.yaml", "prices.yaml", "alerts.yaml"];

/// What is configured.
#[derive(Debug, Serialize)]
struct ConfigView {
    home: PathBuf,
    files: Vec<FileView>,
    /// What a run does when its command line says nothing.
    run: Vec<SettingView>,
}

/// One file.
#[derive(Debug, Serialize)]
struct FileView {
    path: PathBuf,
    is_there: bool,
}

/// One setting of runs.
#[derive(Debug, Serialize)]
struct SettingView {
    key: &'static str,
    value: String,
    /// Whether `coordination.yaml` says so.
    is_configured: bool,
}

/// Shows the files, and what holds.
///
/// # Errors
/// A file holds what it may not, or cannot be read.
pub(crate) fn show(home: &Home, output: &Output) -> Result<Code, Error> {
    let config = Config::read(home)?;
    read_prices(home)?;
    let file = |name| {
        let path = home.config_dir().join(name);
        FileView { is_there: path.exists(), path }
    };
    let view = ConfigView {
        home: home.root().to_owned(),
        files: FILES.map(file).into(),
        run: settings(&config.coordination),
    };
    output.result(&view, || view.text());
    Ok(Code::Completed)
}

fn settings(said: &Coordination) -> Vec<SettingView> {
    let setting = |key, said: Option<String>, built_in: &str| SettingView {
        key,
        is_configured: said.is_some(),
        value: said.unwrap_or_else(|| built_in.to_owned()),
    };
    let time = |time: SpecDuration| time.to_string();
    let kept = said.retention.retention();
    let agents: Vec<String> = said.agents.iter().map(ToString::to_string).collect();
    let locks: Vec<String> = said.locks.iter().map(ToString::to_string).collect();
    let joined = |names: Vec<String>| (!names.is_empty()).then(|| names.join(", "));
    vec![
        setting("agents", joined(agents), DEFAULT_AGENTS),
        setting("max_parallel", said.max_parallel.map(|n| n.to_string()), &MAX_PARALLEL_DEFAULT.to_string()),
        setting("timeout", said.timeout.map(time), "no limit"),
        setting("idle_timeout", said.idle_timeout.map(time), "no limit"),
        setting("locks", joined(locks), "none"),
        setting(
            "supervision",
            (said.supervision != Supervise::default()).then(|| said.supervision.name().to_owned()),
            Supervise::default().name(),
        ),
        setting("retention.runs", said.retention.runs.map(time), &time(SpecDuration(kept.run_age_max))),
        setting("retention.logs", said.retention.logs.map(time), &time(SpecDuration(kept.log_age_max))),
        setting("log_level", said.log_level.map(|level| level.name().to_owned()), LogLevel::Info.name()),
        setting("metrics.every", said.metrics.every.map(time), &time(SpecDuration(SAMPLE_EVERY_DEFAULT))),
    ]
}

impl ConfigView {
    fn text(&self) -> String {
        let file = |file: &FileView| {
            let state = if file.is_there { "read" } else { "not there" };
            vec![file.path.display().to_string(), state.to_owned()]
        };
        let setting = |setting: &SettingView| {
            let from = if setting.is_configured { "coordination.yaml" } else { "built in" };
            vec![setting.key.to_owned(), setting.value.clone(), from.to_owned()]
        };
        let head = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let files: Vec<_> =
            [head(&["FILE", "STATE"])].into_iter().chain(self.files.iter().map(file)).collect();
        let run: Vec<_> =
            [head(&["A RUN", "VALUE", "FROM"])].into_iter().chain(self.run.iter().map(setting)).collect();
        format!("{}\n{}", table(&files), table(&run))
    }
}
