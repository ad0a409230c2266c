//! What ends the command before it did what it was asked to: the message, its causes, and what to do next.

mod hints;
mod switch;
mod tool;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

pub(crate) use aiswitch_coordinator::chain;
use aiswitch_coordinator::{
    AgentId, HomeError, PROMPT_BYTES_MAX, Preset, PresetName, RunError, RunId, RunState, nearest,
};
use aiswitch_env::{EnvError, SECRET_BYTES_MIN};
use aiswitch_lock::{LockError, rusqlite};
use aiswitch_metrics::MetricsError;
use aiswitch_tokens::UsageError;

use crate::config::ConfigError;
use crate::exit::Code;
use crate::pick::PickError;
use hints::{env_hint, lock_code, lock_hint, place_hint, run_hint, unsafe_hint};
pub(crate) use switch::Because;
pub(crate) use tool::ToolError;

/// What to do about an action that only the operator may do.
const OPERATOR_HINT: &str = "no agent may do it, nor what an agent starts; do it at a terminal of your own";

/// What to do about a prompt that is too long.
const PROMPT_HINT: &str = "name a file in the prompt, which agents can read themselves";

/// What to do about a preset that is not there.
const PRESETS_HINT: &str = "aiswitch preset list shows those that are there";

/// What to do about an audit log that is broken.
const AUDIT_HINT: &str = "see aiswitch audit verify; move the folder `audit` away to begin a new log";

