//! A guard of agents, for programs that cannot call `guard_main` in their own `main`.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let guard = aiswitch_agent::guard_main();
    let usage =
        format!("error: {} is started by the library aiswitch-agent alone\n", guard.program().display());
    // An error means that nobody listens; the exit code tells as much.
    drop(std::io::stderr().write_all(usage.as_bytes()));
    ExitCode::from(2)
}
