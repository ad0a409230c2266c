//! `aiswitch mcp`: the coordinator as a server of the [Model Context Protocol](https://modelcontextprotocol.io) on stdio.

mod tools;

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use aiswitch_coordinator::{
    Actor, CancellationToken, Coordinator, Home, LogGuard, LogLevel, PermissionMode, Plan, RunEvent,
    RunReport, RunStatus,
};
use aiswitch_rpc::{CancelStyle, Context, ErrorObject, Options, Peer, Router, connect, stdio};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::signal::unix::SignalKind;
use tokio::sync::{Semaphore, mpsc};

use self::tools::{AgentsCall, ResultCall, RunCall};
use crate::args::{Args, McpArgs, RunArgs};
use crate::assemble;
use crate::bound::Bound;
use crate::caller::Caller;
use crate::commands::result::kept_report;
use crate::commands::{agents, run, runtime};
use crate::config::{Config, read_prices};
use crate::error::{Error, ToolError};
use crate::exit::Code;
use crate::output::{Output, human, plain_error};
use crate::pick::Pick;
use crate::project::trusted;
use crate::signals::{Signals, code_of};

/// The versions of the protocol that are spoken, the newest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// How many runs go on at one time; a further one is refused.
const RUNS_MAX: usize = 4;

/// How many lines of progress may wait for a client; further ones are dropped.
const PROGRESS_LINES_MAX: usize = 64;

/// How long agents may take to stop, and their reports to be written, after the client has gone.
const STOP_MAX: Duration = Duration::from_mins(1);

/// What the server knows.
#[derive(Debug)]
struct Server {
    home: Home,
    caller: Caller,
    output: Output,
    mode_max: PermissionMode,
    cwd: Option<PathBuf>,
    /// A permit for each run that goes on.
    runs: Semaphore,
    /// Stops all runs.
    stop: CancellationToken,
}

/// A run that can begin.
struct Prepared {
    coordinator: Coordinator,
    plan: Plan,
}

/// Serves until the client goes away or a signal comes.
///
/// # Errors
/// The server cannot start, or is killed by a second signal.
pub(crate) fn mcp(args: &Args, own: &McpArgs, home: Home, caller: &Caller) -> Result<Code, Error> {
    let output = Output::new(args, caller);
    let config = Config::read(&home)?;
    let logs = run::start_logs(&home, config.coordination.log_level.unwrap_or(LogLevel::Info), &output);
    let server = Arc::new(Server {
        home,
        caller: caller.clone(),
        output,
        mode_max: own.mode,
        cwd: own.cwd.clone(),
        runs: Semaphore::new(RUNS_MAX),
        stop: CancellationToken::new(),
    });
    let runtime = runtime()?;
    let ended = runtime.block_on(serve(&server));
    // Ends every process that is left.
    drop(runtime);
    logs.and_then(LogGuard::finish).iter().for_each(|problem| server.output.note(problem));
    ended
}

async fn serve(server: &Arc<Server>) -> Result<Code, Error> {
    let mut signals = Signals::listen([SignalKind::interrupt(), SignalKind::terminate()])?;
    let (reader, writer) = stdio().map_err(|source| Error::Stdio { source })?;
    let reader = StopAtEnd { reader, stop: server.stop.clone() };
    let options = Options::default().with_cancel(CancelStyle::Mcp).with_drain_timeout(STOP_MAX);
    let (_peer, connection) = connect(reader, writer, router(server), options);
    let mut served = pin!(connection.run());
    let signal = tokio::select! {
        ended = &mut served => return ended.map(|()| Code::Completed).map_err(|source| Error::Client { source }),
        signal = signals.next() => signal,
    };
    server.stop.cancel();
    let all = u32::try_from(RUNS_MAX).expect("a few runs");
    tokio::select! {
        // All runs have ended, or the client has gone meanwhile.
        _ = server.runs.acquire_many(all) => Ok(code_of(signal)),
        _ = &mut served => Ok(code_of(signal)),
        signal = signals.next() => Err(Error::Killed { code: code_of(signal) }),
    }
}

fn router(server: &Arc<Server>) -> Router {
    let called = Arc::clone(server);
    Router::new()
        .request_untyped("initialize", |params, _| async move { Ok(initialize(&params)) })
        .request_untyped("ping", |_, _| async { Ok(json!({})) })
        .request_untyped("tools/list", |_, _| async { Ok(tools::list()) })
        .request_untyped("tools/call", move |params, context| {
            let server = Arc::clone(&called);
            async move { call(&server, params, context).await }
        })
        // What clients tell, such as that they are ready, changes nothing here.
        .fallback_notification(|_, _| {})
}

/// The client's version of the protocol if it is spoken, else the newest.
fn initialize(params: &Value) -> Value {
    let asked = params["protocolVersion"].as_str();
    let version = VERSIONS.into_iter().find(|version| asked == Some(version)).unwrap_or(VERSIONS[0]);
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "aiswitch", "title": "aiswitch", "version": env!("CARGO_PKG_VERSION")},
        "instructions": "Asks other AI agents that are installed on this machine. `agents` lists them, `run` gives them a task.",
    })
}

