//! This process becomes another program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;

use aiswitch_env::Environment;

/// Becomes a program with this environment and no other variable; returns only if it cannot be started.
///
/// The program keeps this process's number, streams, folder and terminal, so whoever waits for this process sees how the
/// program ends. A bare name is looked for in the environment's own `PATH`; no shell is in between.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where a process becomes a program under a preset"
)]
pub fn become_program(program: &OsString, args: &[OsString], environment: &Environment) -> io::Error {
    std::process::Command::new(program)
        .args(args)
        .env_clear()
        .envs(environment.iter().map(|(name, variable)| (name, variable.value.expose())))
        .exec()
}
