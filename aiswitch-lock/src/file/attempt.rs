//! One acquire of a file lock that has to wait.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::inspect;
use super::inspect::Waiting;
use super::slot::{Slot, State, Take, Turn};
use super::ticket::{self, Ahead, Bell, Ticket, TicketName};
use super::waits::Search;
use crate::queue::{Claim, Place, Role};
use crate::wait::{Attempt, Park, Watch};
use crate::{LockError, LockGuard, LockMode, LockOptions, LockState, clock, queue};

/// When a waiter first looks at the lock although nothing woke it, for a wake-up can be lost to a crash: after 500 ms.
const SAFETY_TICK_MIN: Duration = Duration::from_millis(500);

/// How often it looks at least; in between it looks whenever it has waited twice as long: 2 s.
const SAFETY_TICK_MAX: Duration = Duration::from_secs(2);

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
    slot: Arc<Slot>,
    options: LockOptions,
    claim: Claim,
    key: u64,
    /// Its place among the waiters of this process; `None` once it holds the lock.
    place: Option<Place>,
    /// Its place among the processes, while it leads in this one.
    ticket: Option<Ticket>,
    started: Instant,
    /// Who comes first in another process, and who comes next after this waiter, as of the last look.
    ahead: Option<Ahead>,
    next: Option<TicketName>,
    backoff: Backoff,
    deadlock: Search,
}

impl FileAttempt {
    pub(crate) fn start(slot: Arc<Slot>, options: &LockOptions, now: Instant) -> Result<Self, LockError> {
        let arrived_ns = clock::boot_ns();
        let claim = Claim {
            mode: options.mode,
            priority: options.priority,
            owner: options.owner.clone(),
            arrived_ns,
        };
        let key = queue::key(arrived_ns, options.priority, slot.shared.priority_step_ns());
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
        let deadlock = Search::new(options.owner.as_deref(), now, &slot.shared);
        Ok(Self {
            slot,
            options: options.clone(),
            claim,
            key,
            place: Some(place),
            ticket: None,
            started: now,
            ahead: None,
            next: None,
            backoff: Backoff::new(arrived_ns),
            deadlock,
        })
    }

    /// Takes the lock if it is this waiter's turn and nobody has it, else queues up with the other processes.
    fn take(&mut self, in_time: bool) -> Result<Option<LockGuard>, LockError> {
        let Some(place) = self.place else { return Ok(None) };
        let slot = Arc::clone(&self.slot);
        let mut state = slot.lock();
        if state.queue.role(place) == Role::Wait {
            drop(state);
            self.withdraw();
            return Ok(None);
        }
        let woken = self.ticket.is_some();
        if state.crowded
            && self.ticket.is_none()
            && in_time
            && !ticket::read_folder(&slot.tickets)?.is_empty()
        {
            self.publish(&mut state, place)?;
        }
        loop {
            if !self.is_turn(&mut state, place)? {
                slot.mark_contended(&mut state)?;
                if woken {
                    // Perhaps in the place of somebody who came later and is served earlier.
                    slot.wake_first();
                }
                return Ok(None);
            }
            let turn = match self.ticket {
                Some(_) => Turn::Now,
                None => Turn::After((self.key, self.claim.arrived_ns)),
            };
            if let Take::Won(mut held) = slot.take(&mut state, &self.options, turn)? {
                state.queue.leave(place);
                self.place = None;
                held.ticket = self.ticket.take().map(Ticket::retire);
                held.next = self.next.take();
                let guard = slot.guard(&mut state, &self.options, held);
                let waker = state.queue.wake_lead();
                drop(state);
                waker.into_iter().for_each(Waker::wake);
                if self.options.mode == LockMode::Shared {
                    slot.wake_first();
                }
                return Ok(Some(guard));
            }
            if !in_time {
                return Ok(None);
            }
            if self.ticket.is_none() {
                self.publish(&mut state, place)?;
            } else if !slot.mark_contended(&mut state)? {
                return Ok(None);
            }
        }
    }

    fn publish(&mut self, state: &mut State, place: Place) -> Result<(), LockError> {
        let kind = self.slot.shared.ticket_kind();
        let ticket = Ticket::publish(&self.slot.tickets, self.key, &self.claim, kind)?;
        state.queue.wake_by(place, &Waker::from(Arc::clone(&ticket.bell)));
        self.ticket = Some(ticket);
        self.slot.mark_contended(state)?;
        Ok(())
    }

