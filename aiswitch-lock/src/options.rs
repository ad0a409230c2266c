//! What the caller of an acquire asks for.

use std::time::Duration;

use crate::LockError;

/// How long [`LockOptions::default`] waits: 30 seconds.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// How long a waiter waits to be served like one of the next higher priority: 10 seconds.
pub const PRIORITY_STEP_DEFAULT: Duration = Duration::from_secs(10);

/// The longest [owner](LockOptions::with_owner) in bytes.
pub const OWNER_BYTES_MAX: usize = 64;

/// The longest [purpose](LockOptions::with_purpose) in bytes.
pub const PURPOSE_BYTES_MAX: usize = 128;

/// What the caller of an acquire asks for: mode, priority, time-out, and who is asking and why.
///
/// ```
/// use std::time::Duration;
/// use aiswitch_lock::{LockOptions, Priority};
///
/// let options = LockOptions::new()
///     .with_timeout(Duration::from_secs(5))
///     .with_priority(Priority::High)
///     .with_owner("codex")
///     .with_purpose("cargo build");
/// assert_eq!(options.owner.as_deref(), Some("codex"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockOptions {
    /// Whether others may hold the lock at the same time; exclusive by default.
    pub mode: LockMode,
    /// The place in the queue, together with the time of arrival.
    pub priority: Priority,
    /// How long to wait; [`TIMEOUT_DEFAULT`] by default. Zero takes a free lock and else gives up at once.
    ///
    /// A time-out that reaches beyond what the clock can express waits without a limit.
    pub timeout: Duration,
    /// Who asks: a label within this process, such as an agent's name. At most [`OWNER_BYTES_MAX`] bytes.
    ///
    /// An owner does one thing after the other. That is what makes a deadlock between owners visible; without an
    /// owner an acquire is not searched for deadlocks and ends at its time-out.
    pub owner: Option<String>,
    /// What for, in words for people. At most [`PURPOSE_BYTES_MAX`] bytes.
    pub purpose: Option<String>,
}

impl LockOptions {
    /// Exclusive, normal priority, 30 seconds, no owner and no purpose.
    pub fn new() -> Self {
        Self {
            mode: LockMode::Exclusive,
            priority: Priority::Normal,
            timeout: TIMEOUT_DEFAULT,
            owner: None,
            purpose: None,
        }
    }

    /// Asks to share the lock with others, or not to.
    #[must_use]
    pub fn with_mode(mut self, mode: LockMode) -> Self {
        self.mode = mode;
        self
    }

    /// Asks to be served before lower priorities.
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Bounds the wait.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Says who asks.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Says what for.
    #[must_use]
    pub fn with_purpose(mut self, purpose: impl Into<String>) -> Self {
        self.purpose = Some(purpose.into());
        self
    }

    /// The check of every request that enters the crate.
    pub(crate) fn check(&self) -> Result<(), LockError> {
        check_label("owner", self.owner.as_deref(), OWNER_BYTES_MAX)?;
        check_label("purpose", self.purpose.as_deref(), PURPOSE_BYTES_MAX)
    }
}

impl Default for LockOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether others may hold a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockMode {
    /// Together with other shared holders.
    Shared,
    /// Alone.
    Exclusive,
}

/// How early a waiter is served.
///
/// A waiter gains one level for every [step](crate::PRIORITY_STEP_DEFAULT) that it has waited, so that none starves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// After everyone else.
    Low,
    /// The usual.
    #[default]
    Normal,
    /// Before the usual.
    High,
    /// Before everyone else.
    Urgent,
}

fn check_label(field: &'static str, label: Option<&str>, bytes_max: usize) -> Result<(), LockError> {
    let Some(label) = label else { return Ok(()) };
    if label.len() > bytes_max || label.chars().any(char::is_control) {
        return Err(LockError::InvalidLabel { field, bytes: label.len(), bytes_max });
    }
    Ok(())
}
