//! The begin of a run: its locks, and its first line in the state files.

use aiswitch_lock::database::DatabaseError;
use aiswitch_lock::{LockManager, LockOptions, PURPOSE_BYTES_MAX};

use super::Run;
use super::save::not_kept;
use crate::error::{HomeError, RunError};
use crate::locks::take_locks;
use crate::state::Reclaimed;
use crate::{RunEvent, RunEventKind};

impl<F: FnMut(&RunEvent) + Send> Run<'_, F> {
    /// Takes the plan's locks, sets aside what its agents may use and writes the first line of the run; nothing is left of a run that could not begin.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the locks; the folder of the run stays, and what is set aside does so for a while.
    pub(crate) async fn begin(&mut self, locks: Option<&dyn LockManager>) -> Result<(), RunError> {
        let begun = match self.take_locks(locks).await {
            Ok(()) => match self.reserve().await {
                Ok(()) => self.save_first().await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let (Err(_), Some(records)) = (&begun, &self.start.records) {
            records.journal.remove();
        }
        begun
    }

    async fn take_locks(&mut self, locks: Option<&dyn LockManager>) -> Result<(), RunError> {
        let plan = self.start.plan;
        let Some(locks) = locks.filter(|_| !plan.locks.is_empty()) else { return Ok(()) };
        let agents: Vec<&str> = plan.assignments().map(|assignment| assignment.agent.as_ref()).collect();
        let mut purpose = format!("run of {}", agents.join(", "));
        purpose.truncate(purpose.floor_char_boundary(PURPOSE_BYTES_MAX));
        let options = LockOptions::new()
            .with_timeout(plan.lock_timeout)
            .with_priority(plan.lock_priority)
            .with_owner(self.start.id.to_string())
            .with_purpose(purpose);
        let cancel = self.start.cancel.clone();
        let taken = take_locks(locks, &plan.locks, &options, |wait| {
            self.tell(None, RunEventKind::Waiting { wait });
        });
        tokio::select! {
            biased;
            // A cancelled run goes on without locks, since it starts no agent.
            () = cancel.cancelled() => {}
            guards = taken => self.held = guards?,
        }
        Ok(())
    }

    /// Writes the run into the state files.
    async fn save_first(&mut self) -> Result<(), RunError> {
        let Some(state) = &self.start.state else { return Ok(()) };
        // A store that cannot be read or written is told about by the save.
        if let Ok(reclaimed) = state.clone().reclaim().await {
            self.start.ready.warnings.extend(interrupted(&reclaimed));
        }
        let warnings = match state.clone().save(self.start.run_record(None), Vec::new()).await {
            Ok(warnings) => warnings,
            // What somebody else wrote there is no reason not to run.
            Err(error) if is_what_it_holds(&error) => vec![not_kept(&error)],
            Err(source) => return Err(RunError::State { source }),
        };
        self.start.ready.warnings.extend(warnings);
        Ok(())
    }
}

/// What to tell about runs whose own process was gone before they ended.
fn interrupted(reclaimed: &Reclaimed) -> Option<String> {
    let first = reclaimed.runs.first()?;
    let more = if reclaimed.runs.len() > 1 {
        format!(" and {} more", reclaimed.runs.len() - 1)
    } else {
        String::new()
    };
    Some(match reclaimed.processes {
        0 => format!("run {first}{more} was interrupted; nothing of it was left running"),
        found => format!("{found} processes that interrupted run {first}{more} had left were killed"),
    })
}

/// Whether a database is not used for what it holds, rather than for its place.
fn is_what_it_holds(error: &HomeError) -> bool {
    let HomeError::Database(error) = error else { return false };
    matches!(
        **error,
        DatabaseError::Damaged { .. }
            | DatabaseError::Newer { .. }
            | DatabaseError::NoVersion { .. }
            | DatabaseError::Foreign { .. }
    )
}
