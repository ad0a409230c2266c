//! Usage in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::quota::{ESTIMATE_RUNS, Reservation, decide, estimate_of};
use crate::{
    Amount, Cost, CostSource, Quota, QuotaMode, QuotaScope, QuotaStatus, Repriced, ReservationId,
    ReserveRequest, Reserved, Tracked, Usage, UsageError, UsageKey, UsageQuery, UsageRecord, UsageStore,
    UsageSum,
};

/// Usage in memory, for as long as the program runs.
#[derive(Debug, Default)]
pub struct MemoryUsageStore {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    records: BTreeMap<UsageKey, UsageRecord>,
    quotas: BTreeMap<QuotaScope, Quota>,
    reservations: Vec<Reservation>,
    /// The last reservation's number.
    last: i64,
}

impl MemoryUsageStore {
    /// A store without records.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn track(&mut self, records: &[UsageRecord]) -> Tracked {
        let mut tracked = Tracked::default();
        for record in records {
            match self.records.get_mut(&record.key) {
                None => {
                    self.records.insert(record.key.clone(), record.clone());
                    tracked.new += 1;
                }
                Some(known) if record.says_more_than(known) => {
                    known.clone_from(record);
                    tracked.grown += 1;
                }
                Some(_) => tracked.known += 1,
            }
        }
        tracked
    }

    fn status(&self, quota: &Quota, at: Timestamp) -> Result<QuotaStatus, UsageError> {
        let (since, until) = quota.day(at)?;
        let mut status = QuotaStatus {
            quota: quota.clone(),
            since,
            until,
            used: Amount::default(),
            unpriced: 0,
            reserved: Reservation::sum(&self.reservations, quota),
        };
        let is_counted = |record: &&UsageRecord| {
            record.at >= since && record.at < until && quota.is_for(&record.agent, record.preset.as_deref())
        };
        for record in self.records.values().filter(is_counted) {
            let tokens = record.usage.and_then(Usage::total).unwrap_or(0);
            status.used = status.used.plus(Amount { tokens, usd: record.cost.usd.unwrap_or_default() });
            status.unpriced += u64::from(record.cost.usd.is_none());
        }
        Ok(status)
    }

    fn statuses(
        &mut self,
        agent: &str,
        preset: Option<&str>,
        at: Timestamp,
    ) -> Result<Vec<QuotaStatus>, UsageError> {
        self.reservations.retain(|reservation| reservation.counts(at));
        let wanted = self.quotas.values().filter(|quota| quota.is_for(agent, preset));
        wanted.map(|quota| self.status(quota, at)).collect()
    }

    /// What an agent's next run is thought to use.
    fn estimate(&self, agent: &str) -> Amount {
        let mut runs: Vec<&UsageRecord> =
            self.records.values().filter(|record| record.run.is_some() && record.agent == agent).collect();
        runs.sort_by_key(|record| std::cmp::Reverse(record.at));
        let figures = |record: &UsageRecord| (record.usage.and_then(Usage::total), record.cost.usd);
        estimate_of(&runs.into_iter().take(ESTIMATE_RUNS).map(figures).collect::<Vec<_>>())
    }
}

impl UsageStore for MemoryUsageStore {
    fn track_usage(&self, records: &[UsageRecord]) -> Result<Tracked, UsageError> {
        records.iter().try_for_each(UsageRecord::check)?;
        Ok(self.kept().track(records))
    }

    fn records(&self, query: &UsageQuery, each: &mut dyn FnMut(UsageRecord)) -> Result<(), UsageError> {
        let kept = self.kept();
        let mut found: Vec<&UsageRecord> =
            kept.records.values().filter(|record| query.fits(record)).collect();
        found.sort_by_key(|record| (record.at, &record.key));
        found.into_iter().cloned().for_each(each);
        Ok(())
    }

    fn sums(
        &self,
        query: &UsageQuery,
        each: &mut dyn FnMut(&UsageSum<'_>) -> bool,
    ) -> Result<(), UsageError> {
        // A moment cannot be told in parts.
        self.records(query, &mut |record| {
            each(&UsageSum::of(&record));
        })
    }

    fn sum_up(&self) -> Result<(), UsageError> {
        Ok(())
    }

    fn reprice(&self, price: &dyn Fn(&UsageRecord) -> Cost) -> Result<Repriced, UsageError> {
        let mut kept = self.kept();
        let mut repriced = Repriced::default();
        let unreported = |record: &&mut UsageRecord| record.cost.source != CostSource::Reported;
        for record in kept.records.values_mut().filter(unreported) {
            let cost = price(record);
            repriced.count(record, cost);
            record.cost = cost;
        }
        Ok(repriced)
    }

    fn quotas(&self) -> Result<Vec<Quota>, UsageError> {
        Ok(self.kept().quotas.values().cloned().collect())
    }

    fn set_quota_limit(&self, quota: &Quota) -> Result<(), UsageError> {
        quota.check()?;
        self.kept().quotas.insert(quota.scope.clone(), quota.clone());
        Ok(())
    }

    fn remove_quota(&self, scope: &QuotaScope) -> Result<bool, UsageError> {
        Ok(self.kept().quotas.remove(scope).is_some())
    }

    fn check_quota(
        &self,
        agent: &str,
        preset: Option<&str>,
        at: Timestamp,
    ) -> Result<Vec<QuotaStatus>, UsageError> {
        self.kept().statuses(agent, preset, at)
    }

    fn reserve(&self, request: &ReserveRequest, at: Timestamp) -> Result<Reserved, UsageError> {
        request.check()?;
        let mut kept = self.kept();
        let mut statuses = kept.statuses(&request.agent, request.preset.as_deref(), at)?;
        statuses.retain(|status| status.quota.mode != QuotaMode::Off);
        if statuses.is_empty() {
            return Ok(Reserved::Unlimited);
        }
        let amount = request.estimate.unwrap_or_else(|| kept.estimate(&request.agent));
        Ok(match decide(statuses, amount, request.estimate.is_none()) {
            Err(status) => Reserved::Denied { status, amount },
            Ok(near) => {
                kept.last += 1;
                let id = ReservationId(kept.last);
                kept.reservations.push(Reservation {
                    id,
                    agent: request.agent.clone(),
                    preset: request.preset.clone(),
                    amount,
                    owner: request.owner.clone(),
                    until: request.until,
                });
                Reserved::Granted { id, amount, near }
            }
        })
    }

    fn settle(&self, reservations: &[ReservationId], records: &[UsageRecord]) -> Result<Tracked, UsageError> {
        records.iter().try_for_each(UsageRecord::check)?;
        let mut kept = self.kept();
        kept.reservations.retain(|reservation| !reservations.contains(&reservation.id));
        Ok(kept.track(records))
    }
}
