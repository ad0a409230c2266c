//! Why a tool of `aiswitch mcp` did not do what its client asked for.

use aiswitch_coordinator::{AgentId, PermissionMode};

/// Why a tool of `aiswitch mcp` did not do what its client asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("the arguments are not those of the tool")]
    Arguments {
        #[source]
        source: serde_json::Error,
    },
    #[error("agent `{agent}` is asked for under a preset, which a client may not choose")]
    Preset { agent: AgentId },
    #[error("mode `{mode}` is asked for, and this server gives at most `{mode_max}`")]
    Mode { mode: PermissionMode, mode_max: PermissionMode },
    #[error("{max} runs go on already")]
    Busy { max: usize },
    #[error("agent `{agent}` works for a run itself, and starts no others here")]
    Agent { agent: AgentId },
}

impl ToolError {
    /// What to do next.
    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Arguments { .. } => "see the tool's `inputSchema`".to_owned(),
            Self::Preset { .. } => "bind the agent to it: aiswitch env switch AGENT PRESET".to_owned(),
            Self::Mode { mode: PermissionMode::Yolo, .. } => {
                "run it at a terminal: aiswitch run --mode yolo".to_owned()
            }
            Self::Mode { mode, .. } => format!("start the server with: aiswitch mcp --mode {mode}"),
            Self::Busy { .. } => "ask again when one of them has ended".to_owned(),
            Self::Agent { .. } => return None,
        })
    }
}
