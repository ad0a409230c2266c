#![doc = include_str!("../README.md")]

mod ambient;
mod environment;
mod error;
mod preset;
mod redact;
mod secret;

pub use ambient::Ambient;
pub use environment::{ALLOWED, Environment, Origin, REDIRECTING, Variable, is_dangerous, is_redirecting};
pub use error::EnvError;
pub use preset::{Preset, PresetName, ValueSource, looks_secret};
pub use redact::{MASK, Redactor, SECRET_BYTES_MIN};
pub use secret::Secret;
