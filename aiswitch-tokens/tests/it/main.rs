//! Usage, cost and their sums, as their users see them.
#![cfg(test)]

mod figures;
#[cfg(feature = "pricing")]
mod price;
mod processes;
mod quota;
mod store;
mod sums;
mod transcript;

use aiswitch_tokens::{Cost, CostSource, NanoUsd, Usage, UsageSummary};
use proptest::prelude::*;

fn part(input: Option<u64>, nanos: Option<u64>) -> (Option<Usage>, Cost) {
    let usage = input.map(|tokens| Usage { input_tokens: Some(tokens), ..Usage::default() });
    let cost = match nanos {
        Some(nanos) => Cost { usd: Some(NanoUsd(nanos)), source: CostSource::Computed },
        None => Cost::default(),
    };
    (usage, cost)
}

#[test]
fn what_nobody_reported_stays_unknown_in_the_sum() {
    let sum = UsageSummary::of([part(None, None), part(None, None)]);
    assert_eq!(serde_json::to_string(&sum).unwrap(), r#"{"usage":null,"cost":{"usd":null,"unpriced":2}}"#);
}

#[test]
fn a_known_figure_is_kept_beside_an_unknown_one() {
    let sum = UsageSummary::of([part(Some(7), Some(4_340_000)), part(None, None)]);
    let usage = sum.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(7), None));
    assert_eq!((sum.cost.usd, sum.cost.unpriced), (Some(NanoUsd(4_340_000)), 1));
}

#[test]
fn dollars_are_read_to_the_billionth_and_nonsense_is_unknown() {
    assert_eq!(NanoUsd::from_usd(0.00434), Some(NanoUsd(4_340_000)));
    assert_eq!(NanoUsd::from_usd(0.054_399), Some(NanoUsd(54_399_000)));
    for nonsense in [-0.1, f64::NAN, f64::INFINITY, 1e30] {
        assert_eq!(NanoUsd::from_usd(nonsense), None);
        assert_eq!(Cost::reported(Some(nonsense)), Cost { usd: None, source: CostSource::Unknown });
    }
}

#[test]
fn an_amount_shows_at_least_cents_and_no_idle_zeros() {
    let shown: Vec<String> =
        [0, 4_340_000, 500_000_000, 12_000_000_001].map(|nanos| NanoUsd(nanos).to_string()).into();
    assert_eq!(shown, ["$0.00", "$0.00434", "$0.50", "$12.000000001"]);
}

proptest! {
    #[test]
    fn the_order_of_a_sum_does_not_matter(mut all in prop::collection::vec((any::<Option<u32>>(), any::<Option<u32>>()), 0..20)) {
        let sum = |all: &[(Option<u32>, Option<u32>)]| {
            UsageSummary::of(all.iter().map(|(i, n)| part(i.map(u64::from), n.map(u64::from))))
        };
        let forward = sum(&all);
        all.reverse();
        prop_assert_eq!(forward, sum(&all));
    }
}
