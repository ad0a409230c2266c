//! What a piece of work cost.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::COST_MAX;

/// An amount of US dollars in whole billionths, so that sums are exact; written as a decimal number of dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub u64);

/// Billionths in one dollar.
const NANOS_PER_USD: f64 = 1e9;

impl NanoUsd {
    /// The amount that a provider wrote as dollars, rounded to the nearest billionth.
    ///
    /// `None` for what is no price: negative, not a number, or more than 18 billion dollars.
    pub fn from_usd(usd: f64) -> Option<Self> {
        let nanos = (usd * NANOS_PER_USD).round();
        #[expect(clippy::cast_precision_loss, reason = "a bound, where the last digits do not matter")]
        let in_range = nanos >= 0.0 && nanos < u64::MAX as f64;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
        in_range.then_some(Self(nanos as u64))
    }

    /// The amount in dollars.
    #[expect(clippy::cast_precision_loss, reason = "exact below nine million dollars, and for show only")]
    pub fn usd(self) -> f64 {
        self.0 as f64 / NANOS_PER_USD
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let digits = format!("{nanos:09}");
        let shown = digits.trim_end_matches('0');
        write!(f, "${dollars}.{shown:0<2}")
    }
}

impl Serialize for NanoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.usd())
    }
}

impl<'de> Deserialize<'de> for NanoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let usd = f64::deserialize(deserializer)?;
        Self::from_usd(usd)
            .ok_or_else(|| serde::de::Error::custom(format_args!("{usd} is no price in dollars")))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for NanoUsd {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Usd".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "number", "minimum": 0, "description": "US dollars"})
    }
}

/// Where a cost comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CostSource {
    /// The agent reported it.
    Reported,
    /// It was computed from the tokens and a price list.
    Computed,
    /// It was computed from tokens that were themselves estimated, or from the sum of several requests where the price
    /// depends on the size of each.
    Estimated,
    /// Nobody knows it.
    #[default]
    Unknown,
}

impl CostSource {
    /// How much a cost from here is to be trusted, the more the higher.
    pub(crate) const fn certainty(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::Estimated => 1,
            Self::Computed => 2,
            Self::Reported => 3,
        }
    }
}

/// What a piece of work cost, and who says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cost {
    /// The amount; `None` exactly when the source is `unknown`.
    pub usd: Option<NanoUsd>,
    /// Where it comes from.
    pub source: CostSource,
}

impl Cost {
    /// A cost that the agent reported, in dollars; what is no price, or beyond [`COST_MAX`], is unknown.
    pub fn reported(usd: Option<f64>) -> Self {
        match usd.and_then(NanoUsd::from_usd).filter(|usd| *usd <= COST_MAX) {
            Some(usd) => Self { usd: Some(usd), source: CostSource::Reported },
            None => Self::default(),
        }
    }
}
