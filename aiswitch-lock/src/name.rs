//! What a lock is called, and the file name that stands for it.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::LockError;

/// The longest lock name, counted in the bytes of its file name stem after escaping.
///
/// A file name may have 255 bytes on every file system in use; `.lock` and room for a prefix are taken off.
pub const NAME_BYTES_MAX: usize = 240;

/// The name of a lock: everything, one shared resource, or one task.
///
/// The order of names is the order in which [`acquire_many`](crate::LockManager::acquire_many) takes them:
/// global, then resources, then tasks, each by their bytes.
///
/// ```
/// use aiswitch_lock::LockName;
///
/// let name = LockName::resource("src/main.rs")?;
/// assert_eq!(name.to_string(), "resource:src/main.rs");
/// assert_eq!(name.file_name()?, "resource_src%2fmain.rs.lock");
/// assert_eq!("global".parse::<LockName>()?, LockName::Global);
/// # Ok::<(), aiswitch_lock::LockError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockName {
    /// The one lock that stands for everything: `global.lock`.
    Global,
    /// A thing that several agents share, such as a file, a port or a build folder: `resource_*.lock`.
    Resource(String),
    /// One task: `task_*.lock`.
    Task(String),
}

impl LockName {
    /// Names a shared resource.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`] if the text is empty, too long or holds a control character.
    pub fn resource(text: impl Into<String>) -> Result<Self, LockError> {
        let name = Self::Resource(text.into());
        name.stem().map(|_| name)
    }

    /// Names a task.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`] if the text is empty, too long or holds a control character.
    pub fn task(text: impl Into<String>) -> Result<Self, LockError> {
        let name = Self::Task(text.into());
        name.stem().map(|_| name)
    }

    /// The name of the file that stands for this lock, different for every two different names.
    ///
    /// Lower-case letters, digits, `.`, `-` and `_` stand for themselves; every other byte is written as `%`
    /// and two hexadecimal digits, so that file systems which ignore case keep names apart.
    ///
    /// # Errors
    ///
    /// [`LockError::InvalidName`] if the text is empty, too long or holds a control character.
    pub fn file_name(&self) -> Result<String, LockError> {
        self.stem().map(|stem| format!("{stem}{LOCK_SUFFIX}"))
    }

    /// The file name without its suffix; the check of every name that enters the crate.
    pub(crate) fn stem(&self) -> Result<String, LockError> {
        let (prefix, text) = match self {
            Self::Global => return Ok("global".to_owned()),
            Self::Resource(text) => (RESOURCE_PREFIX, text),
            Self::Task(text) => (TASK_PREFIX, text),
        };
        let refuse = |problem| Err(LockError::InvalidName { name: text.clone(), problem });
        if text.is_empty() {
            return refuse(NameProblem::Empty);
        }
        if let Some(found) = text.chars().find(|c| c.is_control()) {
            return refuse(NameProblem::ControlCharacter { code: u32::from(found) });
        }
        let mut stem = String::with_capacity(prefix.len() + text.len());
        stem.push_str(prefix);
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' => stem.push(char::from(byte)),
                _ => write!(stem, "%{byte:02x}").expect("writing to a string cannot fail"),
            }
        }
        if stem.len() > NAME_BYTES_MAX {
            return refuse(NameProblem::TooLong { bytes: stem.len() });
        }
        Ok(stem)
    }

    /// The name whose stem this is; `None` if no name has it, as for a foreign file in the folder.
    pub(crate) fn from_stem(stem: &str) -> Option<Self> {
        let name = if stem == "global" {
            Self::Global
        } else if let Some(escaped) = stem.strip_prefix(RESOURCE_PREFIX) {
            Self::Resource(unescape(escaped)?)
        } else {
            Self::Task(unescape(stem.strip_prefix(TASK_PREFIX)?)?)
        };
        (name.stem().ok()? == stem).then_some(name)
    }
}

/// `global`, `resource:TEXT` or `task:TEXT`; [`LockName::from_str`] reads it back.
impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Resource(text) => write!(f, "resource:{text}"),
            Self::Task(text) => write!(f, "task:{text}"),
        }
    }
}

/// Reads `global`, `resource:TEXT` and `task:TEXT`; any other text names a resource.
impl FromStr for LockName {
    type Err = LockError;

    fn from_str(text: &str) -> Result<Self, LockError> {
        if text == "global" {
            Ok(Self::Global)
        } else if let Some(task) = text.strip_prefix("task:") {
            Self::task(task)
        } else {
            Self::resource(text.strip_prefix("resource:").unwrap_or(text))
        }
    }
}

/// Why a text cannot name a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameProblem {
    /// There is no text.
    Empty,
    /// The escaped name does not fit in a file name.
    TooLong {
        /// Its length in bytes after escaping; [`NAME_BYTES_MAX`] is the limit.
        bytes: usize,
    },
    /// The text holds a character that cannot be shown, such as NUL or a line feed.
    ControlCharacter {
        /// The character's code point.
        code: u32,
    },
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty; give it at least one character"),
            Self::TooLong { bytes } => {
                write!(f, "it takes {bytes} bytes as a file name, {NAME_BYTES_MAX} are allowed; shorten it")
            }
            Self::ControlCharacter { code } => {
                write!(f, "it holds the control character U+{code:04X}; leave it out")
            }
        }
    }
}

pub(crate) const LOCK_SUFFIX: &str = ".lock";
const RESOURCE_PREFIX: &str = "resource_";
const TASK_PREFIX: &str = "task_";

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}
