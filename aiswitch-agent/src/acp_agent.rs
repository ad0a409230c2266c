//! An agent that speaks the Agent Client Protocol.

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{ErrorKind, PermissionMode, TaskError, TaskResult, TaskSpec};
use aiswitch_rpc::{Options, Peer};
use serde_json::Value;

use crate::conversation::{Stop, ask, check_version};
use crate::dialect::acp::{self, Turn};
use crate::process::Launch;
use crate::sessions::{Vendor, probe_once, run_once};
use crate::worker::not_started;
use crate::{Agent, AgentError, Driver, Profile, RunContext};

/// Keeps Gemini CLI from starting itself a second time.
///
/// The second one doubles the memory, and is left behind when the first is killed.
const GEMINI_NO_RELAUNCH: (&str, &str) = ("GEMINI_CLI_NO_RELAUNCH", "true");

/// Keeps opencode from replacing itself while it works.
const OPENCODE_NO_UPDATE: (&str, &str) = ("OPENCODE_DISABLE_AUTOUPDATE", "1");

/// Permissions of opencode that have it ask before every tool.
///
/// They are laid over the user's own key by key, so what changes or leaks something is named beside the rest.
macro_rules! asks {
    () => {
        concat!(
            r#"{"*":"ask","bash":"ask","edit":"ask","task":"ask","webfetch":"ask","websearch":"ask","#,
            r#""external_directory":"ask"}"#
        )
    };
}

/// Has opencode ask before every tool; by itself it asks before none.
const OPENCODE_ASK: (&str, &str) = ("OPENCODE_PERMISSION", asks!());

/// Has opencode's default agent ask: its own permissions in the user's settings would win.
const OPENCODE_AGENT_ASK: (&str, &str) =
    ("OPENCODE_CONFIG_CONTENT", concat!(r#"{"agent":{"build":{"permission":"#, asks!(), "}}}"));

/// An agent that speaks the Agent Client Protocol: one session and one prompt for each task.
///
/// Its permission questions are answered by the mode, so a mode is kept as far as the agent asks. opencode tries a
/// refused or failing provider again for ever and says nothing meanwhile: only a time limit ends that.
#[derive(Clone, Debug)]
pub(crate) struct AcpAgent {
    profile: Profile,
}

impl AcpAgent {
    pub(crate) fn new(profile: Profile) -> Self {
        Self { profile }
    }

    pub(crate) fn start(&self, task: &TaskSpec, environment: &Environment) -> Result<Launch, AgentError> {
        let mut args = Vec::new();
        let mut defaults = Vec::new();
        match self.profile.driver {
            Driver::Gemini => {
                defaults.push(GEMINI_NO_RELAUNCH);
                args.extend(task.model.iter().flat_map(|model| ["--model".to_owned(), model.clone()]));
            }
            Driver::Opencode => {
                defaults.push(OPENCODE_NO_UPDATE);
                if task.mode != PermissionMode::Yolo {
                    defaults.extend([OPENCODE_ASK, OPENCODE_AGENT_ASK]);
                }
            }
            _ => {}
        }
        let mut launch = self.profile.launch(task, environment, args)?;
        for (name, value) in defaults {
            launch.environment = launch.environment.with_default(name, value);
        }
        Ok(launch)
    }

    async fn choose_model(
        &self,
        peer: &Peer,
        task: &TaskSpec,
        session_id: &str,
        opened: &Value,
    ) -> Result<(), Stop> {
        let Some(model) = &task.model else { return Ok(()) };
        if self.profile.driver == Driver::Gemini {
            // Chosen by its flag: its list of models lacks some that it takes.
            return Ok(());
        }
        let Some((method, params)) = acp::set_model(model, session_id, opened) else {
            return Err(Stop::Failed(TaskError::new(
                ErrorKind::Config,
                "it cannot be told which model to use",
            )));
        };
        let refused = |error: aiswitch_rpc::ErrorObject| {
            TaskError::new(
                ErrorKind::Config,
                format!("it refused the model `{model}`: {}", acp::error(&error).message),
            )
        };
        ask(peer, method, &params, refused).await.map(drop)
    }
}

#[async_trait::async_trait]
impl Vendor for AcpAgent {
    type Turn = Turn;

    const PROMPT: &'static str = "session/prompt";

    fn options() -> Options {
        Options::default()
    }

    async fn greet(&self, peer: &Peer) -> Result<Value, Stop> {
        let refused = |error: aiswitch_rpc::ErrorObject| acp::error(&error);
        let greeting = ask(peer, "initialize", &acp::initialize(env!("CARGO_PKG_VERSION")), refused).await?;
        if greeting["protocolVersion"] != acp::VERSION {
            let message =
                format!("it speaks version {} of ACP, not {}", greeting["protocolVersion"], acp::VERSION);
            return Err(Stop::Failed(TaskError::new(ErrorKind::Protocol, message)));
        }
        check_version(&self.profile, acp::agent_version(&greeting))?;
        Ok(greeting)
    }

    async fn open(&self, peer: &Peer, task: &TaskSpec, greeting: &Value) -> Result<Turn, Stop> {
        let refused = |error: aiswitch_rpc::ErrorObject| acp::error(&error);
        let Some((method, params)) = acp::open_session(task, greeting) else {
            return Err(Stop::Failed(TaskError::new(ErrorKind::Config, "it cannot go on with a session")));
        };
        let reply = ask(peer, method, &params, refused).await?;
        let Some(session_id) = acp::session_id(task, &reply) else {
            return Err(Stop::Failed(TaskError::new(
                ErrorKind::Protocol,
                "it opened a session without an id",
            )));
        };
        if let Some((method, params)) = acp::set_mode(task, &session_id, &reply) {
            ask(peer, method, &params, refused).await?;
        }
        self.choose_model(peer, task, &session_id, &reply).await?;
        Ok(Turn::new(self.profile.driver, task, session_id, &reply))
    }
}

#[async_trait::async_trait]
impl Agent for AcpAgent {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn launch(&self, task: &TaskSpec, environment: &Environment) -> Result<Option<Launch>, AgentError> {
        self.start(task, environment).map(Some)
    }

    async fn run(&self, task: TaskSpec, context: RunContext) -> Result<TaskResult, AgentError> {
        run_once(self, &self.start(&task, &context.environment)?, &task, context).await
    }

    async fn probe(&self, task: TaskSpec, context: RunContext) -> Result<(), TaskError> {
        let launch = self.start(&task, &context.environment).map_err(|error| not_started(&error))?;
        probe_once(self, &launch, &task, context).await
    }
}
