//! From transcripts on disk into a store.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use crate::{
    CostSource, PriceList, Tracked, TranscriptCount, TranscriptKind, UsageError, UsageKey, UsageRecord,
    UsageStore, read_transcript,
};

/// How many requests are gathered before they are written.
const BATCH: usize = 5_000;

/// Reads transcripts into a store: each request once, with what it costs.
#[derive(Debug)]
pub struct Import<'a> {
    store: &'a dyn UsageStore,
    prices: &'a PriceList,
    /// What was read and is not written yet. A request is told of in several lines, and priced and written once.
    gathered: HashMap<UsageKey, UsageRecord>,
    tracked: Tracked,
}

impl<'a> Import<'a> {
    /// An import that has read nothing yet.
    pub fn new(store: &'a dyn UsageStore, prices: &'a PriceList) -> Self {
        Self { store, prices, gathered: HashMap::new(), tracked: Tracked::default() }
    }

    /// Reads a transcript, and takes of it what is to be kept.
    ///
    /// # Errors
    /// The file cannot be read, or the store not be written.
    pub fn read(
        &mut self,
        path: &Path,
        kind: TranscriptKind,
        mut is_kept: impl FnMut(&UsageRecord) -> bool,
    ) -> Result<TranscriptCount, UsageError> {
        let mut written = Ok(());
        let count = read_transcript(path, kind, |record| {
            if written.is_ok() && is_kept(&record) {
                written = self.gather(record);
            }
        })?;
        written.map(|()| count)
    }

    /// Writes what is left, sums it up, and tells what became of all of it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn finish(mut self) -> Result<Tracked, UsageError> {
        self.write()?;
        // Once at the end: the requests of an hour come in several batches.
        self.store.sum_up()?;
        Ok(self.tracked)
    }

    fn gather(&mut self, record: UsageRecord) -> Result<(), UsageError> {
        match self.gathered.entry(record.key.clone()) {
            Entry::Vacant(place) => {
                place.insert(record);
            }
            Entry::Occupied(mut known) => {
                self.tracked.known += 1;
                if record.says_more_than(known.get()) {
                    known.insert(record);
                }
            }
        }
        if self.gathered.len() < BATCH { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<(), UsageError> {
        let mut records: Vec<UsageRecord> = self.gathered.drain().map(|(_, record)| record).collect();
        for record in &mut records {
            if record.cost.source == CostSource::Unknown {
                record.cost = self.prices.cost(record);
            }
        }
        // Neighbours in the table are written together.
        records.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        self.tracked.add(&self.store.track_usage(&records)?);
        Ok(())
    }
}
