//! The body of the fuzz target, on the kept corpus and on random changes.

use std::fs;

use proptest::prelude::*;

use crate::fuzz_bodies::audit;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/audit");

#[test]
fn an_audit_log_is_whole_only_as_it_was_written() {
    let kept = fs::read_dir(CORPUS).expect("the corpus is kept");
    let kept: Vec<_> =
        kept.map(|file| fs::read(file.expect("a file").path()).expect("it can be read")).collect();
    assert!(kept.len() >= 10, "{} inputs", kept.len());
    for changes in &kept {
        audit(changes);
    }
    let change = (any::<u8>(), any::<u16>(), any::<u8>()).prop_map(|(what, at, with)| {
        let [high, low] = at.to_be_bytes();
        [what, high, low, with]
    });
    let changes = prop::collection::vec(change, 0..4);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5000) };
    let checked = proptest::test_runner::TestRunner::new(config).run(&changes, |changes| {
        audit(&changes.concat());
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}
