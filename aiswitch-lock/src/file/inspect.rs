//! Looking at a lock without taking it.

use std::fs;
use std::path::Path;

use super::header;
use super::slot::Slot;
use super::ticket::{self, Waiter};
use crate::identity::Identity;
use crate::name::LOCK_SUFFIX;
use crate::{LockAttempt, LockError, LockFile, LockInfo, LockMode, LockName, LockState, WaiterInfo, clock};

/// The locks of a folder, in the order of their names.
pub(crate) fn names(folder: &Path) -> Result<Vec<LockName>, LockError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(LockError::io("read the folder", folder))? {
        let entry = entry.map_err(LockError::io("read the folder", folder))?;
        let file_name = entry.file_name();
        let stem = file_name.to_str().and_then(|name| name.strip_suffix(LOCK_SUFFIX));
        names.extend(stem.and_then(LockName::from_stem));
    }
    names.sort_unstable();
    Ok(names)
}

/// Who holds a lock and who waits for it.
pub(crate) fn inspect(slot: &Slot) -> Result<LockInfo, LockError> {
    let waiters = waiters(slot)?.into_iter().map(|waiting| waiting.info).collect();
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
    for name in ticket::read_folder(&slot.tickets)? {
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
    // A record tells of the last holder, so only the kernel knows whether there is one. Asking it means locking the file
    // for a moment, shared so that sharers are not disturbed unless one of them is the holder that is looked for.
    let is_free = |mode| file.try_lock(mode, &slot.path).map(|attempt| attempt == LockAttempt::Taken);
    let free = is_free(LockMode::Shared)? && is_free(LockMode::Exclusive)?;
    file.unlock(&slot.path)?;
    slot.wake_first_if_contended(&file);
    if free {
        return Ok((LockState::Free, None));
    }
    let record =
        header::read_holder(&file, &slot.shared.identity).map_err(LockError::io("read", &slot.path))?;
    let Some((mut holder, writer)) = record else { return Ok((LockState::Held { holder: None }, None)) };
    holder.process = slot.shared.identity.fate_of(&writer);
    Ok((LockState::Held { holder: Some(Box::new(holder)) }, Some(writer)))
}
