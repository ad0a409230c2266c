//! One acquire of a file lock that has to wait.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::inspect::Waiting;
use super::slot::{Slot, Take};
use super::ticket::{self, Before, Ticket};
use super::{Shared, Wakeup, inspect};
use crate::queue::{Claim, Place, Role};
use crate::wait::{Attempt, Park, Watch};
use crate::{HolderProcess, LockError, LockGuard, LockOptions, LockState, clock, queue};

/// How often a waiter looks at the lock although nothing woke it, for a wake-up can be lost to a crash: 500 ms.
const SAFETY_TICK: Duration = Duration::from_millis(500);

/// How often a waiter looks while the holder's record tells of nobody who could be watched: 20 ms.
const BLIND_TICK: Duration = Duration::from_millis(20);

/// The longest sleep between two looks without wake-ups, for the first in the queue, the second, and the others.
const BACKOFF_MAX: [Duration; 3] =
    [Duration::from_millis(1), Duration::from_millis(2), Duration::from_millis(20)];

/// The shortest upper bound of a sleep without wake-ups.
const BACKOFF_MIN: Duration = Duration::from_micros(200);

/// The longest sleep of the first in the queue after it has waited for [`LONG_WAIT`].
const BACKOFF_MAX_LONG: Duration = Duration::from_millis(10);

/// When a wait counts as long.
const LONG_WAIT: Duration = Duration::from_secs(5);

/// One acquire of a file lock that has to wait; dropping it gives up the place in the queue.
pub(crate) struct FileAttempt {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
    options: LockOptions,
    claim: Claim,
    key: u64,
    /// Its place among the waiters of this process; `None` once it holds the lock.
    place: Option<Place>,
    /// Its place among the processes, while it leads in this one.
    ticket: Option<Arc<Ticket>>,
    started: Instant,
    outside: Outside,
    backoff: Backoff,
}

/// What the last look at other processes showed.
enum Outside {
    /// There was no look: others of this process come first.
    NotLooked,
    /// Somebody has the lock.
    Busy,
    /// Somebody comes first.
    Behind(Before),
}

impl FileAttempt {
    pub(crate) fn start(
        shared: &Arc<Shared>,
        slot: Arc<Slot>,
        options: &LockOptions,
        now: Instant,
    ) -> Result<Self, LockError> {
        let arrived_ns = clock::boot_ns();
        let claim = Claim {
            mode: options.mode,
            priority: options.priority,
            owner: options.owner.clone(),
            arrived_ns,
        };
        let key = queue::key(arrived_ns, options.priority, shared.priority_step_ns());
        let place = {
            let mut state = slot.lock();
            if let Some(owner) = &options.owner
                && state.queue.holders().iter().any(|holder| holder.owner.as_ref() == Some(owner))
                && !state.queue.admits(options.mode)
            {
                return Err(LockError::WouldDeadlock { name: slot.name.clone(), owner: owner.clone() });
            }
            state.queue.enter(key, claim.clone())
        };
        Ok(Self {
            shared: Arc::clone(shared),
            slot,
            options: options.clone(),
            claim,
            key,
            place: Some(place),
            ticket: None,
            started: now,
            outside: Outside::NotLooked,
            backoff: Backoff::new(arrived_ns),
        })
    }

    /// Takes the lock if it is this waiter's turn and nobody has it, else queues up with the other processes.
    fn take(&mut self, in_time: bool) -> Result<Option<LockGuard>, LockError> {
        let Some(place) = self.place else { return Ok(None) };
        let slot = Arc::clone(&self.slot);
        let mut state = slot.lock();
        if state.queue.role(place) == Role::Wait {
            self.outside = Outside::NotLooked;
            drop(state);
            self.withdraw();
            return Ok(None);
        }
        loop {
            if let Some(ticket) = &self.ticket {
                ticket.drain();
            }
            let taken = slot.take(&mut state, &self.shared, &self.options, Some((self.key, &self.claim)))?;
            self.outside = match taken {
                Take::Won(held) => {
                    state.queue.leave(place);
                    self.place = None;
                    let ticket = self.ticket.take();
                    let guard = slot.guard(&mut state, &self.shared, &self.options, held);
                    let waker = state.queue.wake_lead();
                    drop(state);
                    waker.into_iter().for_each(Waker::wake);
                    drop(ticket);
                    return Ok(Some(guard));
                }
                Take::Busy => Outside::Busy,
                Take::Behind(before) => Outside::Behind(before),
            };
            let queued = self.ticket.as_ref().is_some_and(|ticket| ticket.is_published());
            if !in_time || (queued && !slot.mark_contended(&mut state)?) {
                return Ok(None);
            }
            if !queued {
                self.ticket = None;
                let ticket = Arc::new(Ticket::publish(
                    &slot.tickets,
                    self.key,
                    &self.claim,
                    self.shared.ticket_kind(),
                )?);
                state.queue.wake_by(place, &Waker::from(Arc::clone(&ticket)));
                self.ticket = Some(ticket);
                slot.mark_contended(&mut state)?;
            }
        }
    }

