//! The mock LLM is the HTTP API of four model providers on one loopback port, scripted by the prompts themselves.
//!
//! An agent CLI is given [`MockLlm::url`] as its provider and a prompt with a directive, such as
//! `Say hi [[mock text=HI]]`; all keys stand in [`directive`]. A prompt without a directive is answered by `echo: ` and
//! its last words. Every answer costs the tokens of [`usage`].

mod anthropic;
mod ask;
mod chat;
mod directive;
mod gemini;
mod http;
mod log;
mod responses;
mod server;
mod usage;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use self::log::Log;
pub(crate) use self::log::{Ended, Recorded};

const CONNECTIONS_MAX: usize = 512;

/// The API that a request is made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Api {
    Anthropic,
    Responses,
    Chat,
    Gemini,
}

impl FromStr for Api {
    type Err = directive::Refusal;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "anthropic" => Ok(Self::Anthropic),
            "responses" => Ok(Self::Responses),
            "chat" => Ok(Self::Chat),
            "gemini" => Ok(Self::Gemini),
            _ => Err(format!("the API `{name}` is not known")),
        }
    }
}

/// A running mock; dropping it closes its port and every connection.
///
/// It runs on a thread of its own, so that a test which blocks on a child process does not block the mock.
#[derive(Debug)]
pub(crate) struct MockLlm {
    address: SocketAddr,
    log: Arc<Log>,
    /// Taken when the mock is dropped.
    runtime: Option<Runtime>,
}

impl MockLlm {
    /// Starts a mock on a free loopback port.
    ///
    /// # Panics
    ///
    /// Panics when no port can be opened: a test without its mock has nothing to say.
    pub(crate) fn start() -> Self {
        Self::start_on(0).expect("a loopback port is free")
    }

    /// Starts a mock on a free loopback port that answers 401 to every key but this one.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub(crate) fn taking(key: &str) -> Self {
        Self::open(0, Some(key.into())).expect("a loopback port is free")
    }

    /// Starts a mock on this loopback port; 0 means any free one.
    ///
    /// # Errors
    ///
    /// Fails when the port is taken or no thread can be started.
    pub(crate) fn start_on(port: u16) -> io::Result<Self> {
        Self::open(port, None)
    }

    fn open(port: u16, key: Option<Arc<str>>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("mock-llm")
            .enable_io()
            .enable_time()
            .build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let log = Arc::new(Log::default());
        runtime.spawn(accept(listener, Arc::clone(&log), key));
        Ok(Self { address, log, runtime: Some(runtime) })
    }

    /// The base URL, such as `http://127.0.0.1:40123`, without a path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, in the order in which they arrived.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.log.requests()
    }

    /// Blocks until the requests fulfil a condition, and returns them.
    ///
    /// # Panics
    ///
    /// Panics, naming the requests that did arrive, when that takes longer than `within`.
    pub(crate) fn wait_for(
        &self,
        within: Duration,
        fulfilled: impl Fn(&[Recorded]) -> bool,
    ) -> Vec<Recorded> {
        self.log.wait_for(within, fulfilled)
    }
}

impl Drop for MockLlm {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Allowed inside another runtime too, where a plain drop would panic.
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, log: Arc<Log>, key: Option<Arc<str>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        // A client that left before it was accepted is no reason to stop.
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (log, key) = (Arc::clone(&log), key.clone());
        tokio::spawn(async move {
            server::serve(stream, &log, key.as_deref()).await;
            drop(place);
        });
    }
}
