//! The fault kit: an agent that speaks the aiswitch protocol and does what bad agents do.

use std::io::{self, BufRead};
use std::process::Command;
use std::str::FromStr;

use rustix::event::{Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Signal, getpid, kill_process};
use rustix::stdio::{dup2_stdin, dup2_stdout, stderr, stdout};
use serde_json::{Value, json};

/// How much is written at once by a fault that writes much, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// How many chunks a flood on stderr has: 64 MiB in all.
const FLOOD_CHUNKS: usize = 1024;

/// How many chunks a giant line has: 64 MiB in all.
const GIANT_CHUNKS: usize = 1024;

/// How many notifications a storm has.
const STORM_MESSAGES: usize = 100_000;

/// How many ids a forger tries.
const FORGED_IDS: u64 = 1000;

/// How deep the deepest text is nested.
const DEPTH: usize = 100_000;

/// How much memory a hog takes: 2 GiB in all.
const HOG_CHUNKS: usize = 32 * 1024;

/// Between two bytes of a slow agent.
const DRIP: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// A task that is always done well.
const BEHAVE: &str = "behave";

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $fault:ident = $name:literal,)+) => {
        /// What a bad agent does, and when: in every task but `behave`, unless it says otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[doc = $doc])+ $fault,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$fault,)+];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$fault => $name,)+ }
            }

            /// What it is, in a line.
            pub fn about(self) -> &'static str {
                match self { $(Self::$fault => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

faults! {
    /// Exits before it has read anything.
    CrashStart = "crash-start",
    /// Exits instead of answering `agent.initialize`.
    CrashInitialize = "crash-initialize",
    /// Exits when it has nothing to do yet.
    CrashIdle = "crash-idle",
    /// Exits in the middle of a task.
    CrashTask = "crash-task",
    /// Exits in the middle of its answer's line.
    CrashFrame = "crash-frame",
    /// Exits instead of answering `agent.shutdown`.
    CrashStop = "crash-stop",
    /// Ends well without an answer, after half a line.
    HalfLine = "half-line",
    /// Reads nothing any more.
    StopReading = "stop-reading",
    /// Reads everything and answers nothing any more.
    StopAnswering = "stop-answering",
    /// Sends itself SIGSTOP.
    StopItself = "stop-itself",
    /// Closes its stdout and lives on.
    CloseStdout = "close-stdout",
    /// Closes its stdin, and goes on to print.
    CloseStdin = "close-stdin",
    /// Answers one byte a second.
    Drip = "drip",
    /// Prints a line that is no JSON before its answer.
    Garbage = "garbage",
    /// Prints bytes that are no UTF-8 before its answer.
    InvalidUtf8 = "invalid-utf8",
    /// Prints NUL bytes before its answer.
    Nul = "nul",
    /// Begins its output with a byte order mark.
    Bom = "bom",
    /// Ends its lines as DOS does.
    Crlf = "crlf",
    /// Prints a line of 64 MiB before its answer.
    GiantLine = "giant-line",
    /// Prints JSON that is nested 100,000 deep before its answer.
    DeepJson = "deep-json",
    /// Answers with a number that no machine can hold.
    HugeNumber = "huge-number",
    /// Answers with an object that has each key twice.
    DuplicateKeys = "duplicate-keys",
    /// Answers a question that nobody asked, before its answer.
    UnknownId = "unknown-id",
    /// Answers twice.
    DuplicateId = "duplicate-id",
    /// Has a child print answers to a thousand guessed questions.
    Forged = "forged",
    /// Prints 100,000 notifications as fast as it can before its answer.
    ReplyStorm = "reply-storm",
    /// Prints 64 MiB on stderr before its answer.
    StderrFlood = "stderr-flood",
    /// Leaves children in sessions of their own that ignore signals and hold its streams.
    Grandchildren = "grandchildren",
    /// Leaves a process that forks and ends on and on.
    Comet = "comet",
    /// Leaves a tree of processes that grows to 500.
    ForkBomb = "fork-bomb",
    /// Takes 2 GiB of memory and keeps it.
    MemoryHog = "memory-hog",
    /// Takes all the time that a processor has.
    CpuHog = "cpu-hog",
}

impl FromStr for Fault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let fault = Self::ALL.iter().find(|fault| fault.name() == name);
        fault.copied().ok_or_else(|| UnknownFault { name: name.to_owned() })
    }
}

/// There is no such fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no fault")]
pub struct UnknownFault {
    name: String,
}

