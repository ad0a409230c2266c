//! What a home lets go of, so that it does not grow without end.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aiswitch_lock::replace_file;
use chrono::{DateTime, Utc};

use crate::error::HomeError;
use crate::home::{FILE_MODE, make_folder};
use crate::log::{Ended, Form, LogSource, Segment};
use crate::run_store::{RunStore, SqliteRunStore};
use crate::state::{State, on_a_thread};
use crate::{Home, RunId};

/// How old and how large what a home keeps may become; the oldest goes first.
///
/// A run that goes on stays, and so does the file of a log that is written. What agents used and the audit log stay too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How old a run may become.
    pub run_age_max: Duration,
    /// How much the folders of all runs may take together, in bytes.
    pub run_bytes_max: u64,
    /// How old the last line of a log's file that was put away may become.
    pub log_age_max: Duration,
    /// How much all files of logs that were put away may take together, in bytes.
    pub log_bytes_max: u64,
}

impl Default for Retention {
    /// 90 days and 5 GiB of runs, 30 days and 1 GiB of logs.
    fn default() -> Self {
        const DAY: Duration = Duration::from_hours(24);
        const GIB: u64 = 1 << 30;
        Self { run_age_max: 90 * DAY, run_bytes_max: 5 * GIB, log_age_max: 30 * DAY, log_bytes_max: GIB }
    }
}

/// After what time something may be too old again.
const DUE_AFTER: chrono::Duration = chrono::Duration::days(1);

/// What a home has beyond its retention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// The runs, the oldest first.
    pub runs: Vec<RunId>,
    /// The files of logs, the oldest first.
    pub logs: Vec<PathBuf>,
    /// How much room all of it takes, in bytes.
    pub bytes: u64,
}

/// When something was removed last is the time of this file.
fn cleaned_file(home: &Home) -> PathBuf {
    home.state_dir().join("cleaned")
}

/// Something that a home keeps.
struct Kept<T> {
    what: T,
    at: DateTime<Utc>,
    bytes: u64,
}

impl Expired {
    /// Finds what a home has beyond its retention at a moment; nothing is removed.
    ///
    /// # Errors
    /// The home or its database of runs cannot be read.
    pub fn find(home: &Home, retention: &Retention, now: DateTime<Utc>) -> Result<Self, HomeError> {
        home.check()?;
        let mut expired = Self::default();
        let runs = beyond(ended_runs(home)?, retention.run_age_max, retention.run_bytes_max, now);
        let logs = beyond(put_away(home)?, retention.log_age_max, retention.log_bytes_max, now);
        expired.bytes = runs.iter().map(|run| run.bytes).chain(logs.iter().map(|log| log.bytes)).sum();
        expired.runs = runs.into_iter().map(|run| run.what).collect();
        expired.logs = logs.into_iter().map(|log| log.what).collect();
        Ok(expired)
    }

    /// Whether this home has something to remove from, and nothing was removed from it for a day.
    pub fn is_due(home: &Home, now: DateTime<Utc>) -> bool {
        if !home.state_dir().exists() {
            return false;
        }
        let last = fs::metadata(cleaned_file(home)).and_then(|file| file.modified());
        // A time that lies ahead comes from a clock that was set back.
        last.map_or(true, |last| (now - DateTime::<Utc>::from(last)).abs() > DUE_AFTER)
    }

    /// Removes what was found; what another process has removed already is passed over.
    ///
    /// # Errors
    /// Something cannot be removed; what comes behind it stays then, and what came before it is gone.
    ///
    /// # Cancel safety
    /// What was begun is done to its end.
    pub async fn remove(&self, home: &Home) -> Result<(), HomeError> {
        let (expired, place) = (self.clone(), home.clone());
        on_a_thread(move || expired.remove_files(&place)).await?;
        if self.runs.is_empty() { Ok(()) } else { State::of_home(home)?.show().await }
    }

    fn remove_files(&self, home: &Home) -> Result<(), HomeError> {
        make_folder(&home.state_dir())?;
        replace_file(&cleaned_file(home), b"", FILE_MODE)
            .map_err(|source| HomeError::Replace { path: cleaned_file(home), source })?;
        for run in &self.runs {
            let path = home.run_dir(run);
            gone(fs::remove_dir_all(&path)).map_err(HomeError::io("remove", path))?;
        }
        if !self.runs.is_empty() && home.runs_file().exists() {
            SqliteRunStore::at(home.runs_file()).forget(&self.runs)?;
        }
        for path in &self.logs {
            gone(fs::remove_file(path)).map_err(HomeError::io("remove", path))?;
        }
        Ok(())
    }
}

