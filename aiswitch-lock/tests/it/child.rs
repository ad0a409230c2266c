//! Starting a test of this program again as another process.
#![expect(clippy::disallowed_methods, reason = "these tests are about several processes")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(crate) const ROLE: &str = "AISWITCH_LOCK_TEST_ROLE";
pub(crate) const FOLDER: &str = "AISWITCH_LOCK_TEST_FOLDER";

/// Starts the test `test` of this program in a process of its own, where [`role`] gives back what is passed here.
pub(crate) fn spawn(test: &str, role: &str, folder: &Path) -> Process {
    Process(command(test, role, folder).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
}

/// What [`spawn`] starts.
pub(crate) fn command(test: &str, role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ROLE, role).env(FOLDER, folder);
    command
}

/// What this process was started for; `None` in the test itself.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(FOLDER)?.into()))
}

/// A process that is killed and waited for when the test ends, however it ends.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A number from the environment, for the long forms of tests.
pub(crate) fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a whole number"))
}