/// Serves as an agent with a fault on stdin and stdout, until its input ends or its fault does; gives the exit code.
///
/// A fault that is a crash ends with `exit_code`, or by the signal `exit_code` - 128, as shells number both. For tests, and
/// to see what becomes of a run.
pub fn misbehave(fault: Fault, exit_code: u8) -> u8 {
    match (Misbehaving { fault, is_mute: false }).serve() {
        Ok(()) | Err(End::Well) => 0,
        Err(End::Crash) => {
            if let Some(signal) = Signal::from_named_raw(i32::from(exit_code) - 128) {
                // One that does not end the process leaves that to the exit code.
                kill_process(getpid(), signal).ok();
            }
            exit_code
        }
        // Whoever it spoke to is gone.
        Err(End::Broken) => 1,
    }
}

/// An agent with a fault.
struct Misbehaving {
    fault: Fault,
    is_mute: bool,
}

/// Why an agent with a fault ends before its input does.
enum End {
    Crash,
    Well,
    Broken,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

impl From<rustix::io::Errno> for End {
    fn from(_: rustix::io::Errno) -> Self {
        Self::Broken
    }
}

impl Misbehaving {
    fn serve(&mut self) -> Result<(), End> {
        self.crash_at(Fault::CrashStart)?;
        if self.fault == Fault::Bom {
            print("\u{feff}".as_bytes())?;
        }
        let mut input = io::stdin().lock();
        let mut line = String::new();
        while input.read_line(&mut line)? > 0 {
            let message: Value = serde_json::from_str(&line).unwrap_or_default();
            line.clear();
            if self.is_mute {
                continue;
            }
            let id = &message["id"];
            match message["method"].as_str() {
                Some("agent.initialize") => {
                    self.crash_at(Fault::CrashInitialize)?;
                    self.answer(id, &introduction())?;
                    self.crash_at(Fault::CrashIdle)?;
                }
                Some("agent.status") => self.answer(id, &json!({"state": "idle"}))?,
                Some("agent.shutdown") => {
                    self.crash_at(Fault::CrashStop)?;
                    return self.answer(id, &Value::Null);
                }
                Some("task.assign") if message["params"]["prompt"] == BEHAVE => {
                    self.answer(id, &json!({"status": "completed", "answer": BEHAVE}))?;
                }
                Some("task.assign") => self.work(id, &message["params"]["id"])?,
                _ => {}
            }
        }
        Ok(())
    }

    fn crash_at(&self, phase: Fault) -> Result<(), End> {
        if self.fault == phase { Err(End::Crash) } else { Ok(()) }
    }

    fn answer(&self, id: &Value, result: &Value) -> Result<(), End> {
        let end = if self.fault == Fault::Crlf { "\r\n" } else { "\n" };
        print(format!("{}{end}", json!({"jsonrpc": "2.0", "id": id, "result": result})).as_bytes())
    }

