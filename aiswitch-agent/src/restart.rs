//! When an agent whose process ended by itself is started again; pure: time and chance are arguments.

use std::collections::VecDeque;
use std::time::Duration;

/// How often, and after how long, an agent whose process ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// How often at most within the window.
    pub restarts_max: u32,
    /// The window, which slides.
    pub window: Duration,
    /// The longest wait before the first restart; each further one may wait twice as long.
    pub backoff: Duration,
    /// The longest wait of all.
    pub backoff_max: Duration,
    /// How long a process must have run so that the restarts before it count no more.
    pub healthy_after: Duration,
}

impl Default for RestartPolicy {
    /// 3 restarts within a minute, after up to 0.5 s, 1 s, 2 s; all is forgotten after a healthy minute.
    fn default() -> Self {
        Self {
            restarts_max: 3,
            window: Duration::from_mins(1),
            backoff: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            healthy_after: Duration::from_mins(1),
        }
    }
}

/// What to do about a process that ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Start the next one after this time.
    After(Duration),
    /// Leave it: it was started as often as it may be.
    GiveUp,
}

/// The restarts of one agent.
#[derive(Clone, Debug)]
pub struct Restarts {
    policy: RestartPolicy,
    /// When they were, since a moment of the caller's choice; the latest last.
    at: VecDeque<Duration>,
    /// How many there were since the last healthy process.
    in_a_row: u32,
}

impl Restarts {
    /// No restarts yet.
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, at: VecDeque::new(), in_a_row: 0 }
    }

    /// A process ended by itself at `now` after it had run for `ran`.
    ///
    /// `now` is counted from one moment of the caller's choice on a clock that never goes back. `chance` is a random
    /// number: the wait is that part of the longest one ("full jitter"), so that agents that crash together do not start
    /// together. Source: <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
    pub fn crashed(&mut self, now: Duration, ran: Duration, chance: u32) -> Restart {
        if ran >= self.policy.healthy_after {
            self.reset();
        }
        while self.at.front().is_some_and(|at| now.saturating_sub(*at) >= self.policy.window) {
            self.at.pop_front();
        }
        if self.at.len() >= self.policy.restarts_max as usize {
            return Restart::GiveUp;
        }
        let longest = self
            .policy
            .backoff
            .saturating_mul(1_u32.checked_shl(self.in_a_row).unwrap_or(u32::MAX))
            .min(self.policy.backoff_max);
        self.at.push_back(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
        Restart::After(longest.mul_f64(f64::from(chance) / f64::from(u32::MAX)))
    }

    /// Somebody started the agent by hand: what was before counts no more.
    pub fn reset(&mut self) {
        self.at.clear();
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_crash_loop_is_started_three_times_with_growing_waits_and_then_left() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        let answers = [0, 1, 2, 3].map(|at| restarts.crashed(S * at, S, u32::MAX));
        let after = |ms| Restart::After(Duration::from_millis(ms));
        assert_eq!(answers, [after(500), after(1000), after(2000), Restart::GiveUp]);
        restarts.reset();
        assert_eq!(restarts.crashed(S * 4, S, u32::MAX), after(500));
    }

    #[test]
    fn the_window_slides() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        for at in [0, 20, 40] {
            assert_ne!(restarts.crashed(S * at, S * 20, 0), Restart::GiveUp);
        }
        assert_eq!(restarts.clone().crashed(S * 59, S * 19, 0), Restart::GiveUp);
        assert_ne!(restarts.crashed(S * 60, S * 20, 0), Restart::GiveUp);
        assert_eq!(restarts.crashed(S * 61, S, 0), Restart::GiveUp);
    }

    #[test]
    fn one_crash_after_each_healthy_minute_is_never_too_often() {
        let mut restarts = Restarts::new(RestartPolicy::default());
        for crash in 1..1000 {
            let restart = restarts.crashed(S * 61 * crash, S * 61, u32::MAX);
            assert_eq!(restart, Restart::After(Duration::from_millis(500)));
        }
    }

    proptest! {
        #[test]
        fn waits_keep_within_their_bounds_and_a_window_within_its_count(
            crashes in prop::collection::vec((0_u64..40_000, any::<u32>()), 1..100),
            restarts_max in 0_u32..6,
        ) {
            let policy = RestartPolicy { restarts_max, ..RestartPolicy::default() };
            let mut restarts = Restarts::new(policy);
            let (mut now, mut granted) = (Duration::ZERO, Vec::new());
            for (ran_ms, chance) in crashes {
                let ran = Duration::from_millis(ran_ms);
                now += ran;
                match restarts.crashed(now, ran, chance) {
                    Restart::After(wait) => {
                        prop_assert!(wait <= policy.backoff_max);
                        granted.push(now);
                    }
                    Restart::GiveUp => {
                        let recent = granted.iter().filter(|at| now.saturating_sub(**at) < policy.window).count();
                        prop_assert!(recent >= restarts_max as usize);
                    }
                }
                let recent = granted.iter().filter(|at| now.saturating_sub(**at) < policy.window).count();
                prop_assert!(recent <= restarts_max as usize);
            }
        }
    }
}
