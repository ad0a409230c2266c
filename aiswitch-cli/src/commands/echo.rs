//! `aiswitch __echo`: the built-in echo agent, an adapter that speaks the aiswitch protocol on stdin and stdout.
//!
//! It answers a task with the task's prompt. As usage it reports one token for every four bytes of UTF-8 that are
//! begun, for the prompt as for the answer; its cost is 0. Its options make it as slow, broken or refused as the
//! demonstration or test needs; what is worse than that is the fault kit of `aiswitch-agent`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_rpc::protocol::{
    AgentInitialize, AgentShutdown, AgentState, AgentStatus, AgentStatusResult, Capabilities, Denial,
    ErrorKind, InitializeParams, InitializeResult, PROTOCOL_VERSION, Party, TaskAssign, TaskCancel,
    TaskCancelParams, TaskError, TaskId, TaskOutput, TaskOutputParams, TaskResult, TaskSpec, TaskStatus,
    TokenUsage,
};
use aiswitch_rpc::{Context, ErrorObject, Options, Peer, Router};
use tokio::sync::{Notify, watch};

use crate::args::{Crash, EchoArgs};
use crate::commands::runtime;
use crate::error::Error;

/// Serves tasks until stdin ends.
///
/// # Errors
/// The connection breaks, or the agent was told to crash.
pub(crate) fn echo(args: &EchoArgs) -> Result<ExitCode, Error> {
    if let Some(fault) = args.misbehaviour() {
        return Ok(aiswitch_agent::misbehave(fault, args.exit_code).into());
    }
    runtime()?.block_on(serve(args))
}

async fn serve(args: &EchoArgs) -> Result<ExitCode, Error> {
    let (reader, writer) = aiswitch_rpc::stdio().map_err(|source| Error::Stdio { source })?;
    let echo =
        Arc::new(Echo { args: args.clone(), cancelled: watch::Sender::default(), crash: Notify::new() });
    let (assigned, cancelled) = (echo.clone(), echo.clone());
    let router = Router::new()
        .request::<AgentInitialize>(async |params: InitializeParams, _context| {
            Ok(introduce(params.protocol_version))
        })
        .request::<AgentStatus>(async |_params, _context| {
            Ok(AgentStatusResult { state: AgentState::Idle, tasks: BTreeMap::new() })
        })
        .request::<AgentShutdown>(async |_params, _context| Ok(()))
        .request::<TaskAssign>(move |task, context: Context| {
            let echo = assigned.clone();
            async move { echo.work(task, context.peer()).await }
        })
        .notification::<TaskCancel>(move |params: TaskCancelParams| {
            cancelled.cancelled.send_if_modified(|tasks| tasks.insert(params.task_id));
        });
    let (_peer, connection) = aiswitch_rpc::connect(reader, writer, router, Options::default());
    tokio::select! {
        // First the connection, so that what was said before a crash is out.
        biased;
        ended = connection.run() => ended.map(|()| ExitCode::SUCCESS).map_err(|source| Error::Echo { source }),
        () = echo.crash.notified() => Ok(args.exit_code.into()),
    }
}

/// The echo agent at work.
#[derive(Debug)]
struct Echo {
    args: EchoArgs,
    cancelled: watch::Sender<BTreeSet<TaskId>>,
    crash: Notify,
}

impl Echo {
    /// Does a task, unless it is cancelled first.
    async fn work(&self, task: TaskSpec, peer: Peer) -> Result<TaskResult, ErrorObject> {
        let mut cancelled = self.cancelled.subscribe();
        tokio::select! {
            result = self.answer(&task, &peer) => result,
            _ = cancelled.wait_for(|tasks| tasks.contains(&task.id)) => Ok(TaskResult::new(TaskStatus::Cancelled)),
        }
    }

    async fn answer(&self, task: &TaskSpec, peer: &Peer) -> Result<TaskResult, ErrorObject> {
        if self.args.crash == Some(Crash::Before) {
            return self.crash().await;
        }
        tokio::time::sleep(self.args.delay.map_or(Duration::ZERO, |delay| delay.0)).await;
        if self.args.stall {
            std::future::pending::<()>().await;
        }
        for text in pieces(&task.prompt, self.args.chunks.get()) {
            let output = TaskOutputParams { task_id: task.id.clone(), text: text.to_owned() };
            peer.notify::<TaskOutput>(&output).await.map_err(ErrorObject::internal)?;
            if self.args.crash == Some(Crash::During) {
                return self.crash().await;
            }
        }
        Ok(self.result(&task.prompt))
    }

    async fn crash(&self) -> Result<TaskResult, ErrorObject> {
        self.crash.notify_one();
        std::future::pending().await
    }

    fn result(&self, prompt: &str) -> TaskResult {
        let error = self.args.fail.map(|kind| TaskError {
            kind,
            message: "echo fails, as it was told to".into(),
            hint: None,
            reset_at: None,
        });
        let denials: Vec<Denial> =
            self.args.deny.iter().map(|tool| Denial { tool: tool.clone(), reason: None }).collect();
        let status = match (&error, denials.is_empty()) {
            (Some(TaskError { kind: ErrorKind::RateLimit, .. }), _) => TaskStatus::RateLimited,
            (Some(_), _) => TaskStatus::Failed,
            (None, false) => TaskStatus::Denied,
            (None, true) => TaskStatus::Completed,
        };
        let tokens = Some(tokens(prompt));
        TaskResult {
            answer: error.is_none().then(|| prompt.to_owned()),
            usage: Some(TokenUsage { input_tokens: tokens, output_tokens: tokens, ..TokenUsage::default() }),
            cost_usd: Some(0.0),
            error,
            denials,
            ..TaskResult::new(status)
        }
    }
}

fn introduce(protocol_version: u32) -> InitializeResult {
    InitializeResult {
        protocol_version: protocol_version.min(PROTOCOL_VERSION),
        agent: Party { name: "echo".into(), version: env!("CARGO_PKG_VERSION").into() },
        capabilities: Capabilities {
            streaming: true,
            cancel: true,
            concurrent_tasks: true,
            ..Capabilities::default()
        },
    }
}

/// One token for every four bytes that are begun.
fn tokens(text: &str) -> u64 {
    text.len().div_ceil(4) as u64
}

/// A text in at most so many pieces of the same length, cut between characters.
fn pieces(text: &str, count: usize) -> Vec<&str> {
    let chars = text.chars().count().div_ceil(count).max(1);
    let starts: Vec<usize> = text.char_indices().step_by(chars).map(|(start, _)| start).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_pieces_that_make_it_whole() {
        for (text, count, expected) in [
            ("abcdef", 3, vec!["ab", "cd", "ef"]),
            ("abcde", 3, vec!["ab", "cd", "e"]),
            ("ab", 5, vec!["a", "b"]),
            ("éé", 4, vec!["é", "é"]),
            ("", 2, vec![]),
            ("abc", 1, vec!["abc"]),
        ] {
            assert_eq!(pieces(text, count), expected, "{text} in {count}");
        }
    }

    #[test]
    fn a_token_is_begun_every_four_bytes() {
        assert_eq!(["", "a", "abcd", "abcde", "éé"].map(tokens), [0, 1, 1, 2, 1]);
    }
}
