//! The Agent Client Protocol's crate: its role without a protocol, over lines.

use std::process::Child;

use agent_client_protocol::role::UntypedRole;
use agent_client_protocol::{
    ByteStreams, ConnectionTo, JsonRpcRequest, JsonRpcResponse, Responder, on_receive_request,
};
use aiswitch_rpc::stdio;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::contenders::{Contender, Items, Payload, Text, in_window, pipes, runtime, spawn};

#[derive(Clone, Debug, Serialize, Deserialize, JsonRpcRequest)]
#[request(method = "echo_text", response = TextAnswer)]
struct TextRequest(Text);

#[derive(Clone, Debug, Serialize, Deserialize, JsonRpcResponse)]
struct TextAnswer(Text);

#[derive(Clone, Debug, Serialize, Deserialize, JsonRpcRequest)]
#[request(method = "echo_items", response = ItemsAnswer)]
struct ItemsRequest(Items);

#[derive(Clone, Debug, Serialize, Deserialize, JsonRpcResponse)]
struct ItemsAnswer(Items);

/// Runs the child's side.
pub(crate) fn serve() {
    runtime().block_on(async {
        let (reader, writer) = stdio().expect("stdio can be taken over");
        let server = UntypedRole
            .builder()
            .on_receive_request(
                async |request: TextRequest,
                       responder: Responder<TextAnswer>,
                       _connection: ConnectionTo<UntypedRole>| {
                    responder.respond(TextAnswer(request.0))
                },
                on_receive_request!(),
            )
            .on_receive_request(
                async |request: ItemsRequest,
                       responder: Responder<ItemsAnswer>,
                       _connection: ConnectionTo<UntypedRole>| {
                    responder.respond(ItemsAnswer(request.0))
                },
                on_receive_request!(),
            );
        // How it ends when the parent closes the pipe is its own matter.
        drop(server.connect_to(ByteStreams::new(writer.compat_write(), reader.compat())).await);
    });
}

pub(crate) struct Acp {
    runtime: Runtime,
    child: Child,
    connection: ConnectionTo<UntypedRole>,
    payload: Payload,
}

impl Acp {
    pub(crate) fn start(payload: &Payload) -> Self {
        let runtime = runtime();
        let (child, stdin, stdout) = spawn("agent-client-protocol");
        let (input, output) = pipes(&runtime, stdin, stdout);
        let (sender, connected) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let streams = ByteStreams::new(input.compat_write(), output.compat());
            let client = UntypedRole.builder();
            let outcome = client.connect_with(streams, async move |connection| {
                assert!(sender.send(connection).is_ok(), "the caller waits for it");
                std::future::pending::<Result<(), agent_client_protocol::Error>>().await
            });
            outcome.await
        });
        let connection = runtime.block_on(connected).expect("it connects");
        Self { runtime, child, connection, payload: payload.clone() }
    }
}

async fn call(connection: ConnectionTo<UntypedRole>, payload: Payload) {
    match payload {
        Payload::Text(text) => {
            let answer = connection.send_request(TextRequest(text)).block_task().await;
            drop(answer.expect("it is echoed"));
        }
        Payload::Items(items) => {
            let answer = connection.send_request(ItemsRequest(items)).block_task().await;
            drop(answer.expect("it is echoed"));
        }
    }
}

impl Contender for Acp {
    fn name(&self) -> &'static str {
        "agent-client-protocol"
    }

    fn child(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self, window: usize, count: usize) {
        let (connection, payload) = (self.connection.clone(), self.payload.clone());
        in_window(&self.runtime, window, count, move || call(connection.clone(), payload.clone()));
    }
}

crate::contenders::end_child!(Acp);
