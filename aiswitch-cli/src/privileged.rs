//! What only the operator may do; it stands in the audit log before it is done.

use std::sync::Arc;

use aiswitch_coordinator::{
    Actor, Audit, AuditDecision, AuditEntry, Channel, FileLockManager, Home, HomeError,
};

use crate::caller::Caller;
use crate::commands::runtime;
use crate::error::Error;

/// Writes down that the caller does something that only the operator may do; do it only after that.
///
/// `object` says what it is done to, with no secret in it. A caller that an agent started is that agent, and is refused.
///
/// # Errors
/// The caller is not the operator, or the audit log cannot be written.
pub(crate) fn privileged(home: &Home, action: &str, object: &str) -> Result<(), Error> {
    let actor = Caller::actor();
    let decision = if actor == Actor::Operator { AuditDecision::Allowed } else { AuditDecision::Denied };
    let entry = AuditEntry {
        actor: actor.clone(),
        channel: Channel::CommandLine,
        action: action.to_owned(),
        object: object.to_owned(),
        decision,
        detail: None,
    };
    let unaudited = |source| Error::Unaudited { action: action.to_owned(), source };
    let audit = writer(home).map_err(unaudited)?;
    runtime()?.block_on(audit.append(vec![entry])).map_err(unaudited)?;
    match decision {
        AuditDecision::Allowed => Ok(()),
        AuditDecision::Denied => {
            Err(Error::OperatorOnly { action: action.to_owned(), actor: actor.to_string() })
        }
    }
}

/// What writes the audit log of a home.
///
/// # Errors
/// The folder of locks cannot be made.
pub(crate) fn writer(home: &Home) -> Result<Audit, HomeError> {
    let locks = FileLockManager::open(home.locks_dir()).map_err(HomeError::AuditLock)?;
    Ok(Audit::new(home.clone(), Arc::new(locks)))
}
