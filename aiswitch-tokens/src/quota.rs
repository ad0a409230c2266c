//! Limits of what may be used in a day, and what is set aside for work that goes on.

use std::fmt;

use aiswitch_lock::{HolderProcess, ProcessMark};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::record::{COST_MAX, LABEL_BYTES_MAX, TOKENS_MAX};
use crate::{NanoUsd, Period, UsageError};

/// From which share of a soft limit on its use is told: 80 of 100.
const NEAR_PERCENT: u128 = 80;

/// Of how many of its last runs an agent's next one is estimated.
pub(crate) const ESTIMATE_RUNS: usize = 20;

/// Whose use a limit is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuotaScope {
    /// All agents together.
    Global,
    /// One agent.
    Agent(String),
    /// All agents under one preset.
    Preset(String),
}

impl fmt::Display for QuotaScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("all agents"),
            Self::Agent(name) => write!(f, "agent `{name}`"),
            Self::Preset(name) => write!(f, "preset `{name}`"),
        }
    }
}

/// What a limit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaMode {
    /// Nothing is begun that would go beyond it.
    Hard,
    /// It is told when four fifths of it are used, and nothing is kept from beginning.
    Soft,
    /// Nothing; it is only remembered.
    Off,
}

/// A limit of what may be used from the first moment of a day to that of the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Whose use it is for.
    pub scope: QuotaScope,
    /// How many tokens, of prompts, caches and answers together; `None` has no limit.
    pub tokens: Option<u64>,
    /// How much money; `None` has no limit.
    pub usd: Option<NanoUsd>,
    /// What it does.
    pub mode: QuotaMode,
    /// The zone of its days, by its name in the IANA list.
    pub zone: String,
}

impl Quota {
    /// Checks what a store takes.
    ///
    /// # Errors
    /// It limits nothing, its limit is beyond what can be counted, its label is none, or its zone is not known.
    pub fn check(&self) -> Result<(), UsageError> {
        let (QuotaScope::Agent(name) | QuotaScope::Preset(name)) = &self.scope else {
            return self.check_limits();
        };
        match name.len() {
            0 => Err(UsageError::EmptyLabel { field: "name" }),
            bytes if bytes > LABEL_BYTES_MAX => Err(UsageError::LongLabel { field: "name", bytes }),
            _ => self.check_limits(),
        }
    }

    fn check_limits(&self) -> Result<(), UsageError> {
        if self.tokens.is_none() && self.usd.is_none() {
            return Err(UsageError::NoLimit);
        }
        if let Some(tokens) = self.tokens.filter(|tokens| *tokens > TOKENS_MAX) {
            return Err(UsageError::Tokens { tokens });
        }
        if let Some(usd) = self.usd.filter(|usd| *usd > COST_MAX) {
            return Err(UsageError::Cost { usd });
        }
        self.zone().map(drop)
    }

    fn zone(&self) -> Result<TimeZone, UsageError> {
        TimeZone::get(&self.zone).map_err(|source| UsageError::Zone { zone: self.zone.clone(), source })
    }

    /// The day around a moment, from its first moment to that of the next.
    pub(crate) fn day(&self, at: Timestamp) -> Result<(Timestamp, Timestamp), UsageError> {
        Ok(Period::Day.around(at, &self.zone()?))
    }

    /// Whether it is for what an agent does under a preset.
    pub(crate) fn is_for(&self, agent: &str, preset: Option<&str>) -> bool {
        match &self.scope {
            QuotaScope::Global => true,
            QuotaScope::Agent(name) => name == agent,
            QuotaScope::Preset(name) => Some(name.as_str()) == preset,
        }
    }
}

/// Tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Tokens of prompts, caches and answers.
    pub tokens: u64,
    /// Money.
    pub usd: NanoUsd,
}

