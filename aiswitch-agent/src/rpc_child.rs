//! A child that speaks JSON-RPC 2.0 on its stdin and stdout.

use aiswitch_rpc::protocol::{ErrorKind, TaskError};
use aiswitch_rpc::{ConnectionError, Event, Options, Peer, Router};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::backlog::Backlog;
use crate::event::start_of;
use crate::process::{Child, Ended, Launch, unreadable};
use crate::{AgentError, AgentEvent, RunContext};

/// A child that speaks JSON-RPC 2.0 on its stdin and stdout.
#[derive(Debug)]
pub(crate) struct RpcChild {
    /// The way to the child.
    pub(crate) peer: Peer,
    child: Child,
    connection: Connection,
    /// Unbounded, because the connection must not wait for its own reader; bounded by `output_bytes_max` all the same.
    trouble: mpsc::UnboundedReceiver<Trouble>,
}

/// What a child says that is no message of its protocol.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// A line or message that nobody understands; it goes on.
    Unknown(String),
    /// The stream is broken; the child has to be ended.
    Fatal(TaskError),
}

/// The task that moves the bytes; it ends with its owner.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl RpcChild {
    /// Starts a child, whose requests and notifications the router answers; it is read while the backlog has room.
    pub(crate) async fn spawn(
        launch: &Launch,
        context: &RunContext,
        router: Router,
        options: Options,
        backlog: Backlog,
    ) -> Result<Self, AgentError> {
        let (child, pipes) = Child::spawn(launch, context).await?;
        let (sender, trouble) = mpsc::unbounded_channel();
        let events = sender.clone();
        let router = router.on_event(move |event| {
            // An error means that the child is given up already.
            drop(events.send(Trouble::of(event)));
        });
        let options = options.with_frame_bytes_max(context.limits.frame_bytes_max);
        let (peer, connection) =
            aiswitch_rpc::connect(backlog.hold(pipes.stdout), pipes.stdin, router, options);
        let task = tokio::spawn(async move {
            // How else it ended is told to every pending call.
            if let Err(ConnectionError::Read { source }) = connection.run().await {
                drop(sender.send(Trouble::Fatal(unreadable(&source))));
            }
        });
        Ok(Self { peer, child, connection: Connection(task), trouble })
    }

    /// The next thing that is no message of the protocol; waits for ever when none can come any more.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub(crate) async fn trouble(&mut self) -> Trouble {
        match self.next_trouble().await {
            Some(trouble) => trouble,
            None => std::future::pending().await,
        }
    }

    /// The next thing that is no message of the protocol; `None` when the child's output has ended.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub(crate) async fn next_trouble(&mut self) -> Option<Trouble> {
        self.trouble.recv().await
    }

    /// Ends a child that has no more to do: end of input, the grace, SIGTERM, the grace, SIGKILL.
    pub(crate) async fn finish(self, context: &RunContext) -> Ended {
        self.peer.close();
        let ended = self.child.finish().await;
        tell_rest(self.trouble, context).await;
        ended
    }

    /// Ends a child at once: end of input, SIGTERM, the grace, SIGKILL.
    pub(crate) async fn stop(self, context: &RunContext) -> Ended {
        self.peer.close();
        let ended = self.child.stop().await;
        tell_rest(self.trouble, context).await;
        drop(self.connection);
        ended
    }
}

/// Counts what was not understood and not yet heard.
async fn tell_rest(mut trouble: mpsc::UnboundedReceiver<Trouble>, context: &RunContext) {
    while let Ok(rest) = trouble.try_recv() {
        if let Trouble::Unknown(line) = rest {
            context.events.send(AgentEvent::Unknown { line }).await;
        }
    }
}

impl Trouble {
    fn of(event: Event) -> Self {
        let text = match event {
            Event::BadFrame { error } => {
                return Self::Fatal(TaskError::new(ErrorKind::Protocol, error.to_string()));
            }
            Event::Noise { line } => line,
            other => format!("{other:?}"),
        };
        Self::Unknown(start_of(&text))
    }
}
