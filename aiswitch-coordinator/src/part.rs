//! One agent's part of a run: its time-outs, its stop and how it ended.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::{
    Agent, AgentClock, AgentError, AgentEvent, AgentId, ErrorKind, Launch, LifeState, LiveAgent, LiveError,
    Problem, Profile, Replay, RunContext, TaskError, TaskResult, TaskSpec, TaskStatus, check, sweep,
};
use aiswitch_env::Environment;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::Outcome;
use crate::chain;
use crate::warm::Warm;

/// How long an agent may take to stop beyond the two graces that its own stop takes.
const STOP_MARGIN: Duration = Duration::from_secs(2);

/// The longest answer that is kept, in bytes.
///
/// An agent whose answer is longer has failed; the start of the answer is in its report.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One agent's part of a run, before it starts.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its place in the plan, which goes with all that it tells.
    pub(crate) index: usize,
    pub(crate) agent: Arc<dyn Agent>,
    pub(crate) task: TaskSpec,
    pub(crate) does: Does,
    pub(crate) replay: Replay,
    /// Whether a live agent that has done it well may do another one.
    pub(crate) is_wanted: bool,
    /// How long it may take, and how long it may give no sign of life.
    pub(crate) times: (Option<Duration>, Option<Duration>),
    pub(crate) told: mpsc::Sender<(usize, AgentEvent)>,
}

/// What does a part.
#[derive(Debug)]
pub(crate) enum Does {
    /// A process for this part alone, or none.
    Once { context: Box<RunContext>, heard: mpsc::Receiver<(AgentId, AgentEvent)> },
    /// A live agent, which may have done others before.
    Live(Box<Warm>),
}

/// What is there when a part is over.
#[derive(Debug)]
pub(crate) struct PartDone {
    pub(crate) end: PartEnd,
    /// How often its process was started again.
    pub(crate) restarts: u32,
    /// The live agent, where it may do another part.
    pub(crate) warm: Option<Warm>,
}

impl From<PartEnd> for PartDone {
    fn from(end: PartEnd) -> Self {
        Self { end, restarts: 0, warm: None }
    }
}

/// How a part ended.
#[derive(Debug)]
pub(crate) enum PartEnd {
    /// By itself.
    Own(Result<TaskResult, AgentError>),
    /// It was asked to stop; `None` when it did not and was killed.
    Stopped { why: Stop, last: Option<TaskResult> },
    /// Its code panicked.
    Panicked { message: String },
}

/// Why a part was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The run stops.
    Run,
    /// Its time is over.
    TimedOut(Duration),
    /// It gave no sign of life.
    Idle(Duration),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run => f.write_str("the run stopped"),
            Self::TimedOut(after) => write!(f, "it did not end within {after:?}"),
            Self::Idle(after) => write!(f, "it gave no sign of life for {after:?}"),
        }
    }
}

/// The moments at which a part is stopped, and then killed, on its agent's clock.
#[derive(Debug)]
struct Deadlines {
    timeout: Option<(Duration, Duration)>,
    idle: Option<(Duration, Duration)>,
    /// Set once the part was asked to stop.
    kill: Option<Duration>,
}

impl Deadlines {
    fn new(part: &Part) -> Self {
        let after = |duration: Option<Duration>| duration.map(|duration| (duration, duration));
        Self { timeout: after(part.times.0), idle: after(part.times.1), kill: None }
    }

    fn heard(&mut self, now: Duration) {
        if let Some((at, after)) = &mut self.idle {
            *at = now.saturating_add(*after);
        }
    }

    fn next(&self) -> Option<Duration> {
        let stops = [self.timeout, self.idle].into_iter().flatten().map(|(at, _)| at).min();
        self.kill.or(stops)
    }

    /// Why to stop, when the next deadline is that of a stop.
    fn over(&self) -> Stop {
        match (self.timeout, self.idle) {
            (Some((timeout_at, _)), Some((idle_at, after))) if idle_at < timeout_at => Stop::Idle(after),
            (Some((_, after)), _) => Stop::TimedOut(after),
            (None, Some((_, after))) => Stop::Idle(after),
            (None, None) => Stop::Run,
        }
    }
}

