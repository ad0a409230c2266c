//! Claude Code and Qwen Code: stream-json in both directions.

use std::path::{Path, PathBuf};

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{ErrorKind, PermissionMode, TaskError, TaskResult, TaskSpec, TaskStatus};

use crate::dialect::claude::Vendor;
use crate::process::{Child, Launch, find_program};
use crate::worker::not_started;
use crate::{Agent, AgentError, Driver, Profile, RunContext};

mod talk;

use talk::{Goal, Talk, error};

/// What both programs are started with.
const STREAM_JSON: [&str; 5] =
    ["--input-format", "stream-json", "--output-format", "stream-json", "--include-partial-messages"];

/// The rest for Claude Code. Every question of the mode `default` comes here, so that no mode needs a flag
/// that widens what it may do. The tools that wait for a person are left out, as they are where nobody can be
/// asked.
const CLAUDE_ARGS: [&str; 5] = [
    "-p",
    "--verbose",
    "--permission-prompt-tool=stdio",
    "--permission-mode=default",
    "--disallowedTools=AskUserQuestion,EnterPlanMode,ExitPlanMode",
];

/// The rest for Qwen Code; its own default mode would have a model decide, at the user's cost.
const QWEN_ARGS: [&str; 2] = ["--approval-mode=default", "--exclude-tools=ask_user_question"];

/// The tools of Qwen Code that change something: its settings may allow them unasked, which nothing else
/// overrules.
const QWEN_WRITING_TOOLS: &str =
    "--exclude-tools=run_shell_command,monitor,edit,write_file,notebook_edit,enter_worktree,exit_worktree";

/// Variables that keep the programs from work of their own which would hold up a run.
const CLAUDE_ENVIRONMENT: (&str, &str) = ("DISABLE_AUTOUPDATER", "1");
const QWEN_ENVIRONMENT: (&str, &str) = ("QWEN_USAGE_STATISTICS_ENABLED", "false");

/// Claude Code and Qwen Code: stream-json in both directions.
#[derive(Debug)]
pub(crate) struct ClaudeAgent {
    profile: Profile,
    vendor: Vendor,
}

impl ClaudeAgent {
    pub(crate) fn new(profile: Profile) -> Self {
        let vendor = if profile.driver == Driver::Qwen { Vendor::Qwen } else { Vendor::Claude };
        Self { profile, vendor }
    }

    /// The command without its launcher, which would not pass signals on to the agent proper.
    fn without_launcher(&self, environment: &Environment) -> Result<Profile, AgentError> {
        let (agent, mut profile) = (&self.profile.id, self.profile.clone());
        let Some((name, args)) = self.profile.command.split_first() else { return Ok(profile) };
        let program = find_program(agent, name, environment)?;
        if program.file_stem().is_some_and(|stem| stem == "node") {
            return Ok(profile);
        }
        let script = script_of(&program)
            .ok_or_else(|| AgentError::Launcher { agent: agent.clone(), program: program.clone() })?;
        let node = ["node", "--expose-gc"].map(str::to_owned).into_iter();
        let script = script.to_string_lossy().into_owned();
        profile.command = node.chain([script]).chain(args.iter().cloned()).collect();
        Ok(profile)
    }

    async fn talk(&self, task: TaskSpec, context: RunContext, goal: Goal) -> Result<TaskResult, AgentError> {
        let Some(launch) = self.launch(&task, &context.environment)? else {
            return Err(AgentError::NoCommand { agent: self.profile.id.clone() });
        };
        let (child, pipes) = Child::spawn(&launch, &context).await?;
        let talk = Talk::new(self, goal, task, context, pipes.stdin);
        Ok(talk.run(child, pipes.stdout).await)
    }

    fn args(&self, task: &TaskSpec) -> Vec<String> {
        let own: &[&str] = match (self.vendor, task.mode) {
            (Vendor::Claude, _) => &CLAUDE_ARGS,
            (Vendor::Qwen, PermissionMode::ReadOnly) => &[QWEN_ARGS[0], QWEN_ARGS[1], QWEN_WRITING_TOOLS],
            (Vendor::Qwen, _) => &QWEN_ARGS,
        };
        let chosen = [("model", &task.model), ("resume", &task.session_id)];
        let chosen =
            chosen.into_iter().filter_map(|(flag, value)| Some(format!("--{flag}={}", value.as_ref()?)));
        own.iter().chain(&STREAM_JSON).map(ToString::to_string).chain(chosen).collect()
    }
}

#[async_trait::async_trait]
impl Agent for ClaudeAgent {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn launch(&self, task: &TaskSpec, environment: &Environment) -> Result<Option<Launch>, AgentError> {
        self.profile.accept(task)?;
        let args = self.args(task);
        match self.vendor {
            Vendor::Claude => {
                let environment =
                    environment.clone().with_default(CLAUDE_ENVIRONMENT.0, CLAUDE_ENVIRONMENT.1);
                self.profile.launch(task, &environment, args).map(Some)
            }
            Vendor::Qwen => {
                let environment = environment.clone().with_default(QWEN_ENVIRONMENT.0, QWEN_ENVIRONMENT.1);
                self.without_launcher(&environment)?.launch(task, &environment, args).map(Some)
            }
        }
    }

    async fn run(&self, task: TaskSpec, context: RunContext) -> Result<TaskResult, AgentError> {
        self.talk(task, context, Goal::Answer).await
    }

    async fn probe(&self, task: TaskSpec, context: RunContext) -> Result<(), TaskError> {
        let result = self.talk(task, context, Goal::Ready).await.map_err(|error| not_started(&error))?;
        match (result.status, result.error) {
            (TaskStatus::Completed, _) => Ok(()),
            (_, Some(error)) => Err(error),
            (_, None) => Err(error(ErrorKind::Timeout, "it was stopped before it was ready".to_owned())),
        }
    }
}

/// The agent proper behind a launcher: beside it, or in the package that a package manager's shim stands for.
fn script_of(program: &Path) -> Option<PathBuf> {
    let real = program.canonicalize().ok()?;
    if real.file_name()? == "cli.js" {
        return Some(real);
    }
    let bin = program.parent()?;
    let package = Path::new("@qwen-code/qwen-code/cli.js");
    let beside = real.parent()?.join("cli.js");
    let shims = [bin.join("..").join(package), bin.join("../lib/node_modules").join(package)];
    [beside].into_iter().chain(shims).find(|script| script.is_file())
}
