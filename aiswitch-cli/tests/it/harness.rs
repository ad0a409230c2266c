//! Running the command in a sandbox and looking at all that a user sees of it.
#![expect(clippy::disallowed_methods, reason = "tests of the command start it")]

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::sandbox::{Sandbox, holds_within};

/// How long the command may take to do what it is waited for.
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

/// All that a user sees of a command that ended.
#[must_use = "look at what the command did"]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl From<Output> for Shown {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stdout:\n{}\nstderr:\n{}\ncode: {:?}", self.stdout, self.stderr, self.code)
    }
}

impl Shown {
    /// The one JSON document on stdout.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// The JSON documents on stdout, one a line.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }
}

/// The command with these arguments and nothing on its `PATH` but the sandbox's own programs.
pub(crate) fn aiswitch(sandbox: &Sandbox, args: &[&str]) -> Command {
    let mut command = sandbox.aiswitch();
    command.env("PATH", programs(sandbox)).args(args);
    command
}

/// Runs the command with these arguments to its end.
pub(crate) fn show(sandbox: &Sandbox, args: &[&str]) -> Shown {
    aiswitch(sandbox, args).output().unwrap().into()
}

/// Runs the command with something piped into it.
pub(crate) fn show_fed(sandbox: &Sandbox, args: &[&str], input: impl AsRef<[u8]>) -> Shown {
    let path = sandbox.home().join("input");
    fs::write(&path, input).unwrap();
    // A pipe, not the file itself: that is what users mostly feed a command with.
    let mut cat = Command::new("cat").arg(path).stdout(Stdio::piped()).spawn().unwrap();
    let shown = aiswitch(sandbox, args).stdin(cat.stdout.take().unwrap()).output().unwrap().into();
    // The reader may have left before all was read.
    cat.wait().unwrap();
    shown
}

/// Runs a shell script in which `"$0"` is the command.
pub(crate) fn show_script(sandbox: &Sandbox, script: &str) -> Shown {
    let command = aiswitch(sandbox, &[]);
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(script).arg(command.get_program());
    shell.env_clear().envs(variables).current_dir(sandbox.workspace()).stdin(Stdio::null());
    shell.output().unwrap().into()
}

/// The folder of programs that the sandbox's `PATH` names.
pub(crate) fn programs(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join("programs")
}

/// Writes a configuration file.
pub(crate) fn configure(sandbox: &Sandbox, file: &str, text: &str) -> PathBuf {
    let path = sandbox.aiswitch_home().join("config").join(file);
    fs::write(&path, text).unwrap();
    path
}

/// The folders of the runs that are kept.
pub(crate) fn kept_runs(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folders = fs::read_dir(sandbox.aiswitch_home().join("runs")).into_iter().flatten();
    folders.map(|folder| folder.unwrap().path()).collect()
}

/// Starts the command with its streams piped.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Whether these tests were started with a signal ignored, as nohup does with SIGHUP: what they start ignores it too.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal - 1) & 1 == 1
}

/// Sends a signal to a process.
pub(crate) fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits until the command has started an agent's process.
pub(crate) fn await_agents(sandbox: &Sandbox, count: usize) {
    let agents =
        || sandbox.processes().iter().filter(|process| !process.command_line.contains(" run ")).count();
    assert!(holds_within(WITHIN, || agents() >= count), "{:?}", sandbox.processes());
}
