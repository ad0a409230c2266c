//! The programs that are told of alerts: few at once, each for a short time.

use std::collections::VecDeque;
use std::time::Duration;

use aiswitch_agent::{
    AgentId, AgentSpec, Guard, Limits, Pace, PermissionMode, RunContext, TaskSpec, event_channel,
};
use aiswitch_env::Environment;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{AlertReport, RunId, chain};

/// How many run at once.
const AT_ONCE_MAX: usize = 4;

/// How many wait for that; further ones are told later, which the run warns of.
const WAITING_MAX: usize = 100;

/// How long one may run, and how long a run that ends waits for all of them.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// How much one may print, in bytes; nobody reads it.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

/// How long one that is asked to stop may take.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What the programs of a run's alerts are given.
#[derive(Clone, Debug)]
pub(crate) struct CommandPlace {
    pub(crate) run: RunId,
    pub(crate) cwd: std::path::PathBuf,
    pub(crate) environment: Environment,
    pub(crate) guard: Option<Guard>,
}

/// How a program ended that was told of an alert.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What the caller knows the telling by.
    pub(crate) telling: u64,
    /// Why it was not told, if it was not.
    pub(crate) problem: Option<String>,
}

/// The programs that are told of alerts. Dropping it kills them.
#[derive(Debug)]
pub(crate) struct Commands {
    place: CommandPlace,
    running: JoinSet<Ended>,
    waiting: VecDeque<(u64, Vec<String>, AlertReport)>,
    /// How many were started, which tells their marks apart.
    started: u64,
}

impl Commands {
    pub(crate) fn new(place: CommandPlace) -> Self {
        Self { place, running: JoinSet::new(), waiting: VecDeque::new(), started: 0 }
    }

    /// Has a program told of an alert, now or when others have ended; a problem when too many wait.
    pub(crate) fn add(&mut self, telling: u64, argv: Vec<String>, alert: AlertReport) -> Option<String> {
        if self.waiting.len() == WAITING_MAX {
            return Some(format!(
                "more than {WAITING_MAX} alerts wait for their commands; others are told to them later"
            ));
        }
        self.waiting.push_back((telling, argv, alert));
        self.start_more();
        None
    }

    fn start_more(&mut self) {
        while self.running.len() < AT_ONCE_MAX
            && let Some((telling, argv, alert)) = self.waiting.pop_front()
        {
            self.started += 1;
            let told = tell(self.place.clone(), self.started, argv, alert);
            self.running.spawn(async move { Ended { telling, problem: told.await } });
        }
    }

    /// Waits for the end of one, and starts what waits. `None` when none runs.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn ended(&mut self) -> Option<Result<Ended, JoinError>> {
        let ended = self.running.join_next().await?;
        self.start_more();
        Some(ended)
    }

    /// Kills those that run, and says how many alerts were not told.
    pub(crate) async fn kill(&mut self) -> usize {
        let left = self.running.len() + self.waiting.len();
        self.waiting.clear();
        self.running.shutdown().await;
        left
    }
}

/// Tells one program of an alert; why it was not, if it was not.
async fn tell(place: CommandPlace, number: u64, argv: Vec<String>, alert: AlertReport) -> Option<String> {
    let CommandPlace { run, cwd, environment, guard } = place;
    let id: AgentId = "alert".parse().expect("it is a name");
    let (events, _) = event_channel(id.clone());
    // No agent has a mark with brackets.
    let marker = format!("{run}:(alert):{number}");
    let context = RunContext {
        environment,
        events,
        cancel: CancellationToken::new(),
        limits: Limits { output_bytes_max: OUTPUT_BYTES_MAX, stop_grace: STOP_GRACE, ..Limits::default() },
        output_dir: None,
        pace: Pace::new(marker.clone()),
        marker,
        guard,
        hidden: Vec::new(),
    };
    let task = TaskSpec {
        id: run.to_string().parse().expect("the name of a run is one of a task"),
        prompt: serde_json::to_string(&alert).expect("its keys are strings") + "\n",
        cwd,
        mode: PermissionMode::Write,
        model: None,
        session_id: None,
    };
    let problem = match timeout(COMMAND_TIMEOUT, AgentSpec::command(argv).build(id).run(task, context)).await
    {
        Ok(Ok(result)) => result.error?.message,
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("it did not end within {COMMAND_TIMEOUT:?}, and was killed"),
    };
    Some(format!("the command of alert `{}` failed: {problem}", alert.rule))
}
