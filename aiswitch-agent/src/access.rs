//! Who may call which method of the aiswitch protocol: one table, and what is not in it is denied.

use std::fmt;

use aiswitch_rpc::protocol::METHODS;
use aiswitch_rpc::{ErrorObject, error_code};

/// Who is at the other end of a channel; the channel itself says so, never a message that comes through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Whoever the home belongs to, at a command line of their own.
    Operator,
    /// Somebody who may look, and change nothing.
    Viewer,
    /// An agent, through the stdin and stdout of its own process.
    Agent,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Agent => "agent",
        })
    }
}

/// How far a role may use a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Not at all.
    Denied,
    /// For what is its own: the task that it was given, its own usage and figures.
    Own,
    /// For everything.
    Any,
}

/// Which role may use which method, and how far: operator, viewer, agent.
///
/// It has every method of [`METHODS`], in the same order. What only an agent can say of
/// itself nobody else may say.
pub const ACCESS: &[(&str, [Access; 3])] = {
    use Access::{Any, Denied, Own};
    &[
        ("agent.initialize", [Any, Denied, Denied]),
        ("agent.shutdown", [Any, Denied, Denied]),
        ("agent.status", [Any, Any, Denied]),
        ("agent.restart", [Any, Denied, Denied]),
        ("task.assign", [Any, Denied, Denied]),
        ("task.cancel", [Any, Denied, Denied]),
        ("task.output", [Denied, Denied, Own]),
        ("task.status", [Any, Any, Denied]),
        ("task.result", [Any, Any, Denied]),
        ("permission.request", [Denied, Denied, Own]),
        ("env.switch", [Any, Denied, Denied]),
        ("env.snapshot", [Any, Denied, Denied]),
        ("env.rollback", [Any, Denied, Denied]),
        ("metrics.report", [Denied, Denied, Own]),
        ("metrics.query", [Any, Any, Own]),
        ("tokens.usage", [Denied, Denied, Own]),
    ]
};

/// How far a role may use a method; a method that is not in [`ACCESS`] is denied to all.
pub fn access(role: Role, method: &str) -> Access {
    let column = match role {
        Role::Operator => 0,
        Role::Viewer => 1,
        Role::Agent => 2,
    };
    ACCESS.iter().find(|(name, _)| *name == method).map_or(Access::Denied, |(_, row)| row[column])
}

/// The answer to a method that is not served: one that this role may not call, or that nobody knows.
pub fn refusal(role: Role, method: &str) -> ErrorObject {
    let is_known = METHODS.iter().any(|(name, ..)| *name == method);
    if is_known && access(role, method) == Access::Denied {
        ErrorObject::new(error_code::FORBIDDEN, format!("no {role} may call `{method}`"))
    } else {
        ErrorObject::method_not_found(method)
    }
}