/// Does one agent's part: hands its events on, stops it in time, kills it when it does not stop.
///
/// All that the agent told is handed on before this ends.
///
/// # Cancel safety
/// Dropping the future drops the agent's, which kills its processes at once.
pub(crate) async fn run_part(part: Part) -> PartDone {
    let mut deadlines = Deadlines::new(&part);
    let Part { index, agent, task, does, replay, is_wanted, told, .. } = part;
    let Begun { context, mut heard, mut work, stays } = begin(does, agent.clone(), (task, replay), is_wanted);
    let RunContext { cancel, pace, limits, .. } = &context;
    let mut clock = AgentClock::new(pace.clone());
    let mut stop = None;
    let done = loop {
        let next = deadlines.next();
        // The end first, so that an agent that ended in time is not stopped; then time, which a flood must not delay.
        tokio::select! {
            biased;
            done = &mut work => {
                // Whoever ends after it was asked to stop may have ended because of that.
                stop = stop.or(cancel.is_cancelled().then_some(Stop::Run));
                break Some(done);
            }
            () = reach(&mut clock, next) => {
                if stop.is_some() {
                    break None;
                }
                stop = Some(deadlines.over());
                cancel.cancel();
            }
            () = cancel.cancelled(), if stop.is_none() => stop = Some(Stop::Run),
            Some((_, event)) = heard.recv() => {
                deadlines.heard(clock.now());
                hand_on(&told, index, event).await;
            }
        }
        if stop.is_some() && deadlines.kill.is_none() {
            // One that is paused does not hear that it is to stop.
            pace.resume();
            let patience = limits.stop_grace.saturating_mul(2).saturating_add(STOP_MARGIN);
            deadlines.kill = Some(clock.now().saturating_add(patience));
        }
    };
    drop(work);
    while let Ok((_, event)) = heard.try_recv() {
        hand_on(&told, index, event).await;
    }
    let Some(Worked { own, restarts, live }) = done else {
        sweep(&context.marker);
        let why = stop.expect("only a part that was stopped is killed");
        return PartEnd::Stopped { why, last: None }.into();
    };
    let own = match own {
        Ok(result) if stop.is_none() && failed_early(&result) => {
            let looked = tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                () = reach(&mut clock, deadlines.next()) => None,
                looked = outdated(agent.profile(), &context.environment) => looked,
            };
            Ok(TaskResult { error: looked.or(result.error), ..result })
        }
        own => own,
    };
    let end = match (stop, own) {
        (Some(why), Ok(last)) => PartEnd::Stopped { why, last: Some(last) },
        (_, own) => PartEnd::Own(own),
    };
    let warm = live.zip(stays).map(|(live, (launch, uses, born))| Warm {
        live,
        heard,
        context,
        launch,
        uses: uses + 1,
        born,
    });
    PartDone { end, restarts, warm }
}

/// Waits for a deadline, if there is one.
async fn reach(clock: &mut AgentClock, deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => clock.reach(deadline).await,
        None => std::future::pending().await,
    }
}

/// A part that goes on.
struct Begun {
    context: RunContext,
    heard: mpsc::Receiver<(AgentId, AgentEvent)>,
    work: Work,
    /// What was started, how often it was used before, and since when it runs, where it may stay.
    stays: Option<(Launch, u32, Instant)>,
}

fn begin(does: Does, agent: Arc<dyn Agent>, (task, replay): (TaskSpec, Replay), is_wanted: bool) -> Begun {
    match does {
        Does::Once { context, heard } => {
            let work = Box::pin(do_once(agent, task, (*context).clone()));
            Begun { context: *context, heard, work, stays: None }
        }
        Does::Live(warm) => {
            let Warm { live, heard, context, launch, uses, born } = *warm;
            let work = Box::pin(do_live(live, (task, replay), is_wanted));
            Begun { context, heard, work, stays: Some((launch, uses, born)) }
        }
    }
}

/// What came of the work on a part.
struct Worked {
    own: Result<TaskResult, AgentError>,
    restarts: u32,
    live: Option<LiveAgent>,
}

type Work = Pin<Box<dyn Future<Output = Worked> + Send>>;

async fn do_once(agent: Arc<dyn Agent>, task: TaskSpec, context: RunContext) -> Worked {
    Worked { own: agent.run(task, context).await, restarts: 0, live: None }
}

/// Has a live agent do a part, which is started for it where it has not done one before, and ended where it is not to do
/// another one.
async fn do_live(live: LiveAgent, (task, replay): (TaskSpec, Replay), is_wanted: bool) -> Worked {
    let before = live.status();
    let given = async {
        if before.state == LifeState::Stopped {
            live.start().await?;
        }
        live.send_task(task, replay).await
    };
    let failed = |error| TaskResult { error: Some(error), ..TaskResult::new(TaskStatus::Failed) };
    let own = match given.await {
        Ok(result) => result,
        Err(LiveError::Start { problem, .. }) => failed(problem),
        // Its part was stopped before it had an answer.
        Err(LiveError::Over { .. }) => TaskResult::new(TaskStatus::Cancelled),
        Err(error) => failed(TaskError::new(ErrorKind::Crash, chain(&error))),
    };
    let after = live.status();
    let restarts = after.restarts.saturating_sub(before.restarts);
    if is_wanted && after.state == LifeState::Idle {
        return Worked { own: Ok(own), restarts, live: Some(live) };
    }
    live.end().await;
    Worked { own: Ok(own), restarts, live: None }
}

