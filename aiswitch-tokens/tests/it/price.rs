//! What tokens cost: bills that are known, and the packages of others.

use std::collections::BTreeMap;

use aiswitch_tokens::{
    Cost, CostSource, MemoryUsageStore, ModelPrice, NanoUsd, PriceList, Provider, Repriced, ResponseUsage,
    Usage, UsageError, UsageKey, UsageQuery, UsageRecord, UsageStore,
};
use serde::Deserialize;

fn record(model: &str, at: &str, usage: Usage) -> UsageRecord {
    UsageRecord {
        key: UsageKey { source: "test".into(), message: model.into() },
        at: at.parse().unwrap(),
        agent: "any".into(),
        model: Some(model.into()),
        preset: None,
        task: None,
        run: None,
        session: None,
        tier: None,
        requests: Some(1),
        usage: Some(usage),
        cost: Cost::default(),
    }
}

fn of(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

fn computed(nanos: u64) -> Cost {
    Cost { usd: Some(NanoUsd(nanos)), source: CostSource::Computed }
}

fn own(prices: &[(&str, ModelPrice)]) -> PriceList {
    PriceList::new(prices.iter().map(|(name, price)| ((*name).to_owned(), *price)).collect())
}

fn price(input: u64, output: u64) -> ModelPrice {
    let dollars = |usd: u64| NanoUsd(usd * 1_000_000_000);
    ModelPrice {
        input: dollars(input),
        output: dollars(output),
        cache_read: None,
        cache_write: None,
        cache_write_1h: None,
    }
}

#[test]
fn two_bills_of_providers_are_met() {
    // 3 tokens, 12,304 written to the cache and 550 of the answer: $0.05439 on Anthropic's console.
    let cached = Usage { cache_write_tokens: Some(12_304), ..of(3, 550) };
    let anthropic = record("claude-3-7-sonnet-20250219", "2025-04-15T00:00:00Z", cached);
    assert_eq!(PriceList::default().cost(&anthropic), computed(54_399_000));
    // The whole request has the price of its size, not only what is above 200,000 tokens.
    let gemini = record("gemini-2.5-pro", "2026-11-23T00:00:00Z", of(250_000, 1_000));
    assert_eq!(PriceList::default().cost(&gemini), computed(640_000_000));
}

/// One answer of a provider, and what others say that it costs; made by `scripts/price-answers.sh`.
#[derive(Deserialize)]
struct Answer {
    provider: String,
    at: String,
    response: serde_json::Value,
    pypi: String,
    npm: Option<f64>,
}

#[test]
fn more_than_a_thousand_answers_cost_what_the_packages_of_pypi_and_npm_say() {
    let mut compared = BTreeMap::new();
    for line in include_str!("../prices/answers.jsonl").lines() {
        let Answer { provider, at, response, pypi, npm } = serde_json::from_str(line).unwrap();
        let kind = match provider.as_str() {
            "anthropic" => Provider::Anthropic,
            "openai" => Provider::OpenAi,
            _ => Provider::Gemini,
        };
        let read = ResponseUsage::read(kind, response.to_string().as_bytes()).unwrap();
        let record = UsageRecord { tier: read.tier, ..record(&read.model.unwrap(), &at, read.usage) };
        let Cost { usd: Some(ours), source: CostSource::Computed } = PriceList::default().cost(&record)
        else {
            panic!("no cost is known of {line}");
        };
        let pypi = Some(pypi.parse().unwrap());
        for (package, theirs) in [("pypi", pypi), ("npm", npm)] {
            let Some(theirs) = theirs else { continue };
            let difference = ours.0.abs_diff(NanoUsd::from_usd(theirs).unwrap().0);
            assert!(difference <= 1, "{ours} here and ${theirs} by {package}: {line}");
            *compared.entry(package).or_insert(0) += 1;
        }
    }
    println!("compared within one billionth of a dollar: {compared:?}");
    assert!(compared["pypi"] >= 1_000 && compared["npm"] >= 1_000, "{compared:?}");
}

#[test]
fn a_model_that_nobody_knows_has_no_cost_and_one_that_is_free_costs_nothing() {
    let unknown = record("no-such-model-of-anyone", "2026-11-23T00:00:00Z", of(7, 7));
    assert_eq!(PriceList::default().cost(&unknown), Cost::default());
    assert_eq!(own(&[("no-such-model-of-anyone", price(0, 0))]).cost(&unknown), computed(0));
    let nameless = UsageRecord { model: None, ..unknown.clone() };
    let silent = UsageRecord { usage: None, model: Some("gpt-5".into()), ..unknown.clone() };
    let half =
        UsageRecord { usage: Some(Usage { output_tokens: Some(7), ..Usage::default() }), ..silent.clone() };
    for nothing in [nameless, silent, half] {
        assert_eq!(PriceList::default().cost(&nothing), Cost::default());
    }
}

#[test]
fn the_users_own_price_comes_first_and_the_longest_name_that_fits() {
    let prices = own(&[("gpt-*", price(1, 0)), ("gpt-5*", price(2, 0)), ("gpt-5", price(3, 0))]);
    let cost = |model| prices.cost(&record(model, "2026-11-23T00:00:00Z", of(1_000_000, 1)));
    assert_eq!(
        ["gpt-4o", "gpt-5-mini", "gpt-5"].map(cost),
        [computed(1_000_000_000), computed(2_000_000_000), computed(3_000_000_000)]
    );
    assert_eq!(cost("gemini-2.5-flash").source, CostSource::Computed, "the list is asked for all others");
}

#[test]
fn an_amount_is_rounded_once_a_request_and_halves_to_the_even_neighbour() {
    // 1.5 and 2.5 billionths.
    let price = ModelPrice { input: NanoUsd(500_000), ..price(0, 0) };
    let cost = |input| price.cost(of(input, 0)).unwrap().0;
    assert_eq!([cost(1), cost(3), cost(5), cost(6)], [0, 2, 2, 3]);
    let cached = Usage {
        cache_read_tokens: Some(1_000_000),
        cache_write_tokens: Some(3_000_000),
        cache_write_1h_tokens: Some(1_000_000),
        ..of(1_000_000, 1_000_000)
    };
    let dollars = |usd: u64| Some(NanoUsd(usd * 1_000_000_000));
    let price = ModelPrice {
        input: NanoUsd(1_000_000_000),
        output: NanoUsd(10_000_000_000),
        cache_read: dollars(100),
        cache_write: dollars(1_000),
        cache_write_1h: dollars(10_000),
    };
    assert_eq!(price.cost(cached), dollars(12_111));
    assert_eq!(
        ModelPrice { input: NanoUsd(u64::MAX), ..price }.cost(of(u64::MAX, 0)),
        None,
        "no amount holds it"
    );
}

#[test]
fn of_several_requests_the_cost_is_an_estimate_where_it_depends_on_their_sizes() {
    let prices = PriceList::default();
    let sum = |model, requests| UsageRecord {
        requests,
        ..record(model, "2026-11-23T00:00:00Z", of(250_000, 1_000))
    };
    let small = Cost { usd: Some(NanoUsd(322_500_000)), source: CostSource::Estimated };
    assert_eq!([None, Some(7)].map(|requests| prices.cost(&sum("gemini-2.5-pro", requests))), [small, small]);
    assert_eq!(prices.cost(&sum("gpt-4o", None)).source, CostSource::Computed);
}

#[test]
fn an_answer_that_is_none_or_contradicts_itself_is_refused() {
    let refused = |provider, text: &str| ResponseUsage::read(provider, text.as_bytes()).unwrap_err();
    let negative = r#"{"model":"m","usage":{"input_tokens":-1,"output_tokens":1}}"#;
    let huge = r#"{"model":"m","usage":{"input_tokens":1e300,"output_tokens":1}}"#;
    for text in ["", "[]", "{}", negative, huge] {
        let error = refused(Provider::Anthropic, text);
        assert!(matches!(error, UsageError::Response { .. }), "{text}: {error}");
    }
    let more =
        r#"{"usage":{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":6}}}"#;
    assert!(matches!(refused(Provider::OpenAi, more), UsageError::Contradiction));
    let more = r#"{"usageMetadata":{"promptTokenCount":5,"cachedContentTokenCount":6}}"#;
    assert!(matches!(refused(Provider::Gemini, more), UsageError::Contradiction));
}

#[test]
fn only_costs_that_nobody_reported_are_computed_anew() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = aiswitch_tokens::SqliteUsageStore::at(folder.path().join("usage.db"));
    let stores: [&dyn UsageStore; 2] = [&MemoryUsageStore::new(), &sqlite];
    let at = "2026-11-23T00:00:00Z";
    let reported = UsageRecord { cost: Cost::reported(Some(7.0)), ..record("mine", at, of(1_000_000, 0)) };
    let known = |message: &str, cost| UsageRecord {
        key: UsageKey { source: "test".into(), message: message.into() },
        cost,
        ..reported.clone()
    };
    let foreign = UsageRecord { model: Some("no-such-model".into()), ..known("d", Cost::default()) };
    for store in stores {
        store
            .track_usage(&[
                reported.clone(),
                known("a", Cost::default()),
                known("b", computed(5)),
                known("c", computed(2_000_000_000)),
                foreign.clone(),
            ])
            .unwrap();
        let prices = own(&[("mine", price(2, 0))]);
        let repriced = store.reprice(&|record| prices.cost(record)).unwrap();
        assert_eq!(repriced, Repriced { changed: 2, same: 2, unknown: 1 });
        let mut costs = Vec::new();
        store.records(&UsageQuery::default(), &mut |record| costs.push(record.cost)).unwrap();
        let two = computed(2_000_000_000);
        assert_eq!(costs, [two, two, two, Cost::default(), Cost::reported(Some(7.0))]);
    }
}
