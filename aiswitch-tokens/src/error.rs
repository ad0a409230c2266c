//! Why usage cannot be kept or looked up.

use std::path::PathBuf;

use aiswitch_lock::database::DatabaseError;

use crate::NanoUsd;
use crate::record::{COST_MAX, LABEL_BYTES_MAX, TOKENS_MAX};

/// Why usage cannot be kept or looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// A label that every record has is empty.
    #[error("a record has no {field}")]
    EmptyLabel {
        /// The label.
        field: &'static str,
    },
    /// A label is too long.
    #[error("the {field} of a record has {bytes} bytes, and {LABEL_BYTES_MAX} are the most")]
    LongLabel {
        /// The label.
        field: &'static str,
        /// How long it is.
        bytes: usize,
    },
    /// A figure is beyond all that a request can use.
    #[error("{tokens} tokens are more than the {TOKENS_MAX} that can be counted")]
    Tokens {
        /// The figure.
        tokens: u64,
    },
    /// A cost is beyond all that a request can cost.
    #[error("{usd} is more than the {COST_MAX} that can be counted")]
    Cost {
        /// The cost.
        usd: NanoUsd,
    },
    /// A limit names neither tokens nor money.
    #[error("a quota limits neither tokens nor money")]
    NoLimit,
    /// A limit names a zone that is not known.
    #[error("zone `{zone}` is not one of the IANA list, such as Europe/Berlin")]
    Zone {
        /// The zone.
        zone: String,
        /// Why not.
        #[source]
        source: jiff::Error,
    },
    /// What should be a provider's answer is none, or says nothing of usage.
    #[error("the answer of a provider cannot be read")]
    Response {
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// An answer tells of a part that is more than the whole.
    #[error("the answer of a provider tells of more cached tokens than its prompt has")]
    Contradiction,
    /// The database refuses.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A transcript cannot be read.
    #[error("transcript `{}` cannot be read", path.display())]
    Transcript {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}
