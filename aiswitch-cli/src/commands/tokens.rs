//! `aiswitch tokens`: what was used, and what it cost.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use aiswitch_coordinator::{CostSummary, Home, RUN_USAGE_SOURCE, Usage};
use aiswitch_tokens::{
    GroupBy, Groups, Period, SqliteUsageStore, Tracked, TranscriptKind, UsageGroup, UsageQuery, UsageRecord,
    UsageStore, read_transcript,
};
use chrono::{DateTime, Utc};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::args::{TokensArgs, TokensBy, TokensVerb};
use crate::caller::{self, Caller};
use crate::error::Error;
use crate::exit::Code;
use crate::output::{Output, human};

/// How deep transcripts are looked for.
const DEPTH_MAX: usize = 8;

/// Shows what was used, or imports transcripts.
///
/// # Errors
/// The store cannot be read or written, or there is nothing to import.
pub(crate) fn tokens(
    args: &TokensArgs,
    home: &Home,
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let store = SqliteUsageStore::at(home.usage_file());
    match &args.verb {
        Some(TokensVerb::Import { claude, codex }) => import(&store, [claude, codex], caller, output),
        None => show(args, &store, output),
    }
}

fn show(args: &TokensArgs, store: &dyn UsageStore, output: &Output) -> Result<Code, Error> {
    let now = caller::now();
    let zone = args.timezone.clone().unwrap_or_else(TimeZone::system);
    let query = UsageQuery {
        since: args.since.map(|since| stamp(since.at_now(now))),
        until: args.until.map(|until| stamp(until.at_now(now))),
        agent: args.agent.clone(),
        model: args.model.clone(),
        ..UsageQuery::default()
    };
    let period = |period| GroupBy::Period(period, zone.clone());
    let mut groups = Groups::new(match args.by {
        TokensBy::Daily => period(Period::Day),
        TokensBy::Weekly => period(Period::Week),
        TokensBy::Monthly => period(Period::Month),
        TokensBy::Blocks => GroupBy::Block,
        TokensBy::Session => GroupBy::Session,
        TokensBy::Models => GroupBy::Model,
        TokensBy::Agents => GroupBy::Agent,
        TokensBy::Presets => GroupBy::Preset,
        TokensBy::Runs => GroupBy::Run,
    });
    let mut total = Groups::new(GroupBy::Agent);
    store.records(&query, &mut |record| {
        groups.add(&record);
        total.add(&UsageRecord { agent: String::new(), ..record });
    })?;
    let rows: Vec<Row> = groups.finish().iter().map(|group| Row::of(group, args.by, &zone)).collect();
    let total = total.finish().first().map(|group| Row::of(group, args.by, &zone));
    let view = View { by: args.by.into(), zone: zone.iana_name().map(str::to_owned), rows, total };
    output.result(&view, || text(&view, args.by));
    Ok(Code::Completed)
}

/// A time of one library as the other has it; both reach further than any that is asked for.
fn stamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp::from_millisecond(time.timestamp_millis()).unwrap_or(Timestamp::MIN)
}

/// What `tokens --json` prints.
#[derive(Debug, Serialize)]
struct View {
    by: &'static str,
    zone: Option<String>,
    rows: Vec<Row>,
    total: Option<Row>,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    /// What it is about: a date, a label; `None` of requests without that label.
    name: Option<String>,
    since: Option<String>,
    until: Option<String>,
    requests: u64,
    agents: Vec<String>,
    models: Vec<String>,
    usage: Option<Usage>,
    cost: CostSummary,
}

impl Row {
    fn of(group: &UsageGroup, by: TokensBy, zone: &TimeZone) -> Self {
        let name = match (by, group.since.map(|since| since.to_zoned(zone.clone()))) {
            (TokensBy::Monthly, Some(since)) => Some(since.strftime("%Y-%m").to_string()),
            (TokensBy::Blocks, Some(since)) => Some(since.strftime("%Y-%m-%d %H:%M").to_string()),
            (_, Some(since)) => Some(since.strftime("%Y-%m-%d").to_string()),
            (_, None) => group.label.clone(),
        };
        Self {
            name,
            since: group.since.map(|since| since.to_string()),
            until: group.until.map(|until| until.to_string()),
            requests: group.requests,
            agents: group.agents.iter().cloned().collect(),
            models: group.models.iter().cloned().collect(),
            usage: group.sum.usage,
            cost: group.sum.cost,
        }
    }
}

