//! The table of faults: what each does to the agent that has it, and that it does nothing to anybody else.
//!
//! Each row runs in a process of its own, beside an agent that has to go on. When it is over, no process, no open file and no
//! task may be left that was not there before. The process of a row adopts what escapes, so that nothing can hide.
#![expect(clippy::disallowed_methods, reason = "a row starts itself anew, in a process of its own")]

mod life;
mod start;
mod tree;
mod words;

use std::any::type_name_of_val;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aiswitch_agent::{AgentEvent, AgentSpec, Driver, Fault, LifeState, LiveAgent, Replay, TaskResult};
use rustix::process::{Pid, Signal, geteuid, getpid, kill_process, set_child_subreaper};
use tokio::runtime::Handle;

use crate::live::{SOON, live};
use crate::support::{Bench, PATIENCE};

const FAULTY: &str = env!("CARGO_BIN_EXE_aiswitch-faulty");

/// Says to a process of the tests which one of the two it is: that of a row, or a caller that a row does things to.
const PART: &str = "AISWITCH_TEST_PART";

/// How long one row may take.
const ROW_PATIENCE: Duration = Duration::from_mins(2);

/// Says that the machine has nothing else to do, so that times can be asked for, and that the long forms are wanted.
pub(crate) fn is_strict() -> bool {
    std::env::var_os("AISWITCH_HOSTILE_RUNS").is_some()
}

/// How long something may take: on a busy machine, that it comes about is all that can be asked.
fn within(time: Duration) -> Duration {
    if is_strict() { time } else { PATIENCE }
}

/// An agent with a fault, under a guard.
fn faulty(fault: Fault) -> Bench {
    faulty_with(fault, 1)
}

/// The same, whose crash ends with this exit code, or by the signal 128 below it.
fn faulty_with(fault: Fault, exit_code: u8) -> Bench {
    let command = vec![FAULTY.to_owned(), fault.name().to_owned(), exit_code.to_string()];
    let mut bench = Bench::new(&AgentSpec { command, ..AgentSpec::new(Driver::Rpc) }).guarded();
    bench.context.limits.stop_grace = Duration::from_millis(300);
    bench
}

/// The same, as one that stays, started.
async fn live_with(fault: Fault) -> (Bench, LiveAgent) {
    let bench = faulty(fault);
    let agent = live(&bench, SOON);
    agent.start().await.unwrap();
    (bench, agent)
}

async fn ask(bench: &Bench, agent: &LiveAgent, prompt: &str) -> TaskResult {
    let task = agent.send_task(bench.task(prompt), Replay::Never);
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap()
}

/// Waits until the agent has been started again so often and is ready, and sees it do a task.
async fn recovers(bench: &Bench, agent: &LiveAgent, restarts: u32) {
    let mut status = agent.watch();
    let ready = status.wait_for(|status| status.restarts == restarts && status.state == LifeState::Idle);
    tokio::time::timeout(PATIENCE, ready).await.unwrap().unwrap();
    assert_eq!(ask(bench, agent, "behave").await.answer.as_deref(), Some("behave"));
}

/// The latest process of an agent.
fn pid_of(bench: &mut Bench) -> Pid {
    let started = |event| if let AgentEvent::Started { pid } = event { Some(pid) } else { None };
    let pid = bench.told().into_iter().filter_map(started).next_back().unwrap();
    Pid::from_raw(pid.try_into().unwrap()).unwrap()
}

/// Runs a row of the table in a process of its own, and sees that nothing but its agent was touched.
fn survives(row: impl AsyncFnOnce()) {
    let name = test_name(type_name_of_val(&row)).to_owned();
    survives_in(this_test(&name, "row"), row);
}

/// The same by a user who has no rights beyond those of others: the superuser is not kept to all limits.
fn survives_as_nobody(row: impl AsyncFnOnce()) {
    let name = test_name(type_name_of_val(&row)).to_owned();
    let command = this_test(&name, "row");
    if !geteuid().is_root() {
        return survives_in(command, row);
    }
    let as_nobody = || {
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(command.get_program());
        nobody
    };
    if !as_nobody().arg("--help").output().is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: nobody but the superuser may run these tests here");
    }
    let mut nobody = as_nobody();
    nobody.args(command.get_args()).env(PART, "row");
    survives_in(nobody, row);
}

