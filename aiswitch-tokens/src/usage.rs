//! How many tokens a piece of work took.

use serde::{Deserialize, Serialize};

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
    /// The part of those written to a cache that lasts an hour, which costs more than the ordinary one.
    pub cache_write_1h_tokens: Option<u64>,
    /// The part of the output that was spent on thinking.
    pub reasoning_tokens: Option<u64>,
    /// How often the provider searched the web, which is paid for beside the tokens.
    pub web_searches: Option<u64>,
}

impl Usage {
    /// All tokens, of the prompt and of the answer; `None` when no figure is known.
    pub fn total(self) -> Option<u64> {
        // Thinking is a part of the output, and the long-lived part of the cache one of what was written to it.
        let known = [self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_write_tokens];
        known.into_iter().flatten().reduce(u64::saturating_add)
    }

    /// The tokens of the prompt, read from and written to a cache or not; `None` when no figure is known.
    pub fn prompt(self) -> Option<u64> {
        let known = [self.input_tokens, self.cache_read_tokens, self.cache_write_tokens];
        known.into_iter().flatten().reduce(u64::saturating_add)
    }

    /// Its figures, in the order of its fields.
    pub(crate) fn figures(self) -> [Option<u64>; 7] {
        let Self {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            cache_write_1h_tokens,
            reasoning_tokens,
            web_searches,
        } = self;
        [
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_write_tokens,
            cache_write_1h_tokens,
            reasoning_tokens,
            web_searches,
        ]
    }

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
            cache_write_1h_tokens: sum(self.cache_write_1h_tokens, other.cache_write_1h_tokens),
            reasoning_tokens: sum(self.reasoning_tokens, other.reasoning_tokens),
            web_searches: sum(self.web_searches, other.web_searches),
        }
    }
}
