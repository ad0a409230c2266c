//! What agents report of themselves, and the newest figures that they and others may ask for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aiswitch_agent::{Access, AgentId, FiguresReply, Role, access, refusal};
use aiswitch_env::Redactor;
use aiswitch_metrics::{
    Level, Metric, MetricKind, MetricsError, MetricsStore, Sample, SampleQuery, Source, VALUE_MAX,
};
use aiswitch_rpc::protocol::{MetricsQuery, MetricsQueryParams, MetricsReportParams};
use aiswitch_rpc::{ErrorObject, RequestMethod, Router};
use chrono::{DateTime, Utc};

use crate::chain;

/// How many metrics of its own an agent may have in a run.
pub const REPORTED_METRICS_MAX: usize = 50;

/// What one agent of a run has reported of itself.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    newest: BTreeMap<Metric, f64>,
    /// What came since the last sample; of several figures of one metric the newest.
    fresh: BTreeMap<Metric, f64>,
    refused: Refused,
}

/// Why figures that an agent reported were not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Refused {
    /// The name cannot be one, or has a secret in it.
    names: u64,
    /// They are of a metric that is measured here.
    measured_here: u64,
    /// They are of a metric beyond [`REPORTED_METRICS_MAX`].
    crowd: u64,
    /// They are not finite, or too large.
    figures: u64,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, measured_here, crowd, figures } = self;
        write!(
            f,
            "{names} under a name that cannot be, {measured_here} of metrics that aiswitch measures itself, {crowd} beyond {REPORTED_METRICS_MAX} metrics, {figures} that cannot be"
        )
    }
}

impl Reported {
    /// Takes what can be, and counts the rest.
    pub(crate) fn take(&mut self, values: &BTreeMap<String, f64>, redactor: &Redactor) {
        for (name, value) in values {
            let metric = Metric::named(name).ok().filter(|_| redactor.redact(name) == name.as_str());
            let reason = match metric {
                None => &mut self.refused.names,
                Some(metric) if metric.help().is_some() => &mut self.refused.measured_here,
                Some(_) if !value.is_finite() || value.abs() > VALUE_MAX => &mut self.refused.figures,
                Some(metric)
                    if self.newest.len() >= REPORTED_METRICS_MAX && !self.newest.contains_key(&metric) =>
                {
                    &mut self.refused.crowd
                }
                Some(metric) => {
                    self.newest.insert(metric.clone(), *value);
                    self.fresh.insert(metric, *value);
                    continue;
                }
            };
            *reason += 1;
        }
    }

    /// What came since the last sample, as one; `None` if nothing did.
    pub(crate) fn sample(&mut self, agent: &AgentId, at: DateTime<Utc>) -> Option<Sample> {
        let figures: Vec<(Metric, f64)> = std::mem::take(&mut self.fresh).into_iter().collect();
        (!figures.is_empty()).then(|| Sample { source: Source::Agent(agent.to_string()), at, figures })
    }

    /// What to tell of figures that were not taken.
    pub(crate) fn problem(&self, agent: &AgentId) -> Option<String> {
        (self.refused != Refused::default())
            .then(|| format!("not all figures that agent `{agent}` reported are kept: {}", self.refused))
    }

    /// Answers an agent's question for its newest figures; the store is read on a thread of its own.
    pub(crate) fn answer(
        &self,
        store: Option<&Arc<dyn MetricsStore>>,
        agent: &AgentId,
        names: Vec<String>,
        reply: FiguresReply,
    ) {
        let (reported, agent) = (self.newest.clone(), agent.clone());
        let Some(store) = store.cloned() else {
            reply.answer(pick(reported, &names));
            return;
        };
        tokio::task::spawn_blocking(move || {
            let stored = newest(store.as_ref(), &agent).map_err(|error| ErrorObject::internal(chain(&error)));
            reply.answer(stored.and_then(|mut newest| {
                // What was reported a moment ago need not be stored yet.
                newest.extend(reported);
                pick(newest, &names)
            }));
        });
    }
}

