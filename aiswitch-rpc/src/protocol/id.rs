//! Names of agents and tasks: checked when they are made, so that they can stand in paths and logs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name breaks the rule for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidId {
    /// What the name is for.
    pub kind: &'static str,
    /// The name that was given.
    pub value: String,
    /// The rule, as a regular expression.
    pub rule: &'static str,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, value, rule } = self;
        write!(formatter, "{kind} `{value}` is not valid: it must match {rule}")
    }
}

impl std::error::Error for InvalidId {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $bytes_max:literal, $upper:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(#[cfg_attr(feature = "schema", schemars(regex(pattern = $rule)))] String);

        impl $name {
            fn check(value: &str) -> bool {
                let is_letter = |byte: u8| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || ($upper && byte.is_ascii_uppercase())
                };
                value.len() <= $bytes_max
                    && value.bytes().next().is_some_and(is_letter)
                    && value.bytes().all(|byte| is_letter(byte) || byte == b'_' || byte == b'-')
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(value: String) -> Result<Self, InvalidId> {
                if Self::check(&value) {
                    Ok(Self(value))
                } else {
                    Err(InvalidId { kind: $kind, value, rule: $rule })
                }
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidId;

            fn try_from(value: &str) -> Result<Self, InvalidId> {
                Self::try_from(value.to_owned())
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(value: &str) -> Result<Self, InvalidId> {
                Self::try_from(value)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

id! {
    /// The name of an agent, unique within a run: `^[a-z0-9][a-z0-9_-]{0,63}$`.
    ///
    /// ```
    /// use aiswitch_rpc::protocol::AgentId;
    ///
    /// assert_eq!(AgentId::try_from("claude-2")?.as_ref(), "claude-2");
    /// assert!(AgentId::try_from("../claude").is_err());
    /// # Ok::<(), aiswitch_rpc::protocol::InvalidId>(())
    /// ```
    AgentId, "agent id", "^[a-z0-9][a-z0-9_-]{0,63}$", 64, false
}

id! {
    /// The name of a task, unique within an agent: `^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`.
    TaskId, "task id", "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$", 128, true
}
