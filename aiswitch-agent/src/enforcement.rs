//! How far a promise about an agent's processes is kept on this machine.

use std::fmt;

use aiswitch_env::{Ambient, Environment};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::process::{Child, probe_launch};
use crate::{AgentError, AgentId, Guard, Limits, Pace, Resources, RunContext, Sandbox, event_channel};

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

/// What holds an agent's processes together, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// A guard, which adopts all that the agent starts.
    Guard,
    /// The agent's process group, and the mark that its processes inherit.
    Group,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guard => "guard",
            Self::Group => "group",
        })
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

/// What this machine offers for the supervision of agents.
#[derive(Debug)]
#[non_exhaustive]
pub struct Supervision {
    /// What holds the processes of agents together.
    pub tier: Tier,
    /// Why it is not the guard that was given.
    pub problem: Option<AgentError>,
    /// What holds, and how far.
    pub promises: Vec<Promise>,
}

/// The mark without which a process cannot be found, named where it is the only means.
#[cfg(target_os = "linux")]
const GROUP: Enforcement =
    Enforcement::BestEffort("its process group, and processes that kept their environment");
#[cfg(not(target_os = "linux"))]
const GROUP: Enforcement = Enforcement::BestEffort("its process group alone");

/// What each sandbox keeps an agent from.
const SANDBOXES: [(&str, Sandbox); 3] = [
    ("the sandbox `standard`: files outside of its folders stay as they are, keys unread", Sandbox::Standard),
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
    /// Finds out by doing: has the guard start a process and end it.
    ///
    /// # Cancel safety
    /// Dropping the future ends the processes that were started.
    pub async fn probe(guard: Option<&Guard>) -> Self {
        let (tier, problem) = match guard {
            None => (Tier::Group, None),
            Some(guard) => match try_out(guard, Sandbox::None).await {
                Ok(()) => (Tier::Guard, None),
                Err(error) => (Tier::Group, Some(error)),
            },
        };
        let [stop, kill, both] = match tier {
            Tier::Guard => [
                Enforcement::Enforced,
                Enforcement::Enforced,
                Enforcement::BestEffort(
                    "the agent's process ends at once, the rest when aiswitch runs again",
                ),
            ],
            Tier::Group => [
                GROUP,
                Enforcement::BestEffort(
                    "most agents end with their input, the rest when aiswitch runs again",
                ),
                GROUP,
            ],
        };
        let promises = [
            ("no process is left when an agent ends or is stopped", stop),
            ("no process is left when aiswitch is killed", kill),
            ("no process is left when aiswitch and the guard are killed at once", both),
        ];
        let promises = promises.map(|(what, how_far)| Promise { what, how_far }).into_iter();
        let mut promises: Vec<Promise> = promises.chain(Resources::promises(tier)).collect();
        for (what, sandbox) in SANDBOXES {
            promises.push(Promise {
                what,
                how_far: try_sandbox(guard.filter(|_| tier == Tier::Guard), sandbox).await,
            });
        }
        Self { tier, problem, promises }
    }
}

/// Has the guard start a process, which is one more guard that has nothing to do and ends at once.
async fn try_out(guard: &Guard, sandbox: Sandbox) -> Result<(), AgentError> {
    let agent: AgentId = "probe".parse().expect("a name");
    let (events, _listener) = event_channel(agent.clone());
    let context = RunContext {
        environment: Environment::compose(&Ambient::from_vars([]), &[], None).expect("an empty one"),
        events,
        cancel: CancellationToken::new(),
        limits: Limits::default(),
        output_dir: None,
        marker: "probe".into(),
        pace: Pace::new("probe"),
        guard: Some(guard.clone()),
        hidden: Vec::new(),
    };
    let (child, pipes) = Child::spawn(&probe_launch(agent, guard, sandbox), &context).await?;
    drop(pipes);
    child.stop().await;
    Ok(())
}
