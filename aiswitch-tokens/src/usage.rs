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
    /// The part of the output that was spent on thinking.
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    /// All tokens, of the prompt and of the answer; `None` when no figure is known.
    pub fn total(self) -> Option<u64> {
        // Thinking is a part of the output.
        let [input, output, cache_read, cache_write, _] = self.figures();
        let known = [input, output, cache_read, cache_write].into_iter().flatten();
        known.reduce(u64::saturating_add)
    }

    /// Its figures, in the order of its fields.
    pub(crate) fn figures(self) -> [Option<u64>; 5] {
        let Self { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens } =
            self;
        [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens]
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
            reasoning_tokens: sum(self.reasoning_tokens, other.reasoning_tokens),
        }
    }
}
