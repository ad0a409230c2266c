//! Whether a process that says nothing still answers: when it is asked, and when it counts as hung.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use aiswitch_rpc::protocol::{AgentStatus, AgentStatusParams, ErrorKind, TaskError};
use aiswitch_rpc::{CallError, Peer};

use crate::{AgentClock, Limits, Pace};

/// When a silent process is asked, and when it counts as hung; pure: time is an argument, on an [`AgentClock`].
#[derive(Debug)]
struct Silence {
    limits: Limits,
    /// When to look next.
    deadline: Duration,
    /// How many questions are unanswered.
    asked: u32,
}

/// What is to be done when a deadline is over.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Ask it.
    Ask,
    /// End it.
    Hung,
}

impl Silence {
    fn new(limits: Limits, now: Duration) -> Self {
        Self { limits, deadline: now + limits.ping_after, asked: 0 }
    }

    /// It said something.
    fn heard(&mut self, now: Duration) {
        (self.deadline, self.asked) = (now + self.limits.ping_after, 0);
    }

    /// The deadline is over.
    fn due(&mut self, now: Duration) -> Due {
        if self.asked >= self.limits.pings_missed_max {
            return Due::Hung;
        }
        self.asked += 1;
        self.deadline = now + self.limits.ping_timeout;
        Due::Ask
    }
}

/// Watches whether a process that says nothing still answers.
pub(crate) struct Liveness {
    silence: Silence,
    clock: AgentClock,
    /// A question that is under way; any answer will do.
    question: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Liveness {
    pub(crate) fn new(limits: Limits, pace: Pace) -> Self {
        Self { silence: Silence::new(limits, Duration::ZERO), clock: AgentClock::new(pace), question: None }
    }

    /// It said something.
    pub(crate) fn heard(&mut self) {
        self.question = None;
        self.silence.heard(self.clock.now());
    }

    /// Waits until the process has left too many questions unanswered; asks them meanwhile.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub(crate) async fn hung(&mut self, peer: &Peer) -> TaskError {
        loop {
            let question = async {
                match &mut self.question {
                    Some(question) => question.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = question => self.heard(),
                () = self.clock.reach(self.silence.deadline) => match self.silence.due(self.clock.now()) {
                    Due::Ask => self.question = Some(Box::pin(ask(peer.clone()))),
                    Due::Hung => return self.problem(),
                },
            }
        }
    }

    fn problem(&self) -> TaskError {
        let Limits { ping_timeout, pings_missed_max, .. } = self.silence.limits;
        let message =
            format!("it is hung: it left {pings_missed_max} pings unanswered, each for {ping_timeout:?}");
        TaskError::new(ErrorKind::Crash, message)
    }
}

/// Waits for an answer of any kind: one that does not know the question is alive too.
async fn ask(peer: Peer) {
    if let Err(CallError::Closed { .. }) = peer.call::<AgentStatus>(&AgentStatusParams {}).await {
        // Whoever reads its output hears of that.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits { ping_after: S * 15, ping_timeout: S * 5, pings_missed_max: 3, ..Limits::default() }
    }

    #[test]
    fn a_silent_process_is_asked_three_times_and_then_hung() {
        let mut silence = Silence::new(limits(), Duration::ZERO);
        let mut seen = Vec::new();
        while seen.last().is_none_or(|(_, due)| *due != Due::Hung) {
            let now = silence.deadline;
            seen.push((now.as_secs(), silence.due(now)));
        }
        assert_eq!(seen, [(15, Due::Ask), (20, Due::Ask), (25, Due::Ask), (30, Due::Hung)]);
    }

    #[test]
    fn a_word_makes_what_was_missed_undone() {
        let mut silence = Silence::new(limits(), Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(silence.due(silence.deadline), Due::Ask);
        }
        silence.heard(S * 29);
        assert_eq!((silence.deadline, silence.due(S * 44)), (S * 44, Due::Ask));
    }

    proptest! {
        #[test]
        fn a_process_is_hung_only_after_all_questions_and_their_time(
            late_ms in prop::collection::vec((0_u64..20_000, any::<bool>()), 1..60),
        ) {
            let limits = limits();
            let mut silence = Silence::new(limits, Duration::ZERO);
            let mut heard_at = Duration::ZERO;
            for (late_ms, speaks) in late_ms {
                let late = Duration::from_millis(late_ms);
                let now = silence.deadline + late;
                if speaks {
                    silence.heard(now);
                    heard_at = now;
                    continue;
                }
                match silence.due(now) {
                    Due::Ask => prop_assert!(silence.asked <= limits.pings_missed_max),
                    Due::Hung => {
                        prop_assert_eq!(silence.asked, limits.pings_missed_max);
                        prop_assert!(now.saturating_sub(heard_at) >= limits.ping_after + limits.ping_timeout * limits.pings_missed_max);
                        break;
                    }
                }
            }
        }
    }
}