/// Whether an agent failed before it had a session, in a way in which one that is too old does.
fn failed_early(result: &TaskResult) -> bool {
    let is_likely = |error: &TaskError| {
        matches!(error.kind, ErrorKind::Config | ErrorKind::Crash | ErrorKind::Protocol)
            && error.hint.is_none()
    };
    result.session_id.is_none() && result.error.as_ref().is_some_and(is_likely)
}

/// Whether an agent's program is too old; one that does not know its options cannot tell its driver.
async fn outdated(profile: &Profile, environment: &Environment) -> Option<TaskError> {
    profile.version_min.as_ref()?;
    let problem = check(profile, environment).await.problem?;
    let hint = profile.install.as_ref().map(|install| format!("update it with: {install}"));
    matches!(problem, Problem::TooOld { .. })
        .then(|| TaskError { hint, ..TaskError::new(ErrorKind::Config, problem.to_string()) })
}

async fn hand_on(told: &mpsc::Sender<(usize, AgentEvent)>, index: usize, event: AgentEvent) {
    // An error means that the run was dropped, and this part is about to be.
    drop(told.send((index, event)).await);
}

/// What the end of a part means.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) error: Option<TaskError>,
    pub(crate) result: Option<TaskResult>,
}

/// Judges the end of a part; what an agent says of itself counts as far as the rest bears it out.
pub(crate) fn judge(end: PartEnd) -> Verdict {
    match end {
        PartEnd::Own(Ok(result)) => judge_result(bounded(result)),
        PartEnd::Own(Err(error)) => {
            Verdict { outcome: Outcome::Failed, error: Some(not_started(&error)), result: None }
        }
        PartEnd::Stopped { why: Stop::Run, last } => {
            let error = last.is_none().then(|| TaskError::new(ErrorKind::Timeout, killed("the run stopped")));
            Verdict { outcome: Outcome::Cancelled, error, result: last.map(bounded) }
        }
        PartEnd::Stopped { why, last } => {
            let message = if last.is_none() { killed(&why.to_string()) } else { why.to_string() };
            Verdict {
                outcome: Outcome::TimedOut,
                error: Some(TaskError::new(ErrorKind::Timeout, message)),
                result: last,
            }
        }
        PartEnd::Panicked { message } => {
            let error = TaskError::new(ErrorKind::Internal, format!("its driver panicked: {message}"));
            Verdict { outcome: Outcome::Failed, error: Some(error), result: None }
        }
    }
}

fn judge_result(result: TaskResult) -> Verdict {
    let has_answer = result.answer.as_ref().is_some_and(|answer| !answer.trim().is_empty());
    let kind = result.error.as_ref().map(|error| error.kind);
    let (outcome, fault) = match (result.status, kind) {
        (TaskStatus::Cancelled, _) => (Outcome::Cancelled, None),
        (TaskStatus::OverBudget, _) => (Outcome::OverBudget, None),
        (TaskStatus::RateLimited, _) | (_, Some(ErrorKind::RateLimit)) => (
            Outcome::RateLimited,
            Some(TaskError::new(ErrorKind::RateLimit, "its provider takes no more requests at the moment")),
        ),
        (_, Some(ErrorKind::Crash)) => (Outcome::Crashed, None),
        (TaskStatus::Denied, _) => (Outcome::Denied, None),
        (_, Some(_)) => (Outcome::Failed, None),
        (_, None) if !result.denials.is_empty() => (Outcome::Denied, None),
        (TaskStatus::Completed, None) if has_answer => (Outcome::Completed, None),
        (TaskStatus::Completed, None) => {
            (Outcome::Failed, Some(TaskError::new(ErrorKind::Empty, "it ended well but answered nothing")))
        }
        (_, None) => {
            (Outcome::Failed, Some(TaskError::new(ErrorKind::Protocol, "it failed and does not say why")))
        }
    };
    Verdict { outcome, error: result.error.clone().or(fault), result: Some(result) }
}

/// Cuts an answer that is longer than what is kept, and says so.
fn bounded(mut result: TaskResult) -> TaskResult {
    if let Some(answer) = &mut result.answer
        && answer.len() > ANSWER_BYTES_MAX
    {
        let message =
            format!("its answer has {} bytes, and at most {ANSWER_BYTES_MAX} are kept", answer.len());
        result.error.get_or_insert(TaskError::new(ErrorKind::Limit, message));
        answer.truncate(answer.floor_char_boundary(ANSWER_BYTES_MAX));
    }
    result
}

fn killed(why: &str) -> String {
    format!("{why}, and it had to be killed since it did not stop when asked to")
}

