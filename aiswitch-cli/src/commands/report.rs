//! `aiswitch report`: what agents did, used, cost and took of the machine over a time.

use aiswitch_coordinator::{Home, RunRecordSummary, TASKS_KEPT_MAX};
use aiswitch_lock::replace_file;
use aiswitch_metrics::{AlertRule, SeriesQuery, Source, SqliteMetricsStore, alerts, series};
use aiswitch_tokens::{GroupBy, Period, SqliteUsageStore, UsageQuery};
use chrono::{DateTime, TimeDelta, Utc};
use jiff::tz::TimeZone;

use super::metrics::steps;
use super::tokens::{stamp, sum_up};
use crate::args::ReportArgs;
use crate::caller;
use crate::config::read_alerts;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::report::{Found, Frame, Report};

/// What is shown when the command line says nothing.
const SPAN_DEFAULT: TimeDelta = TimeDelta::days(7);

/// How many steps a plot has at most.
const STEPS_MAX: i64 = 200;

/// The permission bits of a page, which has the beginnings of prompts in it.
const PAGE_MODE: u32 = 0o600;

/// Prints a report, as text, as JSON or as one page, or writes the page into a file.
///
/// # Errors
/// A store or the rules of alerts cannot be read, the time has no beginning before its end, or the file cannot be written.
pub(crate) fn report(args: &ReportArgs, home: &Home, output: &Output) -> Result<Code, Error> {
    let now = caller::now();
    let until = args.until.map_or(now, |until| until.at_now(now));
    let since = args.since.map_or(until - SPAN_DEFAULT, |since| since.at_now(now));
    let zone = args.timezone.clone().unwrap_or_else(TimeZone::system);
    let frame = Frame { since, until, now, zone, agent: args.agent.clone() };
    let found = find(&frame, home)?;
    let report = Report::of(frame, found);
    match (&args.output, args.html) {
        (Some(file), _) => replace_file(file, report.page().as_bytes(), PAGE_MODE)?,
        (None, true) => output.text(&report.page()),
        (None, false) => output.result(&report, || report.text()),
    }
    Ok(Code::Completed)
}

/// What the stores of a home know of that time.
fn find(frame: &Frame, home: &Home) -> Result<Found, Error> {
    let Frame { since, until, now, zone, agent } = frame;
    let metrics = SqliteMetricsStore::at(home.metrics_file());
    let (first, step) = steps((*since, *until), None, STEPS_MAX);
    let source = agent.clone().map(Source::Agent);
    let asked = SeriesQuery { since: first, until: *until, step, source, metric: None };
    // Before all else: it refuses a time that has no beginning before its end.
    let series = series(&metrics, &asked, *now)?;
    let usage = SqliteUsageStore::at(home.usage_file());
    let query = UsageQuery {
        since: Some(stamp(*since)),
        until: Some(stamp(*until)),
        agent: agent.clone(),
        ..UsageQuery::default()
    };
    let (days, total) = sum_up(&usage, &query, GroupBy::Period(Period::Day, zone.clone()))?;
    let by = |by| sum_up(&usage, &query, by).map(|(groups, _)| groups);
    let rules: Vec<AlertRule> = read_alerts(home)?.into_iter().map(|watch| watch.rule).collect();
    let mut known = alerts(&metrics, &rules, *now)?;
    known.retain(|alert| agent.is_none() || alert.source.agent() == agent.as_deref());
    let (runs, are_runs_cut) = runs(home, (*since, *until), agent.as_deref())?;
    Ok(Found {
        total,
        days,
        agents: by(GroupBy::Agent)?,
        models: by(GroupBy::Model)?,
        by_run: by(GroupBy::Run)?,
        runs,
        are_runs_cut,
        series,
        alerts: known,
        rules,
    })
}

/// The runs that began in a time, the latest first, and whether there may be earlier ones than are listed.
fn runs(
    home: &Home,
    (since, until): (DateTime<Utc>, DateTime<Utc>),
    agent: Option<&str>,
) -> Result<(Vec<RunRecordSummary>, bool), Error> {
    let mut runs = home.runs().list()?;
    let are_cut = runs.len() == TASKS_KEPT_MAX && runs.last().is_some_and(|run| run.started_at >= since);
    runs.retain(|run| {
        let is_of_agent = |agent| run.agents.iter().any(|other| other.as_ref() == agent);
        run.started_at >= since && run.started_at < until && agent.is_none_or(is_of_agent)
    });
    Ok((runs, are_cut))
}
