//! What is known of one rule: how its alerts are; pure, times are arguments.

use std::mem::discriminant;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::alert_untold::{Telling, Untold};
use crate::sample::is_possible;
use crate::store::AHEAD_MAX;
use crate::{
    AgentStatus, AlertCondition, AlertRule, AlertState, AnomalyDetector, Metric, Sample, Source, Verdict,
    WARM_UP_SAMPLES,
};

/// How long a figure says how things are when no other comes, as in Prometheus.
///
/// After that nothing is known, and what a rule says is not so.
pub const STALE_AFTER: TimeDelta = TimeDelta::minutes(5);

/// The most sources that one rule follows; the samples of further ones are counted as crowd.
pub const ALERT_SOURCES_MAX: usize = 100;

/// How long a source is followed that tells nothing any more, with what its detector has learnt.
const UNSEEN_KEPT: TimeDelta = TimeDelta::days(14);

/// What an agent's process takes, of which there is nothing any more once it has ended.
const OF_PROCESS: [Metric; 3] = [Metric::CPU_PERCENT, Metric::MEMORY_BYTES, Metric::PROCESSES];

/// How one alert is: of one rule, about one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The rule's name.
    pub rule: String,
    /// About whom.
    pub source: Source,
    /// How it is.
    pub state: AlertState,
    /// The newest figure; `None` when none came yet.
    pub value: Option<f64>,
    /// How unusual that figure is, between 0 and 1, where the rule asks for anomalies and they can be told.
    pub score: Option<f64>,
    /// How many samples are to be learnt from before anomalies can be told, where the rule asks for them.
    pub warm_up_left: Option<u64>,
    /// When the newest figure came.
    pub seen_at: Option<DateTime<Utc>>,
    /// Whether it came to fire or was resolved, and that is not told yet.
    pub is_untold: bool,
}

/// What came of one judgement of one rule.
#[derive(Debug)]
pub(crate) struct RuleJudged {
    pub(crate) tellings: Vec<Telling>,
    /// Samples of more sources than are followed.
    pub(crate) crowd: u64,
}

/// What is known of one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RuleState {
    /// What the rule was; another one under the same name begins anew.
    rule: String,
    instances: Vec<Instance>,
    #[serde(default, skip_serializing_if = "Untold::is_empty")]
    untold: Untold,
}

/// What is known of one rule about one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Instance {
    /// `None` is the machine.
    agent: Option<String>,
    #[serde(flatten)]
    state: AlertState,
    value: Option<f64>,
    score: Option<f64>,
    /// When the rule first looked for this source.
    watched_since: DateTime<Utc>,
    seen_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detector: Option<Box<AnomalyDetector>>,
}

impl RuleState {
    /// What is known of a rule that was never judged.
    pub(crate) fn new(rule: &AlertRule) -> Self {
        Self { rule: rule.to_string(), instances: Vec::new(), untold: Untold::default() }
    }

    /// Whether it is about this rule as it is now.
    pub(crate) fn is_of(&self, rule: &AlertRule) -> bool {
        self.rule == rule.to_string()
    }

    /// Takes samples, which come in the order of their times, and then the time; says what the caller is to tell.
    pub(crate) fn judge(&mut self, rule: &AlertRule, samples: &[Sample], now: DateTime<Utc>) -> RuleJudged {
        let (mut changes, mut crowd) = (Vec::new(), 0);
        if let (AlertCondition::Absent(_), Some(source)) = (rule.condition, &rule.source) {
            self.instance(source, now);
        }
        for sample in samples.iter().filter(|sample| rule.is_about(&sample.source)) {
            let Some(value) = figure(sample, &rule.metric) else { continue };
            if sample.at > now + AHEAD_MAX {
                continue;
            }
            match self.instance(&sample.source, sample.at) {
                Some(instance) => {
                    instance.take(rule, (sample.at, value), &mut changes);
                    if has_ended(sample) && OF_PROCESS.contains(&rule.metric) {
                        instance.come_to(rule, false, sample.at, &mut changes);
                    }
                }
                None => crowd += 1,
            }
        }
        for instance in &mut self.instances {
            instance.pass(rule, now, &mut changes);
        }
        self.instances.retain(|instance| rule.source.is_some() || now - instance.newest() <= UNSEEN_KEPT);
        let mut tellings = self.untold.note(changes, now);
        tellings.extend(self.untold.take(rule, now));
        RuleJudged { tellings, crowd }
    }

    /// Lets go of what was told, and says what the caller is to tell next.
    pub(crate) fn settle(&mut self, rule: &AlertRule, told: &[Alert], now: DateTime<Utc>) -> Vec<Telling> {
        self.untold.settle(rule, told);
        self.untold.take(rule, now)
    }

    /// How its alerts are.
    pub(crate) fn alerts(&self, rule: &AlertRule) -> impl Iterator<Item = Alert> {
        let alert = |instance: &Instance| Alert {
            is_untold: self.untold.is_about(instance.agent.as_deref()),
            ..instance.alert(rule)
        };
        self.instances.iter().map(alert)
    }

    fn instance(&mut self, source: &Source, at: DateTime<Utc>) -> Option<&mut Instance> {
        let found = self.instances.iter().position(|instance| instance.agent.as_deref() == source.agent());
        if found.is_none() {
            if self.instances.len() == ALERT_SOURCES_MAX {
                return None;
            }
            self.instances.push(Instance {
                agent: source.agent().map(str::to_owned),
                state: AlertState::Inactive,
                value: None,
                score: None,
                watched_since: at,
                seen_at: None,
                detector: None,
            });
        }
        match found {
            Some(place) => self.instances.get_mut(place),
            None => self.instances.last_mut(),
        }
    }
}

