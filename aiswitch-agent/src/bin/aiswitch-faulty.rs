//! An agent with a fault, for tests of what supervises agents.

use std::io::Write;
use std::process::ExitCode;

use aiswitch_agent::{Fault, misbehave};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let fault = args.next().and_then(|name| name.parse::<Fault>().ok());
    let exit_code = args.next().map_or(Ok(1), |code| code.parse());
    if let (Some(fault), Ok(exit_code)) = (fault, exit_code) {
        return ExitCode::from(misbehave(fault, exit_code));
    }
    let names = Fault::ALL.iter().map(|fault| format!("  {:18} {}\n", fault.name(), fault.about()));
    let usage = format!("usage: aiswitch-faulty FAULT [EXIT_CODE]\n{}", names.collect::<String>());
    // An error means that nobody listens; the exit code tells as much.
    drop(std::io::stderr().write_all(usage.as_bytes()));
    ExitCode::from(2)
}
