//! The Model Context Protocol's crate, without its handshake; it takes params by name only.

use std::process::Child;

use aiswitch_rpc::stdio;
use rmcp::model::{ClientRequest, CustomRequest, CustomResult, ErrorData, ServerResult};
use rmcp::service::{Peer, RequestContext, RunningService, serve_directly};
use rmcp::{RoleClient, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::contenders::{Contender, Items, Payload, Text, in_window, pipes, runtime, spawn};

#[derive(Serialize, Deserialize)]
struct Named<T> {
    payload: T,
}

fn echo<T: Serialize + DeserializeOwned>(params: Value) -> Value {
    let params: Named<T> = serde_json::from_value(params).expect("it is well-formed");
    serde_json::to_value(params).expect("a payload can be written")
}

struct Server;

impl ServerHandler for Server {
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let params = request.params.expect("they are sent");
        let is_text = request.method == "echo_text";
        Ok(CustomResult::new(if is_text { echo::<Text>(params) } else { echo::<Items>(params) }))
    }
}

/// Runs the child's side.
pub(crate) fn serve() {
    runtime().block_on(async {
        let streams = stdio().expect("stdio can be taken over");
        let service = serve_directly::<RoleServer, _, _, _, _>(Server, streams, None);
        // How it ends when the parent closes the pipe is its own matter.
        drop(service.waiting().await);
    });
}

pub(crate) struct Rmcp {
    runtime: Runtime,
    child: Child,
    service: RunningService<RoleClient, ()>,
    payload: Payload,
}

impl Rmcp {
    pub(crate) fn start(payload: &Payload) -> Self {
        let runtime = runtime();
        let (child, stdin, stdout) = spawn("rmcp");
        let (input, output) = pipes(&runtime, stdin, stdout);
        let entered = runtime.enter();
        let service = serve_directly::<RoleClient, _, _, _, _>((), (output, input), None);
        drop(entered);
        Self { runtime, child, service, payload: payload.clone() }
    }
}

async fn call_typed<T: Serialize + DeserializeOwned>(peer: &Peer<RoleClient>, method: &str, payload: T) {
    let params = serde_json::to_value(Named { payload }).expect("a payload can be written");
    let request = ClientRequest::CustomRequest(CustomRequest::new(method, Some(params)));
    let answer = peer.send_request(request).await.expect("it is echoed");
    let ServerResult::CustomResult(CustomResult(result)) = answer else { panic!("no echo: {answer:?}") };
    drop(serde_json::from_value::<Named<T>>(result).expect("it is well-formed"));
}

async fn call(peer: Peer<RoleClient>, payload: Payload) {
    match payload {
        Payload::Text(text) => call_typed(&peer, "echo_text", text).await,
        Payload::Items(items) => call_typed(&peer, "echo_items", items).await,
    }
}

impl Contender for Rmcp {
    fn name(&self) -> &'static str {
        "rmcp"
    }

    fn child(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self, window: usize, count: usize) {
        let (peer, payload) = (self.service.peer().clone(), self.payload.clone());
        in_window(&self.runtime, window, count, move || call(peer.clone(), payload.clone()));
    }
}

crate::contenders::end_child!(Rmcp);
