//! What the system refuses, and what nobody should ask for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use aiswitch_lock::{
    BlockingLockManager, FileLockManager, FolderProblem, LockError, LockName, LockOptions, NAME_BYTES_MAX,
};
use rustix::io::Errno;
use seccompiler::{SeccompAction, SeccompFilter, SeccompRule};

use crate::support::{Folder, PATIENCE, eventually, name, within};

/// Has the kernel refuse system calls to the calling thread, for the rest of its life.
fn refuse(calls: &[i64], errno: Errno) {
    refuse_if(calls, &[], errno);
}

/// Has the kernel refuse system calls that one of the rules fits, or all if there is none.
pub(crate) fn refuse_if(calls: &[i64], rules: &[SeccompRule], errno: Errno) {
    let rules: BTreeMap<_, _> = calls.iter().map(|call| (*call, rules.to_vec())).collect();
    let errno = u32::try_from(errno.raw_os_error()).unwrap();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno), arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod call {
    pub(super) const READ: i64 = 0;
    pub(super) const WRITE: i64 = 1;
    pub(super) const LSEEK: i64 = 8;
    pub(super) const FTRUNCATE: i64 = 77;
    pub(super) const UNLINK: i64 = 87;
    pub(super) const UNLINKAT: i64 = 263;
    pub(super) const PREAD: i64 = 17;
    pub(crate) const PWRITE: i64 = 18;
    pub(super) const POLL: i64 = 7;
    pub(super) const FLOCK: i64 = 73;
    pub(super) const GETDENTS: i64 = 217;
    pub(crate) const OPENAT: i64 = 257;
    pub(super) const MKDIRAT: i64 = 258;
    pub(super) const MKDIR: i64 = 83;
    pub(super) const MKNODAT: i64 = 259;
    pub(super) const PPOLL: i64 = 271;
    pub(super) const STATX: i64 = 332;
    pub(super) const PIDFD_OPEN: i64 = 434;
    pub(super) const IOCTL: i64 = 16;
}

#[cfg(target_arch = "aarch64")]
pub(crate) mod call {
    pub(super) const READ: i64 = 63;
    pub(super) const WRITE: i64 = 64;
    pub(super) const LSEEK: i64 = 62;
    pub(super) const FTRUNCATE: i64 = 46;
    pub(super) const UNLINK: i64 = 35;
    pub(super) const UNLINKAT: i64 = 35;
    pub(super) const PREAD: i64 = 67;
    pub(crate) const PWRITE: i64 = 68;
    pub(super) const POLL: i64 = 73;
    pub(super) const FLOCK: i64 = 32;
    pub(super) const GETDENTS: i64 = 61;
    pub(crate) const OPENAT: i64 = 56;
    pub(super) const MKDIRAT: i64 = 34;
    pub(super) const MKDIR: i64 = 34;
    pub(super) const MKNODAT: i64 = 33;
    pub(super) const PPOLL: i64 = 73;
    pub(super) const STATX: i64 = 291;
    pub(super) const PIDFD_OPEN: i64 = 434;
    pub(super) const IOCTL: i64 = 29;
}

const CALLS: [(&str, &[i64]); 16] = [
    ("pread", &[call::PREAD]),
    ("pwrite", &[call::PWRITE]),
    ("flock", &[call::FLOCK]),
    ("getdents", &[call::GETDENTS]),
    ("openat", &[call::OPENAT]),
    ("mkdir", &[call::MKDIR, call::MKDIRAT]),
    ("mknodat", &[call::MKNODAT]),
    ("poll", &[call::POLL, call::PPOLL]),
    ("statx", &[call::STATX]),
    ("pidfd_open", &[call::PIDFD_OPEN]),
    ("ioctl", &[call::IOCTL]),
    ("lseek", &[call::LSEEK]),
    ("ftruncate", &[call::FTRUNCATE]),
    ("unlink", &[call::UNLINK, call::UNLINKAT]),
    ("read", &[call::READ]),
    ("write", &[call::WRITE]),
];

