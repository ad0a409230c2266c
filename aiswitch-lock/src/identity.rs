//! Which process this is, told so that other processes can recognise it, also after its number was given away again.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::HolderProcess;

/// The longest text of an identity that is kept, in bytes.
pub(crate) const IDENTITY_TEXT_BYTES_MAX: usize = 64;

/// Which process this is; numbers are 0 and texts empty where the system does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// When the process started, in clock ticks after the machine did.
    pub(crate) start: u64,
    /// A number of the machine's present run.
    pub(crate) boot: u64,
    /// The inode of its process namespace.
    pub(crate) namespace: u64,
    pub(crate) host: String,
    pub(crate) program: String,
}

impl Identity {
    /// The identity of the calling process.
    pub(crate) fn of_this_process() -> Self {
        let pid = std::process::id();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let program = std::env::current_exe().ok();
        let program = program.as_deref().and_then(|path| path.file_name()).unwrap_or_default();
        Self {
            pid,
            start: start_of(pid).unwrap_or_default(),
            boot: boot_number(),
            namespace: fs::metadata("/proc/self/ns/pid").map(|found| found.ino()).unwrap_or_default(),
            host: shortened(host),
            program: shortened(program.to_string_lossy().into_owned()),
        }
    }

    /// Whether process numbers mean the same to another process as to this one.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        other.host == self.host && other.namespace == self.namespace && other.boot == self.boot
    }

    /// What became of the process that another identity names, seen from this process.
    pub(crate) fn fate_of(&self, other: &Self) -> HolderProcess {
        if other.host != self.host || other.namespace != self.namespace {
            return HolderProcess::Unknown;
        }
        let same_boot = other.boot == self.boot;
        let same_start = other.start == 0 || start_of(other.pid) == Some(other.start);
        if same_boot && same_start { HolderProcess::Alive } else { HolderProcess::Ended }
    }
}

/// When a process started, in clock ticks after the machine did; `None` if there is no such process or no `/proc`.
///
/// It is field 22 of `/proc/PID/stat`, counted behind the program's name, which may hold blanks and brackets (proc(5)).
/// A process that has ended but was not yet waited for (state `Z` or `X`) counts as gone.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(start)
}

fn boot_number() -> u64 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or_default()
}

fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(IDENTITY_TEXT_BYTES_MAX));
    text
}
