//! Claude Code and Qwen Code: stream-json in both directions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{ErrorKind, PermissionMode, TaskError, TaskResult, TaskSpec, TaskStatus};
use aiswitch_rpc::{FrameError, FrameReader, Framing};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::ChildStdin;

use crate::dialect::claude::{self, Ending, Fact, Failure, Question, Transcript, Vendor};
use crate::dialect::{is_older, qwen};
use crate::permission::{Ask, decide};
use crate::process::{Child, Ended, Launch, find_program};
use crate::worker::not_started;
use crate::{Agent, AgentClock, AgentError, AgentEvent, Decision, Driver, Profile, RunContext};

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
        let talk = Talk {
            vendor: self.vendor,
            profile: &self.profile,
            goal,
            transcript: Transcript::new(self.vendor, task.session_id.is_some()),
            stdin: pipes.stdin,
            outbox: Vec::new(),
            step: Step::Initialize,
            stop: None,
            clock: AgentClock::new(context.pace.clone()),
            deadline: Some(context.limits.start_timeout),
            task,
            context,
        };
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

/// What a talk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// The answer to the prompt.
    Answer,
    /// To see that the program could be given the prompt.
    Ready,
}

/// How far the talk with a program is; each step but the last one waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is greeted.
    Initialize,
    /// It is asked which settings it has read.
    Settings,
    /// It is told to ask for everything.
    AskAlways,
    /// It is asked which commands it knows.
    Commands,
    /// It is asked what the session has used before.
    Total,
    /// It works on the prompt.
    Work,
}

impl Step {
    /// The id of its control request.
    fn id(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Settings => "get_settings",
            Self::AskAlways => "apply_flag_settings",
            Self::Commands => "supported_commands",
            Self::Total => "total",
            Self::Work => "interrupt",
        }
    }
}

/// Why a program was asked to end its work.
#[derive(Debug)]
enum Stop {
    Cancelled,
    Hopeless(TaskError),
}

/// How the talk is over.
#[derive(Debug)]
enum End {
    /// It said that it is done.
    Ended(Ending),
    /// It closed its output.
    Gone,
    /// It cannot go on, or must not.
    Failed(TaskError),
    /// It was asked to stop, and was not waited for any longer.
    Stopped,
    /// It could be given the prompt, and is not.
    Ready,
}

/// The talk with one program about one task.
struct Talk<'a> {
    vendor: Vendor,
    profile: &'a Profile,
    goal: Goal,
    task: TaskSpec,
    context: RunContext,
    transcript: Transcript,
    stdin: ChildStdin,
    /// What is still to be written; bounded by the prompt and one answer for each of its questions.
    outbox: Vec<u8>,
    step: Step,
    stop: Option<Stop>,
    clock: AgentClock,
    /// When the start, or the stop, has taken too long, on that clock.
    deadline: Option<Duration>,
}

