//! Runs an agent COUNT times with a home at HOME, and lists the runs that the home keeps.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use aiswitch_coordinator::{AgentSpec, Coordinator, Home, Plan};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (Some(home), Some(count)) = (std::env::args().nth(1), std::env::args().nth(2)) else {
        return Err("usage: kept_runs HOME COUNT".into());
    };
    let home = Home::new(home);
    let coordinator = Coordinator::new()
        .with_agent(AgentSpec::command(["/bin/cat"]).build("cat".parse()?))
        .with_home(home.clone());
    for run in 0..count.parse()? {
        let plan = Plan::new(format!("run {run}"), std::env::temp_dir()).with_agent("cat".parse()?);
        coordinator.execute_parallel(plan).await?;
    }
    for run in home.runs().list()? {
        println!("{} {:?} {}", run.run_id, run.status, run.prompt_start);
    }
    Ok(())
}