    /// Does a task as badly as it can.
    fn work(&mut self, id: &Value, task_id: &Value) -> Result<(), End> {
        let done = json!({"status": "completed", "answer": self.fault.name()});
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": done}).to_string();
        match self.fault {
            Fault::CrashTask => return Err(End::Crash),
            Fault::CrashFrame => {
                print(&answer.as_bytes()[..answer.len() / 2])?;
                return Err(End::Crash);
            }
            Fault::HalfLine => {
                print(&answer.as_bytes()[..answer.len() / 2])?;
                return Err(End::Well);
            }
            Fault::StopReading => wait_for_ever(),
            Fault::StopAnswering => {
                self.is_mute = true;
                return Ok(());
            }
            Fault::StopItself => kill_process(getpid(), Signal::STOP)?,
            Fault::CloseStdout => {
                dup2_stdout(open("/dev/null", OFlags::WRONLY, Mode::empty())?)?;
                wait_for_ever();
            }
            Fault::CloseStdin => {
                dup2_stdin(open("/dev/null", OFlags::RDONLY, Mode::empty())?)?;
                print(tell(task_id, "still here").as_bytes())?;
                wait_for_ever();
            }
            Fault::Drip => return drip(&tell(task_id, "slowly")),
            Fault::MemoryHog => hog(),
            Fault::CpuHog => loop {
                std::hint::spin_loop();
            },
            Fault::HugeNumber => {
                let huge =
                    answer.replace("\"status\"", &format!("\"cost_usd\":1e999{},\"status\"", "9".repeat(99)));
                return print(format!("{huge}\n").as_bytes());
            }
            Fault::DuplicateKeys => {
                let twice = answer.replace("\"status\"", "\"status\":\"failed\",\"status\"");
                return print(format!("{twice}\n").as_bytes());
            }
            Fault::DuplicateId => self.answer(id, &done)?,
            other => disturb(other, task_id)?,
        }
        self.answer(id, &done)
    }
}

/// Does what comes before an answer.
fn disturb(fault: Fault, task_id: &Value) -> Result<(), End> {
    match fault {
        Fault::Garbage => print(b"a stray print\n"),
        Fault::InvalidUtf8 => print(b"caf\xe9\n"),
        Fault::Nul => print(b"\0\0\n"),
        Fault::DeepJson => print(format!("{}{}\n", "[".repeat(DEPTH), "]".repeat(DEPTH)).as_bytes()),
        Fault::UnknownId => print(b"{\"jsonrpc\":\"2.0\",\"id\":\"nobody\",\"result\":null}\n"),
        Fault::GiantLine => {
            let chunk = "x".repeat(CHUNK_BYTES);
            (0..GIANT_CHUNKS).try_for_each(|_| print(chunk.as_bytes()))?;
            print(b"\n")
        }
        Fault::StderrFlood => {
            let chunk = "a flood\n".repeat(CHUNK_BYTES / 8);
            (0..FLOOD_CHUNKS).try_for_each(|_| write_all(stderr(), chunk.as_bytes()))
        }
        Fault::ReplyStorm => {
            let message = tell(task_id, "x");
            let per_chunk = CHUNK_BYTES / message.len();
            let chunk = message.repeat(per_chunk);
            (0..STORM_MESSAGES / per_chunk).try_for_each(|_| print(chunk.as_bytes()))?;
            print(message.repeat(STORM_MESSAGES % per_chunk).as_bytes())
        }
        Fault::Forged => {
            let forged = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":'$i',\"result\":{}}}",
                json!({"status": "completed", "answer": "forged"})
            );
            shell(&format!("i=0; while [ $i -lt {FORGED_IDS} ]; do echo '{forged}'; i=$((i+1)); done"))?
                .wait()?;
            Ok(())
        }
        Fault::Grandchildren => {
            leave_behind("touch grandchild; trap '' TERM HUP INT; while :; do sleep 1; done", "grandchild")
        }
        Fault::Comet => leave_behind("hop() { hop & exit; }; touch comet; hop", "comet"),
        Fault::ForkBomb => leave_behind(
            "bomb() { touch bomb; if [ $1 -gt 0 ]; then sleep 0.05; bomb $(($1-1)) & bomb $(($1-1)) & fi; sleep 300; }; bomb 8",
            "bomb",
        ),
        _ => Ok(()),
    }
}

/// Has a script run in a session of its own, and waits for the file by which it says that it does.
fn leave_behind(script: &str, file: &str) -> Result<(), End> {
    let quoted = script.replace('\'', "'\\''");
    shell(&format!("setsid sh -c '{quoted}' & until [ -e {file} ]; do sleep 0.01; done"))?.wait()?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bad agent starts processes, as any other does")]
fn shell(script: &str) -> io::Result<std::process::Child> {
    Command::new("/bin/sh").args(["-c", &format!("PATH=/usr/bin:/bin; export PATH; {script}")]).spawn()
}

fn introduction() -> Value {
    json!({
        "protocol_version": aiswitch_rpc::protocol::PROTOCOL_VERSION,
        "agent": {"name": "faulty", "version": env!("CARGO_PKG_VERSION")},
        "capabilities": {"cancel": true},
    })
}

fn tell(task_id: &Value, text: &str) -> String {
    let params = json!({"task_id": task_id, "text": text});
    format!("{}\n", json!({"jsonrpc": "2.0", "method": "task.output", "params": params}))
}

fn print(bytes: &[u8]) -> Result<(), End> {
    write_all(stdout(), bytes)
}

fn write_all(stream: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), End> {
    while !bytes.is_empty() {
        match rustix::io::write(stream, bytes) {
            Err(rustix::io::Errno::INTR) => {}
            written => bytes = &bytes[written?..],
        }
    }
    Ok(())
}

fn drip(text: &str) -> Result<(), End> {
    for byte in text.as_bytes().iter().cycle() {
        print(&[*byte])?;
        poll(&mut [], Some(&DRIP))?;
    }
    Ok(())
}

/// Takes memory and touches all of it.
fn hog() -> ! {
    let taken: Vec<Vec<u8>> = (0..HOG_CHUNKS).map(|_| vec![1; CHUNK_BYTES]).collect();
    std::hint::black_box(&taken);
    wait_for_ever()
}

fn wait_for_ever() -> ! {
    loop {
        // A signal that it heeds ends the process; any other only the wait.
        poll(&mut [], None).ok();
    }
}
