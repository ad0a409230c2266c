//! The guard: a small process between the caller and one agent, which ends all that the agent has started.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aiswitch_env::Environment;

pub(crate) use walls::Walls;

use super::Launch;
use crate::{AgentId, Cgroups, Hold, Resources, Sandbox, Tier};

mod cgroup;
mod enter;
mod namespace;
pub(super) mod order;
mod start;
mod tend;
mod walls;
mod watchdog;

/// The first argument of a process that is started as a guard.
const GUARD_VERB: &str = "__aiswitch-guard";

/// The first argument of a process that a guard starts, to become the agent.
const ENTER_VERB: &str = "__aiswitch-enter";

/// The first argument of a process that a guard starts, to be the first one of its agent's namespace.
const INIT_VERB: &str = "__aiswitch-init";

/// The variable that marks a guard; its value is that of [`MARKER`](crate::MARKER) in the processes that it guards.
///
/// It is another one, so that a [`sweep`](crate::sweep) for those leaves the guard to do its work.
pub const GUARD_MARKER: &str = "AISWITCH_GUARD";

/// The exit code of a guard that refuses to work, as of `env`, `nohup` and `timeout`.
const REFUSED: i32 = 125;

/// The program of the process that runs this code; it stays the same one when its file is replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How to start a guard: by the caller's own program, which is what [`guard_main`] hands out, or by another one.
///
/// A guard stands between the caller and one agent. It adopts all that the agent starts, whatever session it is in,
/// and ends it when the agent ends, when the caller says so, and when the caller is gone: also after a SIGKILL.
/// It works on Linux with `/proc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    program: Arc<Path>,
    namespace: bool,
    cgroups: Option<Cgroups>,
}

impl Guard {
    /// A guard by another program, whose `main` calls [`guard_main`] first; the crate's own is `aiswitch-guard`.
    pub fn by_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into().into(), namespace: false, cgroups: None }
    }

    /// The same, with each agent in a namespace of process numbers: nothing of it is left even if guard and caller are
    /// killed at once. It sees no processes but its own.
    #[must_use]
    pub fn with_namespace(self) -> Self {
        Self { namespace: true, ..self }
    }

    /// The same, with each agent in a control group of its own within these.
    #[must_use]
    pub fn with_cgroups(self, cgroups: Cgroups) -> Self {
        Self { cgroups: Some(cgroups), ..self }
    }

    /// What agents' processes are held by.
    pub fn hold(&self) -> Hold {
        let tier = match (self.namespace, &self.cgroups) {
            (true, _) => Tier::PidNamespace,
            (false, Some(_)) => Tier::Cgroup,
            (false, None) => Tier::Guard,
        };
        Hold { tier, controllers: self.cgroups.as_ref().map(Cgroups::controllers).unwrap_or_default() }
    }

    /// Whether each agent is put into a namespace of its own.
    pub(super) fn has_namespace(&self) -> bool {
        self.namespace
    }

    /// The control groups in which each agent is given one.
    pub(super) fn cgroups(&self) -> Option<&Cgroups> {
        self.cgroups.as_ref()
    }

    /// The program that is started as a guard.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The command that starts a guard; it has no environment but its mark, and no folder.
    #[expect(clippy::disallowed_methods, reason = "the one place where a guard starts")]
    pub(super) fn command(&self, marker: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&*self.program);
        command.arg0("aiswitch-guard").arg(GUARD_VERB).env_clear().env(GUARD_MARKER, marker).current_dir("/");
        command
    }
}

/// The launch of a process that has nothing to do and ends: one more guard, without an order.
pub(crate) fn probe_launch(agent: AgentId, guard: &Guard, sandbox: Sandbox) -> Launch {
    Launch {
        agent,
        program: guard.program.to_path_buf(),
        args: vec![GUARD_VERB.to_owned()],
        cwd: "/".into(),
        environment: Environment::default().with_default("HOME", "/"),
        resources: Resources::default(),
        sandbox,
        folders: Vec::new(),
    }
}

/// Does a guard's work, and ends the process, if it was started as one; else hands out the way to start guards.
///
/// Call it first in `main`, before threads, options and files. Where it is not called, this program cannot be a guard:
/// it would do its own work once more for every agent.
#[must_use = "agents are guarded only if their context is given the guard"]
pub fn guard_main() -> Guard {
    let mut args = std::env::args_os().skip(1);
    let ended = match args.next() {
        Some(verb) if verb == GUARD_VERB => Some(tend::tend()),
        Some(verb) if verb == INIT_VERB => Some(namespace::lead(args)),
        Some(verb) if verb == ENTER_VERB => Some(enter::enter(args)),
        _ => None,
    };
    if let Some(code) = ended {
        leave(code);
    }
    Guard::by_program(OWN_PROGRAM)
}

#[expect(clippy::exit, reason = "a guard must not go on into the caller's own main")]
fn leave(code: i32) -> ! {
    std::process::exit(code)
}