fn survives_in(process: Command, row: impl AsyncFnOnce()) {
    match std::env::var(PART).as_deref() {
        Err(_) => alone(process),
        // It has done its part.
        Ok("caller") => {}
        Ok(_) => {
            set_child_subreaper(Some(getpid())).unwrap();
            let _orphans = Orphans;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { tokio::time::timeout(ROW_PATIENCE, witnessed(row)).await.unwrap() });
        }
    }
}

/// All that the process of a row has adopted: a row that fails may leave some, which end with it.
struct Orphans;

impl Drop for Orphans {
    fn drop(&mut self) {
        while !processes().is_empty() {
            for process in processes() {
                let number = process.split(' ').next().and_then(|number| number.parse().ok());
                // An error means that it has ended meanwhile.
                kill_process(number.and_then(Pid::from_raw).unwrap(), Signal::KILL).ok();
            }
        }
    }
}

/// Runs the row beside a neighbour, and compares what there is before and after.
async fn witnessed(row: impl AsyncFnOnce()) {
    // What is only made once is made now.
    Bench::script("true").guarded().run("").await.unwrap();
    let (bench, neighbour) = live_with(Fault::Garbage).await;
    let before = Census::take();
    row().await;
    let settled = async {
        while Census::take() != before {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, settled).await.is_err() {
        assert_eq!(Census::take(), before);
    }
    assert_eq!(ask(&bench, &neighbour, "behave").await.answer.as_deref(), Some("behave"));
    assert_eq!((neighbour.status().restarts, neighbour.status().problem), (0, None));
    neighbour.stop().await.unwrap();
    assert_eq!(processes(), BTreeSet::new());
}

/// What a row must leave as it was.
#[derive(Debug, PartialEq, Eq)]
struct Census {
    files: usize,
    tasks: usize,
    processes: BTreeSet<String>,
}

impl Census {
    fn take() -> Self {
        Self {
            files: fs::read_dir("/proc/self/fd").unwrap().count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
            processes: processes(),
        }
    }
}

/// The living processes below this one, each by its number and its command.
fn processes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut parents = vec![getpid().as_raw_pid().to_string()];
    while let Some(parent) = parents.pop() {
        for thread in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            parents.extend(children.split_ascii_whitespace().map(str::to_owned));
        }
        // proc_pid_stat(5): behind the name in brackets comes the state.
        let stat = fs::read_to_string(format!("/proc/{parent}/stat")).unwrap_or_default();
        if let Some((name, rest)) = stat.rsplit_once(") ")
            && !rest.starts_with('Z')
            && !name.starts_with(&format!("{} ", getpid().as_raw_pid()))
        {
            found.insert(name.to_owned());
        }
    }
    found
}

/// The name of the test that a closure was written in.
fn test_name(closure: &str) -> &str {
    let (_, path) = closure.split_once("::").unwrap();
    path.split("::{{closure}}").next().unwrap()
}

fn alone(mut row: Command) {
    let row = row.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let done = row.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (said, errors) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success() && said.contains("1 passed"), "{said}\n{errors}");
    for line in errors.lines().filter(|line| line.starts_with("skipped: ")) {
        eprintln!("{line}");
    }
}

fn this_test(name: &str, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(PART, part);
    command
}

/// A process of its own that supervises agents, until something is done to it.
struct Caller(Child);

impl Caller {
    /// Starts the caller of this test, and has it work in a folder.
    fn start(folder: &Path) -> Self {
        let name = std::env::args().skip_while(|arg| arg != "--exact").nth(1).unwrap();
        Self(this_test(&name, "caller").current_dir(folder).stdout(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    fn wait(&mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.0.kill());
        self.wait();
    }
}

/// What a test's caller does; nothing in any other process.
fn caller(work: impl AsyncFnOnce()) {
    if std::env::var(PART).as_deref() == Ok("caller") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work());
    }
}

/// Waits until a condition holds, and tells how long that took.
async fn until(mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "it does not come about");
        tokio::task::yield_now().await;
    }
    start.elapsed()
}
