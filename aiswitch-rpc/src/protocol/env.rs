//! `env.*`: changing the environment of a live agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::request;

request! {
    /// `env.switch`: the agent uses other environment variables from its next task on.
    EnvSwitch = "env.switch", EnvSwitchParams => EnvSnapshotResult
}
request! {
    /// `env.snapshot`: the agent remembers the variables that it uses now.
    EnvSnapshot = "env.snapshot", EnvSnapshotParams => EnvSnapshotResult
}
request! {
    /// `env.rollback`: the agent goes back to the variables of a snapshot.
    EnvRollback = "env.rollback", EnvRollbackParams => ()
}

/// The params of [`EnvSwitch`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnvSwitchParams {
    /// The name of the preset, for the agent's log.
    pub preset: String,
    /// The variables to set; `null` unsets one.
    pub variables: BTreeMap<String, Option<String>>,
}

impl std::fmt::Debug for EnvSwitchParams {
    /// Names only: the values may be secrets.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.variables.keys().collect();
        formatter
            .debug_struct("EnvSwitchParams")
            .field("preset", &self.preset)
            .field("variables", &names)
            .finish()
    }
}

/// The params of [`EnvSnapshot`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnvSnapshotParams {}

/// The result of [`EnvSnapshot`] and [`EnvSwitch`]: the state before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnvSnapshotResult {
    /// The name of the snapshot, to be named in `env.rollback`.
    pub snapshot_id: String,
}

/// The params of [`EnvRollback`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EnvRollbackParams {
    /// The snapshot to go back to.
    pub snapshot_id: String,
}
