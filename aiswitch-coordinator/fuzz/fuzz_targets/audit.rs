//! Anything done to the files of an audit log.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzz_bodies.rs"]
mod fuzz_bodies;

fuzz_target!(|bytes: &[u8]| fuzz_bodies::audit(bytes));
