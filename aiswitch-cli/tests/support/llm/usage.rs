//! The usage of every answer: the same tokens whatever the API, so that a test can expect them.

/// Tokens of the prompt, with those read from and written to a cache.
pub(crate) const PROMPT_TOKENS: u64 = 1000;
/// Tokens of the prompt that were read from a cache.
pub(crate) const CACHE_READ_TOKENS: u64 = 200;
/// Tokens of the prompt that were written to a cache; only the Anthropic API tells of them.
pub(crate) const CACHE_WRITE_TOKENS: u64 = 100;
/// Tokens of the answer, with those of reasoning.
pub(crate) const OUTPUT_TOKENS: u64 = 50;
/// Tokens of the answer that were spent on reasoning.
pub(crate) const REASONING_TOKENS: u64 = 10;
