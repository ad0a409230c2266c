//! Agents and looks that several tests need.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aiswitch_coordinator::{
    Agent, AgentId, AgentReport, AgentSpec, Coordinator, Driver, Home, MemoryAgent, Outcome, PermissionMode,
    Plan, RunReport, TaskResult, TaskSpec, TaskStatus,
};

pub(crate) fn id(name: &str) -> AgentId {
    name.parse().expect("a name of the test")
}

/// A result with an answer.
pub(crate) fn answer(text: impl Into<String>) -> TaskResult {
    TaskResult { answer: Some(text.into()), ..TaskResult::new(TaskStatus::Completed) }
}

/// An agent that answers with a function of its task.
pub(crate) fn agent<F, Fut>(name: &str, answer: F) -> Arc<dyn Agent>
where
    F: Fn(TaskSpec) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = TaskResult> + Send + 'static,
{
    Arc::new(MemoryAgent::new(id(name), move |task, _| answer(task)))
}

/// An agent that answers with its prompt.
pub(crate) fn echo(name: &str) -> Arc<dyn Agent> {
    agent(name, |task| async move { answer(task.prompt) })
}

/// An agent that fails.
pub(crate) fn failing(name: &str) -> Arc<dyn Agent> {
    agent(name, |_| async { TaskResult::new(TaskStatus::Failed) })
}

/// An agent that works for a time and then answers with its prompt.
pub(crate) fn slow(name: &str, time: Duration) -> Arc<dyn Agent> {
    agent(name, move |task| async move {
        tokio::time::sleep(time).await;
        answer(task.prompt)
    })
}

/// An agent that works until it is asked to stop.
pub(crate) fn endless(name: &str) -> Arc<dyn Agent> {
    Arc::new(MemoryAgent::new(id(name), |_, context| async move {
        context.cancel.cancelled().await;
        TaskResult { answer: Some("so far".to_owned()), ..TaskResult::new(TaskStatus::Cancelled) }
    }))
}

/// A shell script as an agent: prompt on stdin, answer on stdout.
pub(crate) fn script(name: &str, script: &str) -> Arc<dyn Agent> {
    AgentSpec::command(["/bin/sh", "-c", script]).build(id(name))
}

/// A shell script as an adapter with these capabilities; in its task it does what `works` says and then answers `done`.
///
/// `$task` is the task's id. Asked for its figures, it has one.
pub(crate) fn adapter(capabilities: &str, works: &str) -> AgentSpec {
    let script = format!(
        r#"id_of() {{ printf '%s' "$1" | sed 's/^{{"jsonrpc":"2.0","id":\("[^"]*"\|[0-9][0-9]*\).*/\1/'; }}
        answer() {{ printf '{{"jsonrpc":"2.0","id":%s,"result":%s}}\n' "$(id_of "$1")" "$2"; }}
        read -r line
        answer "$line" '{{"protocol_version":1,"agent":{{"name":"a","version":"1"}},"capabilities":{capabilities}}}'
        read -r line
        task=$(printf '%s' "$line" | sed 's/.*"params":{{"id":"\([^"]*\)".*/\1/')
        {works}
        answer "$line" '{{"status":"completed","answer":"done"}}'
        while read -r line; do
            case $line in
                *metrics.query*) answer "$line" '{{"values":{{"cached_tokens":5}}}}' ;;
                *) answer "$line" null ;;
            esac
        done"#
    );
    let command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    AgentSpec { command, ..AgentSpec::new(Driver::Rpc) }
}

/// A shell that waits for a line in a pipe of its name, and does nothing else meanwhile; see [`make_pipes`].
///
/// One that starts programs over and over may be held between the start of one and its first step, and is then not seen
/// as stopped.
pub(crate) fn until_told(name: &str) -> Arc<dyn Agent> {
    script(name, &format!("read line <{name}; echo went"))
}

/// Makes the pipes through which agents are told to go on.
pub(crate) fn make_pipes(folder: &Path, names: &[&str]) {
    for name in names {
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.join(name), rustix::fs::Mode::RWXU).expect("a pipe");
    }
}

pub(crate) fn coordinator(agents: impl IntoIterator<Item = Arc<dyn Agent>>) -> Coordinator {
    agents.into_iter().fold(Coordinator::new(), Coordinator::with_agent)
}

/// A plan for these agents, in which scripts may work too.
pub(crate) fn plan(prompt: &str, agents: &[&str]) -> Plan {
    let plan = Plan::new(prompt, "/tmp").with_mode(PermissionMode::Write);
    agents.iter().fold(plan, |plan, agent| plan.with_agent(id(agent)))
}

pub(crate) fn outcomes(report: &RunReport) -> Vec<Outcome> {
    report.agents.iter().map(|agent| agent.status).collect()
}

pub(crate) fn reasons(report: &RunReport) -> Vec<Option<&str>> {
    report.agents.iter().map(|agent| agent.reason.as_deref()).collect()
}

pub(crate) fn said(report: &AgentReport) -> &str {
    report.answer.as_deref().unwrap_or("(nothing)")
}

/// Waits for a condition, at most half a minute.
pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let bound = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < bound, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Whether a process is there and is no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .is_some_and(|state| state != "Z")
}

/// The processes that carry the mark of a run.
pub(crate) fn marked(run: &str) -> Vec<u32> {
    let mark = format!("AISWITCH_RUN={run}");
    let pids = std::fs::read_dir("/proc").expect("Linux").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark.as_bytes()))
        })
        .collect()
}

/// The permission bits of a file or folder.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().expect("it is there").permissions().mode() & 0o777
}

/// The state letter of a process: `proc_pid_stat(5)`.
fn letter(pid: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    stat.rsplit(") ").next().expect("its state")[..1].to_owned()
}

/// The same once it is "T", which a process that waits for the disk comes to a little after its signal.
pub(crate) fn stopped(pid: u32) -> String {
    let bound = Instant::now() + Duration::from_secs(30);
    while letter(pid) != "T" && Instant::now() < bound {
        std::thread::yield_now();
    }
    letter(pid)
}

/// A home in a folder of its own.
pub(crate) fn home() -> (tempfile::TempDir, Home) {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home::new(folder.path().join("home"));
    (folder, home)
}

/// The document in a state file, which must be whole at any moment; `None` before there is one.
pub(crate) fn document(path: &Path) -> Option<serde_json::Value> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text}", path.display())))
}
