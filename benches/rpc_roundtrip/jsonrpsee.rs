//! jsonrpsee: its client over lines, and its method table, which has no transport for pipes, given one line at a time.

use std::io;
use std::process::Child;
use std::sync::Arc;

use aiswitch_rpc::stdio;
use jsonrpsee_core::RpcResult;
use jsonrpsee_core::client::{
    Client, ClientBuilder, ClientT, ReceivedMessage, TransportReceiverT, TransportSenderT,
};
use jsonrpsee_core::server::RpcModule;
use jsonrpsee_core::traits::ToRpcParams;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::runtime::Runtime;

use crate::contenders::{Contender, Items, Payload, Text, in_window, pipes, runtime, spawn};

const METHOD_TEXT: &str = "echo_text";
const METHOD_ITEMS: &str = "echo_items";
/// The least that its request table takes; nothing here subscribes.
const SUBSCRIPTION_MESSAGES_MAX: usize = 1;

/// Runs the child's side.
pub(crate) fn serve() {
    let mut module = RpcModule::new(());
    let echo = module.register_method(METHOD_TEXT, |params, (), _| -> RpcResult<Text> { params.parse() });
    echo.expect("the name is new");
    let echo = module.register_method(METHOD_ITEMS, |params, (), _| -> RpcResult<Items> { params.parse() });
    echo.expect("the name is new");
    runtime().block_on(async {
        let (reader, writer) = stdio().expect("stdio can be taken over");
        let (mut reader, mut writer) = (BufReader::new(reader), BufWriter::new(writer));
        let mut line = String::new();
        while reader.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
            let answer = module.raw_json_request(&line, SUBSCRIPTION_MESSAGES_MAX).await;
            let (answer, _subscription) = answer.expect("the parent sends requests");
            writer.write_all(answer.get().as_bytes()).await.expect("the parent reads");
            writer.write_all(b"\n").await.expect("the parent reads");
            // As long as there is more to answer, answers go together.
            if !reader.buffer().contains(&b'\n') {
                writer.flush().await.expect("the parent reads");
            }
            line.clear();
        }
    });
}

struct Sender(ChildStdin);

impl TransportSenderT for Sender {
    type Error = io::Error;

    async fn send(&mut self, mut message: String) -> io::Result<()> {
        message.push('\n');
        self.0.write_all(message.as_bytes()).await
    }
}

struct Receiver(BufReader<ChildStdout>);

impl TransportReceiverT for Receiver {
    type Error = io::Error;

    async fn receive(&mut self) -> io::Result<ReceivedMessage> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(ReceivedMessage::Text(line)),
        }
    }
}

struct Params<'a, T>(&'a T);

impl<T: serde::Serialize> ToRpcParams for Params<'_, T> {
    fn to_rpc_params(self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        serde_json::value::to_raw_value(self.0).map(Some)
    }
}

pub(crate) struct Jsonrpsee {
    runtime: Runtime,
    child: Child,
    client: Arc<Client>,
    payload: Arc<Payload>,
}

impl Jsonrpsee {
    pub(crate) fn start(payload: &Payload) -> Self {
        let runtime = runtime();
        let (child, stdin, stdout) = spawn("jsonrpsee");
        let (input, output) = pipes(&runtime, stdin, stdout);
        let entered = runtime.enter();
        let receiver = Receiver(BufReader::new(output));
        let client = Arc::new(ClientBuilder::default().build_with_tokio(Sender(input), receiver));
        drop(entered);
        Self { runtime, child, client, payload: Arc::new(payload.clone()) }
    }
}

async fn call(client: Arc<Client>, payload: Arc<Payload>) {
    match &*payload {
        Payload::Text(text) => {
            let answer: Result<Text, _> = client.request(METHOD_TEXT, Params(text)).await;
            drop(answer.expect("it is echoed"));
        }
        Payload::Items(items) => {
            let answer: Result<Items, _> = client.request(METHOD_ITEMS, Params(items)).await;
            drop(answer.expect("it is echoed"));
        }
    }
}

impl Contender for Jsonrpsee {
    fn name(&self) -> &'static str {
        "jsonrpsee"
    }

    fn child(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self, window: usize, count: usize) {
        let (client, payload) = (self.client.clone(), self.payload.clone());
        in_window(&self.runtime, window, count, move || call(client.clone(), payload.clone()));
    }
}

crate::contenders::end_child!(Jsonrpsee);