async fn call(server: &Arc<Server>, params: Value, context: Context) -> Result<Value, ErrorObject> {
    let name = params["name"].as_str().unwrap_or_default().to_owned();
    let progress = params["_meta"]["progressToken"].clone();
    let arguments = params.get("arguments").cloned().unwrap_or_else(|| json!({}));
    let called = match name.as_str() {
        "run" => match arguments_of(arguments) {
            Ok(call) => Box::pin(ask(server, call, progress, context)).await,
            Err(refused) => Err(refused),
        },
        "agents" => arguments_of::<AgentsCall>(arguments).and_then(|AgentsCall {}| known(server)),
        "result" => arguments_of::<ResultCall>(arguments)
            .and_then(|call| Ok(answer(&kept_report(&call.run, &server.home)?))),
        _ => return Err(ErrorObject::invalid_params(format_args!("there is no tool `{name}`"))),
    };
    // What fails in a tool is told as its result, so that the model sees it.
    Ok(called.unwrap_or_else(
        |error| json!({"content": [{"type": "text", "text": plain_error(&error)}], "isError": true}),
    ))
}

fn arguments_of<T: DeserializeOwned>(arguments: Value) -> Result<T, Error> {
    serde_json::from_value(arguments).map_err(|source| ToolError::Arguments { source }.into())
}

/// Does a run, and tells the client how it goes if it wants to know.
async fn ask(server: &Arc<Server>, call: RunCall, progress: Value, context: Context) -> Result<Value, Error> {
    let Ok(_running) = server.runs.try_acquire() else {
        return Err(ToolError::Busy { max: RUNS_MAX }.into());
    };
    let preparing = Arc::clone(server);
    // It reads files, and may wait for a lock.
    let prepared = tokio::task::spawn_blocking(move || preparing.prepare(call)).await;
    let Prepared { coordinator, plan } = prepared.map_err(|source| Error::Panicked { source })??;
    let cancel = server.stop.child_token();
    let (told, lines) = mpsc::channel(PROGRESS_LINES_MAX);
    let run = coordinator.run(plan, cancel.clone(), move |event: &RunEvent| {
        // One that finds no room is no loss: the next one tells more.
        if let Some(line) = human::progress(event) {
            drop(told.try_send(line));
        }
    });
    let stop = async {
        context.cancelled().await;
        cancel.cancel();
        pending::<()>().await;
    };
    let peer = context.peer();
    let tell = tell(&peer, &progress, lines);
    let both = async { tokio::join!(run, tell) };
    let report = tokio::select! {
        (report, ()) = both => report?,
        () = stop => unreachable!("it waits for ever"),
    };
    Ok(answer(&report))
}

/// Sends progress until the run has ended; to a client that gave no token, nothing.
async fn tell(peer: &Peer, token: &Value, mut lines: mpsc::Receiver<String>) {
    let mut number = 0_u64;
    while let Some(line) = lines.recv().await {
        if !token.is_null() {
            number += 1;
            let message = anstream::adapter::strip_str(line.trim()).to_string();
            let params = json!({"progressToken": token, "progress": number, "message": message});
            // A client that has gone is noticed by the connection.
            drop(peer.notify_untyped("notifications/progress", &params).await);
        }
    }
}

/// A report as a tool's result: its answer for the model, and all of it for programs.
fn answer(report: &RunReport) -> Value {
    let answer = report.answer.as_ref().map_or("", |answer| answer.text.as_str());
    let problems = human::problems(report);
    let text = [answer, &anstream::adapter::strip_str(&problems).to_string()].map(str::trim_end).join("\n\n");
    let is_error = !matches!(report.status, RunStatus::Completed | RunStatus::Partial);
    json!({
        "content": [{"type": "text", "text": text.trim()}],
        "structuredContent": report,
        "isError": is_error,
    })
}

fn known(server: &Server) -> Result<Value, Error> {
    let agents = agents::views(&Config::read(&server.home)?, &server.caller.ambient())?;
    let agents = json!({"agents": agents});
    Ok(json!({"content": [{"type": "text", "text": agents.to_string()}], "structuredContent": agents}))
}

impl Server {
    /// Checks a call, and makes of it what a command line would.
    fn prepare(&self, call: RunCall) -> Result<Prepared, Error> {
        if let Actor::Agent(agent) = Caller::actor() {
            return Err(ToolError::Agent { agent }.into());
        }
        let mut all = call.agents.iter().chain(&call.judge);
        if let Some(pick) = all.find(|pick| pick.preset.is_some()) {
            return Err(ToolError::Preset { agent: pick.agent.clone() }.into());
        }
        let mode = call.mode.unwrap_or(PermissionMode::ReadOnly);
        if mode > self.mode_max {
            return Err(ToolError::Mode { mode, mode_max: self.mode_max }.into());
        }
        let (args, prompt) = call.into_args(mode)?;
        let args = RunArgs { cwd: self.cwd.clone(), ..args };
        let project = trusted(&assemble::cwd(&args)?, &self.home, &self.output)?;
        let config = Config::read(&self.home)?.under(project);
        let picks: Vec<Pick> = match args.agents.as_slice() {
            [] => assemble::default_picks(&config, &self.caller)?.0,
            named => named.to_vec(),
        };
        let bound = Bound::read(&self.home, &self.output)?;
        let parts = assemble::run(&args, prompt, &picks, (config, &bound), (&self.home, &self.caller))?;
        let coordinator = run::keeping(parts.coordinator, read_prices(&self.home)?, self.home.clone());
        Ok(Prepared { coordinator, plan: parts.plan })
    }
}

/// A reader that stops all runs at its end: nobody is left to hear their answers.
struct StopAtEnd<R> {
    reader: R,
    stop: CancellationToken,
}

impl<R: AsyncRead + Unpin> AsyncRead for StopAtEnd<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = space.filled().len();
        let polled = Pin::new(&mut self.reader).poll_read(context, space);
        if matches!(&polled, Poll::Ready(read) if read.is_err() || space.filled().len() == before) {
            self.stop.cancel();
        }
        polled
    }
}
