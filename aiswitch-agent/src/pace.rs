//! The time that counts for an agent: neither while it is paused, nor while this process or the machine slept.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::process::{go_on, halt};

/// How long a clock sleeps at most before it looks whether time was slept over.
const SLICE_MAX: Duration = Duration::from_secs(1);

/// Who wakes up later than this was asleep: the machine was suspended, or this process was stopped.
///
/// A busy machine is late by less.
const GAP_MAX: Duration = Duration::from_secs(1);

/// How long nothing counts after a gap: what came meanwhile has to be read first.
const AFTER_GAP: Duration = Duration::from_secs(1);

/// Whether an agent is paused; a clone is another handle on the same.
///
/// While it is, its processes are stopped and no time-out of it goes on. A stop of a paused agent has it go on first.
#[derive(Clone, Debug)]
pub struct Pace {
    marker: String,
    paused: watch::Sender<bool>,
}

impl Pace {
    /// The pace of the agent whose processes carry this mark, as in [`RunContext::marker`](crate::RunContext::marker).
    pub fn new(marker: impl Into<String>) -> Self {
        Self { marker: marker.into(), paused: watch::Sender::new(false) }
    }

    /// Whether it is paused.
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Stops its processes, and says how many were found; to be said again when it may have started more.
    ///
    /// Best effort, as [`sweep`](crate::sweep) is. Blocks for some looks at `/proc`.
    pub fn pause(&self) -> usize {
        // The clock first: what is counted is never time in which it could not work.
        self.paused.send_if_modified(|paused| !std::mem::replace(paused, true));
        halt(&self.marker)
    }

    /// Has its processes go on, if it is paused.
    pub fn resume(&self) {
        if self.is_paused() {
            go_on(&self.marker);
            self.paused.send_replace(false);
        }
    }

    /// Waits until it is paused, or until it is not.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub(crate) async fn until(&self, paused: bool) {
        let mut told = self.paused.subscribe();
        // Its sender is here.
        drop(told.wait_for(|now| *now == paused).await);
    }

    /// Does some work within a time that counts; `None` when it was not done by then.
    ///
    /// # Cancel safety
    /// Dropping the future drops the work's.
    pub(crate) async fn within<T>(&self, patience: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut clock = AgentClock::new(self.clone());
        tokio::select! {
            biased;
            done = work => Some(done),
            () = clock.reach(patience) => None,
        }
    }
}

/// A clock that stands still while its agent is paused, and while this process or the machine sleeps.
///
/// It never goes back. Time that was slept over is noticed by waking up late, so gaps under a second or two count.
#[derive(Debug)]
pub struct AgentClock {
    born: Instant,
    count: Count,
    pace: Pace,
}

impl AgentClock {
    /// A clock that starts at zero.
    pub fn new(pace: Pace) -> Self {
        Self { born: Instant::now(), count: Count { asked: SLICE_MAX, ..Count::default() }, pace }
    }

    /// How much time has counted.
    pub fn now(&mut self) -> Duration {
        self.count.take(self.born.elapsed(), self.pace.is_paused());
        self.count.counted
    }

    /// Waits until so much time has counted.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub async fn reach(&mut self, at: Duration) {
        loop {
            let left = at.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            if self.pace.is_paused() {
                self.pace.until(false).await;
                self.count.skip(self.born.elapsed());
                continue;
            }
            let slice = self.count.ask(left);
            tokio::select! {
                () = sleep(slice) => {}
                () = self.pace.until(true) => {}
            }
        }
    }
}

/// What has counted of the time that has passed; pure: time is an argument.
#[derive(Debug, Default)]
struct Count {
    /// The last look.
    at: Duration,
    /// How long the sleep since then was to be.
    asked: Duration,
    /// How much does not count after a gap.
    free: Duration,
    counted: Duration,
}

impl Count {
    /// Takes the time up to now.
    fn take(&mut self, now: Duration, is_paused: bool) {
        let passed = now.saturating_sub(self.at);
        self.at = now;
        if is_paused {
            return;
        }
        if passed > self.asked + GAP_MAX {
            self.free = AFTER_GAP;
            return;
        }
        let free = passed.min(self.free);
        self.free -= free;
        self.counted += passed.saturating_sub(free);
    }

    /// Leaves out the time up to now.
    fn skip(&mut self, now: Duration) {
        self.at = now;
    }

    /// How long to sleep, when so much is left.
    fn ask(&mut self, left: Duration) -> Duration {
        self.asked = (left + self.free).min(SLICE_MAX);
        self.asked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    proptest! {
        #[test]
        fn a_deadline_comes_after_its_time_awake_and_never_by_time_asleep(
            steps in prop::collection::vec((0_u64..3_000, prop::option::of(2_100_u64..100_000)), 1..100),
            deadline_ms in 1_u64..20_000,
        ) {
            let deadline = MS * u32::try_from(deadline_ms).unwrap();
            let mut count = Count::default();
            let (mut now, mut awake) = (Duration::ZERO, Duration::ZERO);
            for (late_ms, asleep_ms) in steps {
                let left = deadline.saturating_sub(count.counted);
                if left.is_zero() {
                    prop_assert!(awake >= deadline);
                    break;
                }
                let before = count.counted;
                let slice = count.ask(left);
                // A busy machine wakes it up late by less than a gap.
                let late = (MS * u32::try_from(late_ms).unwrap()).min(GAP_MAX.saturating_sub(MS));
                let slept = MS * u32::try_from(asleep_ms.unwrap_or(0)).unwrap();
                now += slice + late + slept;
                awake += slice + late;
                count.take(now, false);
                if asleep_ms.is_some() {
                    prop_assert_eq!(count.counted, before, "it was asleep");
                }
                prop_assert!(count.counted <= awake);
            }
        }
    }

    #[test]
    fn time_awake_counts_whole() {
        let mut count = Count::default();
        for second in 1..=100 {
            assert_eq!(count.ask(Duration::from_hours(1)), SLICE_MAX);
            count.take(Duration::from_secs(second), false);
        }
        assert_eq!(count.counted, Duration::from_secs(100));
    }

    #[test]
    fn after_a_gap_a_deadline_that_was_near_is_put_off() {
        let mut count = Count::default();
        count.ask(MS * 10);
        count.take(Duration::from_mins(1), false);
        assert_eq!((count.counted, count.ask(MS * 10)), (Duration::ZERO, SLICE_MAX));
        count.take(Duration::from_mins(1) + SLICE_MAX, false);
        assert_eq!((count.counted, count.ask(MS * 10)), (Duration::ZERO, MS * 10));
        count.take(Duration::from_mins(1) + SLICE_MAX + MS * 10, false);
        assert_eq!(count.counted, MS * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_stands_still_while_its_agent_is_paused() {
        let pace = Pace::new("no-such-run:agent");
        let mut clock = AgentClock::new(pace.clone());
        let pauses = async {
            sleep(Duration::from_secs(5)).await;
            assert_eq!(pace.pause(), 0);
            sleep(Duration::from_hours(1)).await;
            pace.resume();
        };
        let since = Instant::now();
        tokio::join!(clock.reach(Duration::from_secs(20)), pauses);
        let took = since.elapsed();
        assert!(took >= Duration::from_hours(1) + Duration::from_secs(20), "{took:?}");
        assert!(took < Duration::from_hours(1) + Duration::from_secs(22), "{took:?}");
        assert!(pace.within(Duration::from_secs(1), std::future::pending::<()>()).await.is_none());
        assert_eq!(pace.within(Duration::from_secs(1), async { 7 }).await, Some(7));
    }
}
