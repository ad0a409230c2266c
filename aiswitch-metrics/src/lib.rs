#![doc = include_str!("../README.md")]

mod anomaly;
mod anomaly_view;
mod probe;
#[cfg(target_os = "linux")]
mod probe_proc;
#[cfg(any(test, not(target_os = "linux")))]
mod probe_sysinfo;
mod sample;

pub use anomaly::{AnomalyDetector, EVENT_SAMPLES, VALUE_MAX, Verdict, WARM_UP_SAMPLES};
pub use probe::{PROCESSES_MAX, sample};
pub use sample::AgentSample;
