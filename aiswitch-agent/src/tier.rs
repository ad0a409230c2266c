//! What holds an agent's processes together, and the control groups in which that is done where there are some.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{Timespec, poll};
use serde::Serialize;

/// How often it is tried to remove a group whose processes were killed, and how long is waited in between: together
/// no more than 250 ms.
const REMOVE_TRIES_MAX: usize = 250;
const REMOVE_STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// What holds an agent's processes together, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// A guard, and a namespace of process numbers, which the kernel ends with whoever holds it.
    PidNamespace,
    /// A guard, and a control group, which the kernel kills at once and keeps to limits.
    Cgroup,
    /// A guard, which adopts all that the agent starts.
    Guard,
    /// The agent's process group, and the mark that its processes inherit.
    Group,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PidNamespace => "pid_namespace",
            Self::Cgroup => "cgroup",
            Self::Guard => "guard",
            Self::Group => "group",
        })
    }
}

/// What an agent's processes are held by, and what of the machine the kernel limits for all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// What holds them together.
    pub tier: Tier,
    /// What the kernel limits.
    pub controllers: Controllers,
}

impl Hold {
    /// Agents without a guard.
    pub const GROUP: Self =
        Self { tier: Tier::Group, controllers: Controllers { memory: false, processes: false, cpu: false } };
}

/// What the kernel limits for all processes of a control group together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Controllers {
    /// Their memory.
    pub memory: bool,
    /// Their number.
    pub processes: bool,
    /// Their CPU time.
    pub cpu: bool,
}

/// A control group of the kernel (cgroups, version 2) in which agents are given groups of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    root: Arc<Path>,
    controllers: Controllers,
}

impl Cgroups {
    /// The group that this process is in.
    ///
    /// # Errors
    /// This machine has none, or it belongs to somebody else.
    pub fn own() -> io::Result<Self> {
        let missing = |what| io::Error::new(io::ErrorKind::NotFound, what);
        // cgroups(7): the line of version 2 has no number and no controllers.
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = own.ok_or_else(|| missing("this process is in no control group of version 2"))?;
        // proc_pid_mountinfo(5): the place is field 5, and the kind of file system stands behind the hyphen.
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let place = mounts.lines().find_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            kind.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4))?
        });
        let place = place.ok_or_else(|| missing("control groups of version 2 are not mounted"))?;
        Self::open(Path::new(place).join(own))
    }

    /// The group of this folder; the kernel is asked for the controllers that limits need, as far as it has them.
    ///
    /// # Errors
    /// It is no folder of a control group, or belongs to somebody else.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        let listed = |file: &str| fs::read_to_string(root.join(file));
        let (offered, given) = (listed("cgroup.controllers")?, listed("cgroup.subtree_control")?);
        rustix::fs::access(&root, rustix::fs::Access::WRITE_OK)?;
        let is_in = |list: &str, name: &str| list.split_ascii_whitespace().any(|found| found == name);
        for name in ["memory", "pids", "cpu"] {
            if is_in(&offered, name) && !is_in(&given, name) {
                // An error says that it is not for us, or that processes are in this very group: limits of it are then
                // not enforced, which is what is reported.
                drop(fs::write(root.join("cgroup.subtree_control"), format!("+{name}")));
            }
        }
        let given = listed("cgroup.subtree_control")?;
        let controllers = Controllers {
            memory: is_in(&given, "memory"),
            processes: is_in(&given, "pids"),
            cpu: is_in(&given, "cpu"),
        };
        Ok(Self { root: root.into(), controllers })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the kernel limits in the groups of agents.
    pub fn controllers(&self) -> Controllers {
        self.controllers
    }

    /// Ends what is left in the groups of agents whose mark is `run` or starts with `run:`, and removes them.
    pub(crate) fn reclaim(&self, run: &str) {
        let (exact, prefix) = (format!("aiswitch-{run}-"), format!("aiswitch-{run}:"));
        for group in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = group.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(&exact) || name.starts_with(&prefix)) {
                // An error leaves it to the sweep, and the folder to the next time.
                drop(fs::write(group.path().join("cgroup.kill"), "1"));
                remove(&group.path());
            }
        }
    }
}

/// Removes a group as soon as what was killed in it has gone.
fn remove(group: &Path) {
    for _ in 0..REMOVE_TRIES_MAX {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                poll(&mut [], Some(&REMOVE_STEP)).ok();
            }
            // What cannot be removed is empty, and removed by the next look for what is left.
            _ => break,
        }
    }
}