    /// Gives up the place among the processes, and passes on a wake-up that may have come.
    fn withdraw(&mut self) {
        if self.ticket.take().is_some() {
            self.slot.wake_first();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.started.checked_add(self.options.timeout)
    }

    fn timeout(&self, now: Instant) -> LockError {
        let holder = match inspect::inspect(&self.shared, &self.slot).map(|info| info.state) {
            Ok(LockState::Held { holder }) => holder,
            // The time-out is what the caller has to hear of, also if nothing more can be said about it.
            Ok(LockState::Free) | Err(_) => None,
        };
        let before = |other: &Waiting| (other.key, other.arrived_ns) < (self.key, self.claim.arrived_ns);
        let waiters = inspect::waiters(&self.shared, &self.slot);
        let ahead = waiters.ok().map(|waiters| waiters.iter().filter(|other| before(other)).count());
        let waited = now.saturating_duration_since(self.started);
        LockError::Timeout { name: self.slot.name.clone(), waited, holder, ahead }
    }

    /// Whose end would let this waiter go on, and how long at most to rely on that.
    fn watch(&mut self) -> (Option<Watch>, Duration) {
        let before = match std::mem::replace(&mut self.outside, Outside::NotLooked) {
            Outside::Behind(before) => before,
            Outside::Busy | Outside::NotLooked => {
                let claim = &self.claim;
                ticket::first_before(&self.slot.tickets, self.key, claim.arrived_ns, claim.mode)
                    .unwrap_or(Before::Nobody { queue_is_empty: false })
            }
        };
        match before {
            Before::Somebody { watch } => (watch.map(Watch::Pipe), SAFETY_TICK / 2),
            Before::Nobody { .. } => match self.watch_holder() {
                Some(watch) => (watch, SAFETY_TICK),
                None => (None, BLIND_TICK),
            },
        }
    }

    /// What reports the end of the holder's process; the outer `None` if the holder is not known or not alive.
    #[expect(
        clippy::option_option,
        reason = "the inner one is a holder that can be relied on to wake the next"
    )]
    fn watch_holder(&self) -> Option<Option<Watch>> {
        let (info, identity) = inspect::read_holder(&self.shared, &self.slot).ok()??;
        match info.process {
            HolderProcess::Ended => None,
            HolderProcess::Unknown => Some(None),
            HolderProcess::Alive if info.pid == self.shared.identity.pid => Some(None),
            HolderProcess::Alive => {
                let pid = Pid::from_raw(i32::try_from(info.pid).ok()?)?;
                let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
                // The number may have been given to another process between reading it and opening it.
                (self.shared.identity.fate_of(&identity) == HolderProcess::Alive)
                    .then_some(Some(Watch::Process(process)))
            }
        }
    }
}

impl Attempt for FileAttempt {
    fn advance(&mut self, now: Instant) -> Result<Option<LockGuard>, LockError> {
        let in_time = self.deadline().is_none_or(|deadline| now < deadline);
        match self.take(in_time)? {
            Some(guard) => Ok(Some(guard)),
            None if in_time => Ok(None),
            None => Err(self.timeout(now)),
        }
    }

    fn park(&mut self, now: Instant) -> Park {
        let deadline = self.deadline();
        let at_most = |wait: Duration| {
            let until = now + wait;
            deadline.map_or(until, |deadline| until.min(deadline))
        };
        let Some(ticket) = self.ticket.clone() else { return Park::Turn { until: deadline } };
        match self.shared.config.wakeup {
            Wakeup::Event => {
                let (watch, tick) = self.watch();
                Park::Event { ticket, watch, until: at_most(tick) }
            }
            Wakeup::Backoff => {
                let ahead = ticket::count_before(&self.slot.tickets, self.key, self.claim.arrived_ns)
                    .unwrap_or_default();
                let long = now.saturating_duration_since(self.started) >= LONG_WAIT;
                Park::Sleep { until: at_most(self.backoff.next(ahead, long)) }
            }
        }
    }

    fn turn(&mut self, waker: &Waker) -> Poll<()> {
        let Some(place) = self.place else { return Poll::Ready(()) };
        let mut state = self.slot.lock();
        match state.queue.role(place) {
            Role::Lead => Poll::Ready(()),
            Role::Wait => {
                state.queue.wake_by(place, waker);
                Poll::Pending
            }
        }
    }
}

impl Drop for FileAttempt {
    fn drop(&mut self) {
        if self.shared.check_process().is_err() {
            return;
        }
        self.withdraw();
        if let Some(place) = self.place {
            self.slot.leave(place);
        }
    }
}

/// How long to sleep between two looks: a random part of an upper bound that doubles from look to look.
///
/// ["Full jitter"](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), as waiters that look at
/// random times get in each other's way the least.
struct Backoff {
    bound: Duration,
    random: u64,
}

impl Backoff {
    fn new(seed: u64) -> Self {
        Self { bound: BACKOFF_MIN, random: (seed ^ u64::from(std::process::id()) << 40) | 1 }
    }

    fn next(&mut self, ahead: usize, long: bool) -> Duration {
        let bound_max = match BACKOFF_MAX.get(ahead) {
            Some(_) if ahead == 0 && long => BACKOFF_MAX_LONG,
            Some(bound_max) => *bound_max,
            None => BACKOFF_MAX[2],
        };
        self.bound = (self.bound * 2).min(bound_max);
        // xorshift64 (Marsaglia 2003): good enough to keep waiters apart.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let nanos = u64::try_from(self.bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.random % nanos)
    }
}