/// What is not there needs no removal.
fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Of things in the order of their age: the too old, and the oldest of what is too much.
fn beyond<T>(mut kept: Vec<Kept<T>>, age_max: Duration, bytes_max: u64, now: DateTime<Utc>) -> Vec<Kept<T>> {
    kept.sort_by_key(|thing| thing.at);
    let mut bytes: u64 = kept.iter().map(|thing| thing.bytes).sum();
    let mut is_beyond = |thing: &Kept<T>| {
        let is_old = (now - thing.at).to_std().is_ok_and(|age| age > age_max);
        let is_beyond = is_old || bytes > bytes_max;
        if is_beyond {
            bytes -= thing.bytes;
        }
        is_beyond
    };
    let count = kept.iter().map(&mut is_beyond).take_while(|is_beyond| *is_beyond).count();
    kept.truncate(count);
    kept
}

/// The runs with a folder that do not go on.
fn ended_runs(home: &Home) -> Result<Vec<Kept<RunId>>, HomeError> {
    let mut going_on = Vec::new();
    if home.runs_file().exists() {
        let running = SqliteRunStore::at(home.runs_file()).running()?;
        going_on.extend(running.iter().filter(|run| !run.is_left()).map(|run| run.run_id));
    }
    let mut ended = home.runs().folders()?;
    ended.retain(|run| !going_on.contains(run));
    ended
        .into_iter()
        .map(|run| Ok(Kept { at: run.started_at(), bytes: folder_bytes(&home.run_dir(&run))?, what: run }))
        .collect()
}

/// The files of logs that were put away.
fn put_away(home: &Home) -> Result<Vec<Kept<PathBuf>>, HomeError> {
    let mut kept = Vec::new();
    for source in LogSource::all(home)? {
        for Ended { segment: Segment { path, first, form, .. }, last, .. } in source.ended_segments(home)? {
            let (Some(at), true) = (last.or(first), form != Form::Written) else { continue };
            match path.symlink_metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                file => {
                    let bytes = file.map_err(HomeError::io("look at", &path))?.len();
                    kept.push(Kept { what: path, at, bytes });
                }
            }
        }
    }
    Ok(kept)
}

/// The room that a folder takes on the disk, with all that is in it.
fn folder_bytes(path: &Path) -> Result<u64, HomeError> {
    let mut bytes = 0;
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(HomeError::io("read the folder", &folder))?,
        };
        for entry in entries {
            let look = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)));
            let (path, found) = look.map_err(HomeError::io("read the folder", &folder))?;
            // Blocks of 512 bytes, whatever the file system's own are (stat(2)).
            bytes += found.blocks() * 512;
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of some things with an age in hours and a size go, when a day and 10 bytes are kept.
    fn go(things: &[(i64, u64)]) -> Vec<i64> {
        let now = DateTime::from_timestamp_millis(1_762_000_000_000).expect("a time");
        let kept = things.iter().map(|(hours, bytes)| Kept {
            what: *hours,
            at: now - chrono::Duration::hours(*hours),
            bytes: *bytes,
        });
        beyond(kept.collect(), Duration::from_hours(24), 10, now)
            .into_iter()
            .map(|thing| thing.what)
            .collect()
    }

    #[test]
    fn the_too_old_and_the_oldest_of_the_too_much_go() {
        assert_eq!(go(&[]), [0; 0]);
        assert_eq!(go(&[(24, 5), (1, 5)]), [0; 0]);
        assert_eq!(go(&[(25, 0), (1, 5)]), [25]);
        assert_eq!(go(&[(1, 5), (3, 5), (2, 1)]), [3]);
        assert_eq!(go(&[(2, 11), (1, 9)]), [2]);
        assert_eq!(go(&[(1, 11)]), [1]);
        // What lies in the future, since the clock was set back, is not old.
        assert_eq!(go(&[(-30, 1), (1, 1)]), [0; 0]);
    }
}
