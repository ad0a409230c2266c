//! `config/alerts.yaml`: what runs watch for.

use std::collections::BTreeMap;

use aiswitch_agent::SpecDuration;
use aiswitch_coordinator::{
    AgentId, AlertAction, AlertCondition, AlertRule, AlertSink, PAUSE_MAX_DEFAULT, Severity, Watch,
};
use aiswitch_metrics::{Metric, Source};
use chrono::TimeDelta;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// The most rules that there may be.
const RULES_MAX: usize = 100;

/// `config/alerts.yaml`: what runs watch for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlertsFile {
    /// Name → what has to be so, who is told, and what runs do.
    #[serde(default, deserialize_with = "watches")]
    #[schemars(with = "BTreeMap<String, AlertSpec>")]
    pub(super) alerts: Vec<Watch>,
}

/// One rule: exactly one of `above`, `below`, `absent` and `anomaly` says what has to be so.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AlertSpec {
    /// The metric, such as `memory_bytes`, `cpu_percent`, `error_count` or `response_time_ms`.
    metric: String,
    /// A figure is larger than this.
    #[serde(default)]
    above: Option<f64>,
    /// A figure is smaller than this.
    #[serde(default)]
    below: Option<f64>,
    /// No figure came for so long: `10m`. Needs `agent` or `system`.
    #[serde(default)]
    absent: Option<SpecDuration>,
    /// `true`: a figure is unusual, by all figures of the same agent before it.
    #[serde(default)]
    anomaly: Option<bool>,
    /// Only this agent; each agent on its own without it.
    #[serde(default)]
    agent: Option<AgentId>,
    /// `true`: the machine instead of agents.
    #[serde(default)]
    system: bool,
    /// For how long it has to be so before the alert fires; at once without it.
    #[serde(default, rename = "for")]
    pending_for: Option<SpecDuration>,
    /// For how long the alert goes on to fire once it is no longer so.
    #[serde(default)]
    keep_firing_for: Option<SpecDuration>,
    /// `info`, `warning` (the default) or `critical`.
    #[serde(default)]
    severity: Severity,
    /// Who is told when it fires and when it is resolved; `[log, event]` without it.
    #[serde(default)]
    sinks: Option<Vec<AlertSink>>,
    /// What runs do while it fires: `throttle`, `pause` or `cancel`; nothing without it.
    #[serde(default)]
    action: Option<AlertAction>,
    /// How long `pause` lasts at most, as a paused agent may keep its own alert up; 10 minutes without it.
    #[serde(default)]
    pause_max: Option<SpecDuration>,
}

fn watches<'de, D: Deserializer<'de>>(rules: D) -> Result<Vec<Watch>, D::Error> {
    let rules = BTreeMap::<String, AlertSpec>::deserialize(rules)?;
    if rules.len() > RULES_MAX {
        return Err(D::Error::custom(format!("there are {} rules, and {RULES_MAX} may be", rules.len())));
    }
    let watch = |(name, spec): (String, AlertSpec)| {
        let shown = name.escape_debug().to_string();
        spec.watch(name).map_err(|problem| D::Error::custom(format!("alert `{shown}`: {problem}")))
    };
    rules.into_iter().map(watch).collect()
}

impl AlertSpec {
    /// What it says, if it can be so; else why not.
    fn watch(self, name: String) -> Result<Watch, String> {
        let metric = Metric::named(&self.metric).map_err(|error| error.to_string())?;
        let condition = self.condition()?;
        let source = match (self.agent, self.system) {
            (Some(_), true) => return Err("`agent` and `system: true` exclude each other".to_owned()),
            (Some(agent), false) => Some(Source::Agent(agent.to_string())),
            (None, true) => Some(Source::System),
            (None, false) => None,
        };
        if self.pause_max.is_some() && self.action != Some(AlertAction::Pause) {
            return Err("`pause_max` stands beside `action: pause` alone".to_owned());
        }
        let programs = self.sinks.iter().flatten().filter_map(|sink| match sink {
            AlertSink::Command(argv) => argv.first(),
            AlertSink::Log | AlertSink::Event => None,
        });
        if let Some(program) =
            programs.into_iter().find(|program| program.contains('/') && !program.starts_with('/'))
        {
            let shown = program.escape_debug();
            return Err(format!(
                "`{shown}` depends on the folder of a run: write the whole path of the program"
            ));
        }
        let rule = AlertRule {
            name,
            metric,
            source,
            condition,
            pending_for: self.pending_for.map_or(TimeDelta::zero(), span),
            keep_firing_for: self.keep_firing_for.map_or(TimeDelta::zero(), span),
        };
        let watch = Watch {
            severity: self.severity,
            sinks: self.sinks.unwrap_or_else(|| vec![AlertSink::Log, AlertSink::Event]),
            action: self.action,
            pause_max: self.pause_max.map_or(PAUSE_MAX_DEFAULT, |time| time.0),
            ..Watch::new(rule)
        };
        watch.check().map_err(|error| error.to_string())?;
        Ok(watch)
    }

    fn condition(&self) -> Result<AlertCondition, String> {
        let conditions = [
            self.above.map(AlertCondition::Above),
            self.below.map(AlertCondition::Below),
            self.absent.map(|time| AlertCondition::Absent(span(time))),
            self.anomaly.filter(|is_wanted| *is_wanted).map(|_| AlertCondition::Anomaly),
        ];
        match conditions.into_iter().flatten().collect::<Vec<_>>()[..] {
            [condition] => Ok(condition),
            _ => Err("exactly one of `above`, `below`, `absent` and `anomaly: true` says what has to be so"
                .to_owned()),
        }
    }
}

/// A length of time; one that is longer than any is refused by the check of its rule.
fn span(time: SpecDuration) -> TimeDelta {
    TimeDelta::from_std(time.0).unwrap_or(TimeDelta::MAX)
}
