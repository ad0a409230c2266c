//! Looking at a lock without taking it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::slot::Slot;
use super::ticket::{self, TicketName, Waiter};
use super::{QUEUE_SUFFIX, header};
use crate::identity::Identity;
use crate::name::LOCK_SUFFIX;
use crate::{LockAttempt, LockError, LockFile, LockInfo, LockMode, LockName, LockState, WaiterInfo, clock};

/// Whether a lock has a folder of tickets; without one nobody of another process waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueFolder {
    Seen,
    Missing,
}

/// The locks of a folder, in the order of their names.
pub(crate) fn names(folder: &Path) -> Result<BTreeMap<LockName, QueueFolder>, LockError> {
    let (mut names, mut queues) = (BTreeMap::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(LockError::io("read the folder", folder))? {
        let entry = entry.map_err(LockError::io("read the folder", folder))?;
        let file_name = entry.file_name();
        let Some(text) = file_name.to_str() else { continue };
        if let Some(stem) = text.strip_suffix(LOCK_SUFFIX) {
            names.extend(LockName::from_stem(stem).map(|name| (name, QueueFolder::Missing)));
        } else if let Some(stem) = text.strip_suffix(QUEUE_SUFFIX) {
            queues.extend(LockName::from_stem(stem));
        }
    }
    for name in queues {
        names.entry(name).and_modify(|queue| *queue = QueueFolder::Seen);
    }
    Ok(names)
}

/// Who holds a lock and who waits for it.
pub(crate) fn inspect(slot: &Slot) -> Result<LockInfo, LockError> {
    inspect_with(slot, QueueFolder::Seen)
}

/// As [`inspect`], with what is known of the folder of its tickets.
pub(crate) fn inspect_with(slot: &Slot, queue: QueueFolder) -> Result<LockInfo, LockError> {
    let tickets = match queue {
        QueueFolder::Seen => ticket::read_folder(&slot.tickets)?,
        QueueFolder::Missing => Vec::new(),
    };
    let waiters = waiters_among(slot, tickets)?.into_iter().map(|waiting| waiting.info).collect();
    Ok(LockInfo { name: slot.name.clone(), state: state(slot)?.0, waiters })
}

/// One who waits, with what puts it in order.
pub(crate) struct Waiting {
    pub(crate) key: u64,
    pub(crate) arrived_ns: u64,
    pub(crate) info: WaiterInfo,
}

/// All who wait and are known, in the order of service.
pub(crate) fn waiters(slot: &Slot) -> Result<Vec<Waiting>, LockError> {
    waiters_among(slot, ticket::read_folder(&slot.tickets)?)
}

/// Those of this process, and those of others that have one of these tickets.
fn waiters_among(slot: &Slot, tickets: Vec<TicketName>) -> Result<Vec<Waiting>, LockError> {
    let now_ns = clock::boot_ns();
    let pid = slot.shared.identity.pid;
    let mut all: Vec<_> = slot
        .lock()
        .queue
        .claims()
        .map(|(place, claim)| Waiting {
            key: place.key,
            arrived_ns: claim.arrived_ns,
            info: claim.describe(pid, now_ns),
        })
        .collect();
    let of_this_process = all.len();
    for name in tickets {
        let known = |waiting: &Waiting| name.pid == pid && waiting.arrived_ns == name.arrived_ns;
        if !all[..of_this_process].iter().any(known)
            && !matches!(ticket::look_up(&slot.tickets, &name)?, Waiter::Gone)
        {
            all.push(Waiting { key: name.key, arrived_ns: name.arrived_ns, info: name.describe(now_ns) });
        }
    }
    all.sort_by_key(|waiting| (waiting.key, waiting.arrived_ns));
    Ok(all)
}

/// Whether a lock is held, and which process wrote the holder's record.
pub(crate) fn state(slot: &Slot) -> Result<(LockState, Option<Identity>), LockError> {
    let Some(file) = LockFile::open_existing(&slot.path)? else { return Ok((LockState::Free, None)) };
    // A record tells of the last holder, so only the kernel knows whether there is one, and asking it means locking the file
    // for a moment.
    if file.try_lock(LockMode::Exclusive, &slot.path)? == LockAttempt::Taken {
        file.unlock(&slot.path)?;
        slot.wake_first_if_contended(&file);
        return Ok((LockState::Free, None));
    }
    let record =
        header::read_holder(&file, &slot.shared.identity).map_err(LockError::io("read", &slot.path))?;
    let Some((mut holder, writer)) = record else { return Ok((LockState::Held { holder: None }, None)) };
    holder.process = slot.shared.identity.fate_of(&writer);
    Ok((LockState::Held { holder: Some(Box::new(holder)) }, Some(writer)))
}
