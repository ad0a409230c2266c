//! The smallest agent adapter: it answers every task with the task's own prompt.

use aiswitch_rpc::protocol::{
    AgentInitialize, AgentShutdown, Capabilities, InitializeResult, PROTOCOL_VERSION, Party, TaskAssign,
    TaskOutput, TaskOutputParams, TaskResult, TaskStatus,
};
use aiswitch_rpc::{ErrorObject, Options, Router, connect, stdio};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new()
        .request::<AgentInitialize>(|params, _context| async move {
            Ok(InitializeResult {
                protocol_version: PROTOCOL_VERSION.min(params.protocol_version),
                agent: Party { name: "echo".to_owned(), version: "1".to_owned() },
                capabilities: Capabilities { streaming: true, ..Capabilities::default() },
            })
        })
        .request::<TaskAssign>(|task, context| async move {
            let output = TaskOutputParams { task_id: task.id, text: task.prompt.clone() };
            context.peer().notify::<TaskOutput>(&output).await.map_err(ErrorObject::internal)?;
            Ok(TaskResult { answer: Some(task.prompt), ..TaskResult::new(TaskStatus::Completed) })
        })
        .request::<AgentShutdown>(|_params, context| async move {
            context.peer().close();
            Ok(())
        });
    let (reader, writer) = stdio()?;
    let (_peer, connection) = connect(reader, writer, router, Options::default());
    Ok(connection.run().await?)
}
