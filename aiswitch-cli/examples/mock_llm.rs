//! Starts the mock LLM of the tests by hand: `cargo run -p aiswitch-cli --example mock_llm -- --port 0`.
//!
//! Prints its URL, then every request as it ends, until the process is stopped. How a prompt scripts its answer stands in
//! `tests/support/llm/directive.rs`.

#[expect(dead_code, unused_imports, reason = "the tests use all of the mock, this example a part of it")]
#[path = "../tests/support/llm/mod.rs"]
mod llm;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use self::llm::MockLlm;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let port = match words[..] {
        [] => Some(0),
        ["--port", port] => port.parse().ok(),
        _ => None,
    };
    let result = match port {
        Some(port) => serve(port),
        None => Err(io::Error::other("usage: mock_llm [--port PORT]")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell it to when stderr is closed.
            drop(writeln!(io::stderr(), "error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(port: u16) -> io::Result<()> {
    let llm = MockLlm::start_on(port)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "{}", llm.url())?;
    for number in 0.. {
        let requests =
            llm.wait_for(Duration::MAX, |requests| requests.get(number).is_some_and(|it| it.ended.is_some()));
        writeln!(stdout, "{:?}", requests[number])?;
    }
    Ok(())
}
