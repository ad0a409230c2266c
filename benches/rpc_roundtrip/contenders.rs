//! The contenders: each is a caller here and an echo in a child process.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use aiswitch_rpc::{Integrity, Options, Peer, RequestMethod, Router, blocking, connect, stdio};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// Something that can be called.
pub(crate) trait Contender {
    /// Its name in the tables.
    fn name(&self) -> &'static str;
    /// Its child process.
    fn child(&self) -> u32;
    /// Makes `count` calls, `window` of them at a time.
    fn run(&mut self, window: usize, count: usize);
}

/// What is echoed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Payload {
    Text((String,)),
    Items(Vec<Item>),
}

/// An element of a structured payload, about 100 bytes long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) score: f64,
    pub(crate) active: bool,
}

pub(crate) type Text = (String,);
pub(crate) type Items = Vec<Item>;

impl Payload {
    pub(crate) fn text(bytes: usize) -> Self {
        Self::Text(("x".repeat(bytes),))
    }

    pub(crate) fn items(count: u32) -> Self {
        let item = |id| Item {
            id,
            name: format!("item number {id}"),
            tags: vec!["alpha".to_owned(), "beta".to_owned(), "gamma".to_owned()],
            score: f64::from(id) * 0.5,
            active: id % 2 == 0,
        };
        Self::Items((0..count).map(item).collect())
    }
}

pub(crate) struct EchoText;
impl RequestMethod for EchoText {
    const NAME: &'static str = "echo_text";
    type Params = Text;
    type Result = Text;
}

pub(crate) struct EchoItems;
impl RequestMethod for EchoItems {
    const NAME: &'static str = "echo_items";
    type Params = Items;
    type Result = Items;
}

fn router() -> Router {
    Router::new()
        .request::<EchoText>(|params, _context| async move { Ok(params) })
        .request::<EchoItems>(|params, _context| async move { Ok(params) })
}

/// Starts this program again as a child of a kind.
pub(crate) fn spawn(kind: &str) -> (Child, ChildStdin, ChildStdout) {
    let program = std::env::current_exe().expect("a program has a path");
    let mut child = Command::new(program)
        .args(["--child", kind])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be started again");
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    (child, stdin.expect("piped"), stdout.expect("piped"))
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// Runs the child's side of a contender.
pub(crate) fn serve(kind: &str) {
    match kind {
        "raw" => runtime().block_on(async {
            let (mut reader, mut writer) = stdio().expect("stdio can be taken over");
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = reader.read(&mut bytes).await {
                writer.write_all(&bytes[..count]).await.expect("the parent reads");
            }
        }),
        "raw blocking" => {
            let (mut reader, mut writer) = (std::fs::File::open("/proc/self/fd/0"), raw_stdout());
            let reader = reader.as_mut().expect("stdin can be opened");
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                writer.write_all(&bytes[..count]).expect("the parent reads");
            }
        }
        "aiswitch-rpc" | "aiswitch-rpc, sealed" => runtime().block_on(async {
            let (reader, writer) = stdio().expect("stdio can be taken over");
            let options = Options::default().with_integrity(Integrity::Accept);
            let (_peer, connection) = connect(reader, writer, router(), options);
            connection.run().await.expect("the parent is well-behaved");
        }),
        "aiswitch-rpc blocking" => {
            let reader = std::fs::File::open("/proc/self/fd/0").expect("stdin can be opened");
            let connection = blocking::Connection::new(reader, raw_stdout(), router(), Options::default());
            connection.serve().expect("the parent is well-behaved");
        }
        #[cfg(feature = "peers")]
        other => super::peers::serve(other),
        #[cfg(not(feature = "peers"))]
        other => panic!("no contender `{other}`"),
    }
}

fn raw_stdout() -> std::fs::File {
    std::fs::File::options().write(true).open("/proc/self/fd/1").expect("stdout can be opened")
}

