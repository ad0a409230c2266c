//! `aiswitch ps`: the agents that work now.

use aiswitch_coordinator::{AgentRecord, Home};
use chrono::{DateTime, Utc};

use crate::caller::now;
use crate::error::Error;
use crate::exit::Code;
use crate::output::Output;
use crate::output::human::{duration, table};

/// Lists the agents that work now, in all runs of a home.
///
/// # Errors
/// The state cannot be read.
pub(crate) fn ps(home: &Home, output: &Output) -> Result<Code, Error> {
    let agents = home.runs().agents_at_work()?;
    let now = now();
    output.result(&agents, || {
        if agents.is_empty() {
            return "no agent works now".to_owned();
        }
        let head = ["RUN", "AGENT", "DRIVER", "PID", "FOR"].map(str::to_owned).to_vec();
        table(&std::iter::once(head).chain(agents.iter().map(|agent| row(agent, now))).collect::<Vec<_>>())
    });
    Ok(Code::Completed)
}

fn row(agent: &AgentRecord, now: DateTime<Utc>) -> Vec<String> {
    let since = now.signed_duration_since(agent.started_at).num_milliseconds();
    vec![
        agent.run_id.to_string(),
        agent.agent.to_string(),
        agent.driver.clone(),
        agent.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        // Blank where the clock was set back meanwhile.
        u64::try_from(since).map(duration).unwrap_or_default(),
    ]
}
