//! Codex, driven through `codex app-server`.

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{ErrorKind, PermissionMode, TaskError, TaskResult, TaskSpec};
use aiswitch_rpc::{JsonRpcMember, Options, Peer};
use serde_json::{Value, json};

use crate::conversation::{Stop, ask, check_version};
use crate::dialect::codex::{self, Turn};
use crate::process::Launch;
use crate::sessions::{Vendor, probe_once, run_once};
use crate::worker::not_started;
use crate::{Agent, AgentError, Profile, RunContext, Sandbox};

/// Codex, driven through `codex app-server`: one thread and one turn for each task.
///
/// Read-only and write keep every command in Codex's own sandbox. What fails there is asked about, declined and
/// reported as a denial; `sandbox_workspace_write.network_access` in the user's own `config.toml` is honoured.
/// It cannot put up that sandbox within another one, so within one of ours it is told to go without.
#[derive(Clone, Debug)]
pub(crate) struct CodexAgent {
    profile: Profile,
}

/// Codex under an environment.
#[derive(Clone, Debug)]
pub(crate) struct Codex {
    agent: CodexAgent,
    environment: Environment,
}

impl CodexAgent {
    pub(crate) fn new(profile: Profile) -> Self {
        Self { profile }
    }

    pub(crate) fn start(&self, task: &TaskSpec, environment: &Environment) -> Result<Launch, AgentError> {
        let (mode, sandbox) = (task.mode, self.profile.sandbox);
        if mode == PermissionMode::ReadOnly && !matches!(sandbox, Sandbox::None | Sandbox::ReadOnly) {
            return Err(AgentError::SandboxConflict { agent: self.profile.id.clone(), mode, sandbox });
        }
        self.profile.launch(task, environment, ["app-server"])
    }

    pub(crate) fn under(&self, environment: &Environment) -> Codex {
        Codex { agent: self.clone(), environment: environment.clone() }
    }
}

fn refused(kind: ErrorKind) -> impl Fn(aiswitch_rpc::ErrorObject) -> TaskError {
    move |error| TaskError::new(kind, error.message)
}

#[async_trait::async_trait]
impl Vendor for Codex {
    type Turn = Turn;

    const PROMPT: &'static str = "turn/start";

    fn options() -> Options {
        Options::default().with_jsonrpc(JsonRpcMember::Optional)
    }

    async fn greet(&self, peer: &Peer) -> Result<Value, Stop> {
        let hello = codex::initialize(env!("CARGO_PKG_VERSION"));
        let reply = ask(peer, "initialize", &hello, refused(ErrorKind::Protocol)).await?;
        check_version(&self.agent.profile, codex::version(&reply))?;
        peer.notify_untyped("initialized", &()).await.map_err(|_closed| Stop::Closed)?;
        Ok(reply)
    }

    /// Opens the thread.
    ///
    /// The key of a preset counts even where somebody is logged in: a preset that is given and not used would deceive.
    async fn open(&self, peer: &Peer, task: &TaskSpec, _greeting: &Value) -> Result<Turn, Stop> {
        let (method, mut params) = codex::open_thread(task, self.agent.profile.sandbox);
        let account = ask(peer, "account/read", &json!({}), refused(ErrorKind::Protocol)).await?;
        if codex::needs_login(&account) || self.environment.is_preset(codex::KEY) {
            if self.environment.get(codex::KEY).is_none() {
                return Err(Stop::Failed(TaskError::new(ErrorKind::Auth, "it is not logged in")));
            }
            let base_url = self.environment.shown(codex::BASE_URL);
            if base_url.is_none() && self.environment.get(codex::BASE_URL).is_some() {
                let message = format!("`{}` must stand in clear in the preset", codex::BASE_URL);
                return Err(Stop::Failed(TaskError::new(ErrorKind::Config, message)));
            }
            let cwd = json!({"cwd": task.cwd});
            let config = ask(peer, "config/read", &cwd, refused(ErrorKind::Protocol)).await?;
            codex::use_key(&mut params, base_url, &config);
        }
        let opened = ask(peer, method, &params, refused(ErrorKind::Config)).await?;
        Turn::new(task, &opened).ok_or_else(|| {
            Stop::Failed(TaskError::new(ErrorKind::Protocol, "it opened a thread without an id"))
        })
    }
}

#[async_trait::async_trait]
impl Agent for CodexAgent {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn launch(&self, task: &TaskSpec, environment: &Environment) -> Result<Option<Launch>, AgentError> {
        self.start(task, environment).map(Some)
    }

    async fn run(&self, task: TaskSpec, context: RunContext) -> Result<TaskResult, AgentError> {
        let codex = self.under(&context.environment);
        run_once(&codex, &self.start(&task, &context.environment)?, &task, context).await
    }

    async fn probe(&self, task: TaskSpec, context: RunContext) -> Result<(), TaskError> {
        let launch = self.start(&task, &context.environment).map_err(|error| not_started(&error))?;
        probe_once(&self.under(&context.environment), &launch, &task, context).await
    }
}
