//! The audit log: who did what that only some may do, in a chain of lines that shows what was done to it.
//!
//! It is tamper-evident, not tamper-proof: who may write the files may also write a whole new chain. Keep the head that
//! `verify` tells elsewhere, and a log that was written anew does not have it.

mod chain;
mod of_run;
mod read;

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use aiswitch_agent::AgentId;
use aiswitch_lock::{LockManager, LockName, LockOptions, replace_file};
use serde::{Deserialize, Serialize};

pub(crate) use chain::Link;
pub use chain::{AuditFault, AuditLine};
pub(crate) use of_run::RunAudit;
pub use read::{AuditBreak, AuditLog, AuditVerdict};
use read::{Head, Tail};

use crate::Home;
use crate::clock;
use crate::cut::cut;
use crate::error::HomeError;
use crate::home::{FILE_MODE, make_folder};
use crate::strict::check_below;

/// How large a file of the audit log grows before the next one begins, in bytes.
pub const AUDIT_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The longest text of an audit line, in bytes; a longer one is cut, and ends in `…` then.
pub const AUDIT_TEXT_BYTES_MAX: usize = 1024;

/// How long the lock of the audit log is waited for; whoever holds it writes some lines.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Who acts, as the channel says through which they are heard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Actor {
    /// Whoever the home belongs to.
    Operator,
    /// An agent.
    Agent(AgentId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Agent(agent) => write!(f, "agent:{agent}"),
        }
    }
}

/// What an actor is heard through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Channel {
    /// The command line of a program that its user started.
    CommandLine,
    /// A call of this library.
    Caller,
    /// The stdin and stdout of an agent's own process.
    Adapter,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandLine => "command-line",
            Self::Caller => "caller",
            Self::Adapter => "adapter",
        })
    }
}

/// Whether an action was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditDecision {
    /// It was, and was begun after the line was written.
    Allowed,
    /// It was not, and was not begun.
    Denied,
}

/// What an audit line is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who acts.
    pub actor: Actor,
    /// What the actor is heard through.
    pub channel: Channel,
    /// What is to be done, such as `secrets.set`, or the name of a protocol's method.
    pub action: String,
    /// What it is to be done to; never a secret.
    pub object: String,
    /// Whether it is allowed.
    pub decision: AuditDecision,
    /// What else there is to know; never a secret.
    pub detail: Option<String>,
}

/// What writes the audit log of a home; any number of processes may write one.
#[derive(Clone, Debug)]
pub struct Audit {
    home: Home,
    locks: Arc<dyn LockManager>,
}

impl Audit {
    /// The writer of a home's log; all writers of one log take the same lock from these.
    pub fn new(home: Home, locks: Arc<dyn LockManager>) -> Self {
        Self { home, locks }
    }

    /// Writes lines, and has them written out to the disk; act only after that.
    ///
    /// # Errors
    /// The log cannot be written, or is not whole; none of the lines counts then.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with timers.
    ///
    /// # Cancel safety
    /// A dropped future may have written the lines or not; the log is whole all the same.
    pub async fn append(&self, entries: Vec<AuditEntry>) -> Result<(), HomeError> {
        self.locked(move |home| write(home, &entries)).await
    }

    /// Checks the log as [`AuditLog::verify`] does, while nobody writes it.
    ///
    /// # Errors
    /// As [`AuditLog::verify`], and if the lock cannot be had.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with timers.
    ///
    /// # Cancel safety
    /// Safe to drop at any time.
    pub async fn verify(&self) -> Result<AuditVerdict, HomeError> {
        self.locked(|home| home.audit().verify()).await
    }

