//! What agents are bound to by `aiswitch env switch`.

use std::sync::Arc;

use aiswitch_coordinator::{
    AgentId, EnvNotice, EnvRecords, EnvSnapshot, EnvState, FileLockManager, Home, PresetName,
};

use crate::commands::runtime;
use crate::error::Error;
use crate::output::Output;

/// What agents are bound to.
#[derive(Debug, Default)]
pub(crate) struct Bound(EnvRecords);

impl Bound {
    /// What agents of a home are bound to now; a switch that was broken off is ended before, and that is told.
    ///
    /// # Errors
    /// The records cannot be read or written.
    pub(crate) fn read(home: &Home, output: &Output) -> Result<Self, Error> {
        if !home.env_file().exists() {
            return Ok(Self::default());
        }
        let locks = FileLockManager::open(home.locks_dir())?;
        let state = EnvState::new(home.clone(), Arc::new(locks));
        let records = state.read()?;
        if !records.has_open_switch() {
            return Ok(Self(records));
        }
        tell(&runtime()?.block_on(state.settle())?, output);
        Ok(Self(state.read()?))
    }

    /// The preset of an agent, and what that was where a rollback brought it back.
    pub(crate) fn of(&self, agent: &AgentId) -> Option<(PresetName, Option<EnvSnapshot>)> {
        let binding = self.0.bindings.get(agent)?;
        let snapshot = binding.snapshot.and_then(|id| self.0.snapshot(agent, id)).cloned();
        Some((binding.preset.clone(), snapshot))
    }

    /// The records.
    pub(crate) fn records(&self) -> &EnvRecords {
        &self.0
    }
}

/// Tells what happened to the records beside what was asked for.
pub(crate) fn tell(notices: &[EnvNotice], output: &Output) {
    for notice in notices {
        output.note(&notice.to_string());
    }
}
