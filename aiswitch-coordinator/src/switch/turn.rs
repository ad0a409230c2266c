//! The runs of any process that an agent is in.

use std::time::Duration;

use aiswitch_agent::{AgentId, ErrorKind, TaskError, Turn};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::error::HomeError;
use crate::{Home, ProcessMark, RunState};

/// How often it is looked whether the turns are over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until an agent is in no run any more, at work or to come; the runs are asked to end before, if that is wanted.
///
/// # Errors
/// It is in one for too long, or the state files cannot be read.
pub(super) async fn wait_for_turns(
    home: &Home,
    agent: &AgentId,
    turn: Turn,
    patience: Duration,
) -> Result<(), TaskError> {
    let unread = |error: HomeError| TaskError::new(ErrorKind::Internal, crate::chain(&error));
    let end = Instant::now() + patience;
    let mut asked: Vec<ProcessMark> = Vec::new();
    loop {
        let mut runs = home.runs().list().map_err(unread)?;
        runs.retain(|run| run.status == RunState::Running && run.agents.iter().any(|of| is_of(of, agent)));
        let Some(first) = runs.first() else { return Ok(()) };
        for process in runs.iter().filter(|_| turn == Turn::Cancel).filter_map(|run| run.process) {
            if !asked.contains(&process) {
                interrupt(process);
                asked.push(process);
            }
        }
        if Instant::now() >= end {
            let message = format!("it is still in run {} after {} s", first.run_id, patience.as_secs());
            return Err(TaskError::new(ErrorKind::Timeout, message));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Whether a name in a run is that of this agent, or of one of several of its kind, which are numbered.
fn is_of(name: &AgentId, agent: &AgentId) -> bool {
    let name: &str = name.as_ref();
    name == agent.as_ref()
        || name
            .strip_prefix(agent.as_ref())
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Asks a process that runs agents to end its run as at its terminal, by SIGINT.
fn interrupt(process: ProcessMark) {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid.filter(|_| process.is_there() && process.pid != std::process::id()) {
        // An error means that it has just ended.
        kill_process(pid, Signal::INT).ok();
    }
}
