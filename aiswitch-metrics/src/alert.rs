//! Rules of alerts: of what a person wants to be told, and when.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{Metric, Source, VALUE_MAX};

/// The longest name of a rule, in bytes.
pub const ALERT_NAME_BYTES_MAX: usize = 64;

/// The longest time that a rule may name.
pub const ALERT_SPAN_MAX: TimeDelta = TimeDelta::days(30);

/// The metrics that the machine alone tells.
const OF_SYSTEM: [Metric; 10] = [
    Metric::LOAD_1M,
    Metric::LOAD_5M,
    Metric::LOAD_15M,
    Metric::MEMORY_TOTAL_BYTES,
    Metric::MEMORY_AVAILABLE_BYTES,
    Metric::SWAP_USED_BYTES,
    Metric::CPU_PRESSURE_PERCENT,
    Metric::MEMORY_PRESSURE_PERCENT,
    Metric::IO_PRESSURE_PERCENT,
    Metric::CPUS,
];

/// The one metric that both the machine and agents tell.
const OF_BOTH: Metric = Metric::CPU_PERCENT;

/// What has to be so for an alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AlertCondition {
    /// A figure is larger than this.
    Above(f64),
    /// A figure is smaller than this.
    Below(f64),
    /// No figure came for so long.
    Absent(TimeDelta),
    /// An anomaly begins, as [`AnomalyDetector`](crate::AnomalyDetector) finds them.
    Anomaly,
}

impl fmt::Display for AlertCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Above(limit) => write!(f, "above {limit}"),
            Self::Below(limit) => write!(f, "below {limit}"),
            Self::Absent(span) => write!(f, "absent for {} s", span.as_seconds_f64()),
            Self::Anomaly => f.write_str("an anomaly"),
        }
    }
}

/// A rule of alerts: of what a person wants to be told, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// Its name, which tells it from all others.
    pub name: String,
    /// The metric that it looks at.
    pub metric: Metric,
    /// Whose figures it looks at; `None` is each agent on its own.
    pub source: Option<Source>,
    /// What has to be so.
    pub condition: AlertCondition,
    /// For how long it has to be so before the alert fires (`for`).
    pub pending_for: TimeDelta,
    /// For how long the alert goes on to fire once it is no longer so.
    pub keep_firing_for: TimeDelta,
}

/// A rule that cannot be one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AlertRuleError {
    /// Its name cannot be one.
    #[error(
        "`{}` cannot be a rule's name, which has 1 to {ALERT_NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`",
        start.escape_debug()
    )]
    Name {
        /// The start of the name.
        start: String,
    },
    /// A figure can never be beyond its limit.
    #[error("`{limit}` is no limit of a figure")]
    Limit {
        /// The limit.
        limit: f64,
    },
    /// A time is negative or too long.
    #[error("`{key}` is longer than {} days, or negative", ALERT_SPAN_MAX.num_days())]
    Span {
        /// The key.
        key: &'static str,
    },
    /// An anomaly is told by one sample, so it cannot be so for a time.
    #[error("`for` cannot stand beside `anomaly`, which is told by one sample; `keep_firing_for` can")]
    ForAnomaly,
    /// Nobody is named who could be absent.
    #[error("`absent` needs `agent` or `system: true`: whose figures are to come")]
    AbsentOfAll,
    /// The metric is told by the machine alone.
    #[error("`{metric}` is told by the machine alone: `system: true`, and no `agent`")]
    SystemAlone {
        /// The metric.
        metric: Metric,
    },
    /// The metric is told by agents alone.
    #[error("`{metric}` is not told by the machine, so `system: true` cannot stand beside it")]
    AgentsAlone {
        /// The metric.
        metric: Metric,
    },
}

impl AlertRule {
    /// A rule about each agent, which fires at once and only for as long as what it says is so.
    pub fn new(name: impl Into<String>, metric: Metric, condition: AlertCondition) -> Self {
        Self {
            name: name.into(),
            metric,
            source: None,
            condition,
            pending_for: TimeDelta::zero(),
            keep_firing_for: TimeDelta::zero(),
        }
    }

    /// Checks that it can ever fire.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self) -> Result<(), AlertRuleError> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.name.is_empty() || self.name.len() > ALERT_NAME_BYTES_MAX || !self.name.bytes().all(is_word) {
            let mut start = self.name.clone();
            start.truncate(start.floor_char_boundary(ALERT_NAME_BYTES_MAX));
            return Err(AlertRuleError::Name { start });
        }
        let absent = match self.condition {
            AlertCondition::Absent(span) => span,
            _ => TimeDelta::zero(),
        };
        let spans =
            [("for", self.pending_for), ("keep_firing_for", self.keep_firing_for), ("absent", absent)];
        if let Some((key, _)) =
            spans.into_iter().find(|(_, span)| *span < TimeDelta::zero() || *span > ALERT_SPAN_MAX)
        {
            return Err(AlertRuleError::Span { key });
        }
        match self.condition {
            AlertCondition::Above(limit) | AlertCondition::Below(limit)
                if !limit.is_finite() || limit.abs() > VALUE_MAX =>
            {
                return Err(AlertRuleError::Limit { limit });
            }
            AlertCondition::Anomaly if !self.pending_for.is_zero() => return Err(AlertRuleError::ForAnomaly),
            AlertCondition::Absent(_) if self.source.is_none() => return Err(AlertRuleError::AbsentOfAll),
            _ => {}
        }
        let (metric, is_of_system) = (self.metric.clone(), self.source == Some(Source::System));
        if is_of_system && metric.number().is_some() && metric != OF_BOTH && !OF_SYSTEM.contains(&metric) {
            return Err(AlertRuleError::AgentsAlone { metric });
        }
        if !is_of_system && OF_SYSTEM.contains(&metric) {
            return Err(AlertRuleError::SystemAlone { metric });
        }
        Ok(())
    }

    /// Whether it looks at the figures of a source.
    pub fn is_about(&self, source: &Source) -> bool {
        match &self.source {
            Some(wanted) => wanted == source,
            None => source.agent().is_some(),
        }
    }
}

impl fmt::Display for AlertRule {
    /// What it looks at and what has to be so, which is what its state is of.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{} of {source} {}", self.metric, self.condition),
            None => write!(f, "{} of each agent {}", self.metric, self.condition),
        }
    }
}

/// How an alert is of one rule about one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum AlertState {
    /// What the rule says is not so.
    Inactive,
    /// It is so, but not yet for long enough.
    Pending {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// It is so, or was until a short while ago.
    Firing {
        /// Since when the alert fires.
        since: DateTime<Utc>,
        /// Since when what the rule says is no longer so.
        clear_since: Option<DateTime<Utc>>,
    },
    /// It fired, and what the rule says is not so since.
    Resolved {
        /// Since when the alert fired.
        since: DateTime<Utc>,
        /// Until when.
        until: DateTime<Utc>,
    },
}

impl AlertState {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
            Self::Resolved { .. } => "resolved",
        }
    }

    /// Whether it fires.
    pub fn is_firing(&self) -> bool {
        matches!(self, Self::Firing { .. })
    }
}
