//! What a run watches for, and what it tells of alerts.

use std::fmt;
use std::time::Duration;

use aiswitch_metrics::{ALERT_SPAN_MAX, AlertCondition, AlertRule, AlertRuleError, Source};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use crate::RunId;

/// How long an alert pauses an agent at most, unless its watch says otherwise.
pub const PAUSE_MAX_DEFAULT: Duration = Duration::from_mins(10);

/// A rule of alerts, and what runs do when it fires.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The rule.
    pub rule: AlertRule,
    /// How grave it is.
    pub severity: Severity,
    /// Who is told when an alert fires and when it is resolved.
    pub sinks: Vec<AlertSink>,
    /// What a run does while the alert fires; `None` tells of it alone.
    pub action: Option<AlertAction>,
    /// How long it pauses an agent at most: a paused agent may keep its own alert from being resolved.
    pub pause_max: Duration,
}

/// How grave an alert is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    #[default]
    Warning,
    /// Somebody has to look at once.
    Critical,
}

/// Who is told of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertSink {
    /// The log of metrics.
    Log,
    /// Whoever hears the events of the run, and its journal.
    Event,
    /// A program with its arguments, which is given an [`AlertReport`] as JSON on stdin. No shell is in between.
    Command(Vec<String>),
}

/// What a run does while an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertAction {
    /// No further agent starts while another one works.
    Throttle,
    /// The agent is paused; all agents are where the alert is about the machine.
    Pause,
    /// The agent is cancelled; all agents are where the alert is about the machine.
    Cancel,
}

/// A watch that cannot be one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// Its rule cannot be one.
    #[error(transparent)]
    Rule(#[from] AlertRuleError),
    /// A command has no program.
    #[error("a `command` has no program")]
    NoProgram,
    /// A pause of no time, or without end.
    #[error("`pause_max` is longer than {} days, or no time at all", ALERT_SPAN_MAX.num_days())]
    PauseMax,
}

impl Watch {
    /// A watch of this rule that tells the log and the events, as a warning, and does nothing else.
    pub fn new(rule: AlertRule) -> Self {
        Self {
            rule,
            severity: Severity::default(),
            sinks: vec![AlertSink::Log, AlertSink::Event],
            action: None,
            pause_max: PAUSE_MAX_DEFAULT,
        }
    }

    /// Checks that it can ever fire and be told of.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self) -> Result<(), WatchError> {
        self.rule.check()?;
        let has_no_program = |sink: &AlertSink| match sink {
            AlertSink::Command(argv) => argv.first().is_none_or(String::is_empty),
            AlertSink::Log | AlertSink::Event => false,
        };
        if self.sinks.iter().any(has_no_program) {
            return Err(WatchError::NoProgram);
        }
        let is_span = TimeDelta::from_std(self.pause_max).is_ok_and(|span| span <= ALERT_SPAN_MAX);
        if self.pause_max.is_zero() || !is_span { Err(WatchError::PauseMax) } else { Ok(()) }
    }

    /// What there is to tell of its alert about a source, which began to fire with this figure.
    pub(crate) fn report(&self, source: &Source, value: Option<f64>, from: DateTime<Utc>) -> AlertReport {
        AlertReport {
            rule: self.rule.name.clone(),
            agent: source.agent().map(str::to_owned),
            metric: self.rule.metric.to_string(),
            condition: self.rule.condition.to_string(),
            // Where figures are absent, the last one was long before.
            value: value.filter(|_| !matches!(self.rule.condition, AlertCondition::Absent(_))),
            severity: self.severity,
            action: self.action,
            from,
            until: None,
            told_late: false,
        }
    }
}

/// One alert that fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AlertReport {
    /// Its rule.
    pub rule: String,
    /// The agent that it is about; `None` is the machine.
    pub agent: Option<String>,
    /// The metric.
    pub metric: String,
    /// What had to be so: `above 90`, `below 1`, `absent for 60 s` or `an anomaly`.
    pub condition: String,
    /// The figure with which it began to fire; `None` where figures were absent.
    pub value: Option<f64>,
    /// How grave it is.
    pub severity: Severity,
    /// What runs do while it fires.
    pub action: Option<AlertAction>,
    /// Since when it fires.
    pub from: DateTime<Utc>,
    /// Until when it fired; `None` while it does.
    pub until: Option<DateTime<Utc>>,
    /// Whether it was told late, since the process that noticed it was killed before it had.
    #[serde(default)]
    pub told_late: bool,
}

impl AlertReport {
    /// What is so, or was, in words.
    fn what(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            let Self { metric, condition, until, .. } = self;
            match &self.agent {
                Some(agent) => write!(f, "{metric} of {agent}")?,
                None => write!(f, "{metric} of the machine")?,
            }
            match self.value {
                _ if until.is_some() => write!(f, " was {condition}"),
                Some(value) => write!(f, " is {value}, {condition}"),
                None => write!(f, " is {condition}"),
            }
        })
    }

    /// Why an agent is paused or cancelled.
    pub(crate) fn reason(&self) -> String {
        format!("alert `{}` fired: {}", self.rule, self.what())
    }

    /// Tells it to the log of metrics.
    pub(crate) fn log(&self, run: RunId) {
        // An event with a field `agent` would go to the agent's own log.
        let (rule, about, metric) = (self.rule.as_str(), self.agent.as_deref(), self.metric.as_str());
        macro_rules! log {
            ($level:ident) => {
                $level!(
                    target: "aiswitch_metrics::alert",
                    run = %run, rule, about, metric, value = self.value, condition = self.condition.as_str(), "{self}"
                )
            };
        }
        match self.severity {
            _ if self.until.is_some() => log!(info),
            Severity::Info => log!(info),
            Severity::Warning => log!(warn),
            Severity::Critical => log!(error),
        }
    }
}

impl fmt::Display for AlertReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alert `{}` ", self.rule)?;
        match self.until {
            None => f.write_str("fires")?,
            Some(until) => write!(f, "is resolved after {:.1} s", (until - self.from).as_seconds_f64())?,
        }
        if self.told_late {
            let at = self.until.unwrap_or(self.from);
            write!(f, " since {}, which is told late", at.to_rfc3339_opts(SecondsFormat::Secs, true))?;
        }
        write!(f, ": {}", self.what())
    }
}
