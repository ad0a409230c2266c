//! `aiswitch tokens quota` and `tokens check`: limits of what may be used in a day.

use aiswitch_coordinator::Home;
use aiswitch_tokens::{NanoUsd, Quota, QuotaLevel, QuotaMode, QuotaScope, QuotaStatus, UsageStore};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::stamp;
use crate::args::{QuotaSet, QuotaTarget, QuotaVerb};
use crate::caller;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::privileged::privileged;

/// One limit, as `--json` prints it.
#[derive(Debug, Serialize)]
struct QuotaView {
    scope: &'static str,
    name: Option<String>,
    mode: QuotaMode,
    zone: String,
    since: String,
    until: String,
    tokens: Option<u64>,
    tokens_used: u64,
    tokens_reserved: u64,
    tokens_remaining: Option<u64>,
    usd: Option<NanoUsd>,
    usd_used: NanoUsd,
    usd_reserved: NanoUsd,
    usd_remaining: Option<NanoUsd>,
    unpriced: u64,
    level: QuotaLevel,
}

impl QuotaView {
    fn of(status: &QuotaStatus) -> Self {
        let (scope, name) = words(&status.quota.scope);
        let Quota { mode, zone, tokens, usd, .. } = &status.quota;
        Self {
            scope,
            name: name.map(str::to_owned),
            mode: *mode,
            zone: zone.clone(),
            since: status.since.to_string(),
            until: status.until.to_string(),
            tokens: *tokens,
            tokens_used: status.used.tokens,
            tokens_reserved: status.reserved.tokens,
            tokens_remaining: status.tokens_remaining(),
            usd: *usd,
            usd_used: status.used.usd,
            usd_reserved: status.reserved.usd,
            usd_remaining: status.usd_remaining(),
            unpriced: status.unpriced,
            level: status.level(),
        }
    }
}

fn words(scope: &QuotaScope) -> (&'static str, Option<&str>) {
    match scope {
        QuotaScope::Global => ("global", None),
        QuotaScope::Agent(name) => ("agent", Some(name)),
        QuotaScope::Preset(name) => ("preset", Some(name)),
    }
}

fn scope(target: &QuotaTarget) -> QuotaScope {
    match (&target.agent, &target.preset) {
        (Some(agent), _) => QuotaScope::Agent(agent.to_string()),
        (None, Some(preset)) => QuotaScope::Preset(preset.to_string()),
        (None, None) => QuotaScope::Global,
    }
}

/// Sets, shows or removes limits.
///
/// # Errors
/// The store cannot be read or written, a limit is none, or the caller is not the operator.
pub(super) fn quota(
    verb: &QuotaVerb,
    store: &dyn UsageStore,
    home: &Home,
    output: &Output,
) -> Result<Code, Error> {
    match verb {
        QuotaVerb::Set(set) => {
            let quota = of(set);
            quota.check()?;
            privileged(home, "quota.set", &quota.scope.to_string())?;
            store.set_quota_limit(&quota)?;
            show(store, output)
        }
        QuotaVerb::Show => show(store, output),
        QuotaVerb::Remove(target) => {
            let scope = scope(target);
            privileged(home, "quota.remove", &scope.to_string())?;
            if !store.remove_quota(&scope)? {
                return Err(Error::NoQuota { scope: scope.to_string() });
            }
            show(store, output)
        }
    }
}

fn of(set: &QuotaSet) -> Quota {
    let zone = set.timezone.clone().unwrap_or_else(TimeZone::system);
    Quota {
        scope: scope(&set.target),
        tokens: set.tokens,
        usd: set.usd,
        mode: set.mode.into(),
        // A system may keep a zone without its name.
        zone: zone.iana_name().unwrap_or("UTC").to_owned(),
    }
}

fn now() -> Timestamp {
    stamp(caller::now())
}

fn show(store: &dyn UsageStore, output: &Output) -> Result<Code, Error> {
    let mut statuses = Vec::new();
    for quota in store.quotas()? {
        let (agent, preset) = match &quota.scope {
            QuotaScope::Global => ("", None),
            QuotaScope::Agent(name) => (name.as_str(), None),
            QuotaScope::Preset(name) => ("", Some(name.as_str())),
        };
        let all = store.check_quota(agent, preset, now())?;
        statuses.extend(all.into_iter().filter(|status| status.quota.scope == quota.scope));
    }
    let views: Vec<QuotaView> = statuses.iter().map(QuotaView::of).collect();
    output.result(&views, || match statuses.as_slice() {
        [] => "no limits are set; see: aiswitch tokens quota set --help\n".to_owned(),
        all => all.iter().map(line).collect(),
    });
    Ok(Code::Completed)
}

/// Says what is left for an agent; the code tells whether it would be let begin.
///
/// # Errors
/// The store cannot be read.
pub(super) fn check(
    agent: &str,
    preset: Option<&str>,
    store: &dyn UsageStore,
    output: &Output,
) -> Result<Code, Error> {
    let statuses = store.check_quota(agent, preset, now())?;
    let views: Vec<QuotaView> = statuses.iter().map(QuotaView::of).collect();
    output.result(&views, || match statuses.as_slice() {
        [] => format!("no limit is for agent `{agent}`\n"),
        all => all.iter().map(line).collect(),
    });
    let is_over =
        |status: &QuotaStatus| status.quota.mode == QuotaMode::Hard && status.level() == QuotaLevel::Exceeded;
    Ok(if statuses.iter().any(is_over) { Code::OverBudget } else { Code::Completed })
}

fn line(status: &QuotaStatus) -> String {
    let mode = match status.quota.mode {
        QuotaMode::Hard => "hard",
        QuotaMode::Soft => "soft",
        QuotaMode::Off => "off",
    };
    let unpriced = match status.unpriced {
        0 => String::new(),
        count if status.quota.usd.is_some() => format!("; {count} calls have no known cost"),
        _ => String::new(),
    };
    format!("{status} ({mode}, days of {}){unpriced}\n", status.quota.zone)
}