/// What is wrong with an agent that could not be started.
pub(crate) fn not_started(error: &AgentError) -> TaskError {
    let hint = match error {
        AgentError::NotExecutable { agent, program } => {
            Some(format!("chmod +x {}, or correct `command` of agent `{agent}`", program.display()))
        }
        AgentError::Mode { agent, .. } => Some(format!(
            "choose a mode that it can keep to (see: aiswitch agents show {agent}), or name more under `modes` of its spec"
        )),
        _ => None,
    };
    TaskError { hint, ..TaskError::new(error.kind(), chain(error)) }
}

/// Adds what a person can do about a fault, where the agent itself did not say.
pub(crate) fn with_hint(error: TaskError, profile: &Profile) -> TaskError {
    TaskError { hint: error.hint.or_else(|| profile.hint(error.kind)), ..error }
}

#[cfg(test)]
mod tests {
    use aiswitch_agent::Denial;

    use super::*;

    fn judged(
        status: TaskStatus,
        answer: &str,
        kind: Option<ErrorKind>,
        denied: bool,
    ) -> (Outcome, Option<ErrorKind>) {
        let mut result = TaskResult::new(status);
        result.answer = Some(answer.to_owned());
        result.error = kind.map(|kind| TaskError::new(kind, "as the agent says"));
        result.denials.extend(denied.then(|| Denial { tool: "write".to_owned(), reason: None }));
        let verdict = judge(PartEnd::Own(Ok(result)));
        (verdict.outcome, verdict.error.map(|error| error.kind))
    }

    #[test]
    fn what_an_agent_says_of_itself_counts_only_as_far_as_the_rest_bears_it_out() {
        use ErrorKind as Kind;
        use TaskStatus as Status;
        for (status, answer, kind, denied, expected) in [
            (Status::Completed, "42", None, false, (Outcome::Completed, None)),
            (Status::Completed, " \n", None, false, (Outcome::Failed, Some(Kind::Empty))),
            (Status::Completed, "42", None, true, (Outcome::Denied, None)),
            (Status::Completed, "42", Some(Kind::Auth), false, (Outcome::Failed, Some(Kind::Auth))),
            (Status::Completed, "42", Some(Kind::Crash), true, (Outcome::Crashed, Some(Kind::Crash))),
            (Status::Failed, "", None, false, (Outcome::Failed, Some(Kind::Protocol))),
            (Status::Failed, "", None, true, (Outcome::Denied, None)),
            (Status::Failed, "", Some(Kind::RateLimit), false, (Outcome::RateLimited, Some(Kind::RateLimit))),
            (Status::Failed, "", Some(Kind::Crash), false, (Outcome::Crashed, Some(Kind::Crash))),
            (Status::Failed, "", Some(Kind::Provider), true, (Outcome::Failed, Some(Kind::Provider))),
            (Status::Denied, "no", None, false, (Outcome::Denied, None)),
            (Status::Cancelled, "half", None, false, (Outcome::Cancelled, None)),
            (Status::RateLimited, "", None, false, (Outcome::RateLimited, Some(Kind::RateLimit))),
            (Status::OverBudget, "", None, false, (Outcome::OverBudget, None)),
        ] {
            assert_eq!(
                judged(status, answer, kind, denied),
                expected,
                "{status:?} {answer:?} {kind:?} {denied}"
            );
        }
    }

    #[test]
    fn an_answer_beyond_the_limit_is_cut_and_a_failure() {
        let of = |bytes: usize| {
            let result =
                TaskResult { answer: Some("x".repeat(bytes)), ..TaskResult::new(TaskStatus::Completed) };
            let verdict = judge(PartEnd::Own(Ok(result)));
            let kept = verdict.result.and_then(|result| result.answer).map(|answer| answer.len());
            (verdict.outcome, verdict.error.map(|error| error.kind), kept)
        };
        assert_eq!(of(ANSWER_BYTES_MAX), (Outcome::Completed, None, Some(ANSWER_BYTES_MAX)));
        let expected = (Outcome::Failed, Some(ErrorKind::Limit), Some(ANSWER_BYTES_MAX));
        assert_eq!(of(ANSWER_BYTES_MAX + 1), expected);
    }

    #[test]
    fn an_answer_after_a_stop_is_a_part_of_one() {
        let last = TaskResult { answer: Some("half".into()), ..TaskResult::new(TaskStatus::Completed) };
        for (why, outcome) in [
            (Stop::Run, Outcome::Cancelled),
            (Stop::TimedOut(Duration::from_secs(5)), Outcome::TimedOut),
            (Stop::Idle(Duration::from_secs(5)), Outcome::TimedOut),
        ] {
            let verdict = judge(PartEnd::Stopped { why, last: Some(last.clone()) });
            assert_eq!((verdict.outcome, verdict.result), (outcome, Some(last.clone())), "{why:?}");
        }
    }
}
