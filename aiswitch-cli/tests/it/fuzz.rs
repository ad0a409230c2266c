//! The body of the fuzz target, on the kept corpus and on random text.

use std::fs;

use proptest::prelude::*;

use crate::fuzz_bodies::terminal;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/terminal");

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_text_controls_a_terminal_or_hides_on_it(
        text in prop::collection::vec(prop_oneof![any::<char>(), (0_u8..0xa0).prop_map(char::from), Just('\u{1b}'), Just('\u{202e}'), Just('\u{e0041}')], 0..64),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        terminal(text.into_iter().collect::<String>().as_bytes());
        terminal(&bytes);
    }
}

#[test]
fn the_kept_corpus_controls_no_terminal() {
    let kept = fs::read_dir(CORPUS).expect("the corpus is kept");
    let kept: Vec<_> =
        kept.map(|file| fs::read(file.expect("a file").path()).expect("it can be read")).collect();
    assert!(kept.len() >= 10, "{} inputs", kept.len());
    for bytes in &kept {
        terminal(bytes);
    }
}