/// What ends the command before it did what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(Box<RunError>),
    #[error("{what}")]
    NotMoved {
        what: String,
        code: Code,
        hint: Option<String>,
        #[source]
        why: Option<Because>,
    },
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error("no limit is set for {scope}")]
    NoQuota { scope: String },
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error("there are no transcripts below `{path}`")]
    NoTranscripts { path: PathBuf },
    #[error(transparent)]
    Environment(#[from] EnvError),
    #[error("no folder is known for configuration and state")]
    NoHome,
    #[error("the working folder cannot be found")]
    WorkingFolder {
        #[source]
        source: io::Error,
    },
    #[error("the program's own file cannot be found")]
    OwnProgram {
        #[source]
        source: io::Error,
    },
    #[error("`supervision: cgroup` is asked for, and there is no control group to use")]
    NoCgroup {
        #[source]
        source: io::Error,
    },
    #[error("the path `{path}` of the program itself is not UTF-8")]
    OwnProgramName { path: PathBuf },
    #[error("there is no prompt")]
    NoPrompt,
    #[error("`{from}` cannot be read as the prompt")]
    PromptUnreadable {
        from: String,
        #[source]
        source: io::Error,
    },
    #[error("`{from}` is not UTF-8 text")]
    PromptNotText {
        from: String,
        #[source]
        source: std::string::FromUtf8Error,
    },
    #[error("`{from}` holds more than {PROMPT_BYTES_MAX} bytes, the most that a prompt may have")]
    PromptTooLong { from: String },
    #[error("two prompts are given: the one of --prompt, and `{prompt}`")]
    TwoPrompts { prompt: String },
    #[error("agent `{name}` is not known")]
    UnknownAgent { name: String, nearest: Option<String>, known: Vec<String> },
    #[error("agent `{id}` has no command")]
    NoCommand { id: AgentId },
    #[error("this name for an agent of the run cannot be used")]
    Name(#[from] PickError),
    #[error("`{topic}` is no verb and no topic")]
    UnknownTopic { topic: String },
    #[error("nothing is kept that agent `{agent}` printed in run {run}")]
    NoOutput { run: RunId, agent: AgentId, agents: Vec<String> },
    #[error("run {run} has no report: it goes on, or was killed")]
    NoReport { run: RunId },
    #[error("no secret of at least {SECRET_BYTES_MIN} bytes is known, so none could be found")]
    NoSecrets,
    #[error("there is no key for secrets: `{path}` is missing")]
    NoSecretsKey { path: PathBuf },
    #[error("there is a key for secrets already: `{path}`")]
    SecretsExist { path: PathBuf },
    #[error("`{path}` does not open")]
    KeyFile {
        path: PathBuf,
        #[source]
        source: EnvError,
    },
    #[error("`{action}` is not done, since the audit log cannot hold it")]
    Unaudited {
        action: String,
        #[source]
        source: HomeError,
    },
    #[error("`{action}` is for the operator alone, and the caller is `{actor}`")]
    OperatorOnly { action: String, actor: String },
    #[error("there is no passphrase")]
    NoPassphrase {
        #[source]
        source: io::Error,
    },
    #[error("there is no value")]
    NoValue {
        #[source]
        source: io::Error,
    },
    #[error("editor `{editor}` failed ({status}), and nothing is changed")]
    EditorFailed { editor: String, status: ExitStatus },
    #[error("a signal broke the edit off, and nothing is changed")]
    EditBrokenOff { code: Code },
    #[error("what was edited is not used, and nothing is changed")]
    EditUnused,
    #[error(
        "the edited text{} does not say values of preset `{preset}` alone, each as text",
        line.map(|line| format!(", line {line},")).unwrap_or_default()
    )]
    EditedForm { line: Option<u64>, preset: PresetName },
    #[error("variable `{name}` of preset `{preset}` is empty")]
    EmptyValue { preset: PresetName, name: String },
    #[error("there is no `.aiswitch.yaml` in `{folder}`, nor above it")]
    NoProject { folder: PathBuf },
    #[error("no project file is trusted in `{folder}`, nor above it")]
    NotTrusted { folder: PathBuf },
    #[error("`{path}` does not hold what is trusted")]
    TrustDamaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("preset `{name}` is not known")]
    UnknownPreset { name: PresetName, nearest: Option<PresetName> },
    #[error("{place}: it is not in the form in which the tool that it is of writes")]
    ForeignForm { place: String },
    #[error("`{path}` cannot be used as a database of cc-switch")]
    ForeignDatabase {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error(
        "`{path}` does not hold the value of variable `{name}` of preset `{preset}`, but `***REDACTED***`"
    )]
    RedactedValue { path: PathBuf, preset: String, name: String },
    #[error("there is no command to run under preset `{preset}`")]
    NothingToRun { preset: PresetName },
    #[error("what is printed here is for a shell, and may hold secrets")]
    ForShellsOnly { shell: String },
    #[error("it is not known which shell is meant")]
    ShellUnknown,
    #[error("this shell is under no preset")]
    NoShellPreset,
    #[error("no program can change the shell that it is typed in, only the shell's own function")]
    NoShellFunction,
    #[error("`{path}` has no line `{last}`, with which the lines of aiswitch end")]
    ShellBlock { path: PathBuf, last: String },
    #[error("variable `{name}` has no value behind it")]
    NoPair { name: String },
    #[error("no presets are found there")]
    NothingToImport,
    #[error("preset `{name}` did not come out as it went in, and no copy in clear is removed")]
    ImportDiffers { name: PresetName },
    #[error("the copies in clear are removed only when a person agrees")]
    PurgeUnconfirmed,
    #[error("`{path}` cannot be written")]
    NotExported {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("agent `{name}` stands in `{path}` already")]
    AgentExists { name: AgentId, path: PathBuf },
    #[error("agent `{name}` does not stand in `{path}`")]
    NotConfigured { name: AgentId, path: PathBuf },
    #[error("agent `{id}` has no program")]
    NoProgram { id: AgentId },
    #[error("preset `{name}` is there already")]
    PresetExists { name: PresetName },
    #[error("preset `{child}` extends `{name}`")]
    PresetInUse { name: PresetName, child: PresetName },
    #[error("the caller's environment has no variable `{name}`")]
    NotSet { name: String },
    #[error("run `{run}` has ended: {status}")]
    RunEnded { run: RunId, status: RunState },
    #[error("run `{run}` ended before it began: its locks or its quota could not be had")]
    RunNeverBegan { run: RunId },
    #[error("run `{run}` goes on after {time:?}")]
    GoesOn { run: RunId, time: Duration },
    #[error("`{program}` cannot be started")]
    NotStarted {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("preset `{preset}` has no variable `{name}`")]
    UnknownVariable { preset: PresetName, name: String },
    #[error("the lines of `{path}` cannot be changed so")]
    PresetShape { path: PathBuf },
    #[error("`{path}` cannot be written")]
    Unwritable {
        path: PathBuf,
        #[source]
        source: LockError,
    },
    #[error("a look at an agent, or at what a run needs, broke off")]
    Panicked {
        #[source]
        source: tokio::task::JoinError,
    },
    #[error("stdin and stdout cannot be taken over")]
    Stdio {
        #[source]
        source: io::Error,
    },
    #[error("`{path}` cannot be read")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("`{program}` cannot be started")]
    Command {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("signals cannot be heard")]
    Signals {
        #[source]
        source: io::Error,
    },
    #[error("the runtime cannot be started")]
    Runtime {
        #[source]
        source: io::Error,
    },
    #[error("the run was killed before it could report")]
    Killed { code: Code },
    #[error("stdout cannot be written")]
    Stdout {
        #[source]
        source: io::Error,
    },
    #[error("the connection to the client broke")]
    Client {
        #[source]
        source: aiswitch_rpc::ConnectionError,
    },
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("the echo agent's connection broke")]
    Echo {
        #[source]
        source: aiswitch_rpc::ConnectionError,
    },
}

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl Error {
    /// A preset that is not among these.
    pub(crate) fn unknown_preset(name: &PresetName, presets: &BTreeMap<PresetName, Preset>) -> Self {
        let meant = nearest(name.as_ref(), presets.keys().map(AsRef::as_ref));
        let nearest = meant.and_then(|meant| presets.keys().find(|name| name.as_ref() == meant)).cloned();
        Self::UnknownPreset { name: name.clone(), nearest }
    }

    /// The exit code that it ends the command with.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Run(error) => match **error {
                RunError::NoAgents => Code::NoAgent,
                RunError::Lock(ref error) => lock_code(error),
                RunError::OperatorOnly { .. } => Code::Denied,
                _ => Code::Usage,
            },
            Self::Lock(error) => lock_code(error),
            Self::Command { source, .. } if source.kind() == io::ErrorKind::NotFound => Code::NotFound,
            Self::Command { .. } => Code::NotRunnable,
            Self::Killed { code } | Self::EditBrokenOff { code } | Self::NotMoved { code, .. } => *code,
            Self::OperatorOnly { .. } => Code::Denied,
            Self::GoesOn { .. } => Code::TimedOut,
            Self::Home(HomeError::Unsafe { .. }) => Code::Usage,
            Self::Stdout { .. }
            | Self::Signals { .. }
            | Self::Runtime { .. }
            | Self::NoOutput { .. }
            | Self::NoReport { .. }
            | Self::RunEnded { .. }
            | Self::RunNeverBegan { .. }
            | Self::Panicked { .. }
            | Self::Unaudited { .. }
            | Self::EditorFailed { .. }
            | Self::Stdio { .. }
            | Self::Home(_)
            | Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::Client { .. }
            | Self::Echo { .. } => Code::Failed,
            _ => Code::Usage,
        }
    }

    /// What to type or to do next.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Run(error) => run_hint(error),
            Self::Environment(error) => env_hint(error),
            Self::Lock(error) => lock_hint(error),
            Self::Tool(error) => error.hint(),
            Self::NotMoved { hint, .. } => hint.clone(),
            Self::NoTranscripts { .. } => Some("name their folder with --claude DIR or --codex DIR".into()),
            Self::NoCgroup { .. } => Some(
                "see what this machine has with: aiswitch doctor; or start it with: systemd-run --user --scope -p Delegate=yes aiswitch …".into(),
            ),
            Self::NoHome => Some("set AISWITCH_HOME, or give --home DIR".into()),
            Self::WorkingFolder { .. } => Some("change to a folder that exists, or give -C DIR".into()),
            Self::NoPrompt => Some("aiswitch run \"what to do\"; or --file FILE; or pipe it in".into()),
            Self::PromptTooLong { .. } => Some(PROMPT_HINT.into()),
            Self::TwoPrompts { .. } => Some("put a prompt of several words in quotes".into()),
            Self::UnknownAgent { nearest: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::UnknownAgent { known, .. } => Some(format!("known agents: {}", known.join(", "))),
            Self::NoCommand { id } => {
                Some(format!("give it one in agents.yaml: {id}: {{driver: …, command: [PROGRAM, ARG]}}"))
            }
            Self::UnknownTopic { .. } => {
                Some("aiswitch --help lists the verbs; the topic is exit-codes".into())
            }
            Self::NoSecretsKey { .. } => {
                Some("aiswitch secrets init makes one; or copy secrets.age and your identity.txt here".into())
            }
            Self::SecretsExist { .. } => Some("aiswitch secrets rotate makes a new one".into()),
            Self::OperatorOnly { .. } => Some(OPERATOR_HINT.into()),
            Self::Home(HomeError::Unsafe { path, fault }) => Some(unsafe_hint(path, *fault)),
            Self::Home(HomeError::AuditBroken { .. })
            | Self::Unaudited { source: HomeError::AuditBroken { .. }, .. } => Some(AUDIT_HINT.into()),
            Self::NoPassphrase { .. } => {
                Some("type it at a terminal, or name a file with AISWITCH_PASSPHRASE_FILE".into())
            }
            Self::NoValue { .. } => Some("type it at a terminal, or pipe it in".into()),
            Self::NoProject { .. } => Some("what may stand there: aiswitch schema project".into()),
            Self::NotTrusted { .. } => Some("aiswitch trust --list shows those that are".into()),
            Self::TrustDamaged { .. } => Some("remove it, and trust again".into()),
            Self::EditorFailed { .. } => Some("name another with EDITOR".into()),
            Self::ForeignDatabase { source, .. }
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) =>
            {
                Some("end cc-switch, which uses it".into())
            }
            Self::EmptyValue { .. } => Some("take its line out to remove it".into()),
            Self::RedactedValue { .. } => {
                Some("export it there with --include-secrets, or write the value into it".into())
            }
            Self::NothingToImport => Some("name a file or folder: aiswitch preset import PATH".into()),
            Self::PurgeUnconfirmed => Some("run it at a terminal, or give --yes".into()),
            Self::AgentExists { name, .. } => {
                Some(format!("change it there; or first: aiswitch agents remove {name}"))
            }
            Self::NotConfigured { .. } => Some("aiswitch agents list shows those that are known".into()),
            Self::NoProgram { id } => Some(format!("aiswitch agents add {id} -- PROGRAM ARG")),
            Self::PresetExists { name } => Some(format!("change it: aiswitch preset edit {name}")),
            Self::PresetInUse { child, .. } => {
                Some(format!("remove `{child}` first, or let it extend another"))
            }
            Self::UnknownPreset { nearest: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::UnknownPreset { .. } => Some(PRESETS_HINT.into()),
            Self::PresetShape { .. } => {
                Some("give each entry a line of its own, or change it by hand".into())
            }
            Self::NoSecrets => Some("run it where the variables that presets name are set".into()),
            Self::NoOutput { agents, .. } if agents.is_empty() => None,
            Self::NoOutput { agents, .. } => Some(format!("its agents: {}", agents.join(", "))),
            _ => self.kept_hint().or_else(|| self.shell_hint()),
        }
    }

    /// What to do next about a run that is kept, or not.
    fn kept_hint(&self) -> Option<String> {
        match self {
            Self::Home(HomeError::NoRuns) => Some("aiswitch run \"what to do\" makes one".into()),
            Self::RunEnded { run, .. } => Some(format!("its answer: aiswitch result {run}")),
            Self::GoesOn { run, .. } => Some(format!("what it does: aiswitch logs {run}")),
            Self::Home(HomeError::NoRun { .. } | HomeError::Ambiguous { .. }) => {
                Some("aiswitch runs lists those that are kept".into())
            }
            Self::NoReport { run } => Some(format!("what was heard until now: aiswitch logs {run}")),
            Self::Killed { .. } => Some("what was heard until then: aiswitch logs last".into()),
            Self::Usage(error) => place_hint(error),
            Self::Metrics(error) => place_hint(error),
            Self::Home(error) => place_hint(error),
            _ => None,
        }
    }

    /// What to do next where a shell is to be changed.
    fn shell_hint(&self) -> Option<String> {
        match self {
            Self::NothingToRun { preset } => Some(format!(
                "give it one after `--`; or, to change this shell: eval \"$(aiswitch shell init bash)\", then aiswitch apply {preset}"
            )),
            Self::ForShellsOnly { shell } => Some(format!("aiswitch shell init {shell} --help says how")),
            Self::ShellUnknown => Some("name it: aiswitch shell install bash".into()),
            Self::NoShellPreset => Some("name one: aiswitch save PRESET".into()),
            Self::NoShellFunction => Some("aiswitch shell install has new shells read it".into()),
            Self::ShellBlock { .. } => Some("put that line, or take those before it out, by hand".into()),
            _ => None,
        }
    }
}
