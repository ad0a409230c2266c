//! The audit log: what is done to it shows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aiswitch_coordinator::{
    AUDIT_FILE_BYTES_MAX, AUDIT_TEXT_BYTES_MAX, Actor, Audit, AuditBreak, AuditDecision, AuditEntry,
    AuditFault, AuditVerdict, Channel, FileLockManager, Home, HomeError,
};
use proptest::prelude::*;

use crate::support::{id, mode};

/// A home with a log of this many lines, of which each has its own text.
struct Log {
    _folder: tempfile::TempDir,
    home: Home,
}

fn entry(object: &str) -> AuditEntry {
    AuditEntry {
        actor: Actor::Operator,
        channel: Channel::CommandLine,
        action: "secrets.set".to_owned(),
        object: object.to_owned(),
        decision: AuditDecision::Allowed,
        detail: Some("a \"quoted\" word, and ünïcode".to_owned()),
    }
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::new(folder.path().join("home"));
        Self { _folder: folder, home }
    }

    /// A log of these lines, each written by itself.
    fn of(count: usize) -> Self {
        let log = Self::new();
        (0..count).for_each(|at| log.append(vec![entry(&at.to_string())]).expect("written"));
        log
    }

    fn writer(&self) -> Audit {
        let locks = FileLockManager::open(self.home.locks_dir()).expect("locks");
        Audit::new(self.home.clone(), Arc::new(locks))
    }

    fn append(&self, entries: Vec<AuditEntry>) -> Result<(), HomeError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(self.writer().append(entries))
    }

    fn verdict(&self) -> AuditVerdict {
        self.home.audit().verify().expect("it can be read")
    }

    fn broken(&self) -> Option<AuditBreak> {
        self.verdict().broken
    }

    fn file(&self) -> PathBuf {
        self.home.audit_file(1)
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        let bytes = fs::read(self.file()).expect("a file");
        bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
    }

    /// What is wrong with the log when its lines are these, and where.
    fn with_lines(&self, lines: &[Vec<u8>]) -> Option<(u64, AuditFault)> {
        fs::write(self.file(), lines.concat()).expect("written");
        self.broken().map(|found| (found.line, found.fault))
    }
}

#[test]
fn every_line_says_who_did_what_and_holds_the_hash_of_the_one_before() {
    let log = Log::new();
    let denied = AuditEntry {
        actor: Actor::Agent(id("claude")),
        channel: Channel::Adapter,
        action: "env.switch".to_owned(),
        object: "o".repeat(AUDIT_TEXT_BYTES_MAX + 1),
        decision: AuditDecision::Denied,
        detail: None,
    };
    log.append(vec![entry("work/KEY"), denied]).expect("written");
    log.append(vec![entry("third")]).expect("written");
    let lines: Vec<_> =
        log.home.audit().lines().expect("a log").map(|line| line.expect("a whole line")).collect();
    let [first, second, third] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((first.seq, second.seq, third.seq), (1, 2, 3));
    assert_eq!((first.actor.as_str(), first.channel.as_str()), ("operator", "command-line"));
    assert_eq!((first.action.as_str(), first.object.as_str()), ("secrets.set", "work/KEY"));
    assert_eq!((second.actor.as_str(), second.channel.as_str()), ("agent:claude", "adapter"));
    assert_eq!((second.decision, second.detail.as_deref()), (AuditDecision::Denied, None));
    assert_eq!(second.object.len(), AUDIT_TEXT_BYTES_MAX);
    assert!(second.object.ends_with("o…"));
    assert_eq!((first.prev.clone(), &second.prev, &third.prev), ("0".repeat(64), &first.hash, &second.hash));
    assert_eq!(first.boot_id.as_ref().map(String::len), Some(36));
    let verdict = AuditVerdict { files: 1, lines: 3, hash: Some(third.hash.clone()), broken: None };
    assert_eq!(log.verdict(), verdict);
    for (path, expected) in
        [(log.home.audit_dir(), 0o700), (log.file(), 0o600), (log.home.audit_head_file(), 0o600)]
    {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

#[test]
fn a_home_without_a_log_is_whole_and_looking_makes_nothing() {
    let log = Log::new();
    assert_eq!(log.verdict(), AuditVerdict { files: 0, lines: 0, hash: None, broken: None });
    assert_eq!(log.home.audit().lines().expect("none").count(), 0);
    assert!(!log.home.root().exists());
}

/// Whether a verdict finds something when one byte of a file is another; the file is as it was afterwards.
fn is_found(log: &Log, path: &Path, bytes: &[u8], at: usize, flip: u8) -> bool {
    let mut flipped = bytes.to_vec();
    flipped[at] ^= flip;
    fs::write(path, flipped).expect("written");
    let found = log.broken().is_some();
    fs::write(path, bytes).expect("written");
    found
}

#[test]
fn every_flipped_bit_of_every_byte_is_found() {
    let log = Log::of(4);
    let mut flips = 0;
    for path in [log.file(), log.home.audit_head_file()] {
        let bytes = fs::read(&path).expect("a file");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                assert!(is_found(&log, &path, &bytes, at, 1 << bit), "bit {bit} of byte {at} of {path:?}");
                flips += 1;
            }
        }
    }
    assert_eq!(log.broken(), None);
    assert!(flips > 8 * 1000, "{flips}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_that_is_another_is_found_in_any_log(
        texts in prop::collection::vec((".{0,40}", prop::option::of(".{0,40}")), 1..12),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 40),
    ) {
        let log = Log::new();
        let lines = texts.into_iter().map(|(object, detail)| AuditEntry { object, detail, ..entry("") });
        log.append(lines.collect()).expect("written");
        prop_assert_eq!(log.broken(), None);
        let path = log.file();
        let bytes = fs::read(&path).expect("a file");
        for (place, flip) in changes {
            let at = place.index(bytes.len());
            prop_assert!(is_found(&log, &path, &bytes, at, flip), "byte {} xor {}", at, flip);
        }
    }
}