/// The newest figure of each gauge of an agent, and the sum of all time of each count.
fn newest(store: &dyn MetricsStore, agent: &AgentId) -> Result<BTreeMap<Metric, f64>, MetricsError> {
    let source = Some(Source::Agent(agent.to_string()));
    let mut newest = BTreeMap::new();
    store.points(&SampleQuery { source, ..SampleQuery::of(Level::Ever) }, &mut |point| {
        let figure = match point.metric.kind() {
            MetricKind::Gauge => point.summary.last,
            MetricKind::Count => point.summary.sum,
        };
        newest.insert(point.metric.clone(), figure);
    })?;
    Ok(newest)
}

/// The figures that are wanted, all without names; those that nobody has told are left out.
fn pick(figures: BTreeMap<Metric, f64>, names: &[String]) -> Result<BTreeMap<String, f64>, ErrorObject> {
    let wanted: Result<Vec<Metric>, MetricsError> = names.iter().map(|name| Metric::named(name)).collect();
    let wanted = wanted.map_err(|error| ErrorObject::invalid_params(chain(&error)))?;
    let named = |(metric, value): (Metric, f64)| (metric.to_string(), value);
    if wanted.is_empty() {
        return Ok(figures.into_iter().map(named).collect());
    }
    let known = wanted.into_iter().filter_map(|metric| figures.get(&metric).map(|value| (metric, *value)));
    Ok(known.map(named).collect())
}

/// The method `metrics.query` about one agent, as the table of roles lets this role use it.
///
/// It answers with the newest figure of each gauge and the sum of all time of each count. What only an agent can say of itself,
/// `metrics.report` and `tokens.usage`, is heard through the agent's own channel in a run, and refused here.
pub fn metrics_methods(store: Arc<dyn MetricsStore>, agent: &AgentId, role: Role) -> Router {
    let agent = agent.clone();
    let router = Router::new().fallback_request(move |method: String, _: serde_json::Value, _| async move {
        Err(refusal(role, &method))
    });
    router.request::<MetricsQuery>(move |MetricsQueryParams { names }, _| {
        let (store, agent) = (Arc::clone(&store), agent.clone());
        async move {
            if access(role, MetricsQuery::NAME) == Access::Denied {
                return Err(refusal(role, MetricsQuery::NAME));
            }
            let read = tokio::task::spawn_blocking(move || newest(store.as_ref(), &agent)).await;
            let newest =
                read.map_err(ErrorObject::internal)?.map_err(|error| ErrorObject::internal(chain(&error)))?;
            Ok(MetricsReportParams { values: pick(newest, &names)? })
        }
    })
}

#[cfg(test)]
mod tests {
    use aiswitch_env::{Ambient, Environment};

    use super::*;

    #[test]
    fn a_secret_is_no_name_of_a_metric() {
        let secret = "sk_live_0123456789abcdef";
        let ambient = Ambient::from_vars([("KEY".into(), secret.into())]);
        let redactor = Environment::compose(&ambient, &["KEY"], None).expect("it is one").redactor();
        let mut reported = Reported::default();
        let names = [secret.to_owned(), format!("x_{secret}_ms"), "wait_ms".to_owned()];
        reported.take(&names.into_iter().map(|name| (name, 1.0)).collect(), &redactor);
        let agent: AgentId = "a".parse().expect("a name");
        let sample = reported.sample(&agent, DateTime::UNIX_EPOCH).expect("one figure came");
        assert_eq!(sample.figures, [(Metric::named("wait_ms").expect("a name"), 1.0)]);
        assert_eq!(reported.refused, Refused { names: 2, ..Refused::default() });
        assert_eq!(reported.sample(&agent, DateTime::UNIX_EPOCH), None, "it was taken");
    }
}
