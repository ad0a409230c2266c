#![doc = include_str!("../README.md")]

mod alert;
mod alert_notes;
mod alert_state;
mod alert_untold;
mod anomaly;
mod anomaly_view;
mod batch;
mod chunk;
mod collector;
mod error;
mod metric;
#[cfg(feature = "otlp")]
mod otlp;
mod packed;
mod prometheus;
mod sample;
mod series;
mod store;
mod store_memory;
mod store_rows;
mod store_sqlite;
mod summary;
#[cfg(target_os = "linux")]
mod system;

pub use alert::{
    ALERT_NAME_BYTES_MAX, ALERT_SPAN_MAX, AlertCondition, AlertRule, AlertRuleError, AlertState,
};
pub use alert_notes::{Judged, alerts, forget_alerts, judge_alerts, settle_alerts};
pub use alert_state::{ALERT_SOURCES_MAX, Alert, STALE_AFTER};
pub use alert_untold::{TOLD_WITHIN, Telling};
pub use anomaly::{AnomalyDetector, EVENT_SAMPLES, VALUE_MAX, Verdict, WARM_UP_SAMPLES};
pub use batch::{BATCH_SAMPLES, BATCH_WAIT, SampleBatch, WAITING_SAMPLES_MAX};
pub use collector::{Collector, RecordedCollector};
pub use error::MetricsError;
pub use metric::{METRIC_BYTES_MAX, Metric, MetricKind};
#[cfg(feature = "otlp")]
pub use otlp::otlp_json;
pub use prometheus::prometheus;
pub use sample::{AgentSample, AgentStatus, LABEL_BYTES_MAX, Sample, Source, SystemSample};
pub use series::{STEPS_MAX, Series, SeriesQuery, Trend, series};
pub use store::{
    AHEAD_MAX, Level, MetricsStore, OTHER_METRICS_MAX, Point, Rejected, SOURCES_MAX, SampleQuery, Stored,
};
pub use store_memory::MemoryMetricsStore;
pub use store_sqlite::SqliteMetricsStore;
pub use summary::{RESPONSE_MS_MAX, Summary};
#[cfg(target_os = "linux")]
pub use system::SystemProbe;
