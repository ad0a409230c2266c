//! Sums of usage by time, in a zone, or by label.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Unit, ZonedRound};

use crate::{Usage, UsageRecord, UsageSummary};

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
    /// The task.
    pub task: Option<&'a str>,
    /// The run.
    pub run: Option<&'a str>,
    /// The session of the agent.
    pub session: Option<&'a str>,
    /// The first and the last of them.
    pub span: (Timestamp, Timestamp),
    /// How many they are.
    pub records: u64,
    /// How many requests those stand for that say so; `None` when none does.
    pub requests: Option<u64>,
    /// The requests and the tokens of those that know both.
    pub counted: (u64, u64),
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
            task: record.task.as_deref(),
            run: record.run.as_deref(),
            session: record.session.as_deref(),
            span: (record.at, record.at),
            records: 1,
            requests: record.requests,
            counted: record.requests.zip(record.usage.and_then(Usage::total)).unwrap_or_default(),
            sum: UsageSummary::of([(record.usage, record.cost)]),
        }
    }

    pub(crate) fn labels(&self) -> [Option<&'a str>; 6] {
        [Some(self.agent), self.model, self.preset, self.task, self.run, self.session]
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
    /// All of some groups together, without a label or a stretch of time of their own; `None` of no group.
    pub fn total<'a>(groups: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let own = |group: &Self| Self { since: None, until: None, label: None, ..group.clone() };
        groups.into_iter().map(own).reduce(|mut total, group| {
            total.requests += group.requests;
            total.models.extend(group.models);
            total.agents.extend(group.agents);
            total.span = match (total.span, group.span) {
                (Some((first, last)), Some((since, until))) => Some((first.min(since), last.max(until))),
                (known, None) | (None, known) => known,
            };
            total.sum = total.sum.plus(group.sum);
            total
        })
    }

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
    /// Those of stretches of time, by their beginning.
    of_time: BTreeMap<Timestamp, UsageGroup>,
    of_label: HashMap<String, UsageGroup>,
    of_no_label: Option<UsageGroup>,
}

impl Groups {
    /// No group yet.
    pub fn new(by: GroupBy) -> Self {
        let (of_time, of_label) = (BTreeMap::new(), HashMap::new());
        Self { by, stretch: None, of_time, of_label, of_no_label: None }
    }

    /// Adds a record to its group.
    pub fn add(&mut self, record: &UsageRecord) {
        let is_of_one = self.add_sum(&UsageSum::of(record));
        debug_assert!(is_of_one, "one moment is in one stretch of time");
    }

    /// Adds several records at once to their group; `false` if they are not all of one, and nothing was added.
    ///
    /// So it is what [`UsageStore::sums`](crate::UsageStore::sums) is given.
    pub fn add_sum(&mut self, sum: &UsageSum<'_>) -> bool {
        let label = match &self.by {
            GroupBy::Period(..) | GroupBy::Block => return self.add_to_stretch(sum),
            GroupBy::Agent => Some(sum.agent),
            GroupBy::Model => sum.model,
            GroupBy::Preset => sum.preset,
            GroupBy::Task => sum.task,
            GroupBy::Run => sum.run,
            GroupBy::Session => sum.session,
        };
        self.labelled(label).add(sum);
        true
    }

    fn add_to_stretch(&mut self, sum: &UsageSum<'_>) -> bool {
        let (first, last) = sum.span;
        let (since, until) = self.stretch(first);
        if last >= until {
            return false;
        }
        let begun = || UsageGroup { since: Some(since), until: Some(until), ..UsageGroup::default() };
        self.of_time.entry(since).or_insert_with(begun).add(sum);
        true
    }

    /// The stretch of time that a moment is in: the last one, or one that begins.
    fn stretch(&mut self, at: Timestamp) -> (Timestamp, Timestamp) {
        match (self.stretch, &self.by) {
            (Some((since, until)), _) if at >= since && at < until => (since, until),
            (_, GroupBy::Period(period, zone)) => *self.stretch.insert(period.around(at, zone)),
            _ => *self.stretch.insert(block(at)),
        }
    }

    fn labelled(&mut self, label: Option<&str>) -> &mut UsageGroup {
        let Some(label) = label else { return self.of_no_label.get_or_insert_default() };
        if !self.of_label.contains_key(label) {
            let group = UsageGroup { label: Some(label.to_owned()), ..UsageGroup::default() };
            self.of_label.insert(label.to_owned(), group);
        }
        self.of_label.get_mut(label).expect("it is there, or was added")
    }

    /// The groups, in the order of time or of their labels.
    pub fn finish(self) -> Vec<UsageGroup> {
        let mut labelled: Vec<UsageGroup> =
            self.of_no_label.into_iter().chain(self.of_label.into_values()).collect();
        labelled.sort_by(|left, right| left.label.cmp(&right.label));
        self.of_time.into_values().chain(labelled).collect()
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
