//! Waiting for a lock, by a task or by a thread: the one loop that both go through.

use std::future::{Future as _, pending, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::file::Bell;
use crate::{LockError, LockGuard, clock};

/// One acquire under way; dropping it gives up the place in the queue.
pub(crate) trait Attempt {
    /// Goes as far as it can without waiting; `None` if it has to wait as [`park`](Self::park) says.
    fn advance(&mut self, now: Instant) -> Result<Option<LockGuard>, LockError>;

    /// What to wait for after [`advance`](Self::advance).
    fn park(&mut self, now: Instant) -> Park;

    /// Whether the waiter's turn has come; if not, `waker` is woken when it may have.
    fn turn(&mut self, waker: &Waker) -> Poll<()>;
}

/// What a waiter waits for, at the latest until a time; `None` if there is no limit.
pub(crate) enum Park {
    /// Its turn within this process.
    Turn { until: Option<Instant> },
    /// The time alone.
    Sleep { until: Instant },
    /// Something that other processes do.
    Event { bell: Arc<Bell>, watch: Option<Watch>, until: Instant },
}

/// What reports that a process which comes first will not come any more.
#[derive(Debug)]
pub(crate) enum Watch {
    /// The writing end of its ticket, which fails when nobody reads it.
    Pipe(OwnedFd),
    /// The process, which becomes readable when it ends.
    Process(OwnedFd),
}

/// Waits as a task.
pub(crate) async fn wait(mut attempt: impl Attempt) -> Result<LockGuard, LockError> {
    let mut ear: Option<Ear> = None;
    loop {
        let now = tokio::time::Instant::now().into_std();
        if let Some(guard) = attempt.advance(now)? {
            return Ok(guard);
        }
        // In each case being too late is for `advance` to find out.
        match attempt.park(now) {
            Park::Turn { until } => {
                ear = None;
                let turn = poll_fn(|cx| attempt.turn(cx.waker()));
                match until {
                    Some(until) => drop(tokio::time::timeout_at(until.into(), turn).await),
                    None => turn.await,
                }
            }
            Park::Sleep { until } => tokio::time::sleep_until(until.into()).await,
            Park::Event { bell, watch, until } => {
                let ear = match &mut ear {
                    Some(ear) if Arc::ptr_eq(&ear.bell, &bell) => ear,
                    other => other.insert(Ear::new(Arc::clone(&bell))),
                };
                drop(tokio::time::timeout_at(until.into(), event(ear, watch)).await);
            }
        }
    }
}

/// A bell that the runtime listens to.
struct Ear {
    bell: Arc<Bell>,
    /// `None` if the system refuses to listen; then the waiter looks again in time.
    pipe: Option<Receiver>,
}

impl Ear {
    fn new(bell: Arc<Bell>) -> Self {
        let pipe = rustix::io::fcntl_dupfd_cloexec(&*bell, 0).ok();
        Self { bell, pipe: pipe.and_then(|pipe| Receiver::from_owned_fd_unchecked(pipe).ok()) }
    }
}

/// Waits for a bell to ring or a watch to report.
async fn event(ear: &Ear, watch: Option<Watch>) {
    let woken = async {
        let Some(pipe) = &ear.pipe else { return pending().await };
        loop {
            // An error would come from the runtime shutting down, in which case nobody hears of it.
            drop(pipe.readable().await);
            match pipe.try_read(&mut [0; 64]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) | Ok(_) => return,
            }
        }
    };
    let ended = async {
        match watch {
            None => {}
            Some(Watch::Pipe(pipe)) => {
                if let Ok(pipe) = Sender::from_owned_fd_unchecked(pipe) {
                    drop(pipe.ready(Interest::ERROR).await);
                    return;
                }
            }
            // A process is no pipe, but the runtime has no other safe way to listen to a descriptor, and of a pipe
            // nothing is used here but whether it is readable.
            Some(Watch::Process(process)) => {
                if let Ok(process) = Receiver::from_owned_fd_unchecked(process) {
                    drop(process.readable().await);
                    return;
                }
            }
        }
        pending::<()>().await;
    };
    let (mut woken, mut ended) = (pin!(woken), pin!(ended));
    poll_fn(|cx| match woken.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => ended.as_mut().poll(cx),
    })
    .await;
}

/// Waits as a thread.
pub(crate) fn wait_blocking(mut attempt: impl Attempt) -> Result<LockGuard, LockError> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        let now = clock::now();
        if let Some(guard) = attempt.advance(now)? {
            return Ok(guard);
        }
        match attempt.park(now) {
            Park::Turn { until } => {
                while attempt.turn(&waker).is_pending() && park_thread(until) == Parked::InTime {}
            }
            Park::Sleep { until } => while park_thread(Some(until)) == Parked::InTime {},
            Park::Event { bell, watch, until } => {
                event_blocking(&bell, watch.as_ref(), until.saturating_duration_since(now));
            }
        }
    }
}

fn event_blocking(bell: &Bell, watch: Option<&Watch>, at_most: Duration) {
    let mut fds = vec![PollFd::new(bell, PollFlags::IN)];
    fds.extend(watch.map(|watch| match watch {
        Watch::Pipe(pipe) => PollFd::new(pipe, PollFlags::empty()),
        Watch::Process(process) => PollFd::new(process, PollFlags::IN),
    }));
    let at_most = Timespec {
        tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    };
    // If a signal or an error ends it early, the caller looks again early.
    poll(&mut fds, Some(&at_most)).ok();
}

#[derive(PartialEq, Eq)]
enum Parked {
    InTime,
    TooLate,
}

fn park_thread(until: Option<Instant>) -> Parked {
    let Some(until) = until else {
        std::thread::park();
        return Parked::InTime;
    };
    let left = until.saturating_duration_since(clock::now());
    if left.is_zero() {
        return Parked::TooLate;
    }
    std::thread::park_timeout(left);
    Parked::InTime
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
