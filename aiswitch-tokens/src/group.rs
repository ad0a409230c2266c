//! Sums of usage by time, in a zone, or by label.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Unit, ZonedRound};

use crate::{UsageRecord, UsageSummary};

/// How long a block lasts: what providers that limit by blocks count together, by their own word.
const BLOCK: SignedDuration = SignedDuration::from_hours(5);

/// A stretch of time, as a calendar has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From one full hour to the next.
    Hour,
    /// From the first moment of a date to that of the next: 23 or 25 hours where clocks are set.
    Day,
    /// From Monday on.
    Week,
    /// From the first of a month on.
    Month,
}

/// What records are summed up by.
#[derive(Clone, Debug)]
pub enum GroupBy {
    /// A stretch of time, by the calendar of a zone.
    Period(Period, TimeZone),
    /// Blocks of five hours, each from the full hour before the first request after the last block: an estimate of how some
    /// providers count.
    Block,
    /// The agent.
    Agent,
    /// The model.
    Model,
    /// The preset.
    Preset,
    /// The task.
    Task,
    /// The run.
    Run,
    /// The session of the agent.
    Session,
}

/// What several records have in common, and used together.
#[derive(Clone, Copy, Debug)]
pub struct UsageSum<'a> {
    /// The agent.
    pub agent: &'a str,
    /// The model, if it is known.
    pub model: Option<&'a str>,
    /// The preset.
    pub preset: Option<&'a str>,
    /// The first and the last of them.
    pub span: (Timestamp, Timestamp),
    /// How many they are.
    pub records: u64,
    /// What they used and cost.
    pub sum: UsageSummary,
}

impl<'a> UsageSum<'a> {
    /// The sum of one record.
    pub fn of(record: &'a UsageRecord) -> Self {
        Self {
            agent: &record.agent,
            model: record.model.as_deref(),
            preset: record.preset.as_deref(),
            span: (record.at, record.at),
            records: 1,
            sum: UsageSummary::of([(record.usage, record.cost)]),
        }
    }
}

/// What one group used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageGroup {
    /// Since when, of a stretch of time.
    pub since: Option<Timestamp>,
    /// Up to when.
    pub until: Option<Timestamp>,
    /// The label; `None` of records without it, and of a stretch of time.
    pub label: Option<String>,
    /// How many requests.
    pub requests: u64,
    /// The models that answered, where they are known.
    pub models: BTreeSet<String>,
    /// The agents.
    pub agents: BTreeSet<String>,
    /// The first and the last request.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What they used and cost.
    pub sum: UsageSummary,
}

impl UsageGroup {
    fn add(&mut self, sum: &UsageSum<'_>) {
        self.requests += sum.records;
        if let Some(model) = sum.model.filter(|model| !self.models.contains(*model)) {
            self.models.insert(model.to_owned());
        }
        if !self.agents.contains(sum.agent) {
            self.agents.insert(sum.agent.to_owned());
        }
        let (first, last) = self.span.unwrap_or(sum.span);
        self.span = Some((first.min(sum.span.0), last.max(sum.span.1)));
        self.sum = self.sum.plus(sum.sum);
    }
}

/// Sums up records, which come in the order of time.
#[derive(Debug)]
pub struct Groups {
    by: GroupBy,
    /// The last stretch of time.
    stretch: Option<(Timestamp, Timestamp)>,
    sums: BTreeMap<(Option<Timestamp>, Option<String>), UsageGroup>,
}

impl Groups {
    /// No group yet.
    pub fn new(by: GroupBy) -> Self {
        Self { by, stretch: None, sums: BTreeMap::new() }
    }

    /// Adds a record to its group.
    pub fn add(&mut self, record: &UsageRecord) {
        let sum = UsageSum::of(record);
        let label = match self.by {
            GroupBy::Task => &record.task,
            GroupBy::Run => &record.run,
            GroupBy::Session => &record.session,
            _ => {
                let is_whole = self.add_sum(&sum);
                debug_assert!(is_whole, "one moment is in one stretch of time");
                return;
            }
        };
        self.group(None, label.clone()).add(&sum);
    }