#[test]
fn whatever_the_system_refuses_during_an_acquire_leaves_nothing_locked_or_queued() {
    let mut refused = 0;
    println!("| call | error | lock | file | acquire |\n|---|---|---|---|---|");
    for (call, numbers) in CALLS {
        for errno in [Errno::NOSPC, Errno::ACCESS, Errno::MFILE] {
            for busy in [false, true] {
                for warm in [false, true] {
                    let what = format!("{call}, {errno}, busy {busy}, warm {warm}");
                    let tried = fault(&what, numbers, errno, (busy, warm));
                    refused += usize::from(tried.is_err());
                    let outcome = tried.map_or_else(|error| error.to_string(), |()| "taken".to_owned());
                    let outcome = outcome.split([':', '`']).next().unwrap_or_default();
                    let (lock, file) =
                        (if busy { "busy" } else { "free" }, if warm { "open" } else { "not open" });
                    println!("| {call} | {errno} | {lock} | {file} | {outcome} |");
                }
            }
        }
    }
    assert!(refused > 60, "only {refused} acquires failed");
}

/// One acquire in a thread to which the kernel refuses a system call; gives back what the acquire did.
fn fault(what: &str, calls: &[i64], errno: Errno, (busy, warm): (bool, bool)) -> Result<(), LockError> {
    let folder = Folder::new();
    let (locks, other) = (folder.open(), folder.open());
    if warm {
        drop(locks.acquire(&name("x"), &LockOptions::new()).unwrap());
    }
    let held = busy.then(|| other.acquire(&name("x"), &LockOptions::new()).unwrap());
    let tried = std::thread::scope(|scope| {
        let trying = scope.spawn(|| {
            refuse(calls, errno);
            locks.acquire(&name("x"), &within(Duration::from_millis(5))).map(drop)
        });
        trying.join().unwrap()
    });
    assert!(tried.is_err() || !busy, "{what}: two holders");
    drop(held);
    for locks in [&locks, &other] {
        let info = locks.inspect(&name("x")).unwrap();
        assert!(info.waiters.is_empty(), "{what}: {info:?}");
        let taken = locks.acquire(&name("x"), &within(PATIENCE)).unwrap();
        taken.verify().unwrap();
    }
    tried
}

#[test]
fn an_acquire_after_the_first_opens_no_file() {
    let folder = Folder::new();
    let locks = folder.open();
    drop(locks.acquire(&name("x"), &LockOptions::new()).unwrap());
    std::thread::scope(|scope| {
        let trying = scope.spawn(|| {
            refuse(&[call::OPENAT], Errno::ACCESS);
            for _ in 0..1000 {
                drop(locks.acquire(&name("x"), &LockOptions::new()).unwrap());
            }
        });
        trying.join().unwrap();
    });
}

#[test]
fn a_file_system_that_cannot_lock_is_an_error() {
    let folder = Folder::new();
    let locks = folder.open();
    let tried = std::thread::scope(|scope| {
        let trying = scope.spawn(|| {
            refuse(&[call::FLOCK], Errno::NOTSUP);
            locks.acquire(&name("x"), &LockOptions::new()).map(drop)
        });
        trying.join().unwrap()
    });
    assert!(matches!(tried, Err(LockError::Unsupported { .. })), "{tried:?}");
}

#[test]
fn waiters_on_a_file_system_without_named_pipes_are_served_all_the_same() {
    let folder = Folder::new();
    let (locks, other) = (folder.open(), folder.open());
    let guard = other.acquire(&name("x"), &LockOptions::new()).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            refuse(&[call::MKNODAT], Errno::PERM);
            locks.acquire(&name("x"), &within(PATIENCE)).map(drop)
        });
        eventually("it waits", || other.inspect(&name("x")).unwrap().waiters.len() == 1);
        drop(guard);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn a_thousand_locks_keep_no_more_files_open_than_allowed() {
    let folder = Folder::new();
    let locks = folder.open();
    let names: Vec<_> = (0..1000).map(|index| LockName::task(format!("{index:04}")).unwrap()).collect();
    for name in &names {
        drop(locks.acquire(name, &LockOptions::new()).unwrap());
    }
    let open = fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        fs::read_link(path).is_ok_and(|to| to.starts_with(folder.path()))
    });
    assert_eq!(open.count(), 256);
    let listed: Vec<_> = locks.list().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(listed, names);
    let report = locks.cleanup_stale_locks(Duration::ZERO).unwrap();
    assert_eq!((report.locks_removed, report.locks_kept), (1000, 0));
    assert!(locks.list().unwrap().is_empty());
    drop(locks.acquire(&names[0], &LockOptions::new()).unwrap());
}

