//! `aiswitch logs`: what happened in a run, and what its agents printed.

use std::fs::{self, File};
use std::io::{BufReader, ErrorKind};

use aiswitch_coordinator::{AgentId, Home, RunId};

use crate::args::OutputFormat;
use crate::error::Error;
use crate::exit::Code;
use crate::output::{Output, human};

/// Prints the events of a run, or what one of its agents printed.
///
/// # Errors
/// There is no such run or agent, or its files cannot be read.
pub(crate) fn logs(run: &str, agent: Option<&AgentId>, home: &Home, output: &Output) -> Result<Code, Error> {
    let run = home.runs().resolve(run)?;
    match (agent, output.format) {
        (Some(agent), OutputFormat::Text) => printed(&run, agent, home, output)?,
        (agent, format) => {
            for event in home.runs().events(&run)? {
                let event = event?;
                if agent.is_some() && agent != event.agent.as_ref() {
                    continue;
                }
                match format {
                    OutputFormat::Text => output.text(&human::log_line(&event)),
                    OutputFormat::Json | OutputFormat::StreamJson => output.json_line(&event),
                }
            }
        }
    }
    Ok(Code::Completed)
}

/// Prints what an agent printed: stderr, which mostly says what went wrong, then stdout.
fn printed(run: &RunId, agent: &AgentId, home: &Home, output: &Output) -> Result<(), Error> {
    let folder = home.agent_dir(run, agent);
    let mut is_there = false;
    for name in ["stderr.log", "stdout.log"] {
        let path = folder.join(name);
        let unreadable = |source| Error::Unreadable { path: path.clone(), source };
        match File::open(&path) {
            Ok(file) => output.raw(BufReader::new(file)).map_err(unreadable)?,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        }
        is_there = true;
    }
    if is_there {
        return Ok(());
    }
    let folders = fs::read_dir(home.run_dir(run).join("agents")).into_iter().flatten().flatten();
    let mut agents: Vec<String> =
        folders.filter_map(|folder| folder.file_name().into_string().ok()).collect();
    agents.sort();
    Err(Error::NoOutput { run: *run, agent: agent.clone(), agents })
}
