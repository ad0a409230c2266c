//! What users of the crate rely on, seen from outside.
#![cfg(test)]

mod back_pressure;
mod bad_peer;
mod batches;
mod blocking;
mod calls;
mod cancellation;
mod codec;
mod conformance;
mod echo_adapter;
mod integrity;
mod mutation;
mod ordering;
mod pieces;
mod programs;
mod protocol;
mod support;
#[cfg(feature = "tracing")]
mod tracing;
