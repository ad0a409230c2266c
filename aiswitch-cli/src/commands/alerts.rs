//! `aiswitch metrics alerts`: how the alerts are.

use aiswitch_coordinator::{AlertAction, Home, Severity, Watch};
use aiswitch_metrics::{Alert, AlertRule, AlertState, SqliteMetricsStore, alerts as alerts_of};
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::config::read_alerts;
use crate::error::Error;
use crate::exit::Code;
use crate::output::{Output, human};

/// Shows how the alerts of all rules are.
///
/// # Errors
/// The rules or what is known of them cannot be read.
pub(super) fn alerts(home: &Home, now: DateTime<Utc>, output: &Output) -> Result<Code, Error> {
    let watches = read_alerts(home)?;
    let store = SqliteMetricsStore::at(home.metrics_file());
    let rules: Vec<AlertRule> = watches.iter().map(|watch| watch.rule.clone()).collect();
    let known = if rules.is_empty() { Vec::new() } else { alerts_of(&store, &rules, now)? };
    let views: Vec<RuleView> = watches.iter().map(|watch| RuleView::of(watch, &known)).collect();
    output.result(&views, || text(&views));
    Ok(Code::Completed)
}

/// One rule, as `metrics alerts --json` prints it.
#[derive(Debug, Serialize)]
struct RuleView {
    rule: String,
    metric: String,
    condition: String,
    severity: Severity,
    action: Option<AlertAction>,
    /// One for each agent whose figures were judged, or for the machine.
    alerts: Vec<AlertView>,
}

/// One alert.
#[derive(Debug, Serialize)]
struct AlertView {
    /// `None` of the machine.
    agent: Option<String>,
    #[serde(flatten)]
    state: AlertState,
    value: Option<f64>,
    /// How unusual the figure is, from 0 to 1, where the rule asks for anomalies.
    score: Option<f64>,
    /// How many samples are to be learnt from before that can be told.
    warm_up_left: Option<u64>,
    seen_at: Option<DateTime<Utc>>,
    /// Whether it came to fire or was resolved, and that is not told yet.
    untold: bool,
}

impl RuleView {
    fn of(watch: &Watch, known: &[Alert]) -> Self {
        let view = |alert: &Alert| AlertView {
            agent: alert.source.agent().map(str::to_owned),
            state: alert.state,
            value: alert.value,
            score: alert.score,
            warm_up_left: alert.warm_up_left,
            seen_at: alert.seen_at,
            untold: alert.is_untold,
        };
        Self {
            rule: watch.rule.name.clone(),
            metric: watch.rule.metric.to_string(),
            condition: watch.rule.condition.to_string(),
            severity: watch.severity,
            action: watch.action,
            alerts: known.iter().filter(|alert| alert.rule == watch.rule.name).map(view).collect(),
        }
    }
}

fn text(rules: &[RuleView]) -> String {
    if rules.is_empty() {
        return "no alerts are configured; alerts.yaml has their rules (see: aiswitch schema alerts)"
            .to_owned();
    }
    let lines = rules.iter().flat_map(|rule| {
        let head = format!("{}: {} {}\n", rule.rule, rule.metric, rule.condition);
        let nothing = rule.alerts.is_empty().then(|| "  nothing was judged yet\n".to_owned());
        let line = |alert: &AlertView| {
            let agent = alert.agent.as_deref().unwrap_or("(system)");
            format!("  {agent:<16} {}\n", state_text(alert, &rule.metric))
        };
        std::iter::once(head).chain(nothing).chain(rule.alerts.iter().map(line)).collect::<Vec<_>>()
    });
    lines.collect()
}

fn state_text(alert: &AlertView, metric: &str) -> String {
    let state = match alert.state {
        AlertState::Inactive => "inactive".to_owned(),
        AlertState::Pending { since } => format!("pending since {}", second(since)),
        AlertState::Firing { since, .. } => format!("firing since {}", second(since)),
        AlertState::Resolved { until, .. } => format!("resolved at {}", second(until)),
    };
    let value = alert.value.map(|value| human::figure(metric, value));
    let unusual = match (alert.warm_up_left, alert.score) {
        (Some(left @ 1..), _) => Some(format!("learns: {left} samples to go")),
        (_, score) => score.map(|score| format!("unusual by {score:.2} of 1")),
    };
    let untold = alert.untold.then(|| "not told yet".to_owned());
    [Some(state), value, unusual, untold].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn second(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%m-%d %H:%M:%S UTC")
}