impl From<TokensBy> for &'static str {
    fn from(by: TokensBy) -> Self {
        match by {
            TokensBy::Daily => "day",
            TokensBy::Weekly => "week",
            TokensBy::Monthly => "month",
            TokensBy::Session => "session",
            TokensBy::Blocks => "block",
            TokensBy::Models => "model",
            TokensBy::Agents => "agent",
            TokensBy::Presets => "preset",
            TokensBy::Runs => "run",
        }
    }
}

/// The table, at most 80 columns wide.
fn text(view: &View, by: TokensBy) -> String {
    let Some(total) = &view.total else {
        return "nothing is known of that time; aiswitch tokens import reads what Claude Code and Codex left"
            .to_owned();
    };
    let line = |name: &str, row: &Row| {
        let figure = |pick: fn(Usage) -> Option<u64>| {
            row.usage.and_then(pick).map_or_else(|| "-".to_owned(), human::short)
        };
        let cost = row.cost.usd.map_or_else(|| "-".to_owned(), |usd| format!("${:.2}", usd.usd()));
        let missing = if row.cost.usd.is_some() && row.cost.unpriced > 0 { "+" } else { "" };
        format!(
            "{:<28} {:>6} {:>7} {:>7} {:>8} {:>8} {:>9}{missing}\n",
            human::cut(name, 28),
            row.requests,
            figure(|usage| usage.input_tokens),
            figure(|usage| usage.output_tokens),
            figure(|usage| usage.cache_read_tokens),
            figure(|usage| usage.cache_write_tokens),
            cost,
        )
    };
    let head: &'static str = by.into();
    let mut text = format!(
        "{:<28} {:>6} {:>7} {:>7} {:>8} {:>8} {:>9}\n",
        head, "calls", "input", "output", "read", "written", "cost"
    );
    view.rows.iter().for_each(|row| text.push_str(&line(row.name.as_deref().unwrap_or("(none)"), row)));
    text.push_str(&line("total", total));
    let unpriced = if total.cost.unpriced > 0 {
        let (unpriced, requests) = (total.cost.unpriced, total.requests);
        format!("\n{unpriced} of {requests} calls have no known cost; it is not in these sums\n")
    } else {
        String::new()
    };
    text + &unpriced
}

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

fn import(
    store: &dyn UsageStore,
    folders: [&Option<PathBuf>; 2],
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let kinds = [(TranscriptKind::Claude, ".claude/projects"), (TranscriptKind::Codex, ".codex/sessions")];
    let own = own_sessions(store)?;
    let mut view = ImportView::default();
    let mut tracked = Tracked::default();
    // With one folder named, the other kind is not looked for.
    let is_named = folders.iter().any(|folder| folder.is_some());
    let mut searched = Vec::new();
    for ((kind, default), named) in kinds.into_iter().zip(folders) {
        let default = || caller.user_dir().filter(|_| !is_named).map(|user| user.join(default));
        let Some(folder) = named.clone().or_else(default) else { continue };
        let mut files = Vec::new();
        collect(&folder, DEPTH_MAX, &mut files);
        searched.push(folder);
        for file in files {
            let mut records = Vec::new();
            let count = read_transcript(&file, kind, |record| records.push(record))?;
            let before = records.len();
            records.retain(|record| record.session.as_ref().is_none_or(|session| !own.contains(session)));
            view.files += 1;
            view.lines += count.lines;
            view.unreadable += count.unreadable;
            view.of_runs += (before - records.len()) as u64;
            let added = store.track_usage(&records)?;
            tracked.new += added.new;
            tracked.known += added.known + added.grown;
        }
    }
    if view.files == 0 {
        return Err(Error::NoTranscripts { path: searched.first().cloned().unwrap_or_default() });
    }
    (view.requests_new, view.requests_known) = (tracked.new, tracked.known);
    output.result(&view, || {
        format!(
            "{} requests are new and {} were known, in {} lines of {} transcripts\n{}{}",
            view.requests_new,
            view.requests_known,
            view.lines,
            view.files,
            told(view.of_runs, "stand in sessions of this home's runs, which count already"),
            told(view.unreadable, "lines about usage cannot be read"),
        )
    });
    Ok(Code::Completed)
}

fn told(count: u64, what: &str) -> String {
    if count == 0 { String::new() } else { format!("{count} {what}\n") }
}

/// The sessions that runs of this home have told of.
fn own_sessions(store: &dyn UsageStore) -> Result<HashSet<String>, Error> {
    let mut own = HashSet::new();
    store.records(&UsageQuery::default(), &mut |record| {
        if record.key.source == RUN_USAGE_SOURCE {
            own.extend(record.session);
        }
    })?;
    Ok(own)
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
