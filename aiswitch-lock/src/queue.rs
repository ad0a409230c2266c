//! Who holds and who waits for one lock within this process: plain data, without I/O.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use crate::{LockMode, Priority, WaiterInfo};

/// The holders and the waiters of one lock within this process, the waiters in the order of service.
///
/// `H` is what a kind of lock keeps for each holder.
#[derive(Debug)]
pub(crate) struct Queue<H> {
    waiters: BTreeMap<Place, Waiter>,
    holders: Vec<Holder<H>>,
}

/// The last number given to a waiter or a holder of any queue, so that none is mistaken for another.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A waiter's place: the smaller, the earlier it is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The time of arrival, put off by a step for each level of priority below the highest.
    pub(crate) key: u64,
    serial: u64,
}

/// What a waiter asked for.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) mode: LockMode,
    pub(crate) priority: Priority,
    pub(crate) owner: Option<String>,
    /// When it came, in [`clock::boot_ns`](crate::clock::boot_ns).
    pub(crate) arrived_ns: u64,
}

impl Claim {
    pub(crate) fn describe(&self, pid: u32, now_ns: u64) -> WaiterInfo {
        WaiterInfo {
            pid,
            owner: self.owner.clone(),
            mode: self.mode,
            priority: self.priority,
            waited: Duration::from_nanos(now_ns.saturating_sub(self.arrived_ns)),
        }
    }
}

#[derive(Debug)]
struct Waiter {
    claim: Claim,
    waker: Option<Waker>,
}

/// One who has the lock.
#[derive(Debug)]
pub(crate) struct Holder<H> {
    pub(crate) id: u64,
    pub(crate) mode: LockMode,
    pub(crate) owner: Option<String>,
    pub(crate) hold: H,
}

/// What a waiter may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Wait until those before it are served or the holders are gone.
    Wait,
    /// Take the lock, as soon as other processes let it.
    Lead,
}

impl<H> Queue<H> {
    pub(crate) fn new() -> Self {
        Self { waiters: BTreeMap::new(), holders: Vec::new() }
    }

    /// Puts a waiter in its place.
    pub(crate) fn enter(&mut self, key: u64, claim: Claim) -> Place {
        let place = Place { key, serial: SERIAL.fetch_add(1, Ordering::Relaxed) };
        self.waiters.insert(place, Waiter { claim, waker: None });
        place
    }

    /// What the waiter at this place may do now.
    pub(crate) fn role(&self, place: Place) -> Role {
        match self.waiters.first_key_value() {
            Some((first, waiter)) if *first == place && self.admits(waiter.claim.mode) => Role::Lead,
            Some(_) | None => Role::Wait,
        }
    }

    /// Has a waiter woken when it may lead.
    pub(crate) fn wake_by(&mut self, place: Place, waker: &Waker) {
        if let Some(waiter) = self.waiters.get_mut(&place) {
            match &mut waiter.waker {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
    }

    /// Takes a waiter out; call [`wake_lead`](Self::wake_lead) afterwards.
    pub(crate) fn leave(&mut self, place: Place) {
        self.waiters.remove(&place);
    }

    /// Notes a new holder and gives it a number; call [`wake_lead`](Self::wake_lead) afterwards.
    pub(crate) fn hold(&mut self, mode: LockMode, owner: Option<String>, hold: H) -> u64 {
        let id = SERIAL.fetch_add(1, Ordering::Relaxed);
        self.holders.push(Holder { id, mode, owner, hold });
        id
    }

    /// Takes a holder out; call [`wake_lead`](Self::wake_lead) afterwards. `None` if it was taken out before.
    pub(crate) fn release(&mut self, id: u64) -> Option<Holder<H>> {
        let index = self.holders.iter().position(|holder| holder.id == id)?;
        Some(self.holders.swap_remove(index))
    }

    /// The waker of the waiter that may lead now; to be woken once the queue is no longer borrowed.
    #[must_use]
    pub(crate) fn wake_lead(&mut self) -> Option<Waker> {
        let (_, waiter) = self.waiters.first_key_value()?;
        if !self.admits(waiter.claim.mode) {
            return None;
        }
        waiter.waker.clone()
    }

    /// Whether the holders would let in another of this mode.
    pub(crate) fn admits(&self, mode: LockMode) -> bool {
        let shares = |holder: &Holder<H>| holder.mode == LockMode::Shared;
        self.holders.is_empty() || (mode == LockMode::Shared && self.holders.iter().all(shares))
    }

    /// The first waiter's place and claim.
    pub(crate) fn first(&self) -> Option<(Place, &Claim)> {
        self.waiters.first_key_value().map(|(place, waiter)| (*place, &waiter.claim))
    }

    /// How many waiters are served before this one.
    pub(crate) fn ahead_of(&self, place: Place) -> usize {
        self.waiters.range(..place).count()
    }

    pub(crate) fn claims(&self) -> impl Iterator<Item = (Place, &Claim)> {
        self.waiters.iter().map(|(place, waiter)| (*place, &waiter.claim))
    }

    pub(crate) fn holders(&self) -> &[Holder<H>] {
        &self.holders
    }

    pub(crate) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Whether nobody holds the lock and nobody waits for it.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiters.is_empty() && self.holders.is_empty()
    }
}

/// The key of a waiter: when it came, put off by one step for each level below the highest priority.
///
/// Sorting by it serves higher priorities first, and whoever has waited for a step as if it were one level higher.
pub(crate) fn key(arrived_ns: u64, priority: Priority, step_ns: u64) -> u64 {
    let levels_below = match priority {
        Priority::Urgent => 0,
        Priority::High => 1,
        Priority::Normal => 2,
        Priority::Low => 3,
    };
    arrived_ns.saturating_add(step_ns.saturating_mul(levels_below))
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;

    use shuttle::rand::{Rng as _, thread_rng};
    use shuttle::sync::atomic::AtomicUsize;
    use shuttle::sync::{Arc, Mutex};

    use super::*;

    type Shared = Arc<Mutex<Queue<()>>>;

    struct Waiting<'a> {
        queue: &'a Shared,
        place: Option<Place>,
    }

