//! `tokens.*`: what a task uses up.

use serde::{Deserialize, Serialize};

use super::{TaskId, notification};

notification! {
    /// `tokens.usage`: what a task has used so far, as a running total.
    TokensUsage = "tokens.usage", TokensUsageParams
}

/// Tokens by kind; `None` is not known, which is something else than 0.
///
/// ```
/// use aiswitch_rpc::protocol::TokenUsage;
///
/// let step = TokenUsage { input_tokens: Some(7), output_tokens: Some(5), ..TokenUsage::default() };
/// let both = step.plus(step);
/// assert_eq!((both.input_tokens, both.reasoning_tokens), (Some(14), None));
/// assert_eq!(both.sum(), Some(24));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct TokenUsage {
    /// Tokens of the prompt, without those read from or written to a cache.
    pub input_tokens: Option<u64>,
    /// Tokens of the answer, with those spent on reasoning.
    pub output_tokens: Option<u64>,
    /// Tokens of the prompt that were read from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Tokens of the prompt that were written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// The part of `output_tokens` that was spent on reasoning.
    pub reasoning_tokens: Option<u64>,
}

impl TokenUsage {
    /// The two added, kind by kind; a kind that only one of them knows counts as that one says.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let add = |left: Option<u64>, right: Option<u64>| match (left, right) {
            (Some(left), Some(right)) => Some(left.saturating_add(right)),
            (known, None) | (None, known) => known,
        };
        Self {
            input_tokens: add(self.input_tokens, other.input_tokens),
            output_tokens: add(self.output_tokens, other.output_tokens),
            cache_read_tokens: add(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: add(self.cache_write_tokens, other.cache_write_tokens),
            reasoning_tokens: add(self.reasoning_tokens, other.reasoning_tokens),
        }
    }

    /// All tokens together, without counting reasoning twice; `None` when no kind is known.
    pub fn sum(self) -> Option<u64> {
        [self.input_tokens, self.output_tokens, self.cache_read_tokens, self.cache_write_tokens]
            .into_iter()
            .flatten()
            .reduce(u64::saturating_add)
    }
}

/// The params of [`TokensUsage`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TokensUsageParams {
    /// The task that used them.
    pub task_id: TaskId,
    /// What it has used since it began.
    pub usage: TokenUsage,
    /// What that costs, in US dollars, as the agent reports it.
    #[serde(default)]
    pub cost_usd: Option<f64>,
}
