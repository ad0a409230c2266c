//! A process tree as `sysinfo` tells it, for systems other than Linux.

use std::collections::BTreeSet;

use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::probe::{PROCESSES_MAX, Tree};

/// Looks through all processes of the system for those of one tree.
pub(crate) fn look(root: u32) -> Option<Tree> {
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let root = Pid::from_u32(root);
    let mut tree = Tree { memory_bytes: memory(system.process(root)?)?, processes: 1 };
    let mut found = BTreeSet::from([root]);
    let mut generation = vec![root];
    while !generation.is_empty() {
        let is_child =
            |process: &Process| process.parent().is_some_and(|parent| generation.contains(&parent));
        let children: Vec<(Pid, u64)> = system
            .processes()
            .iter()
            .filter(|(pid, process)| is_child(process) && !found.contains(pid))
            .filter_map(|(pid, process)| Some((*pid, memory(process)?)))
            .collect();
        if found.len() + children.len() > PROCESSES_MAX {
            return None;
        }
        for (_, bytes) in &children {
            tree.memory_bytes = tree.memory_bytes.saturating_add(*bytes);
            tree.processes += 1;
        }
        generation = children.iter().map(|(pid, _)| *pid).collect();
        found.extend(&generation);
    }
    Some(tree)
}

/// The resident memory of a process in bytes; `None` for a zombie.
fn memory(process: &Process) -> Option<u64> {
    (process.memory() > 0).then(|| process.memory())
}
