//! `aiswitch tokens import`: the transcripts that Claude Code and Codex left on disk.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use aiswitch_coordinator::{RUN_USAGE_SOURCE, RunId};
use aiswitch_tokens::{
    Import, PriceList, TranscriptKind, UsageKey, UsageQuery, UsageRecord, UsageStore, read_transcript,
};
use jiff::Timestamp;
use serde::Serialize;

use super::stamp;
use crate::caller::Caller;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;

/// How deep transcripts are looked for.
const DEPTH_MAX: usize = 8;

/// What `tokens import --json` prints.
#[derive(Debug, Default, Serialize)]
struct ImportView {
    files: u64,
    lines: u64,
    requests_new: u64,
    requests_known: u64,
    of_runs: u64,
    unreadable: u64,
}

/// Imports the transcripts below these folders, or below those of the user.
///
/// # Errors
/// The store cannot be read or written, or there is nothing to import.
pub(super) fn import(
    store: &dyn UsageStore,
    prices: &PriceList,
    folders: [&Option<PathBuf>; 2],
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let (files, searched) = find(folders, caller);
    if files.is_empty() {
        return Err(Error::NoTranscripts { path: searched.into_iter().next().unwrap_or_default() });
    }
    let runs = OwnRuns::look(store, &files)?;
    let mut view = ImportView::default();
    let mut import = Import::new(store, prices);
    for (path, kind) in &files {
        let count = import.read(path, *kind, |record| {
            let is_counted = runs.count(record);
            view.of_runs += u64::from(is_counted);
            !is_counted
        })?;
        view.files += 1;
        view.lines += count.lines;
        view.unreadable += count.unreadable;
    }
    let tracked = import.finish()?;
    (view.requests_new, view.requests_known) = (tracked.new, tracked.known + tracked.grown);
    output.result(&view, || {
        format!(
            "{} requests are new and {} were known, in {} lines of {} transcripts\n{}{}",
            view.requests_new,
            view.requests_known,
            view.lines,
            view.files,
            told(view.of_runs, "are of this home's runs, which count already"),
            told(view.unreadable, "lines about usage cannot be read"),
        )
    });
    Ok(Code::Completed)
}

fn told(count: u64, what: &str) -> String {
    if count == 0 { String::new() } else { format!("{count} {what}\n") }
}

/// What runs of this home have told of already.
struct OwnRuns {
    /// From when to when runs used a session.
    spans: HashMap<String, Vec<(Timestamp, Timestamp)>>,
    /// The requests of those times, which a session that goes on from there may repeat under another name.
    requests: HashSet<UsageKey>,
}

impl OwnRuns {
    /// Looks up the sessions of runs, and what they did in transcripts.
    fn look(store: &dyn UsageStore, files: &[(PathBuf, TranscriptKind)]) -> Result<Self, Error> {
        let mut spans: HashMap<String, Vec<_>> = HashMap::new();
        store.records(&UsageQuery::default(), &mut |record| {
            let UsageRecord { key, session: Some(session), run: Some(run), at, .. } = record else { return };
            if let (true, Ok(run)) = (key.source == RUN_USAGE_SOURCE, run.parse::<RunId>()) {
                spans.entry(session).or_default().push((stamp(run.started_at()), at));
            }
        })?;
        let mut runs = Self { spans, requests: HashSet::new() };
        // Both programs name the file of a session after it.
        let is_own = |path: &Path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            runs.spans.keys().any(|session| name.ends_with(session.as_str()))
        };
        let own: Vec<_> = files.iter().filter(|(path, _)| is_own(path)).collect();
        for (path, kind) in own {
            let mut requests = Vec::new();
            read_transcript(path, *kind, |record| {
                requests.extend(runs.is_within(&record).then_some(record.key));
            })?;
            runs.requests.extend(requests);
        }
        Ok(runs)
    }

    /// Whether a request was made by a run.
    fn count(&self, record: &UsageRecord) -> bool {
        self.requests.contains(&record.key) || self.is_within(record)
    }

    fn is_within(&self, record: &UsageRecord) -> bool {
        let spans = record.session.as_ref().and_then(|session| self.spans.get(session));
        spans.is_some_and(|spans| spans.iter().any(|(since, until)| (*since..=*until).contains(&record.at)))
    }
}

/// The transcripts, and the folders that they were looked for in.
fn find(folders: [&Option<PathBuf>; 2], caller: &Caller) -> (Vec<(PathBuf, TranscriptKind)>, Vec<PathBuf>) {
    let kinds = [(TranscriptKind::Claude, ".claude/projects"), (TranscriptKind::Codex, ".codex/sessions")];
    // With one folder named, the other kind is not looked for.
    let is_named = folders.iter().any(|folder| folder.is_some());
    let (mut found, mut searched) = (Vec::new(), Vec::new());
    for ((kind, default), named) in kinds.into_iter().zip(folders) {
        let default = || caller.user_dir().filter(|_| !is_named).map(|user| user.join(default));
        let Some(folder) = named.clone().or_else(default) else { continue };
        let mut files = Vec::new();
        collect(&folder, DEPTH_MAX, &mut files);
        searched.push(folder);
        found.extend(files.into_iter().map(|file| (file, kind)));
    }
    (found, searched)
}

/// The transcripts below a folder; one that cannot be read has none.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() && depth > 0 => collect(&path, depth - 1, files),
            Ok(found) if found.is_file() && path.extension().is_some_and(|end| end == "jsonl") => {
                files.push(path);
            }
            _ => {}
        }
    }
}