    /// Adds several records at once to their group; `false` if they are not all of one, and nothing was added.
    ///
    /// Tasks, runs and sessions are known of single records alone.
    pub fn add_sum(&mut self, sum: &UsageSum<'_>) -> bool {
        let by = self.by.clone();
        let (first, last) = sum.span;
        let (since, label) = match &by {
            GroupBy::Period(period, zone) => (Some(self.stretch(first, |at| period.around(at, zone))), None),
            GroupBy::Block => (Some(self.stretch(first, block)), None),
            GroupBy::Agent => (None, Some(sum.agent)),
            GroupBy::Model => (None, sum.model),
            GroupBy::Preset => (None, sum.preset),
            GroupBy::Task | GroupBy::Run | GroupBy::Session => return false,
        };
        if self.stretch.is_some_and(|(_, until)| last >= until) {
            return false;
        }
        self.group(since, label.map(str::to_owned)).add(sum);
        true
    }

    fn group(&mut self, since: Option<Timestamp>, label: Option<String>) -> &mut UsageGroup {
        let group = self.sums.entry((since, label.clone())).or_default();
        group.label = label;
        if let Some(stretch) = self.stretch {
            (group.since, group.until) = (Some(stretch.0), Some(stretch.1));
        }
        group
    }

    /// The beginning of the stretch of time that a moment is in: the last one, or one that begins.
    fn stretch(&mut self, at: Timestamp, around: impl Fn(Timestamp) -> (Timestamp, Timestamp)) -> Timestamp {
        let last = self.stretch.filter(|(since, until)| at >= *since && at < *until);
        self.stretch.insert(last.unwrap_or_else(|| around(at))).0
    }

    /// The groups, in the order of time or of their labels.
    pub fn finish(self) -> Vec<UsageGroup> {
        self.sums.into_values().collect()
    }
}

impl Period {
    /// The stretch of time around a moment, by the calendar of a zone.
    pub fn around(self, at: Timestamp, zone: &TimeZone) -> (Timestamp, Timestamp) {
        let zoned = at.to_zoned(zone.clone());
        if self == Self::Hour {
            // Hours of a zone begin at its own minutes; where clocks are set, the hour is that of the clock before.
            let start = zoned.round(ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Floor));
            let start = start.map_or_else(|_| hour_of(at), |start| start.timestamp());
            let end = start.checked_add(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX);
            return (start, end);
        }
        let date = zoned.date();
        let first = match self {
            Self::Hour | Self::Day => date,
            Self::Week => {
                date.tomorrow().and_then(|next| next.nth_weekday(-1, Weekday::Monday)).unwrap_or(date)
            }
            Self::Month => date.first_of_month(),
        };
        let next = match self {
            Self::Hour | Self::Day => first.tomorrow(),
            Self::Week => first.checked_add(jiff::Span::new().weeks(1)),
            Self::Month => first.checked_add(jiff::Span::new().months(1)),
        };
        // The first moment of a date, also of one whose midnight no clock shows.
        let begin = |date: jiff::civil::Date| zone.to_ambiguous_zoned(date.at(0, 0, 0, 0)).compatible().ok();
        let begin = |date| begin(date).map(|zoned| zoned.timestamp());
        (begin(first).unwrap_or(Timestamp::MIN), next.ok().and_then(begin).unwrap_or(Timestamp::MAX))
    }
}

/// The block that begins with a request.
fn block(at: Timestamp) -> (Timestamp, Timestamp) {
    let since = hour_of(at);
    (since, since.checked_add(BLOCK).unwrap_or(Timestamp::MAX))
}

fn hour_of(at: Timestamp) -> Timestamp {
    let second = at.as_second() - at.as_second().rem_euclid(3600);
    Timestamp::from_second(second).unwrap_or(Timestamp::MIN)
}
