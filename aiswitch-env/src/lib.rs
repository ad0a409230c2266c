#![doc = include_str!("../README.md")]

mod ambient;
mod environment;
mod error;
mod needles;
mod preset;
mod redact;
mod secret;

pub use ambient::Ambient;
pub use environment::{ALLOWED, Environment, Origin, REDIRECTING, Variable, is_dangerous, is_redirecting};
pub use error::EnvError;
pub use preset::{Preset, PresetName, VALUE_BYTES_MAX, ValueSource, looks_secret, read_value};
pub use redact::{Leak, MASK, Redactor, RedactorStream, SECRET_BYTES_MIN, SecretForm};
pub use secret::Secret;
