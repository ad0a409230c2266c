//! What of a rule's alerts is still to be told, and since when somebody does; pure, times are arguments.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::{ALERT_SOURCES_MAX, Alert, AlertCondition, AlertRule, AlertState, Source};

/// How long a process may take to tell of an alert; when it has not by then, another one does, late.
pub const TOLD_WITHIN: TimeDelta = TimeDelta::minutes(5);

/// The most changes of one rule that are noted until they are told; further ones are told, but lost with their process.
const UNTOLD_MAX: usize = 2 * ALERT_SOURCES_MAX;

/// A change of an alert that this process is to tell, and then to [settle](crate::settle_alerts).
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    /// The alert as it was right after the change: it fires, or is resolved.
    pub alert: Alert,
    /// Whether the process that noticed it did not tell it within [`TOLD_WITHIN`].
    pub is_late: bool,
}

/// What of a rule's alerts is still to be told, in the order in which it came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Untold(Vec<Entry>);

/// One change that is still to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// `None` is the machine.
    agent: Option<String>,
    #[serde(flatten)]
    state: AlertState,
    value: Option<f64>,
    score: Option<f64>,
    seen_at: Option<DateTime<Utc>>,
    noticed_at: DateTime<Utc>,
    /// When a process took it to tell it; `None` while it waits for what comes before it.
    taken_at: Option<DateTime<Utc>>,
}

impl Untold {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether something about a source is still to be told.
    pub(crate) fn is_about(&self, agent: Option<&str>) -> bool {
        self.0.iter().any(|entry| entry.agent.as_deref() == agent)
    }

    /// Notes changes, and says which of them are to be told without a note of them.
    pub(crate) fn note(&mut self, changes: Vec<Alert>, now: DateTime<Utc>) -> Vec<Telling> {
        let mut unnoted = Vec::new();
        for alert in changes {
            if matches!(alert.state, AlertState::Inactive | AlertState::Pending { .. }) {
                continue;
            }
            if self.0.len() == UNTOLD_MAX {
                unnoted.push(Telling { alert, is_late: false });
                continue;
            }
            self.0.push(Entry {
                agent: alert.source.agent().map(str::to_owned),
                state: alert.state,
                value: alert.value,
                score: alert.score,
                seen_at: alert.seen_at,
                noticed_at: now,
                taken_at: None,
            });
        }
        unnoted
    }

    /// Takes what nobody tells: of each source the first change alone, so that they are told in their order.
    pub(crate) fn take(&mut self, rule: &AlertRule, now: DateTime<Utc>) -> Vec<Telling> {
        let mut begun: BTreeSet<&Option<String>> = BTreeSet::new();
        let mut taken = Vec::new();
        for entry in &mut self.0 {
            let Entry { agent, state, value, score, seen_at, noticed_at, taken_at } = entry;
            // A clock that went back must not have it wait for as long.
            let is_told = taken_at.is_some_and(|at| (now - at).abs() < TOLD_WITHIN);
            if !begun.insert(agent) || is_told {
                continue;
            }
            *taken_at = Some(now);
            let alert = Alert {
                rule: rule.name.clone(),
                source: agent.clone().map_or(Source::System, Source::Agent),
                state: *state,
                value: *value,
                score: *score,
                warm_up_left: (rule.condition == AlertCondition::Anomaly).then_some(0),
                seen_at: *seen_at,
                is_untold: true,
            };
            taken.push(Telling { alert, is_late: (now - *noticed_at).abs() >= TOLD_WITHIN });
        }
        taken
    }

    /// Lets go of what was told.
    pub(crate) fn settle(&mut self, rule: &AlertRule, told: &[Alert]) {
        let is_it = |entry: &Entry, alert: &Alert| {
            alert.rule == rule.name
                && alert.source.agent() == entry.agent.as_deref()
                && alert.state == entry.state
        };
        self.0.retain(|entry| entry.taken_at.is_none() || !told.iter().any(|alert| is_it(entry, alert)));
    }
}
