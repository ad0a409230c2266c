//! How many tokens a piece of work took.

use serde::{Deserialize, Serialize};

use crate::Cost;

/// How many tokens a piece of work took; a figure that is not known is `None`, never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Usage {
    /// Tokens of the prompt that were neither read from nor written to a cache.
    pub input_tokens: Option<u64>,
    /// Tokens that the model wrote, thinking included.
    pub output_tokens: Option<u64>,
    /// Tokens of the prompt that were read from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Tokens of the prompt that were written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// The part of the output that was spent on thinking.
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Both together. A figure that only one side knows is that side's; one that neither knows stays unknown.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (known, None) | (None, known) => known,
        };
        Self {
            input_tokens: sum(self.input_tokens, other.input_tokens),
            output_tokens: sum(self.output_tokens, other.output_tokens),
            cache_read_tokens: sum(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: sum(self.cache_write_tokens, other.cache_write_tokens),
            reasoning_tokens: sum(self.reasoning_tokens, other.reasoning_tokens),
        }
    }
}

/// What one agent used for one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// The agent's label.
    pub agent: String,
    /// The model that answered, if it is known.
    pub model: Option<String>,
    /// The tokens, if the agent reported any.
    pub usage: Option<Usage>,
    /// The price.
    pub cost: Cost,
}
