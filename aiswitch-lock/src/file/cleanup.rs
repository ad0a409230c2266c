//! Removing what nobody can need any more.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use super::slot::Slot;
use super::ticket::{self, Waiter};
use super::{Shared, inspect, waits};
use crate::{CleanupReport, LockAttempt, LockError, LockFile, LockMode, clock};

/// Removes tickets of ended waiters, and files of locks that nobody has, wants, or used for `unused_for`.
pub(crate) fn cleanup(shared: &Arc<Shared>, unused_for: Duration) -> Result<CleanupReport, LockError> {
    let waits_removed = waits::remove_notes_of_the_ended(&shared.folder)?;
    let mut report = CleanupReport { waits_removed, ..CleanupReport::default() };
    for name in inspect::names(&shared.folder)?.into_keys() {
        let slot = Slot::new(name, shared)?;
        let mut waited_for = false;
        for name in ticket::read_folder(&slot.tickets)? {
            match ticket::look_up(&slot.tickets, &name)? {
                Waiter::Gone => report.tickets_removed += 1,
                Waiter::Alive(_) | Waiter::Stalled => waited_for = true,
            }
        }
        if !waited_for && remove_unused(&slot, unused_for)? {
            report.locks_removed += 1;
        } else {
            report.locks_kept += 1;
        }
    }
    Ok(report)
}

/// Removes the file of a lock that nobody has, while having it, so that nobody can take it in between.
fn remove_unused(slot: &Slot, unused_for: Duration) -> Result<bool, LockError> {
    let Some(file) = LockFile::open_existing(&slot.path)? else { return Ok(false) };
    let age = file.unused_for(clock::wall_ns()).map_err(LockError::io("look at", &slot.path))?;
    if age < unused_for || file.try_lock(LockMode::Exclusive, &slot.path)? == LockAttempt::Busy {
        return Ok(false);
    }
    let removed = match file.is_at(&slot.path) {
        Ok(true) => fs::remove_file(&slot.path).map(|()| true).map_err(LockError::io("remove", &slot.path)),
        other => other,
    };
    // A queue that is not empty stays; whoever just came is woken below and makes the file anew.
    drop(fs::remove_dir(&slot.tickets));
    file.unlock(&slot.path)?;
    slot.wake_first();
    removed
}
