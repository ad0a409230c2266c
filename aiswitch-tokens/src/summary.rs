//! The sum over many records.

use serde::{Deserialize, Serialize};

use crate::{Cost, NanoUsd, Usage};

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
    /// Sums up what each part of some work used and cost.
    pub fn of(parts: impl IntoIterator<Item = (Option<Usage>, Cost)>) -> Self {
        let part = |(usage, cost): (Option<Usage>, Cost)| Self {
            usage,
            cost: CostSummary { usd: cost.usd, unpriced: u64::from(cost.usd.is_none()) },
        };
        parts.into_iter().map(part).fold(Self::default(), Self::plus)
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            usage: match (self.usage, other.usage) {
                (Some(a), Some(b)) => Some(a.plus(b)),
                (known, None) | (None, known) => known,
            },
            cost: CostSummary {
                usd: match (self.cost.usd, other.cost.usd) {
                    (Some(a), Some(b)) => Some(NanoUsd(a.0.saturating_add(b.0))),
                    (known, None) | (None, known) => known,
                },
                unpriced: self.cost.unpriced + other.cost.unpriced,
            },
        }
    }
}