impl Amount {
    /// What a piece of work is thought to use of which nothing is known yet: 50,000 tokens and $0.50.
    pub const UNKNOWN: Self = Self { tokens: 50_000, usd: NanoUsd(500_000_000) };

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            usd: NanoUsd(self.usd.0.saturating_add(other.usd.0)),
        }
    }
}

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaLevel {
    /// Less than four fifths.
    Within,
    /// Four fifths or more.
    Near,
    /// All of it, or more.
    Exceeded,
}

/// What is used of a limit today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaStatus {
    /// The limit.
    pub quota: Quota,
    /// The first moment of its day.
    pub since: Timestamp,
    /// The first moment of the next.
    pub until: Timestamp,
    /// What is used of it, as far as that is known.
    pub used: Amount,
    /// How many records of the day have no known cost; their share is missing in `used`.
    pub unpriced: u64,
    /// What is set aside for work that goes on.
    pub reserved: Amount,
}

impl QuotaStatus {
    /// How many tokens are left of it; `None` without a limit of tokens.
    pub fn tokens_remaining(&self) -> Option<u64> {
        let taken = self.used.plus(self.reserved).tokens;
        self.quota.tokens.map(|limit| limit.saturating_sub(taken))
    }

    /// How much money is left of it; `None` without a limit of money.
    pub fn usd_remaining(&self) -> Option<NanoUsd> {
        let taken = self.used.plus(self.reserved).usd;
        self.quota.usd.map(|limit| NanoUsd(limit.0.saturating_sub(taken.0)))
    }

    /// How much of it is used or set aside.
    pub fn level(&self) -> QuotaLevel {
        let taken = self.used.plus(self.reserved);
        let tokens = self.quota.tokens.map(|limit| (taken.tokens, limit));
        let usd = self.quota.usd.map(|limit| (taken.usd.0, limit.0));
        let level = |(taken, limit): (u64, u64)| match u128::from(taken) * 100 {
            _ if taken >= limit => 2,
            hundredfold if hundredfold >= u128::from(limit) * NEAR_PERCENT => 1,
            _ => 0,
        };
        match [tokens, usd].into_iter().flatten().map(level).max() {
            Some(2) => QuotaLevel::Exceeded,
            Some(1) => QuotaLevel::Near,
            _ => QuotaLevel::Within,
        }
    }

    /// Whether work that may use so much can begin under it.
    ///
    /// What is only guessed keeps nothing from beginning while some is left and nothing else goes on.
    fn allows(&self, estimate: Amount, is_guessed: bool) -> bool {
        let fits = |used: u64, reserved: u64, estimate: u64, limit: Option<u64>| {
            limit.is_none_or(|limit| {
                let taken = used.saturating_add(reserved);
                taken.saturating_add(estimate) <= limit || is_guessed && reserved == 0 && used < limit
            })
        };
        let Self { quota, used, reserved, .. } = self;
        quota.mode != QuotaMode::Hard
            || fits(used.tokens, reserved.tokens, estimate.tokens, quota.tokens)
                && fits(used.usd.0, reserved.usd.0, estimate.usd.0, quota.usd.map(|usd| usd.0))
    }
}

impl fmt::Display for QuotaStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quota, used, reserved, .. } = self;
        write!(f, "{}:", quota.scope)?;
        if let Some(limit) = quota.tokens {
            write!(f, " {} of {limit} tokens of today are used", used.tokens)?;
            if reserved.tokens > 0 {
                write!(f, " and {} set aside", reserved.tokens)?;
            }
        }
        if let Some(limit) = quota.usd {
            let and = if quota.tokens.is_some() { "," } else { "" };
            write!(f, "{and} {} of {limit} of today are used", used.usd)?;
            if reserved.usd > NanoUsd(0) {
                write!(f, " and {} set aside", reserved.usd)?;
            }
        }
        Ok(())
    }
}

/// A piece of work that is about to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReserveRequest {
    /// The agent's label.
    pub agent: String,
    /// The preset that it runs under.
    pub preset: Option<String>,
    /// What it may use at most; `None` takes what the agent's last runs used on average.
    pub estimate: Option<Amount>,
    /// Whose work it is: when that process ends, what was set aside is free again.
    pub owner: ProcessMark,
    /// When it is free again at the latest.
    pub until: Timestamp,
}

