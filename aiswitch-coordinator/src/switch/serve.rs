//! The methods `env.*` of the aiswitch protocol, on a channel to one agent.

use aiswitch_agent::{Access, AgentId, Role, access, refusal};
use aiswitch_env::{PresetName, SnapshotId};
use aiswitch_rpc::protocol::{
    EnvRollback, EnvRollbackParams, EnvSnapshot, EnvSnapshotParams, EnvSnapshotResult, EnvSwitch,
    EnvSwitchParams,
};
use aiswitch_rpc::{ErrorObject, RequestMethod, Router};

use super::{SwitchError, SwitchOptions};
use crate::{Actor, Channel, Coordinator, chain};

/// The methods `env.switch`, `env.snapshot` and `env.rollback` for one agent, as the table of roles lets this role use them.
///
/// The variables come from the preset alone: a message that brings its own is refused. What an agent is refused stands in the
/// audit log.
pub fn env_methods(
    coordinator: &Coordinator,
    agent: &AgentId,
    role: Role,
    options: &SwitchOptions,
) -> Router {
    let actor = if role == Role::Operator { Actor::Operator } else { Actor::Agent(agent.clone()) };
    let served = Served {
        coordinator: coordinator.clone().with_caller(actor, Channel::Adapter),
        agent: agent.clone(),
        role,
        options: options.clone(),
    };
    let (switch, snapshot, rollback) = (served.clone(), served.clone(), served);
    Router::new()
        .request::<EnvSwitch>(move |params, _| {
            let served = switch.clone();
            async move { served.switch(params).await }
        })
        .request::<EnvSnapshot>(move |EnvSnapshotParams {}, _| {
            let served = snapshot.clone();
            async move { served.snapshot().await }
        })
        .request::<EnvRollback>(move |params, _| {
            let served = rollback.clone();
            async move { served.rollback(params).await }
        })
}

/// What the three methods need.
#[derive(Clone, Debug)]
struct Served {
    coordinator: Coordinator,
    agent: AgentId,
    role: Role,
    options: SwitchOptions,
}

impl Served {
    async fn switch(&self, params: EnvSwitchParams) -> Result<EnvSnapshotResult, ErrorObject> {
        self.allow(EnvSwitch::NAME).await?;
        if !params.variables.is_empty() {
            return Err(ErrorObject::invalid_params("the variables come from the preset; send none"));
        }
        let preset: PresetName = params.preset.parse().map_err(|error| invalid(&error))?;
        let switched = self.coordinator.switch_agent_env(&self.agent, &preset, self.options.clone()).await;
        let switched = switched.map_err(|error| failed(&error))?;
        Ok(EnvSnapshotResult { snapshot_id: switched.record.id.to_string() })
    }

    async fn snapshot(&self) -> Result<EnvSnapshotResult, ErrorObject> {
        self.allow(EnvSnapshot::NAME).await?;
        let kept = self.coordinator.create_env_snapshot(&self.agent, &self.options).await;
        let (snapshot, _) = kept.map_err(|error| failed(&error))?;
        Ok(EnvSnapshotResult { snapshot_id: snapshot.id.to_string() })
    }

    async fn rollback(&self, params: EnvRollbackParams) -> Result<(), ErrorObject> {
        self.allow(EnvRollback::NAME).await?;
        let id: SnapshotId = params.snapshot_id.parse().map_err(|error| invalid(&error))?;
        let rolled_back = self.coordinator.rollback_env(&self.agent, Some(id), self.options.clone()).await;
        rolled_back.map(drop).map_err(|error| failed(&error))
    }

    /// Refuses whoever the table of roles does not let use a method.
    async fn allow(&self, method: &'static str) -> Result<(), ErrorObject> {
        if access(self.role, method) == Access::Any {
            return Ok(());
        }
        if self.role == Role::Agent {
            // It is refused whether or not the log can hold it.
            drop(self.coordinator.operator_only(method, &self.agent, String::new()).await);
        }
        Err(refusal(self.role, method))
    }
}

fn invalid(error: &aiswitch_env::EnvError) -> ErrorObject {
    ErrorObject::invalid_params(error.to_string())
}

/// Why a switch was not done, in the words of the protocol.
fn failed(error: &SwitchError) -> ErrorObject {
    let message = match error {
        SwitchError::Invalid(validation) => {
            let problems = validation.problems.iter().map(ToString::to_string);
            std::iter::once(error.to_string()).chain(problems).collect::<Vec<_>>().join("; ")
        }
        SwitchError::RolledBack { problem, .. } => format!("{error}: {}", problem.message),
        other => chain(other),
    };
    ErrorObject::internal(&message)
}
