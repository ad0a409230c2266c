//! Limits and what is set aside, in the database.

use aiswitch_lock::ProcessMark;
use aiswitch_lock::rusqlite::{self, OptionalExtension as _, Row, Transaction, params};
use jiff::Timestamp;

use super::{number, stamp};
use crate::quota::{ESTIMATE_RUNS, Reservation, decide, estimate_of};
use crate::{
    Amount, NanoUsd, Quota, QuotaMode, QuotaScope, QuotaStatus, ReservationId, ReserveRequest, Reserved,
    UsageError,
};

pub(super) fn quotas(view: &Transaction<'_>) -> rusqlite::Result<Vec<Quota>> {
    let mut statement = view.prepare_cached(
        "SELECT scope, name, tokens, cost_nanos, mode, zone FROM quota
         ORDER BY CASE scope WHEN 'global' THEN 0 WHEN 'agent' THEN 1 ELSE 2 END, name",
    )?;
    statement.query_map([], quota)?.collect()
}

fn quota(row: &Row<'_>) -> rusqlite::Result<Quota> {
    let figure =
        |name: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(name)?.map(i64::unsigned_abs));
    Ok(Quota {
        scope: match row.get::<_, String>("scope")?.as_str() {
            "agent" => QuotaScope::Agent(row.get("name")?),
            "preset" => QuotaScope::Preset(row.get("name")?),
            _ => QuotaScope::Global,
        },
        tokens: figure("tokens")?,
        usd: figure("cost_nanos")?.map(NanoUsd),
        mode: match row.get::<_, String>("mode")?.as_str() {
            "soft" => QuotaMode::Soft,
            "off" => QuotaMode::Off,
            _ => QuotaMode::Hard,
        },
        zone: row.get("zone")?,
    })
}

/// The words that the table has for a scope.
fn words(scope: &QuotaScope) -> (&'static str, &str) {
    match scope {
        QuotaScope::Global => ("global", ""),
        QuotaScope::Agent(name) => ("agent", name),
        QuotaScope::Preset(name) => ("preset", name),
    }
}

pub(super) fn set(change: &Transaction<'_>, quota: &Quota) -> rusqlite::Result<()> {
    let (scope, name) = words(&quota.scope);
    let mode = match quota.mode {
        QuotaMode::Hard => "hard",
        QuotaMode::Soft => "soft",
        QuotaMode::Off => "off",
    };
    let nanos = number(quota.usd.map(|usd| usd.0));
    change
        .execute(
            "INSERT OR REPLACE INTO quota (scope, name, tokens, cost_nanos, mode, zone) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![scope, name, number(quota.tokens), nanos, mode, quota.zone],
        )
        .map(drop)
}

pub(super) fn remove(change: &Transaction<'_>, scope: &QuotaScope) -> rusqlite::Result<bool> {
    let (scope, name) = words(scope);
    Ok(change.execute("DELETE FROM quota WHERE scope = ?1 AND name = ?2", [scope, name])? > 0)
}

/// How each limit stands that is for what an agent does under a preset.
pub(super) fn statuses(
    view: &Transaction<'_>,
    agent: &str,
    preset: Option<&str>,
    at: Timestamp,
) -> rusqlite::Result<Result<Vec<QuotaStatus>, UsageError>> {
    let mut reservations = reservations(view)?;
    reservations.retain(|reservation| reservation.counts(at));
    let mut found = Vec::new();
    for quota in quotas(view)?.into_iter().filter(|quota| quota.is_for(agent, preset)) {
        let (since, until) = match quota.day(at) {
            Ok(day) => day,
            Err(error) => return Ok(Err(error)),
        };
        let (used, unpriced) = used(view, &quota.scope, (since, until))?;
        let reserved = Reservation::sum(&reservations, &quota);
        found.push(QuotaStatus { quota, since, until, used, unpriced, reserved });
    }
    Ok(Ok(found))
}