    /// Does something with the log while no other process does.
    async fn locked<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Home) -> Result<T, HomeError> + Send + 'static,
    ) -> Result<T, HomeError> {
        let options = LockOptions::new().with_timeout(LOCK_TIMEOUT).with_purpose("audit log");
        let guard = self.locks.acquire(&audit_lock(), &options).await.map_err(HomeError::AuditLock)?;
        let home = self.home.clone();
        let path = home.audit_dir();
        let act = move || {
            let done = check_below(&home.audit_dir()).and_then(|()| act(&home));
            drop(guard);
            done
        };
        // The disk is waited for. Who drops this future leaves the work to its end, with the lock.
        match tokio::task::spawn_blocking(act).await {
            Ok(done) => done,
            Err(error) => Err(HomeError::io("use", path)(std::io::Error::other(error))),
        }
    }
}

/// The lock that all writers of the audit log take.
pub(crate) fn audit_lock() -> LockName {
    LockName::Resource("aiswitch/audit".to_owned())
}

fn write(home: &Home, entries: &[AuditEntry]) -> Result<(), HomeError> {
    make_folder(&home.audit_dir())?;
    let Tail { mut head, link, torn_bytes } = Tail::find(home)?.map_or_else(|| begin(home), Ok)?;
    if head.bytes >= AUDIT_FILE_BYTES_MAX && torn_bytes == 0 {
        head = Head { file: link.seq + 1, bytes: 0, ..head };
    }
    let path = home.audit_file(head.file);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(HomeError::io("open", &path))?;
    if torn_bytes > 0 {
        file.set_len(head.bytes).map_err(HomeError::io("cut", &path))?;
    }
    let mended = (torn_bytes > 0).then(|| mended(torn_bytes));
    let (lines, link) = write_lines(link, mended.iter().chain(entries));
    if let Err(error) = file.write_all(&lines).and_then(|()| file.sync_data()) {
        // Lines behind the head would count when the next writer finds them; the first error says more.
        drop(file.set_len(head.bytes));
        return Err(HomeError::io("write", path)(error));
    }
    let bytes = head.bytes + lines.len() as u64;
    write_head(home, &Head { seq: link.seq, hash: link.hash().to_owned(), file: head.file, bytes })
}

/// Begins a log with its head, so that one without a head has lost it.
fn begin(home: &Home) -> Result<Tail, HomeError> {
    let tail = Tail::of_new_log();
    write_head(home, &tail.head).map(|()| tail)
}

/// What tells that half a line was taken away.
fn mended(torn_bytes: u64) -> AuditEntry {
    AuditEntry {
        actor: Actor::Operator,
        channel: Channel::Caller,
        action: "audit.mend".to_owned(),
        object: "audit".to_owned(),
        decision: AuditDecision::Allowed,
        detail: Some(format!(
            "half a line of {torn_bytes} bytes, which a writer that was killed left, was cut"
        )),
    }
}

/// The lines that come next, and the link behind them.
fn write_lines<'e>(mut link: Link, entries: impl Iterator<Item = &'e AuditEntry>) -> (Vec<u8>, Link) {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let boot_id = boot_id.map(|text| text.trim_end().to_owned());
    let at = clock::now();
    let mut bytes = Vec::new();
    for entry in entries {
        let line = AuditLine {
            seq: 0,
            at,
            boot_id: boot_id.clone(),
            actor: entry.actor.to_string(),
            channel: entry.channel.to_string(),
            action: cut(&entry.action, AUDIT_TEXT_BYTES_MAX),
            object: cut(&entry.object, AUDIT_TEXT_BYTES_MAX),
            decision: entry.decision,
            detail: entry.detail.as_deref().map(|detail| cut(detail, AUDIT_TEXT_BYTES_MAX)),
            prev: String::new(),
            hash: String::new(),
        };
        let (line, next) = link.write(line);
        bytes.extend_from_slice(&line);
        bytes.push(b'\n');
        link = next;
    }
    (bytes, link)
}

fn write_head(home: &Home, head: &Head) -> Result<(), HomeError> {
    let path = home.audit_head_file();
    replace_file(&path, head.text().as_bytes(), FILE_MODE)
        .map_err(|source| HomeError::Replace { path, source })
}
