//! One lock within this process: its file, who holds it, who waits.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::header;
use super::ticket::{self, Entry, TicketName};
use super::{Shared, make_folder};
use crate::identity::Identity;
use crate::queue::Queue;
use crate::{
    Hold, HolderInfo, LockAttempt, LockError, LockFile, LockGuard, LockMode, LockName, LockOptions,
    LossReason, clock,
};

/// How often an acquire begins anew because the lock file was replaced under its hands.
const REOPEN_TRIES_MAX: u32 = 100;

/// How long a lock file that was seen at its path is taken to be there while it has a name at all: 10 ms.
///
/// A file that was deleted or replaced has none, and that is looked at in every acquire. One that was moved away, with its
/// folder or alone, keeps a name; whoever takes it within this time is like one who had it when it was moved.
const PATH_TRUSTED_NS: u64 = 10_000_000;

/// One lock within this process.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: LockName,
    pub(crate) shared: Arc<Shared>,
    /// The lock file.
    pub(crate) path: PathBuf,
    /// The folder of its tickets.
    pub(crate) tickets: PathBuf,
    state: Mutex<State>,
}

/// What changes about a lock within this process.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) queue: Queue<Held>,
    /// The file at the path, as far as is known; kept open for the next acquire.
    file: Option<Arc<LockFile>>,
    /// When it was last seen at the path, in [`clock::boot_ns`].
    seen_ns: u64,
    /// Whether others waited when this process last looked.
    pub(crate) crowded: bool,
    /// Whether `file` is still locked for the next waiter of this process, after its holder has let go.
    in_transit: bool,
}

/// What is kept for a holder.
#[derive(Debug)]
pub(crate) struct Held {
    file: Arc<LockFile>,
    token: u64,
    /// The name of the ticket with which it waited, to be removed once the next one is served.
    pub(crate) ticket: Option<Entry>,
    /// Who was next when it got the lock.
    pub(crate) next: Option<TicketName>,
}

/// How it is known that no other process comes first.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turn {
    /// It was seen just now that nobody does.
    Now,
    /// It has to be seen that nobody does of this key and time of arrival or smaller ones.
    After((u64, u64)),
}

/// What became of an attempt to take a lock.
#[derive(Debug)]
pub(crate) enum Take {
    Won(Held),
    /// Somebody of another process has it, or the same process through another manager.
    Busy,
    /// It is free, but somebody else comes first.
    Behind,
}

