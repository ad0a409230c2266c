//! Other crates for the same work, each used as its own documentation shows.

use std::io::BufReader;
use std::process::{Child, ChildStdin, ChildStdout};

use async_lsp::lsp_types::request::Request;
use async_lsp::router::Router;
use async_lsp::{MainLoop, ServerSocket};
use lsp_server::{Connection, Message, RequestId, Response};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::contenders::{Contender, EchoItems, EchoText, Items, Payload, Text, runtime, spawn};

impl Request for EchoText {
    type Params = Text;
    type Result = Text;
    const METHOD: &'static str = "echo_text";
}

impl Request for EchoItems {
    type Params = Items;
    type Result = Items;
    const METHOD: &'static str = "echo_items";
}

/// Runs the child's side of a peer.
pub(crate) fn serve(kind: &str) {
    match kind {
        "lsp-server" => serve_lsp_server(),
        "async-lsp" => runtime().block_on(async {
            let (server, _client) = MainLoop::new_server(|_client| {
                let mut router = Router::new(());
                router.request::<EchoText, _>(|(), params| async move { Ok(params) });
                router.request::<EchoItems, _>(|(), params| async move { Ok(params) });
                router
            });
            let stdin = async_lsp::stdio::PipeStdin::lock_tokio().expect("stdin is a pipe");
            let stdout = async_lsp::stdio::PipeStdout::lock_tokio().expect("stdout is a pipe");
            // It ends with an error when the parent closes the pipe without the exit of its protocol.
            drop(server.run_buffered(stdin, stdout).await);
        }),
        other => panic!("no contender `{other}`"),
    }
}

fn serve_lsp_server() {
    let (connection, _threads) = Connection::stdio();
    for message in &connection.receiver {
        let Message::Request(request) = message else { continue };
        let response = if request.method == "echo_text" {
            let (id, params): (_, Text) = request.extract("echo_text").expect("it is well-formed");
            Response::new_ok(id, params)
        } else {
            let (id, params): (_, Items) = request.extract("echo_items").expect("it is well-formed");
            Response::new_ok(id, params)
        };
        connection.sender.send(Message::Response(response)).expect("the writer lives");
    }
}

/// The peers, to be measured beside ours.
pub(crate) fn all(payload: &Payload) -> Vec<Box<dyn Contender>> {
    vec![Box::new(LspServer::start(payload)), Box::new(AsyncLsp::start(payload))]
}

struct LspServer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    payload: Payload,
    made: i32,
}

impl LspServer {
    fn start(payload: &Payload) -> Self {
        let (child, input, output) = spawn("lsp-server");
        Self { child, input, output: BufReader::new(output), payload: payload.clone(), made: 0 }
    }

    fn send(&mut self) {
        self.made += 1;
        let id = RequestId::from(self.made);
        let request = match &self.payload {
            Payload::Text(text) => lsp_server::Request::new(id, EchoText::METHOD.to_owned(), text),
            Payload::Items(items) => lsp_server::Request::new(id, EchoItems::METHOD.to_owned(), items),
        };
        Message::Request(request).write(&mut self.input).expect("the child reads");
    }

    fn receive(&mut self) {
        let message = Message::read(&mut self.output).expect("the child answers").expect("the child lives");
        let Message::Response(response) = message else { panic!("no response") };
        let result = response.response_result.expect("it is echoed");
        match &self.payload {
            Payload::Text(_) => drop(serde_json::from_value::<Text>(result).expect("it is text")),
            Payload::Items(_) => drop(serde_json::from_value::<Items>(result).expect("it is items")),
        }
    }
}

impl Contender for LspServer {
    fn name(&self) -> &'static str {
        "lsp-server"
    }

    fn child(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self, window: usize, count: usize) {
        for _ in 0..window {
            self.send();
        }
        for _ in window..count {
            self.receive();
            self.send();
        }
        for _ in 0..window {
            self.receive();
        }
    }
}

struct AsyncLsp {
    runtime: Runtime,
    child: Child,
    server: ServerSocket,
    payload: Payload,
}

impl AsyncLsp {
    fn start(payload: &Payload) -> Self {
        let runtime = runtime();
        let (child, stdin, stdout) = spawn("async-lsp");
        let (client, server) = MainLoop::new_client(|_server| Router::new(()));
        let entered = runtime.enter();
        let input = tokio::process::ChildStdin::from_std(stdin).expect("it is a pipe");
        let output = tokio::process::ChildStdout::from_std(stdout).expect("it is a pipe");
        runtime.spawn(async move { client.run_buffered(output.compat(), input.compat_write()).await });
        drop(entered);
        Self { runtime, child, server, payload: payload.clone() }
    }
}

async fn call(server: &ServerSocket, payload: &Payload) {
    match payload {
        Payload::Text(text) => drop(server.request::<EchoText>(text.clone()).await.expect("it is echoed")),
        Payload::Items(items) => {
            drop(server.request::<EchoItems>(items.clone()).await.expect("it is echoed"));
        }
    }
}

impl Contender for AsyncLsp {
    fn name(&self) -> &'static str {
        "async-lsp"
    }

    fn child(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self, window: usize, count: usize) {
        let Self { runtime, server, payload, .. } = self;
        runtime.block_on(async {
            if window == 1 {
                for _ in 0..count {
                    call(server, payload).await;
                }
                return;
            }
            let mut workers = JoinSet::new();
            for _ in 0..window {
                let (server, payload) = (server.clone(), payload.clone());
                workers.spawn(async move {
                    for _ in 0..count / window {
                        call(&server, &payload).await;
                    }
                });
            }
            while workers.join_next().await.is_some() {}
        });
    }
}

crate::contenders::end_child!(LspServer, AsyncLsp);
