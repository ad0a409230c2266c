//! `aiswitch tokens`: what was used, and what it cost.

mod import;
mod quota;
mod summary;

use aiswitch_coordinator::{CostSummary, Home, Usage};
use aiswitch_tokens::{
    GroupBy, Groups, Period, PriceList, Repriced, SqliteUsageStore, UsageGroup, UsageQuery, UsageStore,
};
use chrono::{DateTime, Utc};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::{TokensArgs, TokensBy, TokensVerb};
use crate::caller::{self, Caller};
use crate::config::read_prices;
use crate::error::Error;
use crate::exit::Code;
use crate::output::{Output, human};

/// Shows what was used, limits it, imports transcripts, or computes costs anew.
///
/// # Errors
/// The store or the prices cannot be read or written, or there is nothing to import.
pub(crate) fn tokens(
    args: &TokensArgs,
    home: &Home,
    caller: &Caller,
    output: &Output,
) -> Result<Code, Error> {
    let store = SqliteUsageStore::at(home.usage_file());
    match &args.verb {
        Some(TokensVerb::Import { claude, codex }) => {
            import::import(&store, &read_prices(home)?, [claude, codex], caller, output)
        }
        Some(TokensVerb::Summary(args)) => summary::summary(args, &store, output),
        Some(TokensVerb::Quota(verb)) => quota::quota(verb, &store, home, output),
        Some(TokensVerb::Check { agent, preset }) => {
            let preset = preset.as_ref().map(ToString::to_string);
            quota::check(agent.as_ref(), preset.as_deref(), &store, output)
        }
        Some(TokensVerb::Reprice) => reprice(&store, &read_prices(home)?, output),
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
    let by = match args.by {
        TokensBy::Daily => period(Period::Day),
        TokensBy::Weekly => period(Period::Week),
        TokensBy::Monthly => period(Period::Month),
        TokensBy::Blocks => GroupBy::Block,
        TokensBy::Session => GroupBy::Session,
        TokensBy::Models => GroupBy::Model,
        TokensBy::Agents => GroupBy::Agent,
        TokensBy::Presets => GroupBy::Preset,
        TokensBy::Runs => GroupBy::Run,
    };
    let (groups, total) = sum_up(store, &query, by)?;
    let rows: Vec<Row> = groups.iter().map(|group| Row::of(group, args.by, &zone)).collect();
    let total = total.map(|group| Row::of(&group, args.by, &zone));
    let view = View { by: args.by.into(), zone: zone.iana_name().map(str::to_owned), rows, total };
    output.result(&view, || text(&view, args.by));
    Ok(Code::Completed)
}

/// The sums by something, and the sum over all.
pub(super) fn sum_up(
    store: &dyn UsageStore,
    query: &UsageQuery,
    by: GroupBy,
) -> Result<(Vec<UsageGroup>, Option<UsageGroup>), Error> {
    let mut groups = Groups::new(by);
    store.sums(query, &mut |sum| groups.add_sum(sum))?;
    let groups = groups.finish();
    let total = UsageGroup::total(&groups);
    Ok((groups, total))
}

/// A time of one library as the other has it; both reach further than any that is asked for.
pub(super) fn stamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp::from_millisecond(time.timestamp_millis()).unwrap_or(Timestamp::MIN)
}

/// What `tokens --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tokens")]
pub(super) struct View {
    by: &'static str,
    zone: Option<String>,
    rows: Vec<Row>,
    total: Option<Row>,
}

/// One line of the table.
#[derive(Debug, Serialize, JsonSchema)]
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
            "{} {:>6} {:>7} {:>7} {:>8} {:>8} {:>9}{missing}\n",
            human::fit(name, 28),
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

/// What `tokens reprice --json` prints.
#[derive(Debug, Serialize)]
struct RepriceView {
    changed: u64,
    same: u64,
    unpriced: u64,
}

fn reprice(store: &dyn UsageStore, prices: &PriceList, output: &Output) -> Result<Code, Error> {
    let Repriced { changed, same, unknown } = store.reprice(&|record| prices.cost(record))?;
    let view = RepriceView { changed, same, unpriced: unknown };
    output.result(&view, || {
        format!("{changed} costs are others now and {same} are as before; {unknown} of both are not known\n")
    });
    Ok(Code::Completed)
}
