//! Two peers on one in-memory stream, and a raw end to play a peer by hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aiswitch_rpc::{Connection, Event, Options, Peer, Router, connect};
use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf, duplex, split,
};

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) type MemoryConnection = Connection<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

/// Fails the test when `future` does not end.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("this should have ended long ago")
}

/// A connection whose other end is played by hand.
pub(crate) fn by_hand(router: Router, options: Options) -> (Peer, MemoryConnection, Hand) {
    let (near, far) = duplex(1 << 16);
    let (reader, writer) = split(near);
    let (peer, connection) = connect(reader, writer, router, options);
    let (reader, writer) = split(far);
    (peer, connection, Hand { reader: BufReader::new(reader), writer: Some(writer) })
}

/// Two connections, one at each end of a stream.
pub(crate) fn pair(
    left: Router,
    right: Router,
    options: Options,
) -> ((Peer, MemoryConnection), (Peer, MemoryConnection)) {
    let (near, far) = duplex(1 << 16);
    let (reader, writer) = split(near);
    let left = connect(reader, writer, left, options.clone());
    let (reader, writer) = split(far);
    (left, connect(reader, writer, right, options))
}

/// The end of a stream that a test plays by hand.
pub(crate) struct Hand {
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: Option<WriteHalf<DuplexStream>>,
}

impl Hand {
    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        let writer = self.writer.as_mut().expect("still open");
        within(writer.write_all(text.as_ref())).await.expect("the connection reads");
    }

    /// Sends as long as the connection lives.
    pub(crate) async fn send_or_stop(&mut self, text: &str) {
        let writer = self.writer.as_mut().expect("still open");
        // A connection that has ended is what the caller waits for.
        drop(within(writer.write_all(text.as_bytes())).await);
    }

    /// The next line, parsed.
    pub(crate) async fn receive(&mut self) -> serde_json::Value {
        let mut line = String::new();
        within(self.reader.read_line(&mut line)).await.expect("the connection writes");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?} is not JSON: {error}"))
    }

    /// All lines up to the end of the connection's output.
    pub(crate) async fn receive_rest(&mut self) -> Vec<serde_json::Value> {
        let mut rest = String::new();
        within(self.reader.read_to_string(&mut rest)).await.expect("the connection writes");
        rest.lines().map(|line| serde_json::from_str(line).expect("lines are JSON")).collect()
    }

    /// Ends the peer's output.
    pub(crate) async fn end(&mut self) {
        let mut writer = self.writer.take().expect("still open");
        writer.shutdown().await.expect("a memory stream can be shut down");
    }
}

/// Collects the events of a connection.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    pub(crate) fn listen(&self, router: Router) -> Router {
        let events = self.0.clone();
        router.on_event(move |event: Event| events.lock().unwrap().push(format!("{event:?}")))
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
