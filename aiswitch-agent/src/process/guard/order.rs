//! What a caller, its guard and the process that becomes the agent tell each other.

use std::ffi::OsString;
use std::io;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::Walls;
use crate::Resources;
use crate::process::Exit;
use crate::resources::Excess;

/// The longest order, in bytes; the kernel takes 6 MiB of arguments and environment at most.
pub(crate) const ORDER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a guard is to start. It comes on its stdin, as no other process of the user can read it there.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    /// The process that gives the order; the guard's parent.
    pub(crate) caller: i32,
    /// The file descriptor in the caller that the guard's reports go to.
    pub(crate) report_fd: i32,
    pub(crate) program: OsString,
    pub(crate) args: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// What the guard itself keeps to.
    pub(crate) limits: Resources,
    /// Whether the agent is put into a namespace of process numbers.
    pub(crate) namespace: bool,
    /// The control group in which the agent is given one.
    pub(crate) cgroup: Option<OsString>,
    /// How the name of that one begins.
    pub(crate) group_name: String,
    pub(crate) entry: Entry,
}

/// How the agent's process is made ready before its program starts.
#[derive(Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The folder that it works in.
    pub(crate) cwd: OsString,
    /// The control group that it goes into.
    pub(crate) cgroup: Option<OsString>,
    /// Whether it gives way to others.
    pub(crate) nice: bool,
    /// How many files it may have open.
    pub(crate) open_files: Option<NonZeroU64>,
    /// The walls of its sandbox.
    pub(crate) walls: Option<Walls>,
}

/// What a guard tells its caller, one JSON text a line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    /// The agent's program runs.
    Started {
        /// Its process, which leads a process group of its own.
        pid: i32,
    },
    /// The agent's program does not run.
    Failed(Failure),
    /// The agent is over a limit, and is about to be ended.
    Over(Excess),
    /// The agent has ended, and what it had started is about to be.
    Ended(Exit),
}

/// Why an agent's program does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What could not be done.
    pub(crate) step: Step,
    /// The system's number for the reason.
    pub(crate) errno: i32,
}

/// One step on the way to an agent's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// To make a process, with the agent's arguments and environment.
    Fork,
    /// To have that process end with its guard.
    Bind,
    /// To make a namespace of process numbers for it.
    Namespace,
    /// To make a control group for it, and have it enter that.
    Cgroup,
    /// To set its limits.
    Limits,
    /// To enter the folder that it works in.
    Folder,
    /// To put up the walls of its sandbox.
    Sandbox,
    /// To start the program.
    Program,
}

impl Failure {
    pub(crate) fn new(step: Step, error: &io::Error) -> Self {
        Self { step, errno: error.raw_os_error().unwrap_or_default() }
    }

    pub(crate) fn source(self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

impl Order {
    /// The order as one frame: its length in four bytes, the highest first, and its JSON text.
    ///
    /// # Errors
    /// It is too long.
    pub(crate) fn to_frame(&self) -> io::Result<Vec<u8>> {
        let mut frame = vec![0; 4];
        serde_json::to_writer(&mut frame, self)?;
        match u32::try_from(frame.len() - 4) {
            Ok(length) if frame.len() <= ORDER_BYTES_MAX => frame[..4].copy_from_slice(&length.to_be_bytes()),
            _ => return Err(io::Error::from_raw_os_error(rustix::io::Errno::TOOBIG.raw_os_error())),
        }
        Ok(frame)
    }

    /// Reads one frame and not a byte more, since what follows is the agent's.
    ///
    /// # Errors
    /// The input ends too early, or is no order.
    pub(crate) fn read(mut input: impl io::Read) -> io::Result<Self> {
        let mut length = [0; 4];
        input.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > ORDER_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; length];
        input.read_exact(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    fn order() -> Order {
        Order {
            caller: 1,
            report_fd: 9,
            program: OsString::from_vec(b"/bin/\xff".to_vec()),
            args: vec!["a\nb".into(), String::new()],
            environment: vec![("NAME".into(), "grün".into())],
            limits: Resources::default(),
            namespace: false,
            cgroup: None,
            group_name: String::new(),
            entry: Entry { cwd: "/".into(), cgroup: None, nice: false, open_files: None, walls: None },
        }
    }

    #[test]
    fn an_order_is_read_to_its_last_byte_and_no_further() {
        let mut bytes = order().to_frame().unwrap();
        bytes.extend(b"the agent's");
        let mut input = bytes.as_slice();
        let read = Order::read(&mut input).unwrap();
        assert_eq!((read.program, read.args), (order().program, order().args));
        assert_eq!((read.environment, read.entry.cwd), (order().environment, order().entry.cwd));
        assert_eq!(input, b"the agent's");
    }

    #[test]
    fn an_order_that_is_cut_or_too_long_or_none_at_all_is_refused() {
        let bytes = order().to_frame().unwrap();
        for bad in [&bytes[..bytes.len() - 1], &bytes[..3], b"\xff\xff\xff\xff{}", b"\0\0\0\x02{}"] {
            assert!(Order::read(bad).is_err(), "{bad:?}");
        }
        let long = Order { args: vec!["x".repeat(ORDER_BYTES_MAX)], ..order() };
        assert_eq!(long.to_frame().unwrap_err().raw_os_error(), Some(7));
    }
}
