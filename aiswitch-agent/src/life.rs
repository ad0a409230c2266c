//! The life of an agent whose process stays for several tasks: states, and what leads from one to another; pure.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LifeState {
    /// It has no process, and is not to have one.
    Stopped,
    /// Its process was started, and is not ready for a task.
    Starting,
    /// It waits for a task.
    Idle,
    /// It works on a task.
    Busy,
    /// It works on a task, and its processes are stopped until they may go on.
    Paused,
    /// Its process is about to end.
    Stopping,
    /// Its process ended by itself; the next one starts after a while.
    Backoff,
    /// It has no process, and is given none before somebody says so.
    Failed,
}

/// What happens to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LifeEvent {
    /// Somebody wants it to run.
    Start,
    /// Its process answered the first question of its protocol.
    Ready,
    /// It was given a task.
    Assigned,
    /// It answered its task.
    Answered,
    /// Its processes were stopped while it worked.
    Paused,
    /// Its processes go on.
    Resumed,
    /// Somebody wants it to end.
    Stop,
    /// Its process ended after it was asked to.
    Ended,
    /// Its process ended by itself or had to be ended, and may be started again.
    Crashed,
    /// The time to wait before the next start is over.
    Waited,
    /// It cannot run, or was started too often.
    GaveUp,
}

impl LifeState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Stopped,
        Self::Starting,
        Self::Idle,
        Self::Busy,
        Self::Paused,
        Self::Stopping,
        Self::Backoff,
        Self::Failed,
    ];

    /// The state that an event leads to; `None` where it cannot happen.
    #[must_use]
    pub fn after(self, event: LifeEvent) -> Option<Self> {
        use LifeEvent as E;
        Some(match (self, event) {
            (Self::Stopped | Self::Failed, E::Start) | (Self::Backoff, E::Waited) => Self::Starting,
            (Self::Starting, E::Ready) | (Self::Busy, E::Answered) => Self::Idle,
            (Self::Idle, E::Assigned) | (Self::Paused, E::Resumed) => Self::Busy,
            (Self::Busy, E::Paused) => Self::Paused,
            (Self::Starting | Self::Idle | Self::Busy | Self::Paused, E::Stop) => Self::Stopping,
            // Whatever ends a process that is to end, it is stopped by that.
            (Self::Stopping, E::Ended) | (Self::Backoff | Self::Failed, E::Stop) => Self::Stopped,
            (Self::Starting | Self::Idle | Self::Busy | Self::Paused, E::Crashed) => Self::Backoff,
            (Self::Starting | Self::Backoff, E::GaveUp) => Self::Failed,
            _ => return None,
        })
    }

    /// Whether there is, or may be, a process.
    pub fn has_process(self) -> bool {
        matches!(self, Self::Starting | Self::Idle | Self::Busy | Self::Paused | Self::Stopping)
    }
}

impl fmt::Display for LifeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVENTS: [LifeEvent; 11] = [
        LifeEvent::Start,
        LifeEvent::Ready,
        LifeEvent::Assigned,
        LifeEvent::Answered,
        LifeEvent::Paused,
        LifeEvent::Resumed,
        LifeEvent::Stop,
        LifeEvent::Ended,
        LifeEvent::Crashed,
        LifeEvent::Waited,
        LifeEvent::GaveUp,
    ];

    proptest! {
        #[test]
        fn a_process_comes_only_by_a_start_and_goes_only_by_an_end(
            events in prop::collection::vec(prop::sample::select(EVENTS.to_vec()), 0..200),
        ) {
            let mut state = LifeState::Stopped;
            let mut processes = 0_i32;
            for event in events {
                let Some(next) = state.after(event) else { continue };
                prop_assert_ne!(state, next, "an event that changes nothing is none");
                match event {
                    LifeEvent::Start | LifeEvent::Waited => processes += 1,
                    LifeEvent::Ended | LifeEvent::Crashed => processes -= 1,
                    LifeEvent::GaveUp if state == LifeState::Starting => processes -= 1,
                    _ => {}
                }
                prop_assert_eq!(i32::from(next.has_process()), processes, "{:?} {:?}", state, event);
                if next == LifeState::Busy {
                    prop_assert!(matches!(state, LifeState::Idle | LifeState::Paused));
                }
                state = next;
            }
        }

        #[test]
        fn every_agent_can_be_stopped_and_started_again_from_wherever_it_is(
            events in prop::collection::vec(prop::sample::select(EVENTS.to_vec()), 0..200),
        ) {
            let reached = events.into_iter().fold(LifeState::Stopped, |state, event| {
                state.after(event).unwrap_or(state)
            });
            let stopped = [LifeEvent::Stop, LifeEvent::Ended]
                .into_iter()
                .fold(reached, |state, event| state.after(event).unwrap_or(state));
            prop_assert_eq!(stopped, LifeState::Stopped);
            prop_assert_eq!(stopped.after(LifeEvent::Start), Some(LifeState::Starting));
        }
    }

    #[test]
    fn every_state_is_reached_and_a_failed_agent_is_started_by_nothing_but_a_start() {
        let mut reached = vec![LifeState::Stopped];
        for round in 0..LifeState::ALL.len() {
            let next = reached[round..].iter().flat_map(|state| EVENTS.map(|event| state.after(event)));
            for state in next.flatten().collect::<Vec<_>>() {
                if !reached.contains(&state) {
                    reached.push(state);
                }
            }
            if reached.len() == LifeState::ALL.len() {
                break;
            }
        }
        assert_eq!(reached.len(), LifeState::ALL.len(), "{reached:?}");
        let ways: Vec<_> =
            EVENTS.into_iter().filter(|event| LifeState::Failed.after(*event).is_some()).collect();
        assert_eq!(ways, [LifeEvent::Start, LifeEvent::Stop]);
    }
}
