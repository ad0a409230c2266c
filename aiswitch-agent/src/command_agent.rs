//! Any program: prompt on stdin, answer on stdout.

use std::time::Duration;

use aiswitch_env::Environment;
use aiswitch_rpc::protocol::{ErrorKind, TaskError, TaskResult, TaskSpec, TaskStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::process::{Child, Ended, Exit, Launch, Pipes, over, unreadable};
use crate::worker::{no_session, not_started};
use crate::{Agent, AgentError, AgentEvent, Profile, RunContext};

/// How much is read from the program at once, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// How long the end of a stopped program's output is waited for.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Any program: prompt on stdin, answer on stdout, exit code 0 for success.
#[derive(Debug)]
pub(crate) struct CommandAgent {
    profile: Profile,
}

impl CommandAgent {
    pub(crate) fn new(profile: Profile) -> Self {
        Self { profile }
    }
}

#[async_trait::async_trait]
impl Agent for CommandAgent {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn launch(&self, task: &TaskSpec, environment: &Environment) -> Result<Option<Launch>, AgentError> {
        if task.model.is_some() {
            return Err(AgentError::Model { agent: self.profile.id.clone() });
        }
        self.profile.launch(task, environment, [""; 0]).map(Some)
    }

    async fn run(&self, task: TaskSpec, context: RunContext) -> Result<TaskResult, AgentError> {
        let Some(launch) = self.launch(&task, &context.environment)? else {
            return Err(AgentError::NoCommand { agent: self.profile.id.clone() });
        };
        let (child, pipes) = Child::spawn(&launch, &context).await?;
        let mut answer = Vec::new();
        let mut conversing = Box::pin(converse(&task.prompt, pipes, &mut answer, &context));
        let heard = tokio::select! {
            heard = &mut conversing => heard,
            () = context.cancel.cancelled() => {
                stop_and_hear(child, &mut conversing).await;
                drop(conversing);
                return Ok(result(TaskStatus::Cancelled, text_of(answer).0, None));
            }
        };
        drop(conversing);
        let (answer, half) = text_of(answer);
        if let Err(error) = heard {
            child.stop().await;
            return Ok(result(TaskStatus::Failed, answer, Some(error)));
        }
        let ended = child.finish().await;
        Ok(match failure(&ended).or(half) {
            Some(error) => result(TaskStatus::Failed, answer, Some(error)),
            None => result(TaskStatus::Completed, answer, None),
        })
    }

    async fn probe(&self, task: TaskSpec, context: RunContext) -> Result<(), TaskError> {
        if task.session_id.is_some() {
            return Err(no_session());
        }
        self.launch(&task, &context.environment).map(drop).map_err(|error| not_started(&error))
    }
}

/// Ends a program, and hears what it has answered until its end, which may still be in the pipe.
async fn stop_and_hear(child: Child, conversing: impl Future<Output = Result<(), TaskError>> + Send) {
    let stopped = CancellationToken::new();
    let hear = async {
        // Somebody else may hold the pipe open, and need not end.
        let held_open = async {
            stopped.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            _ = conversing => {}
            () = held_open => {}
        }
    };
    let stop = async {
        child.stop().await;
        stopped.cancel();
    };
    tokio::join!(stop, hear);
}

/// Gives the prompt and hears the answer to its end, both at once, so that neither side waits for the other.
async fn converse(
    prompt: &str,
    pipes: Pipes,
    answer: &mut Vec<u8>,
    context: &RunContext,
) -> Result<(), TaskError> {
    let Pipes { mut stdin, mut stdout } = pipes;
    let give = async move {
        // A program that does not read its input is free not to: what counts is what it answers.
        drop(stdin.write_all(prompt.as_bytes()).await);
        drop(stdin.shutdown().await);
    };
    let hear = async {
        let mut told = 0;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = stdout.read(&mut buffer).await.map_err(|error| unreadable(&error))?;
            if read == 0 {
                return Ok(());
            }
            answer.extend_from_slice(&buffer[..read]);
            // A character may be cut by the end of a read; it is told with the next one.
            let whole = std::str::from_utf8(&answer[told..]).unwrap_or_else(|error| {
                std::str::from_utf8(&answer[told..told + error.valid_up_to()]).unwrap_or_default()
            });
            if !whole.is_empty() {
                let text = whole.to_owned();
                told += text.len();
                context.events.send(AgentEvent::Output { text }).await;
            }
        }
    };
    let ((), heard) = tokio::join!(give, hear);
    heard
}

/// The answer as text, and what is wrong with it.
fn text_of(answer: Vec<u8>) -> (String, Option<TaskError>) {
    match String::from_utf8(answer) {
        Ok(text) => (text, None),
        Err(error) => {
            let message = format!("its answer is not UTF-8 at byte {}", error.utf8_error().valid_up_to());
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            (text, Some(TaskError::new(ErrorKind::Protocol, message)))
        }
    }
}

fn failure(ended: &Ended) -> Option<TaskError> {
    let kind = match ended.exit {
        Exit::Code(0) => return None,
        Exit::Over(excess) => return Some(over(excess)),
        Exit::Code(_) => ErrorKind::Provider,
        Exit::Signal(_) | Exit::Unknown => ErrorKind::Crash,
    };
    let mut message = format!("it ended with {}", ended.exit);
    if let Some(last) = ended.stderr_tail.lines().last() {
        message.push_str(": ");
        message.push_str(last.trim());
    }
    Some(TaskError::new(kind, message))
}

fn result(status: TaskStatus, answer: String, error: Option<TaskError>) -> TaskResult {
    TaskResult {
        status,
        answer: (!answer.is_empty()).then_some(answer),
        session_id: None,
        model: None,
        usage: None,
        cost_usd: None,
        error,
        denials: Vec::new(),
    }
}
