#![doc = include_str!("../README.md")]

mod cost;
mod summary;
mod usage;

pub use cost::{Cost, CostSource, NanoUsd};
pub use summary::{CostSummary, UsageSummary};
pub use usage::{Usage, UsageRecord};
