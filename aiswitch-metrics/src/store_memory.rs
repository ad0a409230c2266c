//! Samples in memory, for as long as the program runs.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::metric::OTHER_NUMBER_MIN;
use crate::store::{Level, OTHER_METRICS_MAX, SOURCES_MAX, check};
use crate::summary::Bucket;
use crate::{Metric, MetricsError, MetricsStore, Point, Sample, SampleQuery, Source, Stored};

/// Samples in memory, for as long as the program runs.
#[derive(Debug, Default)]
pub struct MemoryMetricsStore {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By level, the start of the span, and source.
    buckets: BTreeMap<(Level, i64, Source), Bucket>,
    sources: BTreeSet<Source>,
    /// The metrics that are not known beforehand; the first has [`OTHER_NUMBER_MIN`].
    others: Vec<Metric>,
    notes: BTreeMap<String, String>,
}

impl MemoryMetricsStore {
    /// A store without samples.
    pub fn new() -> Self {
        Self::default()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of a metric, which is given one if there is room.
fn number(others: &mut Vec<Metric>, metric: &Metric) -> Option<u32> {
    if let Some(number) = metric.number() {
        return Some(number);
    }
    let place = match others.iter().position(|other| other == metric) {
        Some(place) => place,
        None if others.len() == OTHER_METRICS_MAX as usize => return None,
        None => {
            others.push(metric.clone());
            others.len() - 1
        }
    };
    Some(OTHER_NUMBER_MIN + u32::try_from(place).expect("there are at most `OTHER_METRICS_MAX`"))
}

impl MetricsStore for MemoryMetricsStore {
    fn store_metrics(&self, samples: &[Sample], now: DateTime<Utc>) -> Result<Stored, MetricsError> {
        let Kept { buckets, sources, others, .. } = &mut *self.kept();
        let mut stored = Stored::default();
        for sample in samples {
            let Ok(checked) = check(sample, now, &mut stored.rejected, |metric| {
                Ok::<_, Infallible>(number(others, metric))
            });
            let Some(checked) = checked else { continue };
            if !sources.contains(&sample.source) && sources.len() == SOURCES_MAX as usize {
                stored.rejected.crowd += checked.bucket.summaries().len() as u64;
                continue;
            }
            sources.insert(sample.source.clone());
            // At its moment, or at the next that is free if another of its source is there.
            let mut at_ms = checked.at_ms;
            let bucket = loop {
                let bucket = checked.bucket.clone().at(at_ms);
                match buckets.get(&(Level::Sample, at_ms, sample.source.clone())) {
                    None => break Some(bucket),
                    Some(there) if *there == bucket => break None,
                    Some(_) => at_ms += 1,
                }
            };
            let Some(bucket) = bucket else {
                stored.known += 1;
                continue;
            };
            for level in Level::ALL {
                let key = (level, level.start_ms(at_ms), sample.source.clone());
                buckets.entry(key).or_default().merge(bucket.clone());
            }
            stored.stored += 1;
        }
        Ok(stored)
    }

    fn points(&self, query: &SampleQuery, each: &mut dyn FnMut(&Point<'_>)) -> Result<(), MetricsError> {
        let Kept { buckets, others, .. } = &*self.kept();
        let (since, until) = query.span_ms();
        let metric_of = |number: u32| {
            Metric::of_number(number).or_else(|| {
                let place = number.checked_sub(OTHER_NUMBER_MIN)?;
                others.get(usize::try_from(place).ok()?).cloned()
            })
        };
        if since >= until {
            return Ok(());
        }
        // The system comes before all agents.
        let wanted = (query.level, since, Source::System)..(query.level, until, Source::System);
        for ((_, start_ms, source), bucket) in buckets.range(wanted) {
            if query.source.as_ref().is_some_and(|wanted| wanted != source) {
                continue;
            }
            for (number, summary) in bucket.summaries() {
                let metric = metric_of(*number).expect("a number was given to a metric");
                if query.metric.as_ref().is_none_or(|wanted| *wanted == metric) {
                    let at = DateTime::from_timestamp_millis(*start_ms).unwrap_or_default();
                    each(&Point { source, metric: &metric, at, summary });
                }
            }
        }
        Ok(())
    }

    fn forget(&self, now: DateTime<Utc>) -> Result<u64, MetricsError> {
        let mut forgotten = 0;
        self.kept().buckets.retain(|(level, start_ms, _), _| {
            let is_old = level.kept().is_some_and(|kept| *start_ms < (now - kept).timestamp_millis());
            forgotten += u64::from(is_old);
            !is_old
        });
        Ok(forgotten)
    }

    fn change_notes(
        &self,
        names: &[&str],
        change: &mut dyn FnMut(&str, Option<&str>) -> Option<String>,
    ) -> Result<(), MetricsError> {
        let notes = &mut self.kept().notes;
        for name in names {
            match change(name, notes.get(*name).map(String::as_str)) {
                Some(note) => drop(notes.insert((*name).to_owned(), note)),
                None => drop(notes.remove(*name)),
            }
        }
        Ok(())
    }

    fn notes(&self, beginning: &str) -> Result<Vec<(String, String)>, MetricsError> {
        let kept = self.kept();
        let notes = kept.notes.iter().filter(|(name, _)| name.starts_with(beginning));
        Ok(notes.map(|(name, note)| (name.clone(), note.clone())).collect())
    }
}
