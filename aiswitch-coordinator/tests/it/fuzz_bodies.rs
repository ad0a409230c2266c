//! What holds for any input; called by libFuzzer (see `fuzz/`) and by the tests beside this file.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use aiswitch_coordinator::{Actor, Audit, AuditDecision, AuditEntry, Channel, Home, MemoryLockManager};

/// An audit log, and what its files are as they were written.
struct Log {
    _folder: tempfile::TempDir,
    home: Home,
    files: [(PathBuf, Vec<u8>); 2],
}

thread_local! {
    static LOG: Log = Log::new();
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::new(folder.path());
        let entry = |object: &str| AuditEntry {
            actor: Actor::Operator,
            channel: Channel::CommandLine,
            action: "secrets.set".to_owned(),
            object: object.to_owned(),
            decision: AuditDecision::Allowed,
            detail: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let audit = Audit::new(home.clone(), Arc::new(MemoryLockManager::new()));
        runtime.block_on(audit.append(["one", "two", "three"].map(entry).to_vec())).expect("written");
        let files = [home.audit_file(1), home.audit_head_file()]
            .map(|path| (path.clone(), fs::read(path).expect("it was written")));
        Self { _folder: folder, home, files }
    }
}

/// Anything done to the files of an audit log: it is whole if and only if it is as it was written.
///
/// The input is a list of changes of four bytes: what is done, where (two bytes), and with what; the highest bit of the
/// first one says in which of the two files. A change of kind 5 is all of the file from here on.
pub(crate) fn audit(changes: &[u8]) {
    LOG.with(|log| {
        let mut files = log.files.clone();
        let mut rest = changes;
        while let Some(([what, high, low, with], next)) =
            rest.split_first_chunk::<4>().map(|(change, next)| (*change, next))
        {
            rest = next;
            let bytes = &mut files[usize::from(what >> 7)].1;
            let at = usize::from(u16::from_be_bytes([high, low])) % (bytes.len() + 1);
            match what & 7 {
                0 if at < bytes.len() => bytes[at] ^= with,
                1 => bytes.insert(at, with),
                2 => bytes.truncate(at),
                3 if at < bytes.len() => drop(bytes.remove(at)),
                4 => bytes.extend_from_within(at..(at + usize::from(with) * 2).min(bytes.len())),
                5 => *bytes = std::mem::take(&mut rest).to_vec(),
                6 => {
                    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
                    let last = lines.len().max(1) - 1;
                    if !lines.is_empty() {
                        lines.swap(at % (last + 1), usize::from(with) % (last + 1));
                    }
                    *bytes = lines.concat();
                }
                _ => {}
            }
        }
        for (path, bytes) in &files {
            fs::write(path, bytes).expect("written");
        }
        let verdict = log.home.audit().verify().expect("it can be read");
        assert_eq!(verdict.broken.is_none(), files == log.files, "{verdict:?}");
        // Reading what is broken is no reason to panic either.
        log.home.audit().lines().expect("it can be read").for_each(drop);
    });
}
