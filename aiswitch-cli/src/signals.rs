//! The signals that the command hears instead of being ended by them.

use std::future::poll_fn;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;
use crate::exit::Code;

/// The signals that the command hears instead of being ended by them.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    /// Hears these from now on.
    ///
    /// # Errors
    /// The system refuses.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with I/O.
    pub(crate) fn listen(kinds: impl IntoIterator<Item = SignalKind>) -> Result<Self, Error> {
        let listen = |kind| signal(kind).map(|heard| (kind, heard));
        kinds
            .into_iter()
            .map(listen)
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(|source| Error::Signals { source })
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// Dropping the future loses no signal.
    pub(crate) async fn next(&mut self) -> SignalKind {
        poll_fn(|context| {
            let mut all = self.0.iter_mut();
            match all.find_map(|(kind, heard)| heard.poll_recv(context).is_ready().then_some(*kind)) {
                Some(kind) => Poll::Ready(kind),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// The exit code of a command that a signal ended early.
pub(crate) fn code_of(signal: SignalKind) -> Code {
    if signal == SignalKind::interrupt() { Code::Interrupted } else { Code::Terminated }
}
