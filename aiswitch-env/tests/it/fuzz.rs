//! The bodies of the fuzz targets, on the kept corpus and on what becomes of it when it is changed at random.

use std::fs;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::fuzz_bodies::{SEALED, presets, redactor, value};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");

/// What a change may put in: what the formats are made of.
const TOKENS: [&[u8]; 12] = [
    b"ENC[v1,",
    b"]",
    b"\0",
    b"\n  ",
    b": ",
    b"{",
    b"env:",
    b"file:",
    b"&a *a",
    b"\xff",
    b"\xf0\x9f\x94\x91",
    b"secret-1",
];

/// One change: where, what kind, and with what.
type Change = (Index, u8, u8);

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(format!("{CORPUS}/{target}")).expect("the corpus is kept");
    let mut seeds: Vec<_> =
        files.map(|file| fs::read(file.expect("a file").path()).expect("it can be read")).collect();
    seeds.sort();
    seeds
}

fn changed(seed: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for (place, kind, with) in changes {
        let at = place.index(bytes.len() + 1);
        match kind % 5 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, *with),
            2 => drop(bytes.splice(at..at, TOKENS[usize::from(*with) % TOKENS.len()].iter().copied())),
            3 if at < bytes.len() => bytes[at] ^= 1 << (with % 8),
            _ => bytes.extend_from_within(at..(at + usize::from(*with)).min(bytes.len())),
        }
    }
    bytes
}

/// Calls a body with every kept input, and with this many that are changed.
fn run(target: &str, body: fn(&[u8]), cases: u32) {
    let seeds = seeds(target);
    assert!(seeds.len() >= 3, "{target}: {} inputs", seeds.len());
    for seed in &seeds {
        body(seed);
    }
    let inputs = (any::<Index>(), prop::collection::vec(any::<Change>(), 1..6));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let checked = proptest::test_runner::TestRunner::new(config).run(&inputs, |(seed, changes)| {
        let seed: &Vec<u8> = seed.get(&seeds);
        body(&changed(seed, &changes));
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{target}: {error}"));
}

#[test]
fn a_value_is_written_as_it_was_read_and_opens_only_as_it_was_encrypted() {
    value(SEALED.as_bytes());
    run("value", value, 20_000);
}

#[test]
fn presets_of_any_text_are_read_or_refused() {
    run("presets", presets, 10_000);
}

#[test]
fn what_is_masked_does_not_depend_on_how_a_stream_is_cut() {
    run("redactor", redactor, 3000);
}
