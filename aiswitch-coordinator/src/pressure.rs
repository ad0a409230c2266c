//! What a run does while the machine is short of memory; pure: readings are arguments.

use std::fmt;

use aiswitch_agent::MemoryReading;
use serde::{Deserialize, Serialize};

/// How many readings in a row lead to another level.
const READINGS: u32 = 2;

/// How far within its limit a figure must be again, as a part of it, before a level is left.
const MARGIN: f64 = 0.25;

/// When the machine counts as short of memory.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct PressureLimits {
    /// No further agent starts when processes waited for memory so much of the last ten seconds, in percent.
    pub stall_percent: f64,
    /// Agents at work are paused from here on, the last one of the plan first.
    pub stall_percent_critical: f64,
    /// No further agent starts when less than this can be had, in MiB; 0 never minds.
    pub available_mb: u64,
    /// Agents at work are paused when less than this can be had, in MiB.
    pub available_mb_critical: u64,
}

impl Default for PressureLimits {
    /// 10 % and 512 MiB, and for a pause 40 % and 256 MiB.
    fn default() -> Self {
        Self {
            stall_percent: 10.0,
            stall_percent_critical: 40.0,
            available_mb: 512,
            available_mb_critical: 256,
        }
    }
}

/// Limits of memory that make no sense together.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PressureLimitsError {
    /// A share is none.
    #[error("`{key}: {percent}` is not between 0 and 100")]
    Percent {
        /// The key.
        key: &'static str,
        /// What it says.
        percent: f64,
    },
    /// Agents would be paused before starts are held back.
    #[error("`{key}` is a stricter limit than `{critical}`, which is to be reached after it")]
    Order {
        /// The limit for starts.
        key: &'static str,
        /// The limit for pauses.
        critical: &'static str,
    },
}

impl PressureLimits {
    /// Checks that they make sense together.
    ///
    /// # Errors
    /// They do not.
    pub fn check(&self) -> Result<(), PressureLimitsError> {
        let shares =
            [("stall_percent", self.stall_percent), ("stall_percent_critical", self.stall_percent_critical)];
        for (key, percent) in shares {
            if !(0.0..=100.0).contains(&percent) {
                return Err(PressureLimitsError::Percent { key, percent });
            }
        }
        if self.stall_percent > self.stall_percent_critical {
            return Err(PressureLimitsError::Order {
                key: "stall_percent",
                critical: "stall_percent_critical",
            });
        }
        if self.available_mb < self.available_mb_critical {
            return Err(PressureLimitsError::Order {
                key: "available_mb",
                critical: "available_mb_critical",
            });
        }
        Ok(())
    }

    /// The level of a reading for whom is at one already; what is not told is no reason for any.
    fn level(&self, reading: MemoryReading, now: Pressure) -> Pressure {
        let is_over = |level: Pressure, percent: f64, mb: u64| {
            let margin = if now >= level { MARGIN } else { 0.0 };
            let stalls =
                reading.stall_percent.is_some_and(|stall| stall >= percent * (1.0 - margin) && stall > 0.0);
            let needed = mib(mb) * (1.0 + margin);
            stalls || reading.available_bytes.is_some_and(|bytes| as_f64(bytes) < needed)
        };
        if is_over(Pressure::Critical, self.stall_percent_critical, self.available_mb_critical) {
            Pressure::Critical
        } else if is_over(Pressure::Short, self.stall_percent, self.available_mb) {
            Pressure::Short
        } else {
            Pressure::Enough
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a comparison of sizes of memory, of which the last bytes do not matter"
)]
fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}

fn mib(mb: u64) -> f64 {
    as_f64(mb.saturating_mul(1024 * 1024))
}

/// How short of memory the machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pressure {
    /// It is not.
    #[default]
    Enough,
    /// No further agent is to start.
    Short,
    /// Agents at work are to be paused.
    Critical,
}

/// The level of now, which follows the readings with some patience.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gauge {
    level: Pressure,
    /// A level on the other side of a change that has begun, and how many readings were there.
    next: Option<(Pressure, u32)>,
}

impl Gauge {
    /// One that starts at the level of a reading.
    pub(crate) fn at(limits: &PressureLimits, reading: MemoryReading) -> Self {
        Self { level: limits.level(reading, Pressure::Enough), next: None }
    }

    pub(crate) fn level(&self) -> Pressure {
        self.level
    }

    /// Takes a reading, and says the level.
    pub(crate) fn take(&mut self, limits: &PressureLimits, reading: MemoryReading) -> Pressure {
        let seen = limits.level(reading, self.level);
        self.next = match self.next {
            _ if seen == self.level => None,
            Some((next, count)) if (next > self.level) == (seen > self.level) => {
                // As far as all of them went.
                let next = if seen > self.level { next.min(seen) } else { next.max(seen) };
                Some((next, count + 1))
            }
            _ => Some((seen, 1)),
        };
        if let Some((next, count)) = self.next
            && count >= READINGS
        {
            (self.level, self.next) = (next, None);
        }
        self.level
    }
}

/// What to do about one agent at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Pause it.
    Pause(usize),
    /// Have it go on.
    Resume(usize),
}

