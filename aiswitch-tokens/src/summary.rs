//! The sum over many records.

use serde::{Deserialize, Serialize};

use crate::{NanoUsd, Usage, UsageRecord};

/// The sum over many records, honest about what is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsageSummary {
    /// The tokens of all records that reported any; `None` when none did.
    pub usage: Option<Usage>,
    /// The known cost of all records.
    pub cost: CostSummary,
}

/// The known cost of many records, beside how many have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CostSummary {
    /// The sum of the known costs; `None` when no cost is known.
    pub usd: Option<NanoUsd>,
    /// How many records have no known cost; their share is missing in `usd`.
    pub unpriced: u64,
}

impl UsageSummary {
    /// Sums records up.
    pub fn of<'a>(records: impl IntoIterator<Item = &'a UsageRecord>) -> Self {
        records.into_iter().fold(Self::default(), |sum, record| Self {
            usage: match (sum.usage, record.usage) {
                (Some(a), Some(b)) => Some(a.plus(b)),
                (known, None) | (None, known) => known,
            },
            cost: CostSummary {
                usd: match (sum.cost.usd, record.cost.usd) {
                    (Some(a), Some(b)) => Some(NanoUsd(a.0.saturating_add(b.0))),
                    (known, None) | (None, known) => known,
                },
                unpriced: sum.cost.unpriced + u64::from(record.cost.usd.is_none()),
            },
        })
    }
}