/// What was used within a time, and how many records of it have no known cost.
fn used(
    view: &Transaction<'_>,
    scope: &QuotaScope,
    (since, until): (Timestamp, Timestamp),
) -> rusqlite::Result<(Amount, u64)> {
    let (condition, name) = match scope {
        QuotaScope::Global => ("?3 IS NULL", None),
        QuotaScope::Agent(name) => ("agent = ?3", Some(name)),
        QuotaScope::Preset(name) => ("preset = ?3", Some(name)),
    };
    let sql = format!(
        "SELECT coalesce(sum(total), 0), coalesce(sum(cost_nanos), 0), count(*) - count(cost_nanos)
         FROM usage WHERE at_ms >= ?1 AND at_ms < ?2 AND {condition}"
    );
    let figure = |row: &Row<'_>, place: usize| row.get::<_, i64>(place).map(i64::unsigned_abs);
    view.prepare_cached(&sql)?.query_one(
        params![since.as_millisecond(), until.as_millisecond(), name],
        |row| {
            let amount = Amount { tokens: figure(row, 0)?, usd: NanoUsd(figure(row, 1)?) };
            Ok((amount, figure(row, 2)?))
        },
    )
}

fn reservations(view: &Transaction<'_>) -> rusqlite::Result<Vec<Reservation>> {
    let mut statement = view
        .prepare_cached("SELECT id, agent, preset, tokens, cost_nanos, owner, until_ms FROM reservation")?;
    let reservation = |row: &Row<'_>| {
        let figure = |name: &str| row.get::<_, i64>(name).map(i64::unsigned_abs);
        Ok(Reservation {
            id: ReservationId(row.get("id")?),
            agent: row.get("agent")?,
            preset: row.get("preset")?,
            amount: Amount { tokens: figure("tokens")?, usd: NanoUsd(figure("cost_nanos")?) },
            owner: ProcessMark::of(row.get::<_, String>("owner")?),
            until: stamp(row.get("until_ms")?),
        })
    };
    statement.query_map([], reservation)?.collect()
}

/// Whether there is a limit at all that does anything.
pub(super) fn is_limited(view: &Transaction<'_>) -> rusqlite::Result<bool> {
    let found =
        view.prepare_cached("SELECT 1 FROM quota WHERE mode <> 'off' LIMIT 1")?.query_row([], |_| Ok(()));
    Ok(found.optional()?.is_some())
}

pub(super) fn reserve(
    change: &Transaction<'_>,
    request: &ReserveRequest,
    at: Timestamp,
) -> rusqlite::Result<Result<Reserved, UsageError>> {
    let over = reservations(change)?.into_iter().filter(|reservation| !reservation.counts(at));
    drop_all(change, &over.map(|reservation| reservation.id).collect::<Vec<_>>())?;
    let mut statuses = match statuses(change, &request.agent, request.preset.as_deref(), at)? {
        Ok(statuses) => statuses,
        Err(error) => return Ok(Err(error)),
    };
    statuses.retain(|status| status.quota.mode != QuotaMode::Off);
    if statuses.is_empty() {
        return Ok(Ok(Reserved::Unlimited));
    }
    let amount = match request.estimate {
        Some(estimate) => estimate,
        None => estimate(change, &request.agent)?,
    };
    let near = match decide(statuses, amount, request.estimate.is_none()) {
        Ok(near) => near,
        Err(status) => return Ok(Ok(Reserved::Denied { status, amount })),
    };
    change.execute(
        "INSERT INTO reservation (agent, preset, tokens, cost_nanos, owner, until_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            request.agent,
            request.preset,
            number(Some(amount.tokens)),
            number(Some(amount.usd.0)),
            request.owner.to_string(),
            request.until.as_millisecond(),
        ],
    )?;
    Ok(Ok(Reserved::Granted { id: ReservationId(change.last_insert_rowid()), amount, near }))
}

/// What an agent's next run is thought to use.
fn estimate(view: &Transaction<'_>, agent: &str) -> rusqlite::Result<Amount> {
    let sql = format!(
        "SELECT total, cost_nanos FROM usage WHERE agent = ?1 AND run IS NOT NULL ORDER BY at_ms DESC LIMIT {ESTIMATE_RUNS}"
    );
    let mut statement = view.prepare_cached(&sql)?;
    let figures = |row: &Row<'_>| {
        let figure =
            |place: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(place)?.map(i64::unsigned_abs));
        Ok((figure(0)?, figure(1)?.map(NanoUsd)))
    };
    Ok(estimate_of(&statement.query_map([agent], figures)?.collect::<rusqlite::Result<Vec<_>>>()?))
}

/// Gives back what was set aside.
pub(super) fn drop_all(change: &Transaction<'_>, reservations: &[ReservationId]) -> rusqlite::Result<()> {
    let mut statement = change.prepare_cached("DELETE FROM reservation WHERE id = ?1")?;
    reservations.iter().try_for_each(|id| statement.execute([id.0]).map(drop))
}