#[test]
fn lines_that_are_gone_moved_or_doubled_are_found_where_they_should_stand() {
    let log = Log::of(6);
    let lines = log.lines();
    for at in 0..6 {
        let mut others = lines.clone();
        others.remove(at);
        let expected =
            if at == 5 { AuditFault::Truncated { count: 1 } } else { AuditFault::Missing { count: 1 } };
        assert_eq!(log.with_lines(&others), Some((at as u64 + 1, expected)), "without line {}", at + 1);

        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        let expected = AuditFault::Order { seq: at as u64 + 1 };
        assert_eq!(log.with_lines(&doubled), Some((at as u64 + 2, expected)), "line {} twice", at + 1);

        for other in at + 1..6 {
            let mut moved = lines.clone();
            moved.swap(at, other);
            let expected = AuditFault::Missing { count: (other - at) as u64 };
            assert_eq!(log.with_lines(&moved), Some((at as u64 + 1, expected)), "{at} and {other} swapped");
        }
    }
    let foreign = [&lines[..1], &Log::of(6).lines()[1..]].concat();
    assert_eq!(log.with_lines(&foreign), Some((2, AuditFault::Foreign)));
    assert_eq!(log.with_lines(&lines), None);
}

#[test]
fn a_log_that_is_cut_at_any_byte_or_has_lost_a_file_is_found_out() {
    let log = Log::of(3);
    let bytes = fs::read(log.file()).expect("a file");
    for length in 0..bytes.len() {
        fs::write(log.file(), &bytes[..length]).expect("written");
        assert!(log.broken().is_some(), "cut to {length} bytes");
        assert!(log.append(vec![entry("next")]).is_err(), "cut to {length} bytes, and written on");
    }
    fs::remove_file(log.file()).expect("removed");
    assert_eq!(log.broken().map(|found| found.fault), Some(AuditFault::Truncated { count: 3 }));
    fs::write(log.file(), &bytes).expect("written");
    assert_eq!(log.broken(), None);
    let head = fs::read(log.home.audit_head_file()).expect("a head");
    fs::remove_file(log.home.audit_head_file()).expect("removed");
    assert_eq!(log.broken().map(|found| found.fault), Some(AuditFault::Head));
    fs::write(log.home.audit_head_file(), [head, b"\n".to_vec()].concat()).expect("written");
    assert_eq!(log.broken().map(|found| found.fault), Some(AuditFault::Head));
}