/// What to do at a level, with the agents at work in the order of their weight: whether each is paused.
///
/// One goes on in any case, since a run in which nobody works has no end.
pub(crate) fn act(level: Pressure, paused: &[bool]) -> Option<Act> {
    let first_paused = paused.iter().position(|paused| *paused);
    let mut going_on = paused.iter().enumerate().filter(|(_, paused)| !**paused).map(|(index, _)| index);
    let count = going_on.clone().count();
    match (level, count) {
        (_, 0) | (Pressure::Enough, _) => first_paused.map(Act::Resume),
        (Pressure::Short, _) | (Pressure::Critical, 1) => None,
        (Pressure::Critical, _) => going_on.next_back().map(Act::Pause),
    }
}

/// Shows a reading as the reason for what was done.
pub(crate) struct Reason(pub(crate) MemoryReading);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("memory is short")?;
        let MemoryReading { stall_percent, available_bytes } = self.0;
        let available = available_bytes.map(|bytes| format!("{} MiB can be had", bytes / (1024 * 1024)));
        let stall = stall_percent.map(|percent| format!("{percent:.1} % of the time was waited for it"));
        let told: Vec<String> = available.into_iter().chain(stall).collect();
        if told.is_empty() { Ok(()) } else { write!(f, ": {}", told.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stalled(percent: f64) -> MemoryReading {
        MemoryReading { stall_percent: Some(percent), available_bytes: Some(1 << 40) }
    }

    fn available(mb: u64) -> MemoryReading {
        MemoryReading { stall_percent: Some(0.0), available_bytes: Some(mb << 20) }
    }

    #[test]
    fn a_level_takes_two_readings_and_is_left_with_a_margin() {
        use Pressure::{Critical, Enough, Short};
        let limits = PressureLimits::default();
        let mut gauge = Gauge::default();
        for (percent, expected) in [
            (50.0, Enough),
            (0.0, Enough),
            (50.0, Enough),
            (50.0, Critical),
            // Below the limit, but not by enough.
            (39.0, Critical),
            (31.0, Critical),
            (29.0, Critical),
            (29.0, Short),
            (9.0, Short),
            (8.0, Short),
            (7.0, Short),
            (0.0, Enough),
            (20.0, Enough),
            (50.0, Short),
        ] {
            assert_eq!(gauge.take(&limits, stalled(percent)), expected, "{percent}");
        }
        let mut gauge = Gauge::default();
        for (mb, expected) in [
            (100, Enough),
            (100, Critical),
            (300, Critical),
            (330, Critical),
            (330, Short),
            (600, Short),
            (700, Short),
            (700, Enough),
        ] {
            assert_eq!(gauge.take(&limits, available(mb)), expected, "{mb}");
        }
    }

    #[test]
    fn what_the_system_does_not_tell_is_no_reason() {
        let mut gauge = Gauge::default();
        for _ in 0..5 {
            assert_eq!(gauge.take(&PressureLimits::default(), MemoryReading::default()), Pressure::Enough);
        }
    }

    #[test]
    fn limits_that_make_no_sense_are_refused_by_name() {
        let of = |change: fn(&mut PressureLimits)| {
            let mut limits = PressureLimits::default();
            change(&mut limits);
            limits.check().map_err(|error| error.to_string())
        };
        assert_eq!(of(|_| {}), Ok(()));
        assert_eq!(
            of(|limits| limits.stall_percent = 101.0),
            Err("`stall_percent: 101` is not between 0 and 100".into())
        );
        assert!(of(|limits| limits.stall_percent_critical = f64::NAN).is_err());
        assert!(of(|limits| limits.stall_percent_critical = 5.0).is_err());
        assert!(of(|limits| limits.available_mb = 1).is_err());
    }

    #[test]
    fn the_last_one_is_paused_first_and_goes_on_last() {
        assert_eq!(act(Pressure::Critical, &[false, false, false]), Some(Act::Pause(2)));
        assert_eq!(act(Pressure::Critical, &[false, false, true]), Some(Act::Pause(1)));
        assert_eq!(act(Pressure::Critical, &[false, true, true]), None);
        assert_eq!(act(Pressure::Short, &[false, true, true]), None);
        assert_eq!(act(Pressure::Enough, &[false, true, true]), Some(Act::Resume(1)));
        assert_eq!(act(Pressure::Critical, &[true, true]), Some(Act::Resume(0)));
        assert_eq!(act(Pressure::Critical, &[]), None);
    }

    proptest! {
        #[test]
        fn somebody_always_works_and_all_do_in_the_end(
            mut paused in prop::collection::vec(any::<bool>(), 1..10),
            levels in prop::collection::vec(0_u8..3, 0..50),
        ) {
            let apply = |level, paused: &mut Vec<bool>| match act(level, paused) {
                Some(Act::Pause(index)) => {
                    assert!(!std::mem::replace(&mut paused[index], true));
                    true
                }
                Some(Act::Resume(index)) => {
                    assert!(std::mem::replace(&mut paused[index], false));
                    true
                }
                None => false,
            };
            for level in levels {
                let level = [Pressure::Enough, Pressure::Short, Pressure::Critical][usize::from(level)];
                apply(level, &mut paused);
                prop_assert!(paused.iter().any(|paused| !paused), "{:?}", paused);
            }
            while apply(Pressure::Enough, &mut paused) {}
            prop_assert!(paused.iter().all(|paused| !paused));
        }
    }
}
