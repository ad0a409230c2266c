//! The set of handlers that are being worked on, polled from within one future.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Which futures of a set asked to be polled.
#[derive(Debug, Default)]
struct Ready {
    indices: Vec<usize>,
    owner: Option<Waker>,
}

/// Wakes one future of a set.
#[derive(Debug)]
struct TaskWaker {
    index: usize,
    is_queued: AtomicBool,
    ready: Arc<Mutex<Ready>>,
}

fn lock(ready: &Mutex<Ready>) -> MutexGuard<'_, Ready> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let owner = {
            let mut ready = lock(&self.ready);
            ready.indices.push(self.index);
            ready.owner.take()
        };
        if let Some(owner) = owner {
            owner.wake();
        }
    }
}

struct Task<F: ?Sized, T> {
    future: Pin<Box<F>>,
    waker: Arc<TaskWaker>,
    tag: T,
}

/// A set of futures, each with a tag that comes back with its output.
pub(crate) struct Tasks<F: ?Sized, T> {
    slots: Vec<Option<Task<F, T>>>,
    vacant: Vec<usize>,
    ready: Arc<Mutex<Ready>>,
    polling: Vec<usize>,
}

impl<F: Future + ?Sized, T> Tasks<F, T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new(), ready: Arc::default(), polling: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Adds a future; it is polled at the next [`Tasks::poll_next`].
    pub(crate) fn insert(&mut self, future: Pin<Box<F>>, tag: T) {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let waker =
            Arc::new(TaskWaker { index, is_queued: AtomicBool::new(true), ready: self.ready.clone() });
        lock(&self.ready).indices.push(index);
        self.slots[index] = Some(Task { future, waker, tag });
    }

    /// Drops all futures.
    pub(crate) fn clear(&mut self) {
        self.vacant.clear();
        self.slots.clear();
        lock(&self.ready).indices.clear();
    }

    /// Polls what asked for it, until a future ends; pending when none can go on.
    ///
    /// `poll` polls one future; it may contain its panics.
    pub(crate) fn poll_next<O>(
        &mut self,
        context: &Context<'_>,
        poll: impl Fn(Pin<&mut F>, &mut Context<'_>) -> Poll<O>,
    ) -> Poll<(T, O)> {
        if self.len() == 0 {
            return Poll::Pending;
        }
        loop {
            if self.polling.is_empty() {
                let mut ready = lock(&self.ready);
                if ready.indices.is_empty() {
                    ready.owner = Some(context.waker().clone());
                    return Poll::Pending;
                }
                std::mem::swap(&mut self.polling, &mut ready.indices);
                self.polling.reverse();
            }
            while let Some(index) = self.polling.pop() {
                // A late wake-up may name a place that is empty or taken by another future by now.
                let Some(Some(task)) = self.slots.get_mut(index) else { continue };
                task.waker.is_queued.store(false, Ordering::Release);
                let waker = Waker::from(task.waker.clone());
                if let Poll::Ready(output) = poll(task.future.as_mut(), &mut Context::from_waker(&waker)) {
                    let task = self.slots[index].take().expect("the task was there a moment ago");
                    self.vacant.push(index);
                    return Poll::Ready((task.tag, output));
                }
            }
        }
    }
}
