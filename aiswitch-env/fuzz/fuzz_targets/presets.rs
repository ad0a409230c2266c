//! Any text as `presets.yaml`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzz_bodies.rs"]
#[expect(dead_code, reason = "the other targets have the other bodies")]
mod fuzz_bodies;

fuzz_target!(|bytes: &[u8]| fuzz_bodies::presets(bytes));
