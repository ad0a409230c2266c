//! A sandbox is a home, a state folder and a workspace of its own for one test, in which nothing may be left running.
#![expect(clippy::disallowed_methods, reason = "tests of the command start it")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::agents::{self, KEY_VARIABLE, Value};
use crate::llm::MockLlm;

/// The key that the mock's clients send.
pub(crate) const KEY: &str = "sk-mock-5d1f0a";

/// The preset that leads every agent to the mock.
pub(crate) const PRESET: &str = "mock";

/// How long a process may take to go away after the command that started it has ended.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// Folders of one test; when it is dropped, no process that was started in it may be alive.
#[derive(Debug)]
pub(crate) struct Sandbox {
    root: TempDir,
}

/// A running process, as `/proc` tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) command_line: String,
}

impl Sandbox {
    /// Makes the folders.
    ///
    /// # Panics
    ///
    /// Panics when they cannot be made, as does everything here that meets a broken machine.
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("aiswitch-test-").tempdir().expect("a temporary folder");
        let sandbox = Self { root };
        for folder in [sandbox.home(), sandbox.aiswitch_home().join("config"), sandbox.workspace()] {
            fs::create_dir_all(folder).expect("a folder in a new temporary folder");
        }
        sandbox
    }

    /// Makes the folders, with the settings of all agents and the preset [`PRESET`] for this mock.
    pub(crate) fn with_llm(llm: &MockLlm) -> Self {
        let sandbox = Self::new();
        agents::write_settings(&sandbox.home(), &llm.url()).expect("settings in a new home");
        let presets = sandbox.aiswitch_home().join("config/presets.yaml");
        fs::write(presets, presets_yaml(&llm.url())).expect("presets in a new state folder");
        sandbox
    }

    /// The home of the agents.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The state folder of aiswitch.
    pub(crate) fn aiswitch_home(&self) -> PathBuf {
        self.root.path().join("aiswitch")
    }

    /// The folder in which the agents work.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.root.path().join("workspace")
    }

    /// The `aiswitch` command, in the workspace, with the sandbox and the key for its whole environment.
    pub(crate) fn aiswitch(&self) -> Command {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_aiswitch")));
        command.env("AISWITCH_HOME", self.aiswitch_home()).env(KEY_VARIABLE, KEY);
        command
    }

    /// A bare agent, with the variables that the preset would give it.
    pub(crate) fn agent(&self, program: &Path, llm: &MockLlm) -> Command {
        let mut command = self.command(program);
        command.envs(agents::variables(&llm.url()).into_iter().map(|(name, value)| match value {
            Value::Plain(text) => (name, text),
            Value::Key => (name, KEY.to_owned()),
        }));
        command
    }

    /// The processes that live in this sandbox: those whose `HOME` is its home.
    pub(crate) fn processes(&self) -> Vec<Process> {
        processes_with(&format!("HOME={}", self.home().display()))
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", agents::search_path())
            .env("TERM", "dumb")
            .current_dir(self.workspace())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let gone = holds_within(GONE_WITHIN, || self.processes().is_empty());
        let left = self.processes();
        for process in &left {
            let pid = Pid::from_raw(process.pid).expect("a process has a number");
            // It may have ended by itself in between: what counts is that it is gone.
            kill_process(pid, Signal::KILL).ok();
        }
        if !thread::panicking() {
            assert!(gone, "left running: {left:#?}");
        }
    }
}

/// The processes whose environment holds exactly this `NAME=value`.
pub(crate) fn processes_with(variable: &str) -> Vec<Process> {
    let processes = fs::read_dir("/proc").expect("tests of processes need /proc");
    processes
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let pid = folder.file_name()?.to_str()?.parse().ok()?;
            // Whoever ends meanwhile, or is someone else's, is not ours.
            let environment = fs::read(folder.join("environ")).ok()?;
            let ours = environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes());
            let words = fs::read(folder.join("cmdline")).ok().filter(|_| ours)?;
            let command_line = String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned();
            Some(Process { pid, command_line })
        })
        .collect()
}

/// Waits until a condition holds, and tells whether it did within this time.
pub(crate) fn holds_within(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        thread::park_timeout(POLL_PAUSE);
    }
    true
}

/// A presets file whose one preset leads every agent to this provider; the key comes from the caller's environment.
pub(crate) fn presets_yaml(provider_url: &str) -> String {
    let mut yaml =
        format!("presets:\n  {PRESET}:\n    description: the mock LLM on loopback\n    variables:\n");
    for (name, value) in agents::variables(provider_url) {
        let value = match value {
            Value::Plain(text) => format!("{text:?}"),
            Value::Key => format!("env:{KEY_VARIABLE}"),
        };
        writeln!(yaml, "      {name}: {value}").expect("a string takes every text");
    }
    yaml
}
