#![doc = include_str!("../README.md")]

mod cost;
mod error;
mod figures;
mod group;
mod import;
mod memory;
mod price;
mod quota;
mod record;
mod response;
mod sqlite;
mod store;
mod summary;
mod transcript;
mod usage;

pub use cost::{Cost, CostSource, NanoUsd};
pub use error::UsageError;
pub use figures::{TokenUsageSummary, get_usage_summary};
pub use group::{GroupBy, Groups, Period, UsageGroup, UsageSum};
pub use import::Import;
pub use memory::MemoryUsageStore;
pub use price::{ModelPrice, PriceList, Priced};
pub use quota::{
    Amount, Quota, QuotaLevel, QuotaMode, QuotaScope, QuotaStatus, ReservationId, ReserveRequest, Reserved,
};
pub use record::{COST_MAX, LABEL_BYTES_MAX, TOKENS_MAX, UsageKey, UsageRecord};
pub use response::{Provider, ResponseUsage};
pub use sqlite::SqliteUsageStore;
pub use store::{Repriced, Tracked, UsageQuery, UsageStore};
pub use summary::{CostSummary, UsageSummary};
pub use transcript::{Transcript, TranscriptCount, TranscriptKind, read_transcript};
pub use usage::Usage;