#[test]
fn nothing_is_added_to_a_log_whose_end_is_not_as_it_was() {
    let log = Log::of(3);
    let head = fs::read(log.home.audit_head_file()).expect("a head");
    let lines = log.lines();
    let refused = |what: &str| match log.append(vec![entry("next")]) {
        Err(HomeError::AuditBroken { path, line, fault }) => {
            assert_eq!(log.lines().len(), lines.len(), "{what}");
            (path, line, fault)
        }
        other => panic!("{what}: {other:?}"),
    };
    let mut changed = lines.concat();
    let last = changed.len() - 100;
    changed[last] ^= 1;
    fs::write(log.file(), &changed).expect("written");
    assert_eq!(refused("a changed line"), (log.file(), 3, AuditFault::Changed));
    fs::write(log.file(), lines.concat()).expect("written");
    fs::write(log.home.audit_head_file(), "{}\n").expect("written");
    assert_eq!(refused("a damaged head"), (log.home.audit_head_file(), 1, AuditFault::Head));
    fs::write(log.home.audit_head_file(), head).expect("written");
    log.append(vec![entry("next")]).expect("it is whole again");
    assert_eq!((log.verdict().lines, log.broken()), (4, None));
}

#[test]
fn what_a_writer_that_was_killed_left_is_told_of_and_mended_by_the_next() {
    let log = Log::of(2);
    let (bytes, head) =
        (fs::read(log.file()).expect("a file"), fs::read(log.home.audit_head_file()).expect("one"));
    // Killed within a line.
    fs::write(log.file(), [&bytes[..], b"{\"seq\":3,\"ts\":"].concat()).expect("written");
    assert_eq!(log.broken(), Some(AuditBreak { path: log.file(), line: 3, fault: AuditFault::Torn }));
    log.append(vec![entry("next")]).expect("mended");
    let lines: Vec<_> = log.home.audit().lines().expect("a log").map(|line| line.expect("whole")).collect();
    let actions: Vec<_> = lines.iter().map(|line| line.action.as_str()).collect();
    assert_eq!(
        (log.broken(), actions),
        (None, vec!["secrets.set", "secrets.set", "audit.mend", "secrets.set"])
    );
    let told = "half a line of 14 bytes, which a writer that was killed left, was cut";
    assert_eq!(lines[2].detail.as_deref(), Some(told));
    // Killed between a line and its head.
    fs::write(log.home.audit_head_file(), head).expect("written");
    assert_eq!((log.verdict().lines, log.broken()), (4, None));
    log.append(vec![entry("next")]).expect("it goes on");
    assert_eq!((log.verdict().lines, log.broken()), (5, None));
}

#[test]
fn a_full_file_is_followed_by_another_that_continues_the_chain() {
    let log = Log::new();
    // Each character takes six bytes of JSON.
    let wide = || AuditEntry { detail: Some("\u{1}".repeat(AUDIT_TEXT_BYTES_MAX)), ..entry("x") };
    let count = usize::try_from(AUDIT_FILE_BYTES_MAX).expect("small") / (6 * AUDIT_TEXT_BYTES_MAX) + 1;
    log.append((0..count).map(|_| wide()).collect()).expect("written");
    log.append(vec![entry("second file")]).expect("written");
    log.append(vec![entry("second file")]).expect("written");
    let verdict = log.verdict();
    assert_eq!((verdict.files, verdict.lines, verdict.broken), (2, count as u64 + 2, None));
    let second = log.home.audit_file(count as u64 + 1);
    assert_eq!(fs::read_to_string(&second).expect("a second file").lines().count(), 2);
    assert_eq!(log.home.audit().lines().expect("a log").count(), count + 2);
    fs::remove_file(log.file()).expect("removed");
    let gone = AuditFault::Missing { count: count as u64 };
    assert_eq!(log.broken(), Some(AuditBreak { path: second, line: 1, fault: gone }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_make_one_chain() {
    let log = Log::new();
    let writers: Vec<_> = (0..8).map(|_| log.writer()).collect();
    let work = writers.into_iter().map(|writer| {
        tokio::spawn(async move {
            for at in 0..10 {
                writer.append(vec![entry(&at.to_string())]).await.expect("written");
            }
        })
    });
    for work in work.collect::<Vec<_>>() {
        work.await.expect("it ends");
    }
    assert_eq!((log.verdict().lines, log.broken()), (80, None));
    assert_eq!(log.writer().verify().await.expect("it can be read"), log.verdict());
}
