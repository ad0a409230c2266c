//! What several tests need: a folder, a wait for a condition with a bound.

use std::time::{Duration, Instant};

use aiswitch_lock::{FileLockConfig, FileLockManager, LockName, LockOptions, Wakeup};
use tempfile::TempDir;

/// The longest that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of locks that goes with the test.
pub(crate) struct Folder {
    home: TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.home.path().join("locks")
    }

    pub(crate) fn open(&self) -> FileLockManager {
        FileLockManager::open(self.path()).unwrap()
    }

    pub(crate) fn open_with(&self, wakeup: Wakeup) -> FileLockManager {
        let mut config = FileLockConfig::default();
        config.wakeup = wakeup;
        FileLockManager::open_with(self.path(), config).unwrap()
    }
}

pub(crate) fn name(text: &str) -> LockName {
    LockName::resource(text).unwrap()
}

pub(crate) fn within(timeout: Duration) -> LockOptions {
    LockOptions::new().with_timeout(timeout)
}

/// Looks until a condition holds; panics if it does not in time.
#[track_caller]
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Random numbers, seeded by the clock.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self((u64::from(now.subsec_nanos()) << 32 | u64::from(std::process::id())) | 1)
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
