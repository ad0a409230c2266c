//! What the tests of every driver need: a run's context, what was said, and whether anything is left.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::{
    Agent, AgentError, AgentEvent, AgentSpec, EventSender, GUARD_MARKER, Guard, Limits, MARKER, Pace,
    PermissionMode, RunContext, TaskResult, TaskSpec, event_channel,
};
use aiswitch_env::{Ambient, Environment};
use rustix::process::Pid;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

/// How long a test waits for a condition before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One agent in a folder of its own, ready to be given a task.
pub(crate) struct Bench {
    pub(crate) agent: Arc<dyn Agent>,
    pub(crate) context: RunContext,
    pub(crate) events: Receiver<(aiswitch_agent::AgentId, AgentEvent)>,
    pub(crate) dir: tempfile::TempDir,
}

/// The environment of a child: a usual `PATH`, and these variables as credentials.
pub(crate) fn environment(credentials: &[(&str, &str)]) -> Environment {
    let usual = [("PATH", "/usr/local/bin:/usr/bin:/bin")];
    let ambient =
        Ambient::from_vars(usual.iter().chain(credentials).map(|(name, value)| (name.into(), value.into())));
    let names: Vec<&str> = credentials.iter().map(|(name, _)| *name).collect();
    Environment::compose(&ambient, &names, None).unwrap()
}

impl Bench {
    pub(crate) fn new(spec: &AgentSpec) -> Self {
        let id: aiswitch_agent::AgentId = "agent".parse().unwrap();
        let (sender, events): (EventSender, _) = event_channel(id.clone());
        let dir = tempfile::tempdir().unwrap();
        // The folder's name is unique among all tests that run at once.
        let marker = format!("{}:agent", dir.path().file_name().unwrap().to_string_lossy());
        let context = RunContext {
            environment: environment(&[]),
            events: sender,
            cancel: CancellationToken::new(),
            limits: Limits { stop_grace: Duration::from_secs(2), ..Limits::default() },
            output_dir: Some(dir.path().to_owned()),
            pace: Pace::new(marker.clone()),
            marker,
            guard: None,
            hidden: Vec::new(),
        };
        Self { agent: spec.build(id), context, events, dir }
    }

    /// A shell script as a command agent.
    pub(crate) fn script(script: &str) -> Self {
        Self::new(&AgentSpec::command(["sh", "-c", script]))
    }

    /// The same, with its processes under a guard.
    pub(crate) fn guarded(mut self) -> Self {
        self.context.guard = Some(Guard::by_program(env!("CARGO_BIN_EXE_aiswitch-guard")));
        self
    }

    pub(crate) fn task(&self, prompt: &str) -> TaskSpec {
        TaskSpec {
            id: "task".parse().unwrap(),
            prompt: prompt.into(),
            cwd: self.dir.path().to_owned(),
            mode: PermissionMode::Write,
            model: None,
            session_id: None,
        }
    }

    /// Runs a task to its end, bounded, and checks that nothing of it is left.
    pub(crate) async fn run(&mut self, prompt: &str) -> Result<TaskResult, AgentError> {
        let task = self.task(prompt);
        let result =
            tokio::time::timeout(PATIENCE, self.agent.run(task, self.context.clone())).await.unwrap();
        assert_eq!(self.left(), Vec::<String>::new());
        result
    }

    /// The command lines of living processes that carry this run's marker.
    pub(crate) fn left(&self) -> Vec<String> {
        let wanted = format!("{MARKER}={}", self.context.marker);
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                let environ = std::fs::read(entry.path().join("environ")).ok()?;
                environ
                    .split(|byte| *byte == 0)
                    .any(|variable| variable == wanted.as_bytes())
                    .then_some(())?;
                Some(String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).ok()?).into_owned())
            })
            .collect()
    }

    /// The living processes that work in the bench's folder, with or without the mark, and those that guard them.
    pub(crate) fn alive(&self) -> Vec<String> {
        let dir = self.dir.path().canonicalize().unwrap();
        let guards = format!("{GUARD_MARKER}={}", self.context.marker);
        let is_ours = |process: &Path| {
            std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&dir))
                || std::fs::read(process.join("environ")).is_ok_and(|environ| {
                    environ.split(|byte| *byte == 0).any(|variable| variable == guards.as_bytes())
                })
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        processes
            .filter(|process| is_ours(process))
            .filter_map(|process| std::fs::read_to_string(process.join("stat")).ok())
            .collect()
    }

    /// The guard's process.
    pub(crate) fn guard(&self) -> Option<Pid> {
        let wanted = format!("{GUARD_MARKER}={}\0", self.context.marker);
        std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let environ = std::fs::read_to_string(entry.path().join("environ")).ok()?;
            (environ == wanted).then_some(())?;
            Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)
        })
    }

    /// All events that were told up to now.
    pub(crate) fn told(&mut self) -> Vec<AgentEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).map(|(_, event)| event).collect()
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }
}

/// Waits until a file is there.
pub(crate) async fn wait_for(path: &Path) {
    let appears = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, appears)
        .await
        .unwrap_or_else(|_| panic!("{} did not appear", path.display()));
}

/// Whether these tests were started with a signal ignored, as nohup does with SIGHUP: what they start ignores it too.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 == 1
}