/// All contenders; the first is the reference.
pub(crate) fn all(payload: &Payload) -> Vec<Box<dyn Contender>> {
    let ours: Vec<Box<dyn Contender>> = vec![
        Box::new(Raw::start(payload)),
        Box::new(RawBlocking::start(payload)),
        Box::new(Ours::start("aiswitch-rpc", Integrity::Off, payload)),
        Box::new(Ours::start("aiswitch-rpc, sealed", Integrity::Require, payload)),
        Box::new(OursBlocking::start(payload)),
    ];
    #[cfg(feature = "peers")]
    let ours = ours.into_iter().chain(super::peers::all(payload)).collect();
    ours
}

/// Raw bytes of the same length, on the same runtime.
struct Raw {
    runtime: Runtime,
    child: Child,
    input: tokio::process::ChildStdin,
    output: tokio::process::ChildStdout,
    message: Vec<u8>,
}

fn raw_message(payload: &Payload) -> Vec<u8> {
    let text = serde_json::to_string(payload).expect("a payload can be written");
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1234567890123456,\"method\":\"echo_text\",\"params\":{text}}}\n")
        .into_bytes()
}

impl Raw {
    fn start(payload: &Payload) -> Self {
        let runtime = runtime();
        let (child, stdin, stdout) = spawn("raw");
        let entered = runtime.enter();
        let input = tokio::process::ChildStdin::from_std(stdin).expect("it is a pipe");
        let output = tokio::process::ChildStdout::from_std(stdout).expect("it is a pipe");
        drop(entered);
        Self { runtime, child, input, output, message: raw_message(payload) }
    }
}

impl Contender for Raw {
    fn name(&self) -> &'static str {
        "raw bytes, tokio"
    }

    fn child(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self, window: usize, count: usize) {
        let Self { runtime, input, output, message, .. } = self;
        let batch = message.repeat(window);
        let mut bytes = vec![0; 64 * 1024];
        runtime.block_on(async {
            for _ in 0..count / window {
                // Written and read at once: a window may be more than the pipes hold.
                let write = input.write_all(&batch);
                let read = async {
                    let mut left = batch.len();
                    while left > 0 {
                        left -= output.read(&mut bytes).await.expect("the child answers");
                    }
                };
                let (written, ()) = futures_join(write, read).await;
                written.expect("the child reads");
            }
        });
    }
}

