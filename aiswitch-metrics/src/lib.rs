#![doc = include_str!("../README.md")]

mod probe;
#[cfg(target_os = "linux")]
mod probe_proc;
#[cfg(any(test, not(target_os = "linux")))]
mod probe_sysinfo;
mod sample;

pub use probe::{PROCESSES_MAX, sample};
pub use sample::AgentSample;