#[test]
fn a_lock_that_is_held_or_waited_for_is_never_cleaned_up() {
    let folder = Folder::new();
    let (locks, other) = (folder.open(), folder.open());
    let guard = locks.acquire(&name("x"), &LockOptions::new()).unwrap();
    let report = other.cleanup_stale_locks(Duration::ZERO).unwrap();
    assert_eq!((report.locks_removed, report.locks_kept), (0, 1));
    guard.verify().unwrap();
}

#[test]
fn names_that_cannot_be_used_are_refused_and_others_never_leave_the_folder() {
    for bad in ["", "a\0b", "a\nb", &"x".repeat(NAME_BYTES_MAX)] {
        assert!(matches!(LockName::resource(bad), Err(LockError::InvalidName { .. })), "{bad:?}");
    }
    let unchecked = LockName::Task(String::new());
    let folder = Folder::new();
    let locks = folder.open();
    assert!(matches!(locks.acquire(&unchecked, &LockOptions::new()), Err(LockError::InvalidName { .. })));
    let hostile = ["../x", "/etc/passwd", "..", "CON", "con", "a b", "%2e", "naïve", "x.lock", "a\\b", "*"];
    for text in hostile {
        drop(locks.acquire(&name(text), &LockOptions::new()).unwrap());
    }
    let mut expected: Vec<_> = hostile.iter().map(|text| name(text)).collect();
    expected.sort();
    let listed: Vec<_> = locks.list().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(listed, expected);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), hostile.len());
}

#[test]
fn labels_that_are_too_long_are_refused() {
    let locks = Folder::new().open();
    let options = LockOptions::new().with_owner("x".repeat(65));
    let refused = locks.acquire(&name("x"), &options);
    assert!(matches!(refused, Err(LockError::InvalidLabel { field: "owner", .. })), "{refused:?}");
}

#[test]
fn a_folder_that_cannot_be_trusted_is_refused_with_the_next_step() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    fs::write(path("file"), "").unwrap();
    fs::create_dir(path("open")).unwrap();
    fs::set_permissions(path("open"), fs::Permissions::from_mode(0o770)).unwrap();
    fs::create_dir(path("own")).unwrap();
    fs::set_permissions(path("own"), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(path("own"), path("link")).unwrap();
    let problem = |name: &str| match FileLockManager::open(path(name)) {
        Err(LockError::Folder { problem, .. }) => problem,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(problem("file"), FolderProblem::NotAFolder);
    assert_eq!(problem("link"), FolderProblem::Symlink);
    assert_eq!(problem("open"), FolderProblem::WritableByOthers { mode: 0o770 });
    FileLockManager::open(path("own")).unwrap();
    let made = path("a/b/locks");
    FileLockManager::open(&made).unwrap();
    assert_eq!(fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn something_else_in_the_place_of_a_lock_file_is_an_error() {
    let folder = Folder::new();
    let locks = folder.open();
    let at = |name: &str| folder.path().join(format!("resource_{name}.lock"));
    fs::create_dir(at("folder")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", at("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for text in ["folder", "link", "pipe"] {
        let refused = locks.acquire(&name(text), &LockOptions::new());
        assert!(matches!(refused, Err(LockError::Io { .. })), "{text}: {refused:?}");
    }
}

#[test]
fn a_file_is_replaced_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state.json");
    aiswitch_lock::replace_file(&path, b"one", 0o600).unwrap();
    aiswitch_lock::replace_file(&path, b"two", 0o600).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let tried = std::thread::spawn({
        let path = path.clone();
        move || {
            refuse(&[call::WRITE], Errno::NOSPC);
            aiswitch_lock::replace_file(&path, b"three", 0o600)
        }
    });
    let refused = tried.join().unwrap();
    assert!(matches!(refused, Err(LockError::Io { .. })), "{refused:?}");
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}
