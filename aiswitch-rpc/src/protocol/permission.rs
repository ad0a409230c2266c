//! `permission.*`: what an agent may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{TaskId, request};

request! {
    /// `permission.request`: the agent asks before it uses a tool.
    PermissionRequest = "permission.request", PermissionRequestParams => PermissionRequestResult
}

/// What an agent may do in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PermissionMode {
    /// Look, change nothing.
    ReadOnly,
    /// Change files in the folder; ask before anything else.
    Write,
    /// Do anything without asking.
    Yolo,
}

impl PermissionMode {
    const ALL: [Self; 3] = [Self::ReadOnly, Self::Write, Self::Yolo];

    fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Write => "write",
            Self::Yolo => "yolo",
        }
    }
}

impl fmt::Display for PermissionMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A word is not the name of a permission mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPermissionMode {
    /// The word that was given.
    pub value: String,
}

impl fmt::Display for InvalidPermissionMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "mode `{}` is not known: use `read-only`, `write` or `yolo`", self.value)
    }
}

impl std::error::Error for InvalidPermissionMode {}

impl FromStr for PermissionMode {
    type Err = InvalidPermissionMode;

    fn from_str(value: &str) -> Result<Self, InvalidPermissionMode> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == value)
            .ok_or_else(|| InvalidPermissionMode { value: value.to_owned() })
    }
}

/// The params of [`PermissionRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PermissionRequestParams {
    /// The task that needs the tool.
    pub task_id: TaskId,
    /// The name of the tool.
    pub tool: String,
    /// The question, for a human.
    pub question: String,
    /// What the tool would be given.
    #[serde(default)]
    pub input: Value,
}

/// The answer to a [`PermissionRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PermissionDecision {
    /// The tool may be used this time.
    Allow,
    /// It may not.
    Deny,
}

/// The result of [`PermissionRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PermissionRequestResult {
    /// Whether the tool may be used.
    pub decision: PermissionDecision,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