    /// Whether, as far as the tickets tell, nobody of another process comes first; notes who does.
    ///
    /// It is not asked again once the lock is taken: a waiter with a smaller key who comes at that very moment is next.
    fn is_turn(&mut self, state: &mut State, place: Place) -> Result<bool, LockError> {
        let Some(ticket) = &self.ticket else { return Ok(true) };
        ticket.bell.drain();
        let mut names = ticket::read_folder(&self.slot.tickets)?;
        if !ticket.is_listed(&names) {
            self.ticket = None;
            self.publish(state, place)?;
            names = ticket::read_folder(&self.slot.tickets)?;
        }
        self.next = self.ticket.as_ref().and_then(|ticket| ticket.next(&names));
        let order = (self.key, self.claim.arrived_ns);
        self.ahead = ticket::first_before(&self.slot.tickets, &names, order, self.claim.mode)?;
        Ok(self.ahead.is_none())
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
        let holder = match inspect::inspect(&self.slot).map(|info| info.state) {
            Ok(LockState::Held { holder }) => holder,
            // The time-out is what the caller has to hear of, also if nothing more can be said about it.
            Ok(LockState::Free) | Err(_) => None,
        };
        let before = |other: &Waiting| (other.key, other.arrived_ns) < (self.key, self.claim.arrived_ns);
        let waiters = inspect::waiters(&self.slot);
        let ahead = waiters.ok().map(|waiters| waiters.iter().filter(|other| before(other)).count());
        let waited = now.saturating_duration_since(self.started);
        LockError::Timeout { name: self.slot.name.clone(), waited, holder, ahead }
    }

    /// Whose end would let this waiter go on, and how long at most to rely on that.
    ///
    /// It is the process just ahead, while it waits and then while it holds. That a number of a process could mean another
    /// one, given away again or of another namespace, costs no more than the time after which the waiter looks anyway.
    fn watch(&mut self, now: Instant) -> (Option<Watch>, Duration) {
        let tick = now.saturating_duration_since(self.started).clamp(SAFETY_TICK_MIN, SAFETY_TICK_MAX);
        let open = |pid: u32| {
            let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
            pidfd_open(pid, PidfdFlags::empty()).map(Watch::Process).ok()
        };
        let here = &self.slot.shared.identity;
        if let Some(Ahead { pid, pipe }) = self.ahead.take() {
            let watch = if pid == here.pid { None } else { open(pid).or(pipe.map(Watch::Pipe)) };
            return (watch, tick);
        }
        match self.slot.read_holder() {
            Some((_, holder)) if holder.is_near(here) && holder.pid == here.pid => (None, tick),
            Some((_, holder)) if holder.is_near(here) => match open(holder.pid) {
                Some(watch) => (Some(watch), tick),
                None => (None, BLIND_TICK),
            },
            Some(_) | None => (None, BLIND_TICK),
        }
    }
}

impl Attempt for FileAttempt {
    fn advance(&mut self, now: Instant) -> Result<Option<LockGuard>, LockError> {
        let in_time = self.deadline().is_none_or(|deadline| now < deadline);
        match self.take(in_time)? {
            Some(guard) => Ok(Some(guard)),
            None if !in_time => Err(self.timeout(now)),
            None => {
                if let Some(owner) = &self.options.owner {
                    self.deadlock.look(&self.slot, (owner, self.claim.arrived_ns), now)?;
                }
                Ok(None)
            }
        }
    }

    fn park(&mut self, now: Instant) -> Park {
        let deadline = [self.deadline(), self.deadlock.due()].into_iter().flatten().min();
        let at_most = |wait: Duration| {
            let until = now + wait;
            deadline.map_or(until, |deadline| until.min(deadline))
        };
        let Some(bell) = self.ticket.as_ref().map(|ticket| Arc::clone(&ticket.bell)) else {
            return Park::Turn { until: deadline };
        };
        match &*bell {
            Bell::Pipe(_) => {
                let (watch, tick) = self.watch(now);
                Park::Event { bell, watch, until: at_most(tick) }
            }
            Bell::File(_) => {
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
        if self.slot.shared.check_process().is_err() {
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
/// [Full jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), as waiters that look at
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
