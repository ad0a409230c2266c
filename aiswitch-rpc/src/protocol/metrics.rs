//! `metrics.*`: figures about an agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{notification, request};

notification! {
    /// `metrics.report`: figures that the agent has measured.
    MetricsReport = "metrics.report", MetricsReportParams
}
request! {
    /// `metrics.query`: asks for the newest figures about the agent.
    MetricsQuery = "metrics.query", MetricsQueryParams => MetricsReportParams
}

/// The params of [`MetricsReport`] and the result of [`MetricsQuery`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MetricsReportParams {
    /// Figures by name; a name ends in its unit, as in `queue_wait_ms`.
    pub values: BTreeMap<String, f64>,
}

/// The params of [`MetricsQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MetricsQueryParams {
    /// The figures wanted; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}
