//! Any secrets and any text, cut anywhere.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzz_bodies.rs"]
#[expect(dead_code, reason = "the other targets have the other bodies")]
mod fuzz_bodies;

fuzz_target!(|bytes: &[u8]| fuzz_bodies::redactor(bytes));
