//! A process tree as Linux's `/proc` tells it.

use std::fs;
use std::path::PathBuf;

use crate::probe::{PROCESSES_MAX, Tree};

/// Reads the processes of one tree, and no others.
pub(crate) fn look(root: u32) -> Option<Tree> {
    let mut tree = Tree { memory_bytes: resident_bytes(root)?, processes: 1 };
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let children = match children(parent) {
            Some(children) => children,
            // A kernel without the list of children leaves everything open.
            None if parent == root => return None,
            None => continue,
        };
        for child in children {
            // A child without memory has ended since, or waits for its parent to notice that it has.
            let Some(bytes) = resident_bytes(child) else { continue };
            if tree.processes == PROCESSES_MAX {
                return None;
            }
            tree.memory_bytes = tree.memory_bytes.saturating_add(bytes);
            tree.processes += 1;
            parents.push(child);
        }
    }
    Some(tree)
}

/// The resident memory of a process; `None` for one that is gone or a zombie.
///
/// It is the second number of `statm` in pages, see `proc_pid_statm(5)`.
fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    (pages > 0).then(|| pages.saturating_mul(rustix::param::page_size() as u64))
}

/// The children of all threads of a process, `proc_tid_children(5)`.
fn children(pid: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir(PathBuf::from(format!("/proc/{pid}/task"))).ok()? {
        let list = match fs::read_to_string(thread.ok()?.path().join("children")) {
            Ok(list) => list,
            // The thread has ended between the listing and the look, unless it is the first one.
            Err(_) if fs::exists(format!("/proc/{pid}/task/{pid}/children")).unwrap_or(false) => continue,
            Err(_) => return None,
        };
        children.extend(list.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Some(children)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a probe of processes is tested on processes")]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::probe_sysinfo;

    #[test]
    fn both_probes_see_the_same_tree() {
        // The shell stays the parent of both until the end of its stdin.
        let mut root = Command::new("/bin/sh")
            .args(["-c", "sleep 60 & a=$!; sleep 60 & echo ready; read line; kill $a $!; wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(root.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let (proc, sysinfo) = (look(root.id()), probe_sysinfo::look(root.id()));
        drop(root.stdin.take());
        root.wait().expect("the shell ends");
        let processes = |tree: Option<Tree>| tree.map(|tree| tree.processes);
        assert_eq!((line.as_str(), processes(proc), processes(sysinfo)), ("ready\n", Some(3), Some(3)));
        assert!(proc.is_some_and(|tree| tree.memory_bytes > 0), "{proc:?}");
        assert!(sysinfo.is_some_and(|tree| tree.memory_bytes > 0), "{sysinfo:?}");
    }
}