/// A figure of a sample that is known and can be.
fn figure(sample: &Sample, metric: &Metric) -> Option<f64> {
    let (_, value) = sample.figures.iter().find(|(of, _)| of == metric)?;
    (sample.source.check().is_ok() && is_possible(metric, *value)).then_some(*value)
}

/// Whether a sample is an agent's last one: what its process took, it takes no more.
fn has_ended(sample: &Sample) -> bool {
    let status = figure(sample, &Metric::STATUS).and_then(AgentStatus::of_code);
    status == Some(AgentStatus::Stopped)
}

impl Instance {
    /// Judges a figure.
    fn take(&mut self, rule: &AlertRule, (at, value): (DateTime<Utc>, f64), changes: &mut Vec<Alert>) {
        let at = self.arrive(at);
        let is_absence = matches!(rule.condition, AlertCondition::Absent(_));
        if !is_absence {
            self.pass(rule, at, changes);
        }
        (self.seen_at, self.value) = (Some(at), Some(value));
        let holds = match rule.condition {
            AlertCondition::Above(limit) => value > limit,
            AlertCondition::Below(limit) => value < limit,
            AlertCondition::Absent(_) => false,
            AlertCondition::Anomaly => {
                let verdict = self.detector.get_or_insert_default().push(at, value);
                self.score = verdict.score();
                matches!(verdict, Verdict::Anomaly(_))
            }
        };
        self.come_to(rule, holds, at, changes);
    }

    /// Judges that time went by. An alert begins to fire by that only where it is about absence.
    fn pass(&mut self, rule: &AlertRule, now: DateTime<Utc>, changes: &mut Vec<Alert>) {
        let now = self.arrive(now);
        if let AlertCondition::Absent(span) = rule.condition {
            return self.come_to(rule, now - self.newest() >= span, now, changes);
        }
        if let Some(seen) = self.seen_at
            && now - seen > STALE_AFTER
        {
            self.come_to(rule, false, seen + STALE_AFTER, changes);
            self.come_to(rule, false, now, changes);
        } else if let AlertState::Firing { clear_since: Some(_), .. } = self.state {
            self.come_to(rule, false, now, changes);
        }
    }

    /// The time at which something new is judged, after what is known already.
    ///
    /// A little before what is known is the order of several processes; more is a clock that went back, and what is known
    /// goes back with it, so that as much of each time has passed as before.
    fn arrive(&mut self, at: DateTime<Utc>) -> DateTime<Utc> {
        let newest = self.newest();
        let back = newest - at;
        if back <= STALE_AFTER {
            return at.max(newest);
        }
        self.watched_since -= back;
        self.seen_at = self.seen_at.map(|seen| seen - back);
        match &mut self.state {
            AlertState::Inactive => {}
            AlertState::Pending { since } => *since -= back,
            AlertState::Firing { since, clear_since } => {
                *since -= back;
                *clear_since = clear_since.map(|clear| clear - back);
            }
            AlertState::Resolved { since, until } => {
                *since -= back;
                *until -= back;
            }
        }
        at
    }

    fn newest(&self) -> DateTime<Utc> {
        self.seen_at.unwrap_or(self.watched_since)
    }

    fn come_to(&mut self, rule: &AlertRule, holds: bool, at: DateTime<Utc>, changes: &mut Vec<Alert>) {
        let before = self.state;
        self.state = next(before, rule, holds, at);
        if discriminant(&before) != discriminant(&self.state) {
            changes.push(self.alert(rule));
        }
    }

    fn alert(&self, rule: &AlertRule) -> Alert {
        let learnt = self.detector.as_ref().map_or(0, |detector| detector.seen());
        Alert {
            rule: rule.name.clone(),
            source: self.agent.clone().map_or(Source::System, Source::Agent),
            state: self.state,
            value: self.value,
            score: self.score,
            warm_up_left: (rule.condition == AlertCondition::Anomaly)
                .then(|| WARM_UP_SAMPLES.saturating_sub(learnt)),
            seen_at: self.seen_at,
            is_untold: false,
        }
    }
}

/// The state after one in which what the rule says is so, or is not.
fn next(state: AlertState, rule: &AlertRule, holds: bool, at: DateTime<Utc>) -> AlertState {
    use AlertState::{Firing, Inactive, Pending, Resolved};
    match (state, holds) {
        (Inactive | Resolved { .. }, true) if rule.pending_for.is_zero() => {
            Firing { since: at, clear_since: None }
        }
        (Inactive | Resolved { .. }, true) => Pending { since: at },
        (Pending { since }, true) if at - since >= rule.pending_for => {
            Firing { since: at, clear_since: None }
        }
        (Pending { .. }, false) => Inactive,
        (Firing { since, .. }, true) => Firing { since, clear_since: None },
        (Firing { since, clear_since }, false) => {
            let clear = clear_since.unwrap_or(at);
            if at - clear >= rule.keep_firing_for {
                Resolved { since, until: at }
            } else {
                Firing { since, clear_since: Some(clear) }
            }
        }
        (unchanged, _) => unchanged,
    }
}
