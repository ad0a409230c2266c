//! What tokens cost: prices of the user's own first, then a list that is known here.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use crate::{Cost, CostSource, NanoUsd, Usage, UsageRecord};

/// What the tokens of a model cost, in dollars per million of them; 0 is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ModelPrice {
    /// Of the prompt.
    pub input: NanoUsd,
    /// Of the answer, thinking included.
    pub output: NanoUsd,
    /// Of the prompt, read from a cache; as `input` if it is not said.
    #[serde(default)]
    pub cache_read: Option<NanoUsd>,
    /// Of the prompt, written to a cache; as `input` if it is not said.
    #[serde(default)]
    pub cache_write: Option<NanoUsd>,
    /// Of the prompt, written to a cache that lasts an hour; as `cache_write` if it is not said.
    #[serde(default)]
    pub cache_write_1h: Option<NanoUsd>,
}

/// How many tokens a price is for.
const TOKENS_PER_PRICE: u128 = 1_000_000;

impl ModelPrice {
    /// What so many tokens cost, rounded once, halves to the even neighbour; `None` beyond what an amount can be.
    pub fn cost(&self, usage: Usage) -> Option<NanoUsd> {
        let cache_write = self.cache_write.unwrap_or(self.input);
        let hour = usage.cache_write_1h_tokens.unwrap_or(0);
        let parts = [
            (usage.input_tokens?, self.input),
            (usage.output_tokens?, self.output),
            (usage.cache_read_tokens.unwrap_or(0), self.cache_read.unwrap_or(self.input)),
            (usage.cache_write_tokens.unwrap_or(0).checked_sub(hour)?, cache_write),
            (hour, self.cache_write_1h.unwrap_or(cache_write)),
        ];
        let sum = parts.iter().try_fold(0_u128, |sum, (tokens, price)| {
            u128::from(*tokens).checked_mul(u128::from(price.0))?.checked_add(sum)
        })?;
        let (nanos, rest) = (sum / TOKENS_PER_PRICE, sum % TOKENS_PER_PRICE);
        let up = rest * 2 > TOKENS_PER_PRICE || rest * 2 == TOKENS_PER_PRICE && nanos % 2 == 1;
        u64::try_from(nanos + u128::from(up)).ok().map(NanoUsd)
    }
}

/// What is to be priced.
#[derive(Clone, Copy, Debug)]
pub struct Priced<'a> {
    /// The model that answered.
    pub model: &'a str,
    /// How it was served, where that is another than the ordinary way.
    pub tier: Option<&'a str>,
    /// How many requests it was; `None` where nobody told.
    pub requests: Option<u64>,
    /// When.
    pub at: Timestamp,
    /// What it used.
    pub usage: Usage,
}

/// What tokens cost: prices of the user's own first, then, with the feature `pricing`, those of the crate `genai-prices`.
///
/// A model that neither knows has no price, which is something else than a price of 0.
#[derive(Clone, Debug, Default)]
pub struct PriceList {
    own: BTreeMap<String, ModelPrice>,
}

impl PriceList {
    /// A list with prices of the user's own, by the name of the model, or the start of it with a `*` behind.
    pub fn new(own: BTreeMap<String, ModelPrice>) -> Self {
        Self { own }
    }

    /// What a record costs, whatever cost stands in it; unknown without a model or without usage.
    pub fn cost(&self, record: &UsageRecord) -> Cost {
        let UsageRecord { model: Some(model), usage: Some(usage), tier, requests, at, .. } = record else {
            return Cost::default();
        };
        let tier = tier.as_deref();
        self.cost_of(&Priced { model, tier, requests: *requests, at: *at, usage: *usage })
    }

    /// What something costs at the prices of its time.
    ///
    /// Some prices depend on the size of a request. Of several, or of nobody knows how many, they are
    /// taken as those of small ones; the cost is an estimate then.
    pub fn cost_of(&self, priced: &Priced<'_>) -> Cost {
        if let Some(price) = self.own(priced.model) {
            return price
                .cost(priced.usage)
                .map_or_else(Cost::default, |usd| Cost { usd: Some(usd), source: CostSource::Computed });
        }
        known_cost(priced)
    }

    /// The user's own price of a model: that of its name, else that of the longest start of it.
    fn own(&self, model: &str) -> Option<&ModelPrice> {
        let starts = |name: &&String| name.strip_suffix('*').is_some_and(|start| model.starts_with(start));
        self.own.get(model).or_else(|| {
            let longest = self.own.keys().filter(starts).max_by_key(|name| name.len())?;
            self.own.get(longest)
        })
    }
}

#[cfg(not(feature = "pricing"))]
fn known_cost(_: &Priced<'_>) -> Cost {
    Cost::default()
}

/// What tokens cost by the list of `genai-prices`.
#[cfg(feature = "pricing")]
fn known_cost(priced: &Priced<'_>) -> Cost {
    use std::time::SystemTime;

    use genai_prices::{Calculator, PriceRequest};

    /// A part of a request that is smaller than every size on which a price depends.
    const SMALL: f64 = 1e-9;

    let dollars = |share: f64| {
        let tokens = tokens(priced.usage, share)?;
        let request = PriceRequest::new(priced.model, &tokens).with_timestamp(SystemTime::from(priced.at));
        let request = match priced.tier {
            None => request,
            Some("batch") => request.with_price_context("processing", "batch"),
            Some(tier) => request.with_price_context("service_tier", tier),
        };
        // What has no price and what is no usage are the same here: no cost is known.
        Calculator::bundled().calculate(&request).ok().map(|price| price.total_price / share)
    };
    let (whole, source) = match (priced.requests, dollars(1.0)) {
        (_, None) => (None, CostSource::Unknown),
        (Some(1), whole) => (whole, CostSource::Computed),
        (_, Some(whole)) => match dollars(SMALL) {
            Some(small) if (whole - small).abs() > whole * SMALL => (Some(small), CostSource::Estimated),
            _ => (Some(whole), CostSource::Computed),
        },
    };
    match whole.and_then(NanoUsd::from_usd) {
        Some(usd) => Cost { usd: Some(usd), source },
        None => Cost::default(),
    }
}

/// A share of the tokens, as `genai-prices` counts them: its input includes the cache.
#[cfg(feature = "pricing")]
fn tokens(usage: Usage, share: f64) -> Option<genai_prices::Usage> {
    use genai_prices::UsageKey;

    #[expect(clippy::cast_precision_loss, reason = "exact up to TOKENS_MAX")]
    let part = |tokens: u64| tokens as f64 * share;
    let prompt = [usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens];
    usage.input_tokens?;
    let counts = [
        (UsageKey::INPUT_TOKENS, prompt.into_iter().flatten().reduce(u64::saturating_add)),
        (UsageKey::OUTPUT_TOKENS, Some(usage.output_tokens?)),
        (UsageKey::CACHE_READ_TOKENS, usage.cache_read_tokens),
        (UsageKey::CACHE_WRITE_TOKENS, usage.cache_write_tokens),
        (UsageKey::CACHE_WRITE_1H_TOKENS, usage.cache_write_1h_tokens),
        (UsageKey::OUTPUT_REASONING_TOKENS, usage.reasoning_tokens),
        (UsageKey::WEB_SEARCHES, usage.web_searches),
    ];
    let mut tokens = genai_prices::Usage::new();
    for (key, count) in counts {
        if let Some(count) = count {
            tokens.insert(key, part(count));
        }
    }
    Some(tokens)
}
