#![doc = include_str!("../README.md")]

mod ambient;
mod environment;
mod error;
mod flat;
#[cfg(feature = "age")]
mod identity;
mod needles;
mod preset;
mod redact;
mod seal;
mod secret;
mod shell;
mod snapshot;
#[cfg(feature = "keyring")]
mod store_keyring;

pub use ambient::Ambient;
pub use environment::{ALLOWED, Environment, Origin, REDIRECTING, Variable, is_dangerous, is_redirecting};
pub use error::EnvError;
pub use flat::{FlatPreset, FlatValue};
#[cfg(feature = "age")]
pub use identity::{Identity, Recipient};
pub use preset::{
    Preset, PresetName, VALUE_BYTES_MAX, ValueSource, check_name, check_value, looks_secret, read_value,
};
pub use redact::{Leak, MASK, Redactor, RedactorStream, SECRET_BYTES_MIN, SecretForm};
pub use seal::{DataKey, DataKeys, KEY_BYTES, Place};
pub use secret::Secret;
pub use shell::{SHELL_PRESET, SHELL_VARIABLES, Shell};
pub use snapshot::{EnvSnapshot, SnapshotId, SnapshotValue, check_reference};
#[cfg(feature = "keyring")]
pub use store_keyring::Keyring;
