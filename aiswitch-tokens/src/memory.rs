//! Usage in memory.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::{Cost, CostSource, Repriced, Tracked, UsageError, UsageKey, UsageQuery, UsageRecord, UsageStore};

/// Usage in memory, for as long as the program runs.
#[derive(Debug, Default)]
pub struct MemoryUsageStore {
    records: Mutex<BTreeMap<UsageKey, UsageRecord>>,
}

impl MemoryUsageStore {
    /// A store without records.
    pub fn new() -> Self {
        Self::default()
    }
}

impl UsageStore for MemoryUsageStore {
    fn track_usage(&self, records: &[UsageRecord]) -> Result<Tracked, UsageError> {
        records.iter().try_for_each(UsageRecord::check)?;
        let mut kept = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tracked = Tracked::default();
        for record in records {
            match kept.get_mut(&record.key) {
                None => {
                    kept.insert(record.key.clone(), record.clone());
                    tracked.new += 1;
                }
                Some(known) if record.says_more_than(known) => {
                    known.clone_from(record);
                    tracked.grown += 1;
                }
                Some(_) => tracked.known += 1,
            }
        }
        Ok(tracked)
    }

    fn records(&self, query: &UsageQuery, each: &mut dyn FnMut(UsageRecord)) -> Result<(), UsageError> {
        let kept = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<&UsageRecord> = kept.values().filter(|record| query.fits(record)).collect();
        found.sort_by_key(|record| (record.at, &record.key));
        found.into_iter().cloned().for_each(each);
        Ok(())
    }

    fn reprice(&self, price: &dyn Fn(&UsageRecord) -> Cost) -> Result<Repriced, UsageError> {
        let mut kept = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let mut repriced = Repriced::default();
        for record in kept.values_mut().filter(|record| record.cost.source != CostSource::Reported) {
            let cost = price(record);
            repriced.count(record, cost);
            record.cost = cost;
        }
        Ok(repriced)
    }
}
