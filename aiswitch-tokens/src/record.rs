//! What a request to a model used.

use jiff::Timestamp;

use crate::{Cost, NanoUsd, Usage, UsageError};

/// The most tokens that one record may have of a kind; more is a mistake of whoever reports it.
pub const TOKENS_MAX: u64 = 1_000_000_000_000;

/// The highest cost that one record may have: $100,000. More is a mistake of whoever reports it.
pub const COST_MAX: NanoUsd = NanoUsd(100_000 * 1_000_000_000);

/// The longest label, in bytes: agent, model, preset, task, run, session, and the parts of a key.
pub const LABEL_BYTES_MAX: usize = 512;

/// What makes two reports of one request the same: who answered, and what the answer is called there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// Within what the name is unique, such as a provider or a kind of agent.
    pub source: String,
    /// The name of the message there.
    pub message: String,
}

/// What a request to a model used, or several that are told of as one, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// What makes it one: reported again, it counts once.
    pub key: UsageKey,
    /// When.
    pub at: Timestamp,
    /// The agent's label.
    pub agent: String,
    /// The model that answered, if it is known.
    pub model: Option<String>,
    /// The preset that it ran under.
    pub preset: Option<String>,
    /// The task.
    pub task: Option<String>,
    /// The run.
    pub run: Option<String>,
    /// The session of the agent.
    pub session: Option<String>,
    /// How it was served, where that is another than the ordinary way: `flex`, `priority`, `batch`.
    pub tier: Option<String>,
    /// For how many requests it stands; `None` where nobody told.
    pub requests: Option<u64>,
    /// The tokens, if any were reported.
    pub usage: Option<Usage>,
    /// The price.
    pub cost: Cost,
}

impl UsageRecord {
    /// Checks what a store takes.
    ///
    /// # Errors
    /// A label is empty or too long, or a figure is beyond [`TOKENS_MAX`] or [`COST_MAX`].
    pub fn check(&self) -> Result<(), UsageError> {
        let required = [("source", &self.key.source), ("message", &self.key.message), ("agent", &self.agent)];
        let optional = [
            ("model", &self.model),
            ("preset", &self.preset),
            ("task", &self.task),
            ("run", &self.run),
            ("session", &self.session),
            ("tier", &self.tier),
        ];
        if let Some((field, _)) = required.iter().find(|(_, text)| text.is_empty()) {
            return Err(UsageError::EmptyLabel { field });
        }
        let optional = optional.into_iter().filter_map(|(field, text)| Some((field, text.as_ref()?)));
        let labels = required.into_iter().chain(optional);
        if let Some((field, text)) = labels.into_iter().find(|(_, text)| text.len() > LABEL_BYTES_MAX) {
            return Err(UsageError::LongLabel { field, bytes: text.len() });
        }
        let figures = self.usage.map_or([None; 7], Usage::figures);
        match figures.into_iter().chain([self.requests]).flatten().find(|tokens| *tokens > TOKENS_MAX) {
            Some(tokens) => Err(UsageError::Tokens { tokens }),
            None => match self.cost.usd {
                Some(usd) if usd > COST_MAX => Err(UsageError::Cost { usd }),
                _ => Ok(()),
            },
        }
    }

    /// Whether this report of a request says more than an earlier one: more tokens, or as many and a cost that is better
    /// known.
    ///
    /// Answers grow while they stream, and are told again at every step, also out of order by several processes. What says
    /// the most is what was used in the end, in whatever order the reports come.
    pub(crate) fn says_more_than(&self, other: &Self) -> bool {
        let said = |record: &Self| {
            (record.usage.and_then(Usage::total), record.cost.source.certainty(), record.cost.usd)
        };
        said(self) > said(other)
    }
}
