//! Asks two agents the same, side by side and then one after the other.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use aiswitch_coordinator::{AgentSpec, Coordinator, PermissionMode, Plan};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Any program can be an agent. `AgentSpec::new(Driver::Claude)` is Claude Code, and so on.
    let coordinator = Coordinator::new()
        .with_agent(AgentSpec::command(["/bin/cat"]).build("cat".parse()?))
        .with_agent(AgentSpec::command(["/bin/sh", "-c", "wc -w"]).build("count".parse()?));
    let plan = Plan::new("say what you see", std::env::temp_dir())
        .with_agent("cat".parse()?)
        .with_agent("count".parse()?)
        .with_mode(PermissionMode::Write);

    let report = coordinator.execute_parallel(plan.clone()).await?;
    for agent in &report.agents {
        println!("{} {}: {}", agent.id, agent.status, agent.answer.as_deref().unwrap_or("-").trim());
    }

    // The second one is given the answer of the first behind the prompt.
    let report = coordinator.execute_sequential(plan).await?;
    println!("{}", report.answer.map_or_else(|| report.status.to_string(), |answer| answer.text));
    Ok(())
}
