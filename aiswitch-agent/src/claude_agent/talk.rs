//! The talk with one program about one task.

use std::time::Duration;

use aiswitch_rpc::protocol::{ErrorKind, PermissionMode, TaskError, TaskResult, TaskSpec, TaskStatus};
use aiswitch_rpc::{FrameError, FrameReader, Framing};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::process::ChildStdin;

use super::ClaudeAgent;
use crate::dialect::claude::{self, Ending, Fact, Failure, Question, Transcript, Vendor};
use crate::dialect::{is_older, qwen};
use crate::permission::{Ask, decide};
use crate::process::{Child, Ended};
use crate::{AgentClock, AgentEvent, Decision, Profile, RunContext};

/// What a talk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
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
pub(super) struct Talk<'a> {
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

impl<'a> Talk<'a> {
    pub(super) fn new(
        agent: &'a ClaudeAgent,
        goal: Goal,
        task: TaskSpec,
        context: RunContext,
        stdin: ChildStdin,
    ) -> Self {
        Self {
            vendor: agent.vendor,
            profile: &agent.profile,
            goal,
            transcript: Transcript::new(agent.vendor, task.session_id.is_some()),
            stdin,
            outbox: Vec::new(),
            step: Step::Initialize,
            stop: None,
            clock: AgentClock::new(context.pace.clone()),
            deadline: Some(context.limits.start_timeout),
            task,
            context,
        }
    }

    pub(super) async fn run(mut self, child: Child, stdout: impl AsyncRead + Unpin + Send) -> TaskResult {
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

pub(super) fn error(kind: ErrorKind, message: String) -> TaskError {
    TaskError::new(kind, message)
}