/// Polls two futures until both have ended.
async fn futures_join<A: Future, B: Future>(left: A, right: B) -> (A::Output, B::Output) {
    let (mut left, mut right) = (std::pin::pin!(left), std::pin::pin!(right));
    let (mut left_out, mut right_out) = (None, None);
    std::future::poll_fn(|context| {
        use std::task::Poll;
        if left_out.is_none()
            && let Poll::Ready(out) = left.as_mut().poll(context)
        {
            left_out = Some(out);
        }
        if right_out.is_none()
            && let Poll::Ready(out) = right.as_mut().poll(context)
        {
            right_out = Some(out);
        }
        if left_out.is_some() && right_out.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (left_out.expect("it has ended"), right_out.expect("it has ended"))
}

/// Raw bytes without a runtime.
struct RawBlocking {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    message: Vec<u8>,
}

impl RawBlocking {
    fn start(payload: &Payload) -> Self {
        let (child, input, output) = spawn("raw blocking");
        Self { child, input, output, message: raw_message(payload) }
    }
}

impl Contender for RawBlocking {
    fn name(&self) -> &'static str {
        "raw bytes, blocking"
    }

    fn child(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self, _window: usize, count: usize) {
        let mut bytes = vec![0; 64 * 1024];
        for _ in 0..count {
            self.input.write_all(&self.message).expect("the child reads");
            let mut left = self.message.len();
            while left > 0 {
                left -= self.output.read(&mut bytes).expect("the child answers");
            }
        }
    }
}

/// This crate's asynchronous peer.
struct Ours {
    name: &'static str,
    runtime: Runtime,
    child: Child,
    peer: Peer,
    payload: Payload,
}

impl Ours {
    fn start(name: &'static str, integrity: Integrity, payload: &Payload) -> Self {
        let runtime = runtime();
        let (child, stdin, stdout) = spawn(name);
        let entered = runtime.enter();
        let input = tokio::process::ChildStdin::from_std(stdin).expect("it is a pipe");
        let output = tokio::process::ChildStdout::from_std(stdout).expect("it is a pipe");
        let options = Options::default().with_integrity(integrity);
        let (peer, connection) = connect(output, input, Router::new(), options);
        runtime.spawn(connection.run());
        drop(entered);
        Self { name, runtime, child, peer, payload: payload.clone() }
    }
}

async fn call(peer: &Peer, payload: &Payload) {
    match payload {
        Payload::Text(text) => drop(peer.call::<EchoText>(text).await.expect("it is echoed")),
        Payload::Items(items) => drop(peer.call::<EchoItems>(items).await.expect("it is echoed")),
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn child(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self, window: usize, count: usize) {
        let Self { runtime, peer, payload, .. } = self;
        runtime.block_on(async {
            if window == 1 {
                for _ in 0..count {
                    call(peer, payload).await;
                }
                return;
            }
            let mut workers = JoinSet::new();
            for _ in 0..window {
                let (peer, payload) = (peer.clone(), payload.clone());
                workers.spawn(async move {
                    for _ in 0..count / window {
                        call(&peer, &payload).await;
                    }
                });
            }
            while workers.join_next().await.is_some() {}
        });
    }
}

/// This crate's blocking peer.
struct OursBlocking {
    child: Child,
    connection: blocking::Connection<ChildStdout, ChildStdin>,
    payload: Payload,
}

impl OursBlocking {
    fn start(payload: &Payload) -> Self {
        let (child, input, output) = spawn("aiswitch-rpc blocking");
        let connection = blocking::Connection::new(output, input, Router::new(), Options::default());
        Self { child, connection, payload: payload.clone() }
    }
}

impl Contender for OursBlocking {
    fn name(&self) -> &'static str {
        "aiswitch-rpc, blocking"
    }

    fn child(&self) -> u32 {
        self.child.id()
    }

    fn run(&mut self, _window: usize, count: usize) {
        for _ in 0..count {
            match &self.payload {
                Payload::Text(text) => drop(self.connection.call::<EchoText>(text).expect("it is echoed")),
                Payload::Items(items) => {
                    drop(self.connection.call::<EchoItems>(items).expect("it is echoed"));
                }
            }
        }
    }
}

/// What one idle connection adds to the memory of the process, over a thousand of them that were used once.
pub(crate) fn idle_connection_bytes() -> u64 {
    const CONNECTIONS: u64 = 1000;
    let runtime = runtime();
    let mut kept = Vec::new();
    let before = resident_bytes();
    runtime.block_on(async {
        for _ in 0..CONNECTIONS {
            // An end of a pipe in the system: what the system keeps for it is not counted.
            let (near, far) = tokio::net::UnixStream::pair().expect("sockets can be made");
            let (reader, writer) = near.into_split();
            let (peer, connection) = connect(reader, writer, router(), Options::default());
            let running = tokio::spawn(connection.run());
            peer.notify_untyped("hello", &["x"]).await.expect("it is open");
            tokio::task::yield_now().await;
            kept.push((peer, running, far));
        }
    });
    let after = resident_bytes();
    (after.saturating_sub(before)) / CONNECTIONS
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

macro_rules! end_child {
    ($($contender:ident),*) => { $(
        impl Drop for $contender {
            fn drop(&mut self) {
                // A child that has ended by itself needs no signal; either way it is collected.
                drop(self.child.kill());
                drop(self.child.wait());
            }
        }
    )* };
}
end_child!(Raw, RawBlocking, Ours, OursBlocking);
#[cfg(feature = "peers")]
pub(crate) use end_child;
