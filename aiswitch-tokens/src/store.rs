//! Where usage is kept: in memory, or in a database that several processes share.

use std::fmt;

use jiff::Timestamp;

use crate::{
    Cost, CostSource, Quota, QuotaScope, QuotaStatus, ReservationId, ReserveRequest, Reserved, UsageError,
    UsageRecord, UsageSum,
};

/// Which records are asked for; the default asks for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Of this agent.
    pub agent: Option<String>,
    /// Of this model.
    pub model: Option<String>,
    /// Under this preset.
    pub preset: Option<String>,
    /// For this task.
    pub task: Option<String>,
    /// Of this run.
    pub run: Option<String>,
}

impl UsageQuery {
    pub(crate) fn fits(&self, record: &UsageRecord) -> bool {
        let same =
            |wanted: &Option<String>, found: Option<&String>| wanted.is_none() || wanted.as_ref() == found;
        self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at < until)
            && same(&self.agent, Some(&record.agent))
            && same(&self.model, record.model.as_ref())
            && same(&self.preset, record.preset.as_ref())
            && same(&self.task, record.task.as_ref())
            && same(&self.run, record.run.as_ref())
    }
}

/// What became of reports of usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// How many were of a request that was not known.
    pub new: u64,
    /// How many said more of a request that was known.
    pub grown: u64,
    /// How many said nothing new.
    pub known: u64,
}

impl Tracked {
    pub(crate) fn add(&mut self, other: &Self) {
        self.new += other.new;
        self.grown += other.grown;
        self.known += other.known;
    }
}

/// What became of records whose cost was computed anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repriced {
    /// How many have another cost now.
    pub changed: u64,
    /// How many cost the same.
    pub same: u64,
    /// How many of both have no known cost.
    pub unknown: u64,
}

impl Repriced {
    /// Counts a record, and says whether its cost is another now.
    pub(crate) fn count(&mut self, record: &UsageRecord, cost: Cost) -> bool {
        let is_changed = record.cost != cost;
        self.changed += u64::from(is_changed);
        self.same += u64::from(!is_changed);
        self.unknown += u64::from(cost.source == CostSource::Unknown);
        is_changed
    }
}

/// Where usage is kept.
///
/// A request that is reported more than once, also by several processes and out of order, counts once: with the report that
/// says the most. Methods wait for the disk; async code calls them on a thread of their own.
pub trait UsageStore: fmt::Debug + Send + Sync {
    /// Keeps what was used; when it returns, it outlives this process and the machine's power.
    ///
    /// # Errors
    /// A record is none ([`UsageRecord::check`]), and none of them is kept; or the store cannot be written, and what is kept
    /// already is counted once when the same records are given again.
    fn track_usage(&self, records: &[UsageRecord]) -> Result<Tracked, UsageError>;

    /// Hands out the records that are asked for, the earliest first.
    ///
    /// # Errors
    /// The store cannot be read.
    fn records(&self, query: &UsageQuery, each: &mut dyn FnMut(UsageRecord)) -> Result<(), UsageError>;

    /// Hands out the same records summed up, hour by hour: those together that have an hour of UTC and all labels in common,
    /// or some of those.
    ///
    /// `each` says whether it took a sum. One that it did not, because it is of two days of a zone for one, is handed out in
    /// its parts: by quarters of an hour, and of those that are not taken record by record.
    ///
    /// # Errors
    /// The store cannot be read, or cannot keep the sums.
    fn sums(&self, query: &UsageQuery, each: &mut dyn FnMut(&UsageSum<'_>) -> bool)
    -> Result<(), UsageError>;

    /// Sums up what was written since, as far as sums are kept, so that who asks for them next need not wait for that.
    ///
    /// # Errors
    /// The store cannot be read or written; who asks for sums does it then.
    fn sum_up(&self) -> Result<(), UsageError>;

    /// Computes the cost of every record anew whose cost nobody reported, and sums up what that changed.
    ///
    /// # Errors
    /// The store cannot be read or written; what was changed until then stays changed.
    fn reprice(&self, price: &dyn Fn(&UsageRecord) -> Cost) -> Result<Repriced, UsageError>;

    /// The limits, in the order of what they are for.
    ///
    /// # Errors
    /// The store cannot be read.
    fn quotas(&self) -> Result<Vec<Quota>, UsageError>;

    /// Sets a limit, in the place of the one that is for the same.
    ///
    /// # Errors
    /// It is none ([`Quota::check`]), or the store cannot be written.
    fn set_quota_limit(&self, quota: &Quota) -> Result<(), UsageError>;

    /// Takes a limit away, and says whether there was one.
    ///
    /// # Errors
    /// The store cannot be written.
    fn remove_quota(&self, scope: &QuotaScope) -> Result<bool, UsageError>;

    /// What is used at a moment of each limit that is for what an agent does under a preset.
    ///
    /// # Errors
    /// The store cannot be read.
    fn check_quota(
        &self,
        agent: &str,
        preset: Option<&str>,
        at: Timestamp,
    ) -> Result<Vec<QuotaStatus>, UsageError>;

    /// Sets aside what a piece of work may use, if every limit that is for it leaves that much.
    ///
    /// Whoever else reserves, in this process or in another one, comes before it or behind it. So all together go beyond a
    /// limit by no more than what work uses beyond its estimate.
    ///
    /// # Errors
    /// A label is none, or the store cannot be read or written.
    fn reserve(&self, request: &ReserveRequest, at: Timestamp) -> Result<Reserved, UsageError>;

    /// Keeps what work used, and gives back what was set aside for it, in one step; with no records, it is released.
    ///
    /// # Errors
    /// As [`track_usage`](Self::track_usage); what was set aside stays so until its owner ends, or its time does.
    fn settle(&self, reservations: &[ReservationId], records: &[UsageRecord]) -> Result<Tracked, UsageError>;
}