impl ReserveRequest {
    /// Checks what a store takes.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        let labels = [Some(("agent", &self.agent)), self.preset.as_ref().map(|preset| ("preset", preset))];
        for (field, text) in labels.into_iter().flatten() {
            match text.len() {
                0 => return Err(UsageError::EmptyLabel { field }),
                bytes if bytes > LABEL_BYTES_MAX => return Err(UsageError::LongLabel { field, bytes }),
                _ => {}
            }
        }
        match self.estimate {
            Some(Amount { tokens, .. }) if tokens > TOKENS_MAX => Err(UsageError::Tokens { tokens }),
            Some(Amount { usd, .. }) if usd > COST_MAX => Err(UsageError::Cost { usd }),
            _ => Ok(()),
        }
    }
}

/// The name of what was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(pub(crate) i64);

/// What became of a wish to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// No limit is for it, and nothing is set aside.
    Unlimited,
    /// It may begin.
    Granted {
        /// What was set aside for it, to be settled or released.
        id: ReservationId,
        /// How much that is.
        amount: Amount,
        /// Soft limits of which four fifths are used, with this.
        near: Vec<QuotaStatus>,
    },
    /// It may not.
    Denied {
        /// The limit that keeps it from beginning, as it stands without this.
        status: Box<QuotaStatus>,
        /// How much it would have used.
        amount: Amount,
    },
}

/// What was set aside, as a store keeps it.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    pub(crate) id: ReservationId,
    pub(crate) agent: String,
    pub(crate) preset: Option<String>,
    pub(crate) amount: Amount,
    pub(crate) owner: ProcessMark,
    pub(crate) until: Timestamp,
}

impl Reservation {
    /// Whether it counts: its time is not over, and its owner is not known to have ended.
    pub(crate) fn counts(&self, at: Timestamp) -> bool {
        at < self.until && self.owner.process() != HolderProcess::Ended
    }

    /// How much of those that are for the same as a limit is set aside.
    pub(crate) fn sum(all: &[Self], quota: &Quota) -> Amount {
        let same = all.iter().filter(|one| quota.is_for(&one.agent, one.preset.as_deref()));
        same.fold(Amount::default(), |sum, one| sum.plus(one.amount))
    }
}

/// Whether work may begin under all limits that are for it; what to tell of soft ones, or the limit that is in the way.
pub(crate) fn decide(
    statuses: Vec<QuotaStatus>,
    estimate: Amount,
    is_guessed: bool,
) -> Result<Vec<QuotaStatus>, Box<QuotaStatus>> {
    if let Some(at) = statuses.iter().position(|status| !status.allows(estimate, is_guessed)) {
        return Err(Box::new(statuses.into_iter().nth(at).expect("a position in the list")));
    }
    let with = |status: QuotaStatus| QuotaStatus { reserved: status.reserved.plus(estimate), ..status };
    let is_told =
        |status: &QuotaStatus| status.quota.mode == QuotaMode::Soft && status.level() != QuotaLevel::Within;
    Ok(statuses.into_iter().map(with).filter(is_told).collect())
}

/// What work is thought to use: the average of earlier work, else [`Amount::UNKNOWN`].
pub(crate) fn estimate_of(runs: &[(Option<u64>, Option<NanoUsd>)]) -> Amount {
    let average = |figures: Vec<u64>, unknown: u64| match figures.len() as u64 {
        0 => unknown,
        count => figures.iter().fold(0_u64, |sum, figure| sum.saturating_add(*figure)).div_ceil(count),
    };
    Amount {
        tokens: average(runs.iter().filter_map(|(tokens, _)| *tokens).collect(), Amount::UNKNOWN.tokens),
        usd: NanoUsd(average(
            runs.iter().filter_map(|(_, usd)| usd.map(|usd| usd.0)).collect(),
            Amount::UNKNOWN.usd.0,
        )),
    }
}