    impl Drop for Waiting<'_> {
        fn drop(&mut self) {
            if let Some(place) = self.place {
                change(self.queue, |queue| queue.leave(place));
            }
        }
    }

    fn change<T>(queue: &Shared, with: impl FnOnce(&mut Queue<()>) -> T) -> T {
        let mut queue = queue.lock().unwrap();
        let value = with(&mut queue);
        let waker = queue.wake_lead();
        drop(queue);
        waker.into_iter().for_each(Waker::wake);
        value
    }

    async fn acquire(queue: &Shared, claim: Claim) -> u64 {
        let place = queue.lock().unwrap().enter(claim.arrived_ns, claim.clone());
        let mut waiting = Waiting { queue, place: Some(place) };
        poll_fn(|cx| {
            let mut locked = queue.lock().unwrap();
            if locked.role(place) == Role::Wait {
                locked.wake_by(place, cx.waker());
                return Poll::Pending;
            }
            locked.leave(place);
            waiting.place = None;
            let id = locked.hold(claim.mode, None, ());
            let waker = locked.wake_lead();
            drop(locked);
            waker.into_iter().for_each(Waker::wake);
            Poll::Ready(id)
        })
        .await
    }

    /// Three threads that take, share and give up in every order that the scheduler thinks of.
    fn scenario() {
        let queue: Shared = Arc::new(Mutex::new(Queue::new()));
        let (alone, sharing) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (queue, alone, sharing) = (Arc::clone(&queue), Arc::clone(&alone), Arc::clone(&sharing));
                shuttle::thread::spawn(move || {
                    for _ in 0..2 {
                        let mode =
                            if thread_rng().gen_bool(0.5) { LockMode::Shared } else { LockMode::Exclusive };
                        let arrived_ns = thread_rng().gen_range(0..3);
                        let claim = Claim { mode, priority: Priority::Normal, owner: None, arrived_ns };
                        let polls = thread_rng().gen_range(0..4);
                        shuttle::future::block_on(work(&queue, claim, polls, (&alone, &sharing)));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(queue.lock().unwrap().is_idle());
    }

    /// Takes the lock and sees that it has it rightly; gives up after so many polls, or never if there are none.
    async fn work(
        queue: &Shared,
        claim: Claim,
        polls: usize,
        (alone, sharing): (&AtomicUsize, &AtomicUsize),
    ) {
        let mode = claim.mode;
        let mut acquire = pin!(acquire(queue, claim));
        let mut polled = 0;
        let id = poll_fn(|cx| {
            polled += 1;
            match acquire.as_mut().poll(cx) {
                Poll::Ready(id) => Poll::Ready(Some(id)),
                Poll::Pending if polled == polls => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        let Some(id) = id else { return };
        let own = if mode == LockMode::Shared { sharing } else { alone };
        own.fetch_add(1, Ordering::SeqCst);
        let (alone, sharing) = (alone.load(Ordering::SeqCst), sharing.load(Ordering::SeqCst));
        assert!(alone == 0 || (alone == 1 && sharing == 0), "{alone} alone and {sharing} sharing");
        own.fetch_sub(1, Ordering::SeqCst);
        change(queue, |queue| queue.release(id)).expect("it is released once");
    }

    /// The long form: `AISWITCH_LOCK_SCHEDULES=100000`.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a variable asks for the long form")]
    fn no_schedule_of_takers_sharers_and_quitters_breaks_the_queue() {
        let schedules = std::env::var("AISWITCH_LOCK_SCHEDULES")
            .map_or(7_000, |text| text.parse().expect("a whole number"));
        let by_priority = schedules / 4;
        shuttle::check_random(scenario, schedules - by_priority);
        shuttle::check_pct(scenario, by_priority, 3);
    }
}