impl Talk<'_> {
    async fn run(mut self, child: Child, stdout: impl AsyncRead + Unpin + Send) -> TaskResult {
        self.ask(Step::Initialize, &json!({"subtype": "initialize"}));
        let end = self.hear(stdout).await;
        let Self { transcript, stdin, stop, vendor, .. } = self;
        drop(stdin);
        let ended = match (&end, vendor) {
            // Qwen Code lingers for seconds after its last tool; what it keeps of a session is written by then.
            (End::Ended(_) | End::Ready, Vendor::Claude) | (End::Gone, _) => child.finish().await,
            (End::Ended(_) | End::Ready, Vendor::Qwen) | (End::Failed(_) | End::Stopped, _) => {
                child.stop().await
            }
        };
        result(transcript, end, stop, &ended)
    }

    /// Reads and writes at once, so that neither side waits for the other.
    async fn hear(&mut self, stdout: impl AsyncRead + Unpin + Send) -> End {
        let mut frames = FrameReader::new(stdout, Framing::Lines, self.context.limits.frame_bytes_max);
        let cancel = self.context.cancel.clone();
        loop {
            let deadline = self.deadline;
            let end = tokio::select! {
                frame = frames.next() => match frame {
                    Ok(Some(line)) => {
                        let facts = self.transcript.hear(line);
                        self.take(facts).await
                    }
                    Ok(None) => Some(End::Gone),
                    Err(error) => Some(End::Failed(broken(&error))),
                },
                written = self.stdin.write(&self.outbox), if !self.outbox.is_empty() => {
                    // A program that reads no more is about to close its output too, and may say why before.
                    let taken = written.unwrap_or(self.outbox.len());
                    self.outbox.drain(..taken);
                    None
                }
                () = cancel.cancelled(), if self.stop.is_none() => self.stop(Stop::Cancelled),
                () = self.clock.reach(deadline.unwrap_or_default()), if deadline.is_some() => {
                    Some(self.late())
                }
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn take(&mut self, facts: Vec<Fact>) -> Option<End> {
        for fact in facts {
            match fact {
                // What a slash command of the start prints is no answer.
                Fact::Event(AgentEvent::Output { .. }) if self.step != Step::Work => {}
                Fact::Event(event) => self.context.events.send(event).await,
                Fact::Version(version) => {
                    if let Some(error) = self.too_old(&version) {
                        return Some(End::Failed(error));
                    }
                }
                Fact::Answered { id, answer } if id == self.step.id() && self.step != Step::Work => {
                    if let Some(end) = self.answered(answer) {
                        return Some(end);
                    }
                }
                Fact::Answered { .. } => {}
                Fact::Question(question) => self.decide(&question).await,
                Fact::Unsupported { id } => self.send(&claude::unsupported(&id)),
                Fact::Hopeless(error) => {
                    if self.stop.is_none()
                        && let Some(end) = self.stop(Stop::Hopeless(error))
                    {
                        return Some(end);
                    }
                }
                Fact::Ended(_) if self.step == Step::Total => {
                    self.transcript.start_here();
                    return self.work();
                }
                Fact::Ended(ending) => {
                    if let Some(usage) = ending.usage {
                        let cost_usd = ending.cost_usd;
                        self.context.events.send(AgentEvent::Usage { usage, cost_usd }).await;
                    }
                    return Some(End::Ended(ending));
                }
            }
        }
        None
    }

    /// Goes on to the next step of the start.
    fn answered(&mut self, answer: Result<Value, String>) -> Option<End> {
        let is_read_only = self.task.mode == PermissionMode::ReadOnly;
        match (self.step, answer) {
            (Step::Initialize, Ok(answer)) => {
                if let Some(error) = claude::version(&answer).and_then(|version| self.too_old(&version)) {
                    return Some(End::Failed(error));
                }
                match self.vendor {
                    Vendor::Claude if is_read_only => {
                        self.ask(Step::Settings, &json!({"subtype": "get_settings"}));
                    }
                    Vendor::Qwen if self.task.session_id.is_some() => {
                        self.ask(Step::Commands, &json!({"subtype": "supported_commands"}));
                    }
                    _ => return self.work(),
                }
            }
            (Step::Settings, Ok(settings)) => match claude::ask_always(&settings) {
                Some(settings) => {
                    self.ask(
                        Step::AskAlways,
                        &json!({"subtype": "apply_flag_settings", "settings": settings}),
                    );
                }
                None => return self.work(),
            },
            (Step::Commands, Ok(answer)) if qwen::can_tell_total(&answer) => {
                self.step = Step::Total;
                self.send(&claude::prompt(&format!("/{}", qwen::TOTAL_COMMAND)));
            }
            // Without it the usage of this task alone is not known, which is no reason to refuse the task.
            (Step::Commands, _) | (Step::AskAlways, Ok(_)) => return self.work(),
            (Step::Settings | Step::AskAlways, Err(_)) => {
                let message =
                    "it cannot be kept to the mode `read-only`: it does not tell its permission rules";
                return Some(End::Failed(self.outdated(message.to_owned())));
            }
            (step, Err(why)) => {
                let message = format!("it refused `{}`: {why}", step.id());
                return Some(End::Failed(error(ErrorKind::Protocol, message)));
            }
            (Step::Total | Step::Work, Ok(_)) => {}
        }
        None
    }

    fn too_old(&self, version: &str) -> Option<TaskError> {
        let needed = self.profile.version_min.as_deref()?;
        let name = self.profile.command.first().map_or("", String::as_str);
        is_older(version, needed)?
            .then(|| self.outdated(format!("`{name}` {version} is too old, {needed} or newer is needed")))
    }

    fn outdated(&self, message: String) -> TaskError {
        let hint = self.profile.install.as_ref().map(|install| format!("update it with: {install}"));
        TaskError { hint, ..error(ErrorKind::Config, message) }
    }

    /// Gives the prompt, if that is what the talk is for.
    fn work(&mut self) -> Option<End> {
        if self.goal == Goal::Ready {
            return Some(End::Ready);
        }
        self.step = Step::Work;
        self.deadline = None;
        let prompt = claude::prompt(&self.task.prompt);
        self.send(&prompt);
        None
    }

    async fn decide(&mut self, question: &Question) {
        let TaskSpec { mode, cwd, .. } = &self.task;
        // The program tells resolved paths, also where the folder was named through a link.
        let real = cwd.canonicalize().unwrap_or_else(|_| cwd.clone());
        let decision = match decide(*mode, cwd, question.ask()) {
            Decision::Allow => Decision::Allow,
            Decision::Deny => decide(*mode, &real, question.ask()),
        };
        let reason = match question.ask() {
            Ask::Edit(Some(path)) if *mode == PermissionMode::Write => {
                format!("`{}` is outside of the working folder", path.display())
            }
            _ => format!("the mode is `{mode}`"),
        };
        self.send(&question.answer(decision, &format!("denied: {reason}")));
        self.context
            .events
            .send(AgentEvent::Permission {
                tool: question.tool.clone(),
                question: question.detail(),
                decision,
            })
            .await;
        if decision == Decision::Deny {
            self.transcript.deny(question, reason);
        }
    }

    /// Asks the program to end its work; one that has not begun is not waited for.
    fn stop(&mut self, stop: Stop) -> Option<End> {
        self.stop = Some(stop);
        if self.step != Step::Work {
            return Some(End::Stopped);
        }
        self.context.pace.resume();
        self.deadline = Some(self.clock.now() + self.context.limits.stop_grace);
        self.ask(Step::Work, &json!({"subtype": "interrupt"}));
        None
    }

    fn late(&self) -> End {
        if self.stop.is_some() {
            return End::Stopped;
        }
        let patience_s = self.context.limits.start_timeout.as_secs();
        End::Failed(error(ErrorKind::Timeout, format!("it did not get ready within {patience_s} s")))
    }

    fn ask(&mut self, step: Step, request: &Value) {
        self.step = step;
        self.send(&claude::control(step.id(), request));
    }

    fn send(&mut self, line: &str) {
        self.outbox.extend_from_slice(line.as_bytes());
        self.outbox.push(b'\n');
    }
}

/// How the task ended, from how the talk and the process ended.
fn result(transcript: Transcript, end: End, stop: Option<Stop>, ended: &Ended) -> TaskResult {
    let mut result = transcript.result(TaskStatus::Failed);
    let retried = result.error.take();
    let failure = match end {
        End::Ended(ending) => {
            (result.usage, result.cost_usd) = (ending.usage, ending.cost_usd);
            match ending.outcome {
                Ok(answer) => {
                    result.answer = (!answer.trim().is_empty()).then_some(answer).or(result.answer);
                    None
                }
                Err(failure) => Some(failure),
            }
        }
        End::Failed(error) => Some(error.into()),
        End::Ready => return TaskResult { status: TaskStatus::Completed, ..result },
        End::Gone | End::Stopped => {
            let error = claude::refusal(&ended.stderr_tail).or_else(|| retried.clone());
            Some(error.unwrap_or_else(|| ended.without_answer()).into())
        }
    };
    let Failure { status, error } = match (stop, failure) {
        (Some(Stop::Cancelled), _) => {
            return TaskResult { status: TaskStatus::Cancelled, error: retried, ..result };
        }
        (Some(Stop::Hopeless(error)), _) => error.into(),
        (None, Some(failure)) => failure,
        (None, None) if !result.denials.is_empty() => {
            return TaskResult { status: TaskStatus::Denied, ..result };
        }
        (None, None) if result.answer.is_none() => {
            error(ErrorKind::Empty, "it ended well but without an answer".to_owned()).into()
        }
        (None, None) => return TaskResult { status: TaskStatus::Completed, ..result },
    };
    TaskResult { status, error: Some(error), ..result }
}

fn broken(failure: &FrameError) -> TaskError {
    let kind = match failure {
        FrameError::Read { source } if source.kind() == std::io::ErrorKind::FileTooLarge => ErrorKind::Limit,
        FrameError::Read { .. } => ErrorKind::Internal,
        _ => ErrorKind::Protocol,
    };
    let message = match kind {
        ErrorKind::Limit => "it printed more than an agent may".to_owned(),
        _ => failure.to_string(),
    };
    error(kind, message)
}

fn error(kind: ErrorKind, message: String) -> TaskError {
    TaskError::new(kind, message)
}
