//! How far a promise about an agent's processes is kept on this machine.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use aiswitch_env::{Ambient, Environment};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::process::{Child, probe_launch};
use crate::{
    AgentError, AgentId, Cgroups, Guard, Hold, Limits, Pace, Resources, RunContext, Sandbox, Tier,
    event_channel,
};

/// How far a promise is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// The system sees to it.
    Enforced,
    /// It is tried; this is the means, and where it ends.
    BestEffort(&'static str),
    /// There is no means.
    Unsupported,
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforced => f.write_str("enforced"),
            Self::BestEffort(means) => write!(f, "best effort: {means}"),
            Self::Unsupported => f.write_str("unsupported"),
        }
    }
}

/// Something that holds for an agent's processes, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// What holds.
    pub what: &'static str,
    /// How far.
    pub how_far: Enforcement,
}

/// Whether this machine has one way to hold agents' processes together.
#[derive(Debug)]
pub struct Tried {
    /// The way.
    pub tier: Tier,
    /// Why it cannot be had; `None` where it can.
    pub problem: Option<AgentError>,
}

/// What this machine offers for the supervision of agents.
#[derive(Debug)]
#[non_exhaustive]
pub struct Supervision {
    /// What agents' processes are held by.
    pub hold: Hold,
    /// Why it is not the guard that was given.
    pub problem: Option<AgentError>,
    /// What else they could be held by.
    pub tried: Vec<Tried>,
    /// What holds, and how far.
    pub promises: Vec<Promise>,
}

/// The mark without which a process cannot be found, named where it is the only means.
const GROUP: Enforcement =
    Enforcement::BestEffort("its process group, and processes that kept their environment");

/// What each sandbox keeps an agent from.
const SANDBOXES: [(&str, Sandbox); 3] = [
    (
        "the sandbox `standard`: files outside of its folders stay as they are, keys unread; nothing is made at the top of the working folder",
        Sandbox::Standard,
    ),
    ("the sandbox `read-only`: files of the working folder stay as they are as well", Sandbox::ReadOnly),
    ("the sandbox `offline`: no TCP; UDP is not covered", Sandbox::Offline),
];

/// Finds out by doing whether a sandbox can be put up.
async fn try_sandbox(guard: Option<&Guard>, sandbox: Sandbox) -> Enforcement {
    match guard {
        Some(guard) if try_out(guard, sandbox).await.is_ok() => Enforcement::Enforced,
        _ => Enforcement::Unsupported,
    }
}

impl Supervision {
    /// Finds out by doing: has guards start a process and end it.
    ///
    /// # Cancel safety
    /// Dropping the future ends the processes that were started.
    pub async fn probe(guard: Option<&Guard>) -> Self {
        let (hold, problem) = match guard {
            None => (Hold::GROUP, None),
            Some(guard) => match try_out(guard, Sandbox::None).await {
                Ok(()) => (guard.hold(), None),
                Err(error) => (Hold::GROUP, Some(error)),
            },
        };
        let mut tried = Vec::new();
        if let Some(guard) = guard {
            for tier in [Tier::PidNamespace, Tier::Cgroup] {
                tried.push(Tried { tier, problem: guard.in_tier(tier).await.err() });
            }
        }
        let [stop, kill, both] = kept_together(hold.tier);
        let promises = [
            ("no process is left when an agent ends or is stopped", stop),
            ("no process is left when aiswitch is killed", kill),
            ("no process is left when aiswitch and the guard are killed at once", both),
        ];
        let promises = promises.map(|(what, how_far)| Promise { what, how_far }).into_iter();
        let mut promises: Vec<Promise> = promises.chain(Resources::promises(hold)).collect();
        for (what, sandbox) in SANDBOXES {
            promises.push(Promise {
                what,
                how_far: try_sandbox(guard.filter(|_| hold.tier != Tier::Group), sandbox).await,
            });
        }
        Self { hold, problem, tried, promises }
    }
}

impl Guard {
    /// The same guard, with agents held by this, which is tried out.
    ///
    /// # Errors
    /// This machine does not have it, or it is no guard's.
    ///
    /// # Cancel safety
    /// Dropping the future ends the processes that were started.
    pub async fn in_tier(&self, tier: Tier) -> Result<Self, AgentError> {
        let missing = |source| AgentError::Hold { agent: probe(), tier, source };
        let guard = match tier {
            Tier::PidNamespace => self.clone().with_namespace(),
            Tier::Cgroup => self.clone().with_cgroups(Cgroups::own().map_err(missing)?),
            Tier::Guard => self.clone(),
            Tier::Group => return Err(missing(std::io::Error::other("it is held without a guard"))),
        };
        try_out(&guard, Sandbox::None).await?;
        Ok(guard)
    }

    /// The same guard, with agents held by all that this machine has.
    ///
    /// # Cancel safety
    /// Dropping the future ends the processes that were started.
    pub async fn in_strongest(&self) -> Self {
        let mut guard = self.clone();
        for tier in [Tier::Cgroup, Tier::PidNamespace] {
            // What is not there is what is gone without: `aiswitch doctor` says why.
            guard = guard.in_tier(tier).await.unwrap_or(guard);
        }
        guard
    }
}

/// How far nothing is left: after a stop, when the caller is killed, and when guard and caller are killed at once.
fn kept_together(tier: Tier) -> [Enforcement; 3] {
    match tier {
        Tier::PidNamespace => [Enforcement::Enforced; 3],
        Tier::Cgroup => [
            Enforcement::Enforced,
            Enforcement::Enforced,
            Enforcement::BestEffort(
                "the agent's process ends at once, all of the rest when aiswitch runs again",
            ),
        ],
        Tier::Guard => [
            Enforcement::Enforced,
            Enforcement::Enforced,
            Enforcement::BestEffort("the agent's process ends at once, the rest when aiswitch runs again"),
        ],
        Tier::Group => [
            GROUP,
            Enforcement::BestEffort("most agents end with their input, the rest when aiswitch runs again"),
            GROUP,
        ],
    }
}

/// The name of what is tried out.
fn probe() -> AgentId {
    "probe".parse().expect("a name")
}

/// A mark that no other probe has: whoever ends one ends all that carries its mark.
fn probe_marker() -> String {
    static PROBES: AtomicU64 = AtomicU64::new(0);
    format!("probe-{}-{}", std::process::id(), PROBES.fetch_add(1, Ordering::Relaxed))
}

/// Has the guard start a process, which is one more guard that has nothing to do and ends at once.
async fn try_out(guard: &Guard, sandbox: Sandbox) -> Result<(), AgentError> {
    let agent = probe();
    let (events, _listener) = event_channel(agent.clone());
    let context = RunContext {
        environment: Environment::compose(&Ambient::from_vars([]), &[], None).expect("an empty one"),
        events,
        cancel: CancellationToken::new(),
        limits: Limits::default(),
        output_dir: None,
        marker: probe_marker(),
        pace: Pace::new("probe"),
        guard: Some(guard.clone()),
        hidden: Vec::new(),
    };
    let (child, pipes) = Child::spawn(&probe_launch(agent, guard, sandbox), &context).await?;
    drop(pipes);
    child.stop().await;
    Ok(())
}
