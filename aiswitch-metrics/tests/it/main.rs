#![cfg(test)]
//! Samples, their stores, and what is told of them.
#![expect(clippy::disallowed_methods, reason = "a variable says where the benchmark's data are")]

mod agree;
mod alerts;
mod bad_input;
mod batch;
mod collectors;
mod nab;
mod nab_detector;
mod nab_scorer;
#[cfg(feature = "otlp")]
mod otlp;
mod prometheus;
mod series;
mod stores;
