//! What can be wrong with a preset or an environment.

use std::path::PathBuf;

use crate::{PresetName, SnapshotId};

/// What can be wrong with a preset or an environment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvError {
    /// A preset's name breaks the rule for names.
    #[error("preset name `{name}` is not 1 to 64 of a-z, 0-9, `_` and `-`, starting with a letter or digit")]
    PresetName {
        /// The name as written.
        name: String,
    },
    /// A variable that no shell can have.
    #[error("no shell can have a variable `{name}`")]
    ShellName {
        /// The name as written, with control characters escaped.
        name: String,
    },
    /// A preset that is not there.
    #[error("preset `{name}` is not known")]
    PresetUnknown {
        /// The preset.
        name: PresetName,
    },
    /// A preset extends one that is not there.
    #[error("preset `{preset}` extends `{parent}`, which is not known")]
    ParentUnknown {
        /// The preset.
        preset: PresetName,
        /// What it extends.
        parent: PresetName,
    },
    /// A preset extends itself, maybe by way of others.
    #[error("preset `{preset}` extends itself")]
    ParentCycle {
        /// The preset.
        preset: PresetName,
    },
    /// A variable's name is empty or holds `=` or NUL.
    #[error("variable name `{name}` of preset `{preset}` is empty or holds `=` or NUL")]
    VariableName {
        /// The preset.
        preset: String,
        /// The name as written, with control characters escaped.
        name: String,
    },
    /// A variable that can make a child run foreign code.
    #[error("variable `{name}` of preset `{preset}` can make an agent run foreign code and is refused")]
    Dangerous {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
    },
    /// A value stands in clear under a name that looks secret.
    #[error("variable `{name}` of preset `{preset}` holds a secret in clear")]
    ClearSecret {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
    },
    /// An encrypted value of another version.
    #[error("variable `{name}` of preset `{preset}` is encrypted in a form that this version cannot open")]
    SealVersion {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
    },
    /// An encrypted value that is cut or changed.
    #[error("variable `{name}` of preset `{preset}` holds an encrypted value that is damaged")]
    SealDamaged {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
    },
    /// An encrypted value, and no key.
    #[error("variable `{name}` of preset `{preset}` is encrypted, and no key is there to open it")]
    NoKey {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
    },
    /// An encrypted value that opens elsewhere or with another key.
    #[error(
        "variable `{name}` of preset `{preset}` was encrypted with another key, or for another preset, variable or base URL; it is not opened here"
    )]
    SealRefused {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
    },
    /// `env:NAME` names a variable that the caller has not set.
    #[error(
        "variable `{name}` of preset `{preset}` wants `{wanted}` of the caller's environment, which is not set"
    )]
    MissingAmbient {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
        /// The variable that is not set.
        wanted: String,
    },
    /// `file:PATH` names a file that cannot be read.
    #[error("variable `{name}` of preset `{preset}` wants the file `{path}`")]
    UnreadableFile {
        /// The preset.
        preset: String,
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: std::io::Error,
    },
    /// A value that no environment can hold.
    #[error("the value of variable `{name}` holds a NUL byte or is not UTF-8")]
    Value {
        /// The variable.
        name: String,
    },
    /// A text that is no name of a snapshot.
    #[error("`{text}` is not a snapshot's name, 26 characters like 01K9XJ5V7C8N3T2B4M6P0QRSWY")]
    SnapshotId {
        /// The text, with control characters escaped.
        text: String,
    },
    /// A snapshot is not as it was made.
    #[error("snapshot `{id}` is damaged: its checksum is another")]
    SnapshotDamaged {
        /// The snapshot.
        id: SnapshotId,
    },
    /// An identity is wrapped with a passphrase, and none was given.
    #[error("the identity is protected with a passphrase, and none was given")]
    PassphraseMissing,
    /// An identity does not open with this passphrase.
    #[error("the identity does not open with this passphrase")]
    PassphraseWrong {
        /// What the age format says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A keyring cannot be used.
    #[cfg(feature = "keyring")]
    #[error("the system's keyring cannot be used: {action} failed")]
    Keyring {
        /// What was tried: `open`, `read` or `change`.
        action: &'static str,
        /// What the keyring says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file of an identity holds none.
    #[error("the identity is damaged: it holds no line with `AGE-SECRET-KEY-1…`")]
    IdentityDamaged,
    /// A line that is no recipient.
    #[error("`{text}` is no recipient, which is written `age1…`: {reason}")]
    Recipient {
        /// The line, with control characters escaped.
        text: String,
        /// What the age format says.
        reason: &'static str,
    },
    /// Nobody to wrap a key for.
    #[error("there is no recipient to wrap the data key for")]
    NoRecipients,
    /// Something could not be wrapped.
    #[error("the key cannot be wrapped")]
    Wrap {
        /// What the age format says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Wrapped data keys do not open with an identity.
    #[error("the data key does not open with this identity")]
    KeyRefused {
        /// What the age format says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was wrapped is no data key.
    #[error("the data key is damaged")]
    KeyDamaged,
}
