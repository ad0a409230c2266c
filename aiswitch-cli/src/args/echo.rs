//! The command line of the built-in echo agent: ways to make it behave like a worse one.

use std::num::NonZeroUsize;

use aiswitch_agent::{ErrorKind, Fault, SpecDuration};
use clap::ValueEnum;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// Ways to make the echo agent behave like a worse one.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EchoArgs {
    /// Wait before the answer
    #[arg(long, value_name = "TIME")]
    pub(crate) delay: Option<SpecDuration>,
    /// Stream the answer in at most this many pieces
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) chunks: NonZeroUsize,
    /// End the task with an error of this kind, as reports name it: auth, network, …
    #[arg(long, value_name = "KIND", value_parser = error_kind)]
    pub(crate) fail: Option<ErrorKind>,
    /// Exit without an answer
    #[arg(long, value_name = "WHEN")]
    pub(crate) crash: Option<Crash>,
    /// The exit code of a crash
    #[arg(long, value_name = "N", default_value = "1", requires = "crash")]
    pub(crate) exit_code: u8,
    /// Do in every task but `behave` what bad agents do
    #[arg(long, value_name = "WHAT", value_parser = fault(), exclusive = true)]
    pub(crate) fault: Option<Fault>,
    /// Report that this tool was denied
    #[arg(long, value_name = "TOOL")]
    pub(crate) deny: Option<String>,
    /// Never answer
    #[arg(long)]
    pub(crate) stall: bool,
}

/// When the echo agent crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Crash {
    /// Before it has read anything
    Start,
    /// Instead of answering `agent.initialize`
    Initialize,
    /// When it has nothing to do yet
    Idle,
    /// Before the first output of a task
    Before,
    /// During a task
    During,
    /// In the middle of an answer's line
    Frame,
    /// Instead of answering `agent.shutdown`
    Stop,
}

impl EchoArgs {
    /// What it does that the echo agent itself does not.
    pub(crate) fn misbehaviour(&self) -> Option<Fault> {
        let crash = self.crash.and_then(|crash| match crash {
            Crash::Before | Crash::During => None,
            Crash::Start => Some(Fault::CrashStart),
            Crash::Initialize => Some(Fault::CrashInitialize),
            Crash::Idle => Some(Fault::CrashIdle),
            Crash::Frame => Some(Fault::CrashFrame),
            Crash::Stop => Some(Fault::CrashStop),
        });
        self.fault.or(crash)
    }
}

fn fault() -> impl TypedValueParser<Value = Fault> {
    let named = |fault: &Fault| PossibleValue::new(fault.name()).help(fault.about());
    PossibleValuesParser::new(Fault::ALL.iter().map(named)).try_map(|name| name.parse::<Fault>())
}

fn error_kind(kind: &str) -> Result<ErrorKind, serde_json::Error> {
    serde_json::from_value(kind.into())
}
