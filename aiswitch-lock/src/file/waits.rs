//! Finding out that owners wait for each other in a circle.
//!
//! Whoever waits for long notes in the folder `waits` what it waits for, one file for each owner. From a lock one gets to
//! its holder by the lock file, and from the holder to the lock that it waits for by its note. A way that leads back to
//! where it began is a deadlock, if it is found twice without a change. Of its members the one who came last steps back.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::slot::Slot;
use super::{Shared, inspect, make_folder};
use crate::identity::{Identity, start_of};
use crate::{DeadlockLink, LockError, LockName, LockState};

/// How long after the first sight of a deadlock it has to be seen again: 100 ms.
///
/// A holder that was just stopped between taking a lock and writing its record makes its predecessor look like the holder.
const CONFIRM_AFTER: Duration = Duration::from_millis(100);

/// How long after its first look an owner looks again, for those who came with it to have written their notes: 50 ms.
const NOTED_AFTER: Duration = Duration::from_millis(50);

/// The longest circle that is found.
const MEMBERS_MAX: usize = 64;

const FOLDER: &str = "waits";

/// What one waiter does about deadlocks.
#[derive(Debug)]
pub(crate) struct Search {
    /// When to look next; `None` if the waiter has no owner and so takes no part.
    due: Option<Instant>,
    note: Option<Note>,
    /// The circle that was seen the last time.
    suspected: Option<Vec<Member>>,
}

/// One member of a circle, with what would be different if it had moved on in between.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    pid: u32,
    owner: String,
    waits_for: LockName,
    arrived_ns: u64,
    /// The token of the holder of what it waits for.
    token: u64,
}

/// A note of what an owner waits for; it goes when this is dropped.
#[derive(Debug)]
struct Note {
    path: PathBuf,
    made_by: u32,
}

impl Drop for Note {
    fn drop(&mut self) {
        if self.made_by == std::process::id() {
            // What is left of it is removed by the next cleanup.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Search {
    pub(crate) fn new(owner: Option<&str>, started: Instant, shared: &Shared) -> Self {
        let due = owner.and_then(|_| started.checked_add(shared.config.deadlock_after));
        Self { due, note: None, suspected: None }
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Looks for a circle if it is time to.
    pub(crate) fn look(
        &mut self,
        slot: &Slot,
        (owner, arrived_ns): (&str, u64),
        now: Instant,
    ) -> Result<(), LockError> {
        if self.due.is_none_or(|due| now < due) {
            return Ok(());
        }
        let shared = &slot.shared;
        // Whoever came at the same time may be about to write its note.
        let again = if self.note.is_none() { NOTED_AFTER } else { shared.config.deadlock_after };
        self.due = now.checked_add(again);
        if self.note.is_none() {
            self.note = Some(write_note(shared, &slot.name, owner, arrived_ns)?);
        }
        let seen = find_circle(shared, &slot.name, owner, arrived_ns)?;
        let is_mine = |member: &Member| member.pid == shared.identity.pid && member.owner == owner;
        let last_to_come = |circle: &[Member]| {
            circle.iter().max_by_key(|member| (member.arrived_ns, member.pid)).is_some_and(is_mine)
        };
        let Some(circle) = seen.filter(|circle| last_to_come(circle)) else {
            self.suspected = None;
            return Ok(());
        };
        if self.suspected.as_ref() != Some(&circle) {
            self.suspected = Some(circle);
            self.due = now.checked_add(CONFIRM_AFTER);
            return Ok(());
        }
        let link = |member: Member| DeadlockLink {
            pid: member.pid,
            owner: member.owner,
            waits_for: member.waits_for,
        };
        Err(LockError::Deadlock { name: slot.name.clone(), cycle: circle.into_iter().map(link).collect() })
    }
}

/// The way from a lock over its holder to what that one waits for, if it leads back to this owner.
fn find_circle(
    shared: &Arc<Shared>,
    name: &LockName,
    owner: &str,
    arrived_ns: u64,
) -> Result<Option<Vec<Member>>, LockError> {
    let here = &shared.identity;
    let mut circle = Vec::new();
    let mut at = (here.pid, owner.to_owned(), name.clone(), arrived_ns);
    while circle.len() < MEMBERS_MAX {
        let (pid, waiting, waits_for, arrived_ns) = at;
        let slot = Slot::new(waits_for.clone(), shared)?;
        let (LockState::Held { holder: Some(holder) }, Some(identity)) = inspect::state(&slot)? else {
            return Ok(None);
        };
        circle.push(Member { pid, owner: waiting, waits_for, arrived_ns, token: holder.fencing_token });
        let Some(holder_owner) = holder.owner else { return Ok(None) };
        if !identity.is_near(here) {
            return Ok(None);
        }
        if (identity.pid, identity.start) == (here.pid, here.start) && holder_owner == owner {
            return Ok(Some(circle));
        }
        let Some((next, since_ns)) = read_note(shared, &identity, &holder_owner)? else { return Ok(None) };
        at = (identity.pid, holder_owner, next, since_ns);
    }
    Ok(None)
}

/// A note's file name tells process and owner, so that it is found from a holder's record.
fn note_path(shared: &Shared, process: &Identity, owner: &str) -> PathBuf {
    let mut name = format!("{}-{}-", process.pid, process.start);
    for byte in owner.bytes() {
        write!(name, "{byte:02x}").expect("writing to a string cannot fail");
    }
    shared.folder.join(FOLDER).join(name)
}

fn write_note(shared: &Shared, name: &LockName, owner: &str, arrived_ns: u64) -> Result<Note, LockError> {
    make_folder(&shared.folder.join(FOLDER))?;
    let path = note_path(shared, &shared.identity, owner);
    let note = Note { path, made_by: shared.identity.pid };
    fs::write(&note.path, format!("{arrived_ns} {}\n", name.stem()?))
        .map_err(LockError::io("write the note", &note.path))?;
    Ok(note)
}

/// What an owner waits for and since when; `None` if it does not wait, or not for long.
fn read_note(shared: &Shared, process: &Identity, owner: &str) -> Result<Option<(LockName, u64)>, LockError> {
    let path = note_path(shared, process, owner);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(LockError::io("read the note", &path))?,
    };
    // A note without its end is being written.
    let parsed = text.strip_suffix('\n').and_then(|line| {
        let (arrived_ns, stem) = line.split_once(' ')?;
        Some((LockName::from_stem(stem)?, arrived_ns.parse().ok()?))
    });
    Ok(parsed)
}

/// Removes the notes of processes that have ended, and tells how many there were.
pub(crate) fn remove_notes_of_the_ended(folder: &Path) -> Result<usize, LockError> {
    let folder = folder.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(LockError::io("read the folder", &folder))?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry.map_err(LockError::io("read the folder", &folder))?;
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| {
            let mut parts = name.split('-');
            Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
        });
        if let Some((pid, start)) = process
            && start_of(pid) != Some(start)
            && fs::remove_file(entry.path()).is_ok()
        {
            removed += 1;
        }
    }
    Ok(removed)
}