impl Slot {
    pub(crate) fn new(name: LockName, shared: &Arc<Shared>) -> Result<Self, LockError> {
        let stem = name.stem()?;
        Ok(Self {
            path: shared.folder.join(format!("{stem}{}", crate::name::LOCK_SUFFIX)),
            tickets: shared.folder.join(format!("{stem}{}", super::QUEUE_SUFFIX)),
            name,
            shared: Arc::clone(shared),
            state: Mutex::new(State {
                queue: Queue::new(),
                file: None,
                seen_ns: 0,
                crowded: false,
                in_transit: false,
            }),
        })
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // No code that runs under the mutex can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`try_take`](Self::try_take), but leaves the lock alone where others are likely to come first.
    #[inline]
    pub(crate) fn take_unless_crowded(
        self: &Arc<Self>,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        let state = self.lock();
        // Locking the file for a moment would get in the way of the one who was just woken.
        if state.crowded { Ok(None) } else { self.take_at_once(state, options) }
    }

    /// Takes the lock if nobody of this process has it or waits for it, and other processes let it.
    #[inline]
    pub(crate) fn try_take(self: &Arc<Self>, options: &LockOptions) -> Result<Option<LockGuard>, LockError> {
        self.take_at_once(self.lock(), options)
    }

    #[inline]
    fn take_at_once(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        if state.queue.has_waiters() || !state.queue.admits(options.mode) {
            return Ok(None);
        }
        let taken = self.take(&mut state, options, Turn::After((u64::MAX, u64::MAX)))?;
        let Take::Won(held) = taken else { return Ok(None) };
        Ok(Some(self.guard(&mut state, options, held)))
    }

    /// Takes the lock for a waiter who may lead, if other processes let it.
    ///
    /// `turn` says how it is known that nobody else comes first.
    #[inline]
    pub(crate) fn take(
        &self,
        state: &mut State,
        options: &LockOptions,
        turn: Turn,
    ) -> Result<Take, LockError> {
        for _ in 0..REOPEN_TRIES_MAX {
            let file = self.open(state)?;
            if state.in_transit && options.mode == LockMode::Shared {
                self.unlock(state, &file);
            }
            let joins = state.is_held(&file);
            let locked = joins || file.try_lock(options.mode, &self.path)? == LockAttempt::Taken;
            let now_ns = clock::boot_ns();
            let Some(bytes) = self.bytes_if_current(state, &file, now_ns)? else {
                if locked && (!joins || state.in_transit) {
                    self.unlock(state, &file);
                }
                state.file = None;
                continue;
            };
            if !locked {
                return Ok(Take::Busy);
            }
            let fresh = Fresh { slot: self, state, file: Some(Arc::clone(&file)), joins };
            fresh.state.crowded = header::tells_of_waiters(bytes);
            if fresh.state.crowded
                && let Turn::After(order) = turn
                && self.is_anybody_before(&file, order, options.mode)?
            {
                return Ok(Take::Behind);
            }
            let last = header::read_token(&file).map_err(LockError::io("read", &self.path))?;
            let now_wall_ns = clock::wall_ns();
            let token = match (options.mode, last) {
                (_, None) => now_wall_ns,
                (LockMode::Shared, Some(last)) => last,
                (LockMode::Exclusive, Some(last)) => {
                    next_token(last, now_wall_ns).map_err(LockError::io("count on in", &self.path))?
                }
            };
            header::write_holder(&file, token, (now_wall_ns, now_ns), &self.shared.identity, options)
                .map_err(LockError::io("write", &self.path))?;
            fresh.keep();
            return Ok(Take::Won(Held { file, token, ticket: None, next: None }));
        }
        let source = std::io::Error::other("it is replaced again and again");
        Err(LockError::io("lock", &self.path)(source))
    }

    /// How long a file is that is open, if it is the one at the path; see [`PATH_TRUSTED_NS`].
    #[inline]
    fn bytes_if_current(
        &self,
        state: &mut State,
        file: &LockFile,
        now_ns: u64,
    ) -> Result<Option<u64>, LockError> {
        if now_ns.saturating_sub(state.seen_ns) < PATH_TRUSTED_NS {
            return file.bytes_if_named(&self.path);
        }
        let bytes = file.bytes_at(&self.path)?;
        if bytes.is_some() {
            state.seen_ns = now_ns;
        }
        Ok(bytes)
    }

    /// Whether a waiter of another process comes first; notes in the file if nobody waits at all.
    fn is_anybody_before(
        &self,
        file: &LockFile,
        order: (u64, u64),
        mode: LockMode,
    ) -> Result<bool, LockError> {
        let mut names = ticket::read_folder(&self.tickets)?;
        if names.is_empty() {
            header::write_waiters(file, false).map_err(LockError::io("write", &self.path))?;
            // Somebody who came in between has set the mark before it was taken away.
            names = ticket::read_folder(&self.tickets)?;
            if !names.is_empty() {
                header::write_waiters(file, true).map_err(LockError::io("write", &self.path))?;
            }
        }
        Ok(ticket::first_before(&self.tickets, &names, order, mode)?.is_some())
    }

    /// The last holder's record and the process that wrote it, if the file is open and has one.
    pub(crate) fn read_holder(&self) -> Option<(HolderInfo, Identity)> {
        let file = self.lock().file.clone()?;
        header::read_holder(&file, &self.shared.identity).ok()?
    }

    /// Notes that somebody waits; `true` if that was not yet noted, so that the lock has to be tried again.
    pub(crate) fn mark_contended(&self, state: &mut State) -> Result<bool, LockError> {
        let file = self.open(state)?;
        if header::tells_of_waiters(file.bytes().map_err(LockError::io("look at", &self.path))?) {
            return Ok(false);
        }
        header::write_waiters(&file, true).map_err(LockError::io("write", &self.path))?;
        Ok(true)
    }

    /// Enters a holder and makes its guard.
    #[inline]
    pub(crate) fn guard(self: &Arc<Self>, state: &mut State, options: &LockOptions, held: Held) -> LockGuard {
        let token = held.token;
        let id = state.queue.hold(options.mode, options.owner.clone(), held);
        let hold = FileHold { slot: Arc::clone(self), id, token };
        LockGuard::new(options.mode, hold)
    }

    /// Lets go of the lock for one holder; `None` if that was done before.
    #[inline]
    pub(crate) fn release(&self, id: u64) -> Option<()> {
        let mut state = self.lock();
        let holder = state.queue.release(id)?;
        let Held { file, ticket, next, .. } = holder.hold;
        if !state.queue.holders().iter().any(|other| Arc::ptr_eq(&other.hold.file, &file)) {
            if state.crowded || state.queue.has_waiters() {
                // The record is to be shown; the lock is let go in any case.
                drop(header::clear_holder(&file));
            }
            let current = state.file.as_ref().is_some_and(|current| Arc::ptr_eq(current, &file));
            if holder.mode == LockMode::Exclusive && current && self.next_is_of_this_process(&state, &file) {
                state.in_transit = true;
            } else {
                self.hand_over(&mut state, &file, next.as_ref());
            }
        }
        let waker = state.queue.wake_lead();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        drop(ticket);
        Some(())
    }

    /// Lets go of the lock for every holder, and tells how many there were.
    pub(crate) fn release_all(&self) -> usize {
        let ids: Vec<_> = self.lock().queue.holders().iter().map(|holder| holder.id).collect();
        ids.into_iter().filter_map(|id| self.release(id)).count()
    }

    /// Whether the lock may pass to the first waiter of this process without being unlocked.
    fn next_is_of_this_process(&self, state: &State, file: &LockFile) -> bool {
        let Some((place, claim)) = state.queue.first() else { return false };
        if claim.mode == LockMode::Shared {
            return false;
        }
        if !tells_of_waiters(file) {
            return true;
        }
        ticket::read_folder(&self.tickets)
            .and_then(|names| {
                let order = (place.key, claim.arrived_ns);
                ticket::first_before(&self.tickets, &names, order, claim.mode)
            })
            .is_ok_and(|ahead| ahead.is_none())
    }

    /// Takes a waiter out of the queue.
    pub(crate) fn leave(&self, place: crate::queue::Place) {
        let mut state = self.lock();
        state.queue.leave(place);
        if state.in_transit && state.queue.first().is_none_or(|(_, claim)| claim.mode == LockMode::Shared) {
            let file = state.file.clone().expect("a lock in transit has its file open");
            self.unlock(&mut state, &file);
        }
        let waker = state.queue.wake_lead();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Unlocks the file and wakes the waiter that was seen to be next, who knows better who is next now, or the first one.
    #[inline]
    fn hand_over(&self, state: &mut State, file: &LockFile, next: Option<&TicketName>) {
        let Some(next) = next else { return self.unlock(state, file) };
        state.in_transit = false;
        // Unlocking an open file cannot fail.
        drop(file.unlock(&self.path));
        state.crowded = true;
        if !ticket::wake(&self.tickets, next).unwrap_or(false) {
            self.wake_first();
        }
    }

    /// Unlocks the file and wakes the first waiter.
    #[inline]
    fn unlock(&self, state: &mut State, file: &LockFile) {
        state.in_transit = false;
        // Unlocking an open file cannot fail. The mark is read afterwards: a waiter sets it and then tries the lock, so
        // either the mark is seen here or the waiter finds the file unlocked.
        drop(file.unlock(&self.path));
        state.crowded = self.wake_first_if_contended(file);
    }

    /// Wakes the first waiter after the file was unlocked, if the file says that somebody waits.
    ///
    /// Tells whether it does.
    #[inline]
    pub(crate) fn wake_first_if_contended(&self, file: &LockFile) -> bool {
        let contended = tells_of_waiters(file);
        if contended {
            self.wake_first();
        }
        contended
    }

    /// Wakes the first waiter of any process; if that fails, waiters look again by themselves after a while.
    pub(crate) fn wake_first(&self) {
        drop(ticket::wake_first(&self.tickets));
    }

    /// The lock file, opened if it is not yet open.
    #[inline]
    fn open(&self, state: &mut State) -> Result<Arc<LockFile>, LockError> {
        if let Some(file) = &state.file {
            return Ok(Arc::clone(file));
        }
        let now_ns = clock::boot_ns();
        let opened = match LockFile::open(&self.path) {
            Err(LockError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                make_folder(self.path.parent().expect("a lock file is in a folder"))?;
                LockFile::open(&self.path)
            }
            opened => opened,
        };
        let file = Arc::new(opened?);
        state.seen_ns = now_ns;
        state.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

impl State {
    /// Whether this process has the file locked.
    fn is_held(&self, file: &Arc<LockFile>) -> bool {
        self.in_transit || self.queue.holders().iter().any(|holder| Arc::ptr_eq(&holder.hold.file, file))
    }
}

/// A file just locked, unlocked again unless it is kept: whatever fails after locking leaves nothing locked.
struct Fresh<'a> {
    slot: &'a Slot,
    state: &'a mut State,
    file: Option<Arc<LockFile>>,
    /// Whether it was locked before, for other holders of this process.
    joins: bool,
}

impl Fresh<'_> {
    fn keep(mut self) {
        self.file = None;
        self.state.in_transit = false;
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.file.take()
            && (!self.joins || self.state.in_transit)
        {
            self.slot.unlock(self.state, &file);
        }
    }
}

/// Whether a lock file says that somebody waits; also if it cannot be asked, for to look in vain does no harm.
#[inline]
fn tells_of_waiters(file: &LockFile) -> bool {
    file.bytes().map_or(true, header::tells_of_waiters)
}

/// The smallest number that is larger than the last token and not smaller than the wall clock.
fn next_token(last: u64, now_wall_ns: u64) -> std::io::Result<u64> {
    let next = last.checked_add(1).ok_or_else(|| std::io::Error::other("its fencing tokens are used up"))?;
    Ok(next.max(now_wall_ns))
}

struct FileHold {
    slot: Arc<Slot>,
    id: u64,
    token: u64,
}

impl Hold for FileHold {
    fn name(&self) -> &LockName {
        &self.slot.name
    }

    fn fencing_token(&self) -> u64 {
        self.token
    }

    fn loss(&self) -> Option<LossReason> {
        if self.slot.shared.check_process().is_err() {
            return Some(LossReason::Forked);
        }
        let state = self.slot.lock();
        let Some(holder) = state.queue.holders().iter().find(|holder| holder.id == self.id) else {
            return Some(LossReason::Released);
        };
        let current = holder.hold.file.is_at(&self.slot.path).unwrap_or(false);
        (!current).then_some(LossReason::FileReplaced)
    }
}

impl Drop for FileHold {
    fn drop(&mut self) {
        // A forked child has a copy of the guard, but the lock belongs to its parent.
        if self.slot.shared.check_process().is_ok() {
            // After `release_all` there is nothing to let go of.
            self.slot.release(self.id);
        }
    }
}
