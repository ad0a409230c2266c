//! Codex, driven through `codex app-server`.

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{ErrorKind, PermissionMode, TaskError, TaskResult, TaskSpec, TaskStatus};
use aiswitch_rpc::{JsonRpcMember, Options, Peer};
use serde_json::{Value, json};

use crate::conversation::{Conversation, Stop, ask, check_version, settle};
use crate::dialect::codex::{self, Turn};
use crate::process::Launch;
use crate::worker::not_started;
use crate::{Agent, AgentError, Profile, RunContext, Sandbox};

/// Codex, driven through `codex app-server`: one process and one turn for each task.
///
/// Read-only and write keep every command in Codex's own sandbox. What fails there is asked about, declined and
/// reported as a denial; `sandbox_workspace_write.network_access` in the user's own `config.toml` is honoured.
/// It cannot put up that sandbox within another one, so within one of ours it is told to go without.
#[derive(Debug)]
pub(crate) struct CodexAgent {
    profile: Profile,
}

impl CodexAgent {
    pub(crate) fn new(profile: Profile) -> Self {
        Self { profile }
    }

    fn start(&self, task: &TaskSpec, environment: &Environment) -> Result<Launch, AgentError> {
        let (mode, sandbox) = (task.mode, self.profile.sandbox);
        if mode == PermissionMode::ReadOnly && !matches!(sandbox, Sandbox::None | Sandbox::ReadOnly) {
            return Err(AgentError::SandboxConflict { agent: self.profile.id.clone(), mode, sandbox });
        }
        self.profile.launch(task, environment, ["app-server"])
    }

    /// Opens the thread.
    ///
    /// The key of a preset counts even where somebody is logged in: a preset that is given and not used would deceive.
    async fn open(&self, peer: Peer, task: &TaskSpec, environment: &Environment) -> Result<Value, Stop> {
        let refused = |kind| move |error: aiswitch_rpc::ErrorObject| TaskError::new(kind, error.message);
        let hello = codex::initialize(env!("CARGO_PKG_VERSION"));
        let reply = ask(&peer, "initialize", &hello, refused(ErrorKind::Protocol)).await?;
        check_version(&self.profile, codex::version(&reply))?;
        peer.notify_untyped("initialized", &()).await.map_err(|_closed| Stop::Closed)?;
        let (method, mut params) = codex::open_thread(task, self.profile.sandbox);
        let account = ask(&peer, "account/read", &json!({}), refused(ErrorKind::Protocol)).await?;
        if codex::needs_login(&account) || environment.is_preset(codex::KEY) {
            if environment.get(codex::KEY).is_none() {
                return Err(Stop::Failed(TaskError::new(ErrorKind::Auth, "it is not logged in")));
            }
            let base_url = environment.shown(codex::BASE_URL);
            if base_url.is_none() && environment.get(codex::BASE_URL).is_some() {
                let message = format!("`{}` must stand in clear in the preset", codex::BASE_URL);
                return Err(Stop::Failed(TaskError::new(ErrorKind::Config, message)));
            }
            let cwd = json!({"cwd": task.cwd});
            let config = ask(&peer, "config/read", &cwd, refused(ErrorKind::Protocol)).await?;
            codex::use_key(&mut params, base_url, &config);
        }
        ask(&peer, method, &params, refused(ErrorKind::Config)).await
    }

    async fn converse(
        &self,
        conversation: &mut Conversation<'_>,
        task: &TaskSpec,
        turn: &mut Option<Turn>,
    ) -> Result<(), Stop> {
        let peer = conversation.peer();
        let environment = conversation.environment().clone();
        let opened = conversation.open(self.open(peer, task, &environment)).await?;
        let Some(opened) = Turn::new(task, &opened) else {
            return Err(Stop::Failed(TaskError::new(
                ErrorKind::Protocol,
                "it opened a thread without an id",
            )));
        };
        let turn = turn.insert(opened);
        conversation.tell(vec![turn.session()]).await;
        let params = turn.start(&task.prompt);
        conversation.prompt(turn, "turn/start", &params).await
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
        let launch = self.start(&task, &context.environment)?;
        let options = Options::default().with_jsonrpc(JsonRpcMember::Optional);
        let mut conversation = Conversation::spawn(&launch, &context, options).await?;
        let mut turn = None;
        let outcome = self.converse(&mut conversation, &task, &mut turn).await;
        let ended = conversation.end(&outcome).await;
        Ok(match turn {
            Some(turn) => turn.into_result(outcome, &ended),
            None => settle(TaskResult::new(TaskStatus::Failed), outcome, None, &ended),
        })
    }
    async fn probe(&self, task: TaskSpec, context: RunContext) -> Result<(), TaskError> {
        let refused = |error: AgentError| not_started(&error);
        let launch = self.start(&task, &context.environment).map_err(refused)?;
        let options = Options::default().with_jsonrpc(JsonRpcMember::Optional);
        let mut conversation = Conversation::spawn(&launch, &context, options).await.map_err(refused)?;
        let peer = conversation.peer();
        let environment = conversation.environment().clone();
        let opened = conversation.open(self.open(peer, &task, &environment)).await.map(drop);
        let ended = conversation.end(&opened).await;
        opened.map_or_else(|stop| Err(stop.into_error(&ended)), |()| Ok(()))
    }
}
