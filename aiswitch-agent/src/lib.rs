#![doc = include_str!("../README.md")]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "aiswitch-agent supervises processes on Linux only: pidfds and subreapers are what it stands on"
);

mod access;
mod acp_agent;
mod adapter_door;
mod agents;
mod backlog;
mod check;
mod claude_agent;
mod codex_agent;
mod command_agent;
mod context;
mod conversation;
mod dialect;
mod enforcement;
mod error;
mod event;
mod figures;
mod health;
mod keeper;
mod life;
mod live_agent;
mod memory;
mod memory_agent;
mod pace;
mod permission;
mod process;
mod profile;
mod registry;
mod resources;
mod restart;
mod rpc_agent;
mod rpc_child;
mod samples;
mod sandbox;
mod sessions;
mod spec;
mod tier;
mod worker;

pub use access::{ACCESS, Access, Role, access, refusal};
pub use agents::{Agents, Each};
pub use aiswitch_rpc::protocol::{
    AgentId, Denial, ErrorKind, PermissionMode, TaskError, TaskId, TaskResult, TaskSpec, TaskStatus,
    TokenUsage,
};
pub use check::{Installation, Problem, check, find};
pub use context::{Limits, RunContext};
pub use enforcement::{Enforcement, Promise, Supervision, Tried};
pub use error::{AgentError, chain};
pub use event::{AgentEvent, Decision, EventSender, ToolPhase, event_channel};
pub use figures::FiguresReply;
pub use life::{LifeEvent, LifeState};
pub use live_agent::{LiveAgent, LiveError, LiveStatus, Replay, Turn};
pub use memory::MemoryReading;
pub use memory_agent::MemoryAgent;
pub use pace::{AgentClock, Pace};
pub use process::{
    Fault, GUARD_MARKER, Guard, Launch, MARKER, UnknownFault, become_program, foreground, guard_main,
    mark_above, misbehave, reclaim, suspend, sweep,
};
pub use profile::Profile;
pub use registry::{BuiltIn, built_in, built_ins};
pub use resources::{Resource, Resources, Unenforced};
pub use restart::{Restart, RestartPolicy, Restarts};
pub use samples::{TreeSample, TreeSampler};
pub use sandbox::{Sandbox, SandboxError};
pub use spec::{AgentSpec, Driver, RestartSpec, SpecDuration};
pub use tier::{Cgroups, Controllers, Hold, Tier};

/// One agent: something that is given a task and answers it.
///
/// Every driver of this crate starts a child process for the task and leaves none behind.
/// [`MemoryAgent`] answers within the caller's own process.
#[async_trait::async_trait]
pub trait Agent: std::fmt::Debug + Send + Sync {
    /// Who the agent is, and what it can do.
    fn profile(&self) -> &Profile;

    /// What would be started for this task; `None` where nothing is started.
    ///
    /// # Errors
    /// The program is not there, or the task asks for what this driver cannot express.
    fn launch(
        &self,
        task: &TaskSpec,
        environment: &aiswitch_env::Environment,
    ) -> Result<Option<Launch>, AgentError>;

    /// Has the agent do the task, and ends every process that it started for it.
    ///
    /// A cancelled [`RunContext::cancel`] asks the agent to stop in its own way first, then ends its processes
    /// within [`Limits::stop_grace`]; what it had answered until then is in the result.
    ///
    /// # Errors
    /// The agent could not be started. All that goes wrong afterwards is in the result.
    ///
    /// # Cancel safety
    /// Dropping the future kills the agent's processes at once; its answer is lost.
    async fn run(&self, task: TaskSpec, context: RunContext) -> Result<TaskResult, AgentError>;

    /// Gets the agent as far as it could be given this task, with the session that it names, gives it nothing, and ends
    /// every process that it started for that.
    ///
    /// # Errors
    /// Why it could not be given the task. A missing or wrong key shows itself only where the vendor's program looks at it
    /// before the first request.
    ///
    /// # Cancel safety
    /// Dropping the future kills the agent's processes at once.
    async fn probe(&self, task: TaskSpec, context: RunContext) -> Result<(), TaskError>;
}
